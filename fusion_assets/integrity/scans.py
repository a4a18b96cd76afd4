"""The scans of a study as the instrument lays them out: which images are final, which are raw material.

What belongs here: finding ``<experiment>/Scan<N>`` in a listing, whatever the experiment is called, and telling images
apart. What does not: whether the names are allowed (`standard`) and what is in the files (`tiff`, `xpd`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fusion_assets.standard.anatomy import TEMP_NAME
from fusion_assets.standard.names import has_extension, is_litter, scan_number
from resources.storage import Entry

MARKER_LIST = "MarkerList.txt"
# ``.qptiff.raw`` is how other versions of the acquisition software name what most call ``.raw.qptiff``.
_RAW_ENDINGS = (".raw.qptiff", ".intermediate.qptiff", ".qptiff.raw", ".qptiff.intermediate")
_SCAN_DEPTH = 2


@dataclass(frozen=True, slots=True)
class Scan:
    """One ``Scan<N>``.

    Attributes:
        path: Relative to the study.
        experiment: The name of the directory it is in.
        images: The final ``*.qptiff`` directly in it.
        raw_images: The raw and intermediate ones, in it or in its ``.temp``.
        has_temp: Whether there is a directory ``.temp`` directly in it.
        has_marker_list: Whether ``.temp/MarkerList.txt`` is there.
    """

    path: str
    experiment: str
    images: tuple[Entry, ...]
    raw_images: tuple[Entry, ...]
    has_temp: bool
    has_marker_list: bool

    @property
    def is_complete(self) -> bool:
        """Whether the run was finished: a final image, and ``.temp`` beside it."""
        return bool(self.images) and self.has_temp


def is_raw_image(name: str) -> bool:
    """Whether a file is a cycle's raw or intermediate image, of whatever format its software version gave it."""
    return name.lower().endswith(_RAW_ENDINGS)


def is_final_image(name: str) -> bool:
    """Whether a file is an image as the instrument delivers it: ``*.qptiff``, neither raw nor litter."""
    return has_extension(name, ".qptiff") and not is_raw_image(name) and not is_litter(name)


def is_in_temp(path: str) -> bool:
    """Whether a path, relative to the study, leads through a ``.temp``."""
    return TEMP_NAME in path.lower().split("/")[:-1]


def find_scans(entries: Sequence[Entry]) -> tuple[Scan, ...]:
    """The scans of a study, sorted by path.

    Args:
        entries: The study's listing, paths relative to the study.
    """
    inside: dict[str, list[Entry]] = {
        entry.path: []
        for entry in entries
        if entry.kind == "directory"
        and entry.path.count("/") == _SCAN_DEPTH - 1
        and scan_number(entry.name) is not None
        and not is_in_temp(entry.path)
    }
    for entry in entries:
        parts = entry.path.split("/", _SCAN_DEPTH)
        scan = "/".join(parts[:_SCAN_DEPTH])
        if len(parts) > _SCAN_DEPTH and scan in inside:
            inside[scan].append(entry)
    return tuple(_scan(path, inside[path]) for path in sorted(inside))


def _scan(path: str, entries: Sequence[Entry]) -> Scan:
    files = [entry for entry in entries if entry.kind == "file"]
    below = len(path) + 1
    return Scan(
        path=path,
        experiment=path.partition("/")[0],
        images=tuple(file for file in files if "/" not in file.path[below:] and is_final_image(file.name)),
        raw_images=tuple(file for file in files if is_raw_image(file.name)),
        has_temp=any(entry.kind == "directory" and entry.path[below:].lower() == TEMP_NAME for entry in entries),
        has_marker_list=any(file.path[below:].lower() == f"{TEMP_NAME}/{MARKER_LIST.lower()}" for file in files),
    )
