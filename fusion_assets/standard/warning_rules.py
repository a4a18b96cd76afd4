"""What the naming standard allows but a person should look at: the warnings of a study.

What belongs here: the pure judgement behind `table.WARNING_RULES`. What does not: violations (`rules`). A warning has
the shape of a violation and never makes a study fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

from fusion_assets.standard.anatomy import Anatomy, Scan
from fusion_assets.standard.listing import Listing
from fusion_assets.standard.names import (
    MAX_EXPERIMENT_LENGTH,
    MAX_STUDY_LENGTH,
    scan_number,
    split_extension,
    study_date,
)
from fusion_assets.standard.report import RuleId, Violation
from resources.storage import Entry

EARLIEST_DATE = date(2015, 1, 1)
LONGEST_LEAD = timedelta(days=7)
# Windows' MAX_PATH is 260 UTF-16 units with the closing NUL.
MAX_WINDOWS_PATH = 259

_EXTENSION_RULES: tuple[tuple[str, RuleId], ...] = ((".xpd", "R6"), (".fpr", "R7"))


def study_warnings(
    listing: Listing, anatomy: Anatomy, *, judged_name: str, today: date | None, nas_root: str | None
) -> Iterator[Violation]:
    """All warnings of a study, in no particular order.

    Args:
        listing: Its listing.
        anatomy: The same, sorted out.
        judged_name: The name it has at its destinations.
        today: For dates in the future; without it none is reported.
        nas_root: The NAS root as Windows would write it; without it no path is too long.
    """
    yield from _date_warnings(listing.name, judged_name, today)
    yield from _length_warnings(listing.name, judged_name)
    yield from _missing_designs(listing.name, anatomy)
    yield from _extension_warnings(listing.name, anatomy)
    yield from _scan_warnings(listing.name, anatomy)
    yield from _links_below(listing.name, anatomy)
    if nas_root:
        yield from _long_paths(listing, judged_name, nas_root)


def _date_warnings(study: str, judged_name: str, today: date | None) -> Iterator[Violation]:
    day = study_date(judged_name)
    if day is None:
        return
    hint = "check its first field, YYYYMMDD"
    if day < EARLIEST_DATE:
        yield Violation("R1", study, f"is dated {day}, before {EARLIEST_DATE.year}", hint)
    elif today is not None and day - today > LONGEST_LEAD:
        yield Violation("R1", study, f"is dated {day}, more than a week ahead", hint)


def _length_warnings(study: str, judged_name: str) -> Iterator[Violation]:
    length = len(judged_name)
    if length > MAX_STUDY_LENGTH:
        room = "even for an experiment" if length > MAX_EXPERIMENT_LENGTH else "for a suffix"
        message = f"is {length} characters long, which leaves no room {room} (limit {MAX_EXPERIMENT_LENGTH})"
        yield Violation("R3", study, message, f"shorten it to at most {MAX_STUDY_LENGTH} characters")


def _missing_designs(study: str, anatomy: Anatomy) -> Iterator[Violation]:
    if anatomy.having("fpr"):
        return
    stems = {split_extension(entry.name)[0] for entry in anatomy.having("xpd")}
    for experiment in anatomy.experiments:
        name = experiment.entry.name
        if name not in stems:
            message, hint = "has no .xpd file beside it", f"put its design beside it as {name}.xpd"
            yield Violation("R6", f"{study}/{experiment.entry.path}", message, hint)


def _extension_warnings(study: str, anatomy: Anatomy) -> Iterator[Violation]:
    for extension, rule in _EXTENSION_RULES:
        yield from _extension_case(study, anatomy.having("xpd", "fpr"), extension, rule)
    for experiment in anatomy.experiments:
        for scan in experiment.scans:
            yield from _extension_case(study, scan.images, ".qptiff", "R8")


def _extension_case(study: str, entries: tuple[Entry, ...], extension: str, rule: RuleId) -> Iterator[Violation]:
    present = {entry.name for entry in entries}
    for entry in entries:
        stem, found = split_extension(entry.name)
        if found != extension and found.lower() == extension:
            message = f"ends in {found}, not {extension}; S3 and ZFS tell the two apart"
            yield Violation(rule, f"{study}/{entry.path}", message, _rename(f"{stem}{extension}", present))


def _rename(better: str, present: set[str]) -> str:
    return f"{better} is there as well: keep one of the two" if better in present else f"rename it to {better}"


def _scan_warnings(study: str, anatomy: Anatomy) -> Iterator[Violation]:
    for experiment in anatomy.experiments:
        present = {scan.entry.name for scan in experiment.scans}
        for scan in experiment.scans:
            yield from _scan_spelling(study, scan, present)


def _scan_spelling(study: str, scan: Scan, present: set[str]) -> Iterator[Violation]:
    number = scan_number(scan.entry.name) or ""
    plain = f"Scan{number.lstrip('0') or '0'}"
    if not scan.entry.name.startswith("Scan"):
        message = f"is not spelled Scan{number}; S3 and ZFS tell the two apart"
        yield Violation("R8", f"{study}/{scan.entry.path}", message, _rename(plain, present))
    elif scan.entry.name != plain:
        message = "has a leading zero in its number; the instrument writes none"
        yield Violation("R8", f"{study}/{scan.entry.path}", message, _rename(plain, present))


def _links_below(study: str, anatomy: Anatomy) -> Iterator[Violation]:
    for entry in anatomy.below:
        if entry.kind == "symlink":
            message = "is a symbolic link or junction: it is not followed and not copied"
            hint = "put what it points to in its place, if that belongs to the study"
            yield Violation("R5", f"{study}/{entry.path}", message, hint)
        elif entry.kind == "other":
            message = "is neither a file nor a directory: it is not copied"
            yield Violation("R5", f"{study}/{entry.path}", message, "move it out of the study")


def _long_paths(listing: Listing, judged_name: str, nas_root: str) -> Iterator[Violation]:
    """One warning a study, at its longest path: a single deep folder makes hundreds of long paths."""
    room = MAX_WINDOWS_PATH - _windows_length(_unc(nas_root)) - len("\\") - _windows_length(judged_name) - len("\\")
    too_long = [(length, entry.path) for entry in listing.entries if (length := _windows_length(entry.path)) > room]
    if not too_long:
        return
    length, path = max(too_long)
    place = f"{_unc(nas_root)}\\{judged_name}\\…"
    total = length + MAX_WINDOWS_PATH - room
    message = f"will be {total} characters long on the NAS, as {place}, where Windows takes {MAX_WINDOWS_PATH}"
    if others := len(too_long) - 1:
        message += f"; {others} more in this study will be too long"
    hint = "shorten the study's or the experiment's name, or open it there only with programs that know long paths"
    yield Violation("R3", f"{listing.name}/{path}", message, hint)


def _unc(nas_root: str) -> str:
    r"""The NAS root as Windows counts it: ``smb://host/share/path`` is ``\\host\share\path``."""
    if nas_root.startswith("smb://"):
        nas_root = nas_root.removeprefix("smb:").replace("/", "\\")
    return nas_root.rstrip("/\\")


def _windows_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le", errors="surrogatepass")) // 2
