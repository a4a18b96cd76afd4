"""A listing sorted out: which entry is a design, which an experiment, which a scan, which should not be there.

What belongs here: giving each entry at the top of a study its one role, and finding the scans of the experiments, by
names and kinds alone. What does not: saying whether that is allowed (`rules`), and looking into files.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fusion_assets.standard.listing import Listing, is_own_file
from fusion_assets.standard.names import experiment_suffix, has_extension, is_litter, scan_number
from resources.storage import Entry

TEMP_NAME = ".temp"

Role = Literal["own", "link", "special", "litter", "xpd", "fpr", "experiment", "misnamed", "stranger"]


@dataclass(frozen=True, slots=True)
class Scan:
    """A directory ``Scan<N>`` in an experiment.

    Attributes:
        entry: The directory.
        images: The ``*.qptiff`` files directly in it; those in ``.temp`` are raw material and do not count.
        has_temp: Whether there is a directory ``.temp`` directly in it.
        temp_look_alike: What is there instead under nearly that name (``.Temp``); empty when nothing is.
    """

    entry: Entry
    images: tuple[Entry, ...]
    has_temp: bool
    temp_look_alike: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether it holds both an image and ``.temp``."""
        return bool(self.images) and self.has_temp


@dataclass(frozen=True, slots=True)
class Experiment:
    """A directory ``<study>`` or ``<study>_<suffix>`` in a study, and the scans in it."""

    entry: Entry
    scans: tuple[Scan, ...]

    @property
    def has_complete_scan(self) -> bool:
        """What R8 asks for."""
        return any(scan.is_complete for scan in self.scans)


@dataclass(frozen=True, slots=True)
class Anatomy:
    """A study by what its parts are.

    Attributes:
        top: Every entry directly in the study with its role, sorted by path.
        experiments: Those that are experiments, looked into.
        below: All entries deeper down, sorted by path.
    """

    top: tuple[tuple[Role, Entry], ...]
    experiments: tuple[Experiment, ...]
    below: tuple[Entry, ...]

    def having(self, *roles: Role) -> tuple[Entry, ...]:
        """The entries at the study's top that play one of these roles."""
        return tuple(entry for role, entry in self.top if role in roles)


def read_anatomy(listing: Listing, *, alias: str | None = None) -> Anatomy:
    """Sort out a listing; total: any listing has an anatomy, however odd its paths.

    Args:
        listing: The study's listing, in any order.
        alias: The name the study has at its destinations; experiments may begin with either name.
    """
    studies = (listing.name,) if alias is None else (listing.name, alias)
    ordered = sorted(listing.entries)
    top: list[tuple[Role, Entry]] = []
    below: list[Entry] = []
    inside: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in ordered:
        parent, slash, _ = entry.path.rpartition("/")
        if slash:
            below.append(entry)
            inside[parent].append(entry)
        else:
            top.append((role_of(entry, studies), entry))
    experiments = tuple(_experiment(entry, inside) for role, entry in top if role == "experiment")
    return Anatomy(top=tuple(top), experiments=experiments, below=tuple(below))


def role_of(entry: Entry, studies: Sequence[str]) -> Role:
    """The one role of an entry directly in a study.

    Args:
        entry: It, with its path relative to the study.
        studies: The names an experiment may begin with: the study's, and its alias if it has one.
    """
    if entry.kind == "symlink":
        return "link"
    if entry.kind == "directory":
        return _directory_role(entry.name, studies)
    if entry.kind != "file":
        return "special"
    if is_own_file(entry.path):
        return "own"
    if is_litter(entry.name):
        return "litter"
    if has_extension(entry.name, ".xpd"):
        return "xpd"
    if has_extension(entry.name, ".fpr"):
        return "fpr"
    return "stranger"


def _directory_role(name: str, studies: Sequence[str]) -> Role:
    if any(experiment_suffix(name, study) is not None for study in studies):
        return "experiment"
    if has_extension(name, ".xpd") or has_extension(name, ".fpr"):
        return "stranger"  # a directory in a file's clothes, even when it begins with the study's name
    # In any case of letters: a directory that differs from the study's name only there is misnamed, not unrelated.
    folded = name.casefold()
    if any(folded.startswith(study.casefold()) for study in studies if study):
        return "misnamed"
    return "stranger"


def _experiment(entry: Entry, inside: defaultdict[str, list[Entry]]) -> Experiment:
    scans = tuple(
        _scan(child, inside.get(child.path, ()))
        for child in inside.get(entry.path, ())
        if child.kind == "directory" and scan_number(child.name) is not None
    )
    return Experiment(entry=entry, scans=scans)


def _scan(entry: Entry, children: Sequence[Entry]) -> Scan:
    images = tuple(
        child
        for child in children
        if child.kind == "file" and has_extension(child.name, ".qptiff") and not is_litter(child.name)
    )
    has_temp = any(child.name == TEMP_NAME and child.kind == "directory" for child in children)
    look_alike = next((child.name for child in children if child.name.casefold() == TEMP_NAME), "")
    return Scan(entry=entry, images=images, has_temp=has_temp, temp_look_alike="" if has_temp else look_alike)
