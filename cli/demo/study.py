"""One invented study on disk: designs, experiments, scans, and the ``.temp`` an instrument leaves beside each image.

What belongs here: what the files of a study are called and contain. What does not: which studies a lab has (`lab`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from os import utime
from pathlib import Path

import numpy as np

from cli.demo.bigtiff import PageSpec, write_bigtiff
from cli.demo.qptiff import ImageSpec, write_qptiff

MARKERS = ("DAPI", "CD45", "CD3e", "CD8", "CD4", "FoxP3", "PanCK", "Ki67", "CD20", "CD68", "CD31", "SMA")
_RAW_CHANNELS = ("DAPI", "ATTO550", "CY5", "AF750")
_RAW_EDGE = 512  # pixels; a real cycle is as large as the slide
_BETWEEN_FILES = timedelta(minutes=7)


@dataclass(frozen=True, slots=True)
class Scan:
    """One ``Scan<N>`` to write.

    Attributes:
        number: N.
        cycles: Raw files in ``.temp``.
        finished: Whether the final image was written.
        kept: Share of the final image that is really there; below 1 it was cut off.
    """

    number: int = 1
    cycles: int = 2
    finished: bool = True
    kept: float = 1.0


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment directory to write.

    Attributes:
        suffix: What follows the study's name and ``_``; empty for an experiment named like the study.
        channels: Of its images: the first so many of `MARKERS`.
        width: Of its images, in pixels.
        height: Of its images, in pixels.
        scans: The scans in it; none: the directory is missing, only the design is there.
        design: Whether it has an ``.xpd``.
        image_ending: What follows ``<experiment>_Scan<N>`` in the name of an image.
    """

    suffix: str = ""
    channels: int = 5
    width: int = 768
    height: int = 768
    scans: tuple[Scan, ...] = (Scan(),)
    design: bool = True
    image_ending: str = ".er.qptiff"


def write_study(
    directory: Path, experiments: tuple[Experiment, ...], *, finished_at: datetime, seed: int, extra: dict[str, bytes]
) -> None:
    """Write a study.

    Args:
        directory: The new directory; its name is the study's.
        experiments: What is in it.
        finished_at: When the last of its files was written; the others a few minutes apart before it.
        seed: Of its pixels.
        extra: Further files at its top, name to content.
    """
    directory.mkdir(parents=True)
    for number, experiment in enumerate(experiments):
        _write_experiment(directory, experiment, seed=seed * 100 + number)
    for name, content in extra.items():
        (directory / name).write_bytes(content)
    _set_times(directory, finished_at)


def _write_experiment(study: Path, experiment: Experiment, *, seed: int) -> None:
    name = f"{study.name}_{experiment.suffix}" if experiment.suffix else study.name
    markers = MARKERS[: experiment.channels]
    if experiment.design:
        (study / f"{name}.xpd").write_bytes(design(name, markers).encode())
    for scan in experiment.scans:
        directory = study / name / f"Scan{scan.number}"
        _write_temp(
            directory / ".temp", f"{name}_Scan{scan.number}", scan.cycles, markers, seed=seed * 10 + scan.number
        )
        if scan.finished:
            image = directory / f"{name}_Scan{scan.number}{experiment.image_ending}"
            spec = ImageSpec(
                markers, experiment.width, experiment.height, study=study.name, seed=seed * 10 + scan.number
            )
            write_qptiff(image, spec, "spread")
            _cut(image, scan.kept)


def _cut(file: Path, kept: float) -> None:
    if kept < 1:
        with file.open("r+b") as opened:
            opened.truncate(int(file.stat().st_size * kept))


def design(name: str, markers: tuple[str, ...]) -> str:
    """An experiment's ``.xpd``: one well a cycle, three markers a well beside DAPI, empty slots as ``--``."""
    stained = [marker for marker in markers if marker != "DAPI"]
    wells = []
    for first in range(0, len(stained), 3):
        cycle = [*stained[first : first + 3], "--", "--"][:3]
        items = [
            {
                "id": first + slot + 1,
                "markerName": marker,
                "barcode": "--" if marker == "--" else f"BX{first + slot + 1:03d}",
                "reporter": "--" if marker == "--" else f"RX{first + slot + 1:03d}",
                "clone": "--",
                "channel": channel,
                "dye": channel,
                "exposure": 150,
                "panel": "Demo",
            }
            for slot, (marker, channel) in enumerate(zip(cycle, _RAW_CHANNELS[1:], strict=True))
        ]
        items.insert(
            0, items[0] | {"id": 0, "markerName": "DAPI", "barcode": "--", "reporter": "--", "channel": "DAPI"}
        )
        wells.append({"wellName": f"{'ABCDEFGH'[first // 3 % 8]}1", "items": items})
    content = {
        "formatVersion": "2",
        "formatType": "Protein",
        "name": name,
        "tissueType": "FFPE",
        "tissueInfo": "demonstration",
        "resolution": "20x",
        "channels": [{"name": channel, "defaultExposure": 150} for channel in _RAW_CHANNELS],
        "wells": wells,
        "unusedItems": [],
    }
    return json.dumps(content, indent=2)


def _write_temp(temp: Path, stem: str, cycles: int, markers: tuple[str, ...], *, seed: int) -> None:
    """What the acquisition software keeps beside an image: raw cycles, focus maps, previews, lists."""
    temp.mkdir(parents=True)
    for cycle in range(1, cycles + 1):
        spec = ImageSpec(_RAW_CHANNELS, _RAW_EDGE, _RAW_EDGE, study=stem, seed=seed * 100 + cycle, levels=1)
        write_qptiff(temp / f"{stem}_Cycle{cycle}.raw.qptiff", spec, "spread")
    random = np.random.default_rng(seed)
    lists = {
        "MarkerList.txt": markers,
        "CombineInputs.txt": [f"{stem}_Cycle{cycle}.raw.qptiff" for cycle in range(1, cycles + 1)],
        "FocusTable.txt": [f"{height:.2f}" for height in random.normal(2000, 3, size=64)],
    }
    for name, lines in lists.items():
        (temp / name).write_bytes("".join(f"{line}\r\n" for line in lines).encode())
    for name in ("FocusMap.tif", "Label.tif", "OverviewBF.tif", "SampleMask.tif"):
        page = PageSpec(160, 120, b"", rgb=True, software=b"demonstration")
        picture = random.integers(0, 255, size=(120, 160, 3), dtype=np.uint8)
        write_bigtiff(temp / name, [page], [picture])


def _set_times(study: Path, finished_at: datetime) -> None:
    """Files a few minutes apart, designs first, the last at `finished_at`; directories as old as what is in them."""
    files = [path for path in study.rglob("*") if path.is_file()]
    files.sort(key=lambda path: (path.parent != study, path), reverse=True)
    times = {path: (finished_at - number * _BETWEEN_FILES).timestamp() for number, path in enumerate(files)}
    for path, when in times.items():
        utime(path, (when, when))
    directories = [study, *(path for path in study.rglob("*") if path.is_dir())]
    for directory in directories:
        newest = max(when for path, when in times.items() if path.is_relative_to(directory))
        utime(directory, (newest, newest))
