"""Validating what is really there: a study, a root, or studies by name, at any storage.

What belongs here: taking listings and handing them to the rules; what a root itself must satisfy. What does not: the
rules of a study, which are pure (`rules`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path

from fusion_assets.standard.listing import read_listing
from fusion_assets.standard.report import UNREADABLE, RootReport, StudyReport, Violation
from fusion_assets.standard.rules import validate_listing
from resources.errors import NotFoundError, NotMountedError, ResourceError, UnavailableError
from resources.local import LocalStorage
from resources.names import find_collisions
from resources.storage import Entry, Storage

SYSTEM_DIRECTORY = "System Volume Information"
LEDGER_DIRECTORY = "_manifest"  # where the ledger lies in a NAS root, unless config.toml says otherwise


def validate_study(
    path: str | Path, *, name: str | None = None, today: date | None = None, nas_root: str | None = None
) -> StudyReport:
    """Judge one study on this machine (or on a mounted share) by its names.

    Args:
        path: The study's directory.
        name: The name it has at its destinations, if an alias renames it.
        today: The date to judge dates by; the real one if not given.
        nas_root: The NAS root, for the warning about long paths there.

    Raises:
        NotFoundError: There is no directory at `path`.
        NotMountedError: There is not even a directory it could be in.
        ResourceError: It cannot be listed.
    """
    # Lexically: `.` and `..` are resolved, links are not, so that the study keeps the name it was called by.
    parent, study = os.path.split(os.path.abspath(path))  # noqa: PTH100 - pathlib's resolve() follows links
    if not study:
        raise NotFoundError(
            f"{path} is a whole disk, not a study; to check all studies on it: validate root", path=parent
        )
    storage = LocalStorage(parent)
    _require_directory(storage, study)
    return validate_study_at(storage, study, name=name, today=today, nas_root=nas_root)


def validate_root(
    path: str | Path,
    *,
    aliases: Mapping[str, str] | None = None,
    today: date | None = None,
    nas_root: str | None = None,
) -> RootReport:
    """Judge every study in a directory on this machine (or on a mounted share) by its names.

    Args:
        path: The directory the studies are in.
        aliases: The names some studies have at their destinations, by their names here.
        today: The date to judge dates by; the real one if not given.
        nas_root: The NAS root, for the warning about long paths there.

    Raises:
        NotMountedError: `path` is not there, or is no directory.
        ResourceError: It cannot be listed.
    """
    return validate_storage(LocalStorage(path), aliases=aliases, today=today, nas_root=nas_root)


def validate_study_at(
    storage: Storage,
    study: str,
    *,
    name: str | None = None,
    today: date | None = None,
    nas_root: str | None = None,
) -> StudyReport:
    """Judge one study at a storage: one walk.

    Raises:
        ResourceError: It cannot be listed.
    """
    return validate_listing(
        read_listing(storage, study),
        path=storage.location(study),
        name=name,
        today=today or _today(),
        nas_root=nas_root,
    )


def validate_studies(
    storage: Storage,
    names: Iterable[str],
    *,
    aliases: Mapping[str, str] | None = None,
    today: date | None = None,
    nas_root: str | None = None,
) -> tuple[StudyReport, ...]:
    """Judge several studies of one storage: one walk each, plus what holds among them (no two alike but for case).

    A study that cannot be listed gets a report that says so (`StudyReport.readable` is False) and does not stop the
    others; a storage that does not answer stops everything.

    Returns:
        One report a name, sorted by name.

    Raises:
        UnavailableError: The storage does not answer.
        NotMountedError: The root is not there.
    """
    ordered = sorted(set(names))
    aliases, today = aliases or {}, today or _today()
    twins = {name: group for group in find_collisions(ordered) for name in group}
    reports = []
    for name in ordered:
        report = _report(storage, name, alias=aliases.get(name), today=today, nas_root=nas_root)
        if name in twins:
            report = with_clash(report, [twin for twin in twins[name] if twin != name])
        reports.append(report)
    return tuple(reports)


def validate_storage(
    storage: Storage,
    *,
    aliases: Mapping[str, str] | None = None,
    today: date | None = None,
    nas_root: str | None = None,
) -> RootReport:
    """Judge every study directly in a storage's root, and tell what else is there.

    Raises:
        NotMountedError: The root is not there.
        UnavailableError: The storage does not answer.
    """
    storage.check_mounted()
    entries = storage.list()
    studies = [entry.name for entry in entries if is_study_candidate(entry)]
    info = [sentence for entry in entries if (sentence := _remark(entry))]
    if not studies:
        info.append(f"no studies in {storage.root}; if there should be some, check that the disk or share is mounted")
    reports = validate_studies(storage, studies, aliases=aliases, today=today, nas_root=nas_root)
    return RootReport(root=storage.root, studies=reports, info=tuple(info))


def is_study_candidate(entry: Entry) -> bool:
    """Whether an entry of a root is a directory that should be a study: not the system's, not this program's own."""
    return entry.kind == "directory" and not _is_skipped(entry.name)


def _is_skipped(name: str) -> bool:
    return name.startswith((".", "$")) or name in (SYSTEM_DIRECTORY, LEDGER_DIRECTORY)


def _remark(entry: Entry) -> str | None:
    if _is_skipped(entry.name) or entry.kind == "directory":
        return None
    if entry.kind == "symlink":
        return f"{entry.name} is a symbolic link or junction; it is not followed"
    return f"{entry.name} is a loose file, no study"


def _require_directory(storage: Storage, study: str) -> None:
    path = storage.location(study)
    try:
        kind = storage.stat(study).kind
    except NotFoundError as error:
        raise NotFoundError(f"{path}: there is no such study; check the path", path=path) from error
    if kind == "symlink":
        raise NotFoundError(f"{path} is a link, and links are not followed; name the directory it points to", path=path)
    if kind != "directory":
        raise NotFoundError(f"{path} is a file, not a study's directory; name the directory", path=path)


def _report(storage: Storage, study: str, *, alias: str | None, today: date, nas_root: str | None) -> StudyReport:
    try:
        return validate_study_at(storage, study, name=alias, today=today, nas_root=nas_root)
    except (UnavailableError, NotMountedError):
        raise
    except ResourceError as error:
        violation = Violation(
            UNREADABLE,
            study,
            f"could not be listed, so no rule was judged: {error}",
            "put that right and validate again",
        )
        return StudyReport(study=study, path=storage.location(study), violations=(violation,))


def with_clash(report: StudyReport, twins: list[str]) -> StudyReport:
    """The report of a study that would become one with others at the destinations: by case, or by an alias.

    Each of them gets the violation: whichever went ahead alone, the other would be merged into it.

    Args:
        report: What else was found.
        twins: The other studies.
    """
    others = " and ".join(f"'{twin}'" for twin in twins)
    if {twin.casefold() for twin in twins} == {report.study.casefold()}:
        what = f"is the same name as {others} wherever upper and lower case are not told apart"
        hint = "rename this one, or give it an alias in config.toml; a restore onto Windows would mix them up"
    else:
        what = f"would be archived under the same name as {others}"
        hint = "give one of them another alias in config.toml, or another name"
    return StudyReport(
        study=report.study,
        path=report.path,
        violations=(Violation("R1", report.study, what, hint), *report.violations),
        warnings=report.warnings,
    )


def _today() -> date:
    return datetime.now(tz=UTC).astimezone().date()
