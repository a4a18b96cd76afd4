"""Delete a source, and only one that is proven in both places: the gates, re-observed, and the deletion itself.

The deletion is a rename into the trash folder on the same volume, a last look at what was renamed, and then the
removal of exactly the files that were proven. A study that gained or changed a file between the gates and the rename is
put back. A process killed in between leaves the study in the trash, where `finish_release` goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from fusion_assets.manifest.extra_fields import FINGERPRINT_FIELD
from fusion_assets.manifest.record import Record
from fusion_assets.reconcile.lab import TRASH
from fusion_assets.reconcile.plan import RELEASE_GATES, ObservedStudy
from fusion_assets.standard.listing import LOCK_NAME, Listing, read_listing
from fusion_assets.transfer.plan import same_file
from resources.errors import ResourceError
from resources.storage import Entry, Storage

# Every file that is about to be deleted, at the source or in the trash, is what was proven.
SOURCE_PROVEN = "SourceProven"
TRASH_PROVEN = "TrashProven"
WAY_OUT = (
    " | hint: put the good files back with their times (from the NAS or S3), or keep these elsewhere: move them out, "
    "or rename the study, which archives it anew; then `fusion apply`"
)


class GateError(Exception):
    """A gate was not True at the moment of deletion; nothing was deleted.

    Attributes:
        gates: The gates that were not True, with what was observed instead.
    """

    def __init__(self, study: str, gates: Mapping[str, str]) -> None:
        listed = "; ".join(f"{name}: {why}" for name, why in gates.items())
        super().__init__(f"{study} is kept at the source: {listed}")
        self.gates = dict(gates)


@dataclass(frozen=True, slots=True)
class Released:
    """What a release removed from the source.

    Attributes:
        file_count: Files removed.
        total_bytes: Their bytes.
        sidecar_sha256: Of the sidecar of the copy that stays, as the ledger has it; empty until it was looked up there.
    """

    file_count: int
    total_bytes: int
    sidecar_sha256: str = ""


def is_as_hashed(record: Record | None, listing: Listing) -> bool:
    """Whether a source looks as it did when it was hashed: the same files, of the same sizes and times.

    Args:
        record: Its ledger record.
        listing: Its directory, at the source or in the trash.
    """
    return record is not None and record.extra.get(FINGERPRINT_FIELD) == listing.fingerprint()


def release_gates(
    observed: ObservedStudy,
    record: Record | None,
    listing: Listing,
    object_problems: tuple[str, ...],
    source_problems: tuple[str, ...] | None = None,
) -> dict[str, str]:
    """The gates of a release that do not hold. Pure.

    Args:
        observed: The study as it is at this moment.
        record: Its latest ledger record, read at this moment.
        listing: Its directory at the source, listed at this moment.
        object_problems: What HEAD of every object in S3 found wrong at this moment.
        source_problems: What reading every file of that listing found wrong at this moment; None if they were not read.
            Only reading tells of a source that does not look as it did when it was hashed, because it lost files, say.

    Returns:
        What is wrong by gate; empty when the source may go.
    """
    closed = {
        gate.value: f"{condition.reason} {condition.message}".strip()
        for gate in RELEASE_GATES
        if not (condition := observed.conditions[gate]).is_true
    }
    if source_problems:
        closed[SOURCE_PROVEN] = f"{'; '.join(source_problems[:3])}{WAY_OUT}"
    elif record is None or (source_problems is None and not is_as_hashed(record, listing)):
        closed[SOURCE_PROVEN] = "the source is not what was hashed: sizes, times or files differ from the ledger"
    if stray := listing.unarchived:
        closed["NothingUnarchived"] = f"these are not archived and would be lost: {', '.join(stray[:3])}"
    if object_problems:
        closed["EveryObject"] = "; ".join(object_problems[:3])
    return closed


def release_source(
    storage: Storage, run_name: str, listing: Listing, moved: Callable[[], None] = lambda: None
) -> Released:
    """Move a study into the trash and remove it there.

    Args:
        storage: The source.
        run_name: The study.
        listing: The listing whose gates were just found open; nothing that is not in it is removed.
        moved: Called when it is in the trash, before anything is removed; the study is put back if that raises.

    Raises:
        GateError: The study changed at the last moment; it was put back.
        ResourceError: The source refused; what was not removed is in the trash, and the next run goes on.
    """
    trashed = f"{TRASH}/{run_name}@{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    storage.make_directory(TRASH)
    storage.rename(run_name, trashed)
    found = read_listing(storage, trashed)
    # What is no data is not compared: a link or a *.partial that came since would be left in the trash for ever.
    changed = [*changed_between(found, listing), *found.unarchived]
    if changed:
        storage.rename(trashed, run_name)
        raise GateError(run_name, {"SourceStill": f"changed at the last moment: {', '.join(changed[:3])}"})
    try:
        moved()
    except ResourceError:
        storage.rename(trashed, run_name)
        raise
    _remove_proven(storage, trashed, {entry.path: entry for entry in listing.files})
    return Released(listing.file_count, listing.total_bytes)


def finish_release(storage: Storage, run_name: str, trashed: str, proven: Mapping[str, Entry]) -> Released:
    """Go on with a release that was killed after the rename.

    Args:
        storage: The source.
        run_name: The study.
        trashed: Its path in the trash.
        proven: The files of the NAS copy by path; only what equals them in size and mtime is removed.

    Raises:
        GateError: Something in the trash is not in the proven copy, a link or a ``*.partial``, say; all of it is kept.
        ResourceError: The source refused.
    """
    listing = read_listing(storage, trashed)
    unproven = [e.path for e in listing.files if e.path not in proven or not same_file(e, proven[e.path])]
    if unproven := [*unproven, *listing.unarchived]:
        raise GateError(run_name, {TRASH_PROVEN: f"in {trashed}, not proven: {', '.join(unproven[:3])}{WAY_OUT}"})
    _remove_proven(storage, trashed, {entry.path: entry for entry in listing.files})
    return Released(listing.file_count, listing.total_bytes)


def changed_between(found: Listing, proven: Listing) -> list[str]:
    """Paths in the trash that are new or differ; a lock and other files of our own are no change.

    Args:
        found: What is in the trash.
        proven: What was there before it was moved.
    """
    before = {entry.path: entry for entry in proven.files}
    now = {entry.path: entry for entry in found.files}
    return sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))


def _remove_proven(storage: Storage, trashed: str, proven: Mapping[str, Entry]) -> None:
    """Remove the proven files, then whatever directories are empty; a file that appeared meanwhile keeps its own."""
    for entry in reversed(list(storage.walk(trashed))):
        path = entry.path.removeprefix(f"{trashed}/")
        if entry.kind == "directory":
            storage.remove_directory(entry.path)
        elif path == LOCK_NAME or (path in proven and same_file(storage.stat(entry.path), proven[path])):
            storage.remove_file(entry.path)
    storage.remove_directory(trashed)
