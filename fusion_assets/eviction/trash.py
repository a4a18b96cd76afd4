"""End what a killed eviction began: a copy that is whole is put back, of half a copy the rest is removed.

What belongs here: the trash folder in the NAS root, removing what is proven, and putting right. What does not: whether
a copy may go (`gates`), and moving it there (`evict`).

The sidecar is removed last: as long as it is there, it says of every other file whether it was proven. A file that it
does not list is never removed; it stays in the trash, and a person is told.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from fusion_assets.eviction.telling import Measured, finished, gone, taken_back, told, was_begun
from fusion_assets.reconcile.entries import append
from fusion_assets.reconcile.lab import TRASH, Lab, is_directory
from fusion_assets.standard.listing import SIDECAR_NAME, Listing, is_own_file, read_listing
from fusion_assets.standard.names import is_litter
from fusion_assets.transfer.check import check_archive
from fusion_assets.transfer.plan import same_file
from fusion_assets.transfer.sidecar import parse_sidecar
from resources.errors import NotFoundError, ResourceError
from resources.storage import Entry, Storage


@dataclass(frozen=True, slots=True)
class Trashed:
    """A copy in the trash of the NAS.

    Attributes:
        backup_name: The study's name at the destinations.
        path: Where it is, relative to the NAS root.
        has_sidecar: Whether its sidecar is still there: then there is more to remove, or to put back.
    """

    backup_name: str
    path: str
    has_sidecar: bool


@dataclass(frozen=True, slots=True)
class Finished:
    """The rest of an eviction that was broken off.

    Attributes:
        file_count: Files removed now.
        total_bytes: Their bytes.
        left: Files that stay in the trash, because the sidecar does not list them.
        free_before: Free bytes before the eviction; None if the ledger does not tell.
        measured: Its space, measured now; None if the ledger does not tell what was free before.
    """

    file_count: int
    total_bytes: int
    left: tuple[str, ...]
    free_before: int | None = None
    measured: Measured | None = None


class TrashError(ResourceError):
    """What is left of a copy in the trash is not proven in S3; it is kept there."""


def trashed_copies(nas: Storage) -> tuple[Trashed, ...]:
    """What is in the trash of the NAS, by name.

    Args:
        nas: The NAS.

    Raises:
        ResourceError: It cannot be listed.
    """
    try:
        entries = nas.list(TRASH)
    except NotFoundError:
        return ()
    found = [(entry.name.rpartition("@")[0], entry) for entry in entries if entry.kind == "directory"]
    return tuple(Trashed(name, entry.path, _has_sidecar(nas, entry.path)) for name, entry in found if name)


def put_right(
    lab: Lab, backup_name: str, now: datetime, log: Callable[[str], None], measure: Callable[[int, int], Measured]
) -> Finished | None:
    """End an eviction of a study that was broken off, whichever way is the safe one; nothing if there is none.

    Its lock must be held.

    Args:
        lab: The lab.
        backup_name: The study's name at the destinations.
        now: The time, UTC.
        log: Told what is done.
        measure: Waits for the space of an eviction, given its bytes and what was free before.

    Returns:
        What was removed, if that was the way; None if there was nothing, or the copy is back where it was.

    Raises:
        TrashError: What is left of it is not proven in S3.
        ResourceError: A place failed.
    """
    done = None
    for trashed in [each for each in trashed_copies(lab.truenas) if each.backup_name == backup_name]:
        if trashed.has_sidecar:
            done = _end(lab, trashed, log) or done
        else:
            _remove_empty(lab.truenas, trashed.path)
    record = lab.ledger.read().records.get(backup_name)
    if record is None or not was_begun(record):
        return done
    if is_directory(lab.truenas, backup_name):
        append(lab, taken_back(record))
        return None
    record = record if told(record) else gone(record, now, None)
    known = told(record)
    before = known.free_before if known else None
    measured = None if before is None else measure(record.total_bytes, before)
    append(lab, finished(record, measured.free if measured else None))
    return replace(done or Finished(0, 0, ()), free_before=before, measured=measured)


def remove_copy(nas: Storage, trashed: str, listing: Listing, proven: Mapping[str, str]) -> tuple[str, ...]:
    """Remove a copy in the trash: the files its sidecar lists, then what is our own, the sidecar last.

    Args:
        nas: The NAS.
        trashed: Its directory in the trash.
        listing: What is in it.
        proven: The sidecar.

    Returns:
        What was left there, because the sidecar does not list it or it changed meanwhile.

    Raises:
        ResourceError: The NAS refused.
    """
    left = []
    for entry in reversed(listing.entries):
        if entry.kind == "directory" or entry.path == SIDECAR_NAME:
            continue
        if may_go(entry, proven) and same_file(nas.stat(f"{trashed}/{entry.path}"), entry):
            nas.remove_file(f"{trashed}/{entry.path}")
        else:
            left.append(entry.path)
    _remove_directories(nas, trashed, listing, left)
    nas.remove_file(f"{trashed}/{SIDECAR_NAME}")
    _remove_empty(nas, trashed)
    return tuple(sorted(left))


def may_go(entry: Entry, proven: Collection[str]) -> bool:
    """Whether a file of a copy may be removed with it: proven, our own, or what operating systems leave behind. Pure.

    At the source a ``*.partial`` is somebody's; in a copy only we make them.

    Args:
        entry: Its path relative to the copy.
        proven: The paths that the sidecar lists.
    """
    return entry.kind == "file" and (entry.path in proven or is_own_file(entry.path) or is_litter(entry.name))


def _remove_directories(nas: Storage, trashed: str, listing: Listing, left: list[str]) -> None:
    """Remove the directories below a copy that hold nothing any more, the deepest first."""
    for entry in reversed(listing.entries):
        if entry.kind == "directory" and not any(path.startswith(f"{entry.path}/") for path in left):
            nas.remove_directory(f"{trashed}/{entry.path}")


def _remove_empty(nas: Storage, path: str) -> None:
    """Remove a directory, unless something that is not ours is in it or below it."""
    below = list(nas.walk(path))
    if any(entry.kind != "directory" for entry in below):
        return
    for entry in reversed(below):
        nas.remove_directory(entry.path)
    nas.remove_directory(path)


def _end(lab: Lab, trashed: Trashed, log: Callable[[str], None]) -> Finished | None:
    nas, backup_name = lab.truenas, trashed.backup_name
    listing = read_listing(nas, trashed.path)
    checksums = parse_sidecar(nas.read_file(f"{trashed.path}/{SIDECAR_NAME}"))
    there = {entry.path for entry in listing.files}
    if checksums.keys() <= there and not is_directory(nas, backup_name):
        log(f"{backup_name}: its eviction was broken off before anything was removed: it is put back")
        nas.rename(trashed.path, backup_name)
        record = lab.ledger.read().records.get(backup_name)
        if record is not None and record != (before := taken_back(record)):
            append(lab, before)
        return None
    log(f"{backup_name}: its eviction was broken off halfway: {len(checksums.keys() & there)} files are left of it")
    _refuse_unproven(lab, trashed, frozenset(checksums.keys() - there))
    removed = [entry for entry in listing.files if entry.path in checksums]
    left = remove_copy(nas, trashed.path, listing, checksums)
    return Finished(len(removed), sum(entry.size for entry in removed), left)


def _refuse_unproven(lab: Lab, trashed: Trashed, removed: frozenset[str]) -> None:
    """Refuse to remove what S3 does not prove at this moment; what was removed already was proven then."""
    problems = check_archive(lab.truenas, lab.bucket, trashed.backup_name, at=trashed.path)
    if open_ones := [str(problem) for problem in problems if problem.path not in removed]:
        place = lab.truenas.location(trashed.path)
        raise TrashError(
            f"what is left of {trashed.backup_name} in {place} is not proven in S3 any more: {'; '.join(open_ones[:3])}"
            f" | hint: put these files back into {lab.bucket.object_uri(trashed.backup_name)} from there",
            path=place,
        )


def _has_sidecar(nas: Storage, directory: str) -> bool:
    try:
        nas.stat(f"{directory}/{SIDECAR_NAME}")
    except NotFoundError:
        return False
    return True
