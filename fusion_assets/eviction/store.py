"""Look at all copies on the NAS at once: what there is, what may go, and what keeps the rest.

Cheap, so that a sensor may do it every quarter of an hour over thousands of studies: the ledger, the pins, one listing
of the NAS root, of its locks, its trash, and of the source. What belongs here: that look. What does not: the sidecar
and S3, which are asked of a study only when it is about to be evicted (`gates`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from fusion_assets.eviction.pins import Pins, read_pins
from fusion_assets.eviction.policy import Copy
from fusion_assets.eviction.telling import held_by_snapshots, was_begun
from fusion_assets.eviction.trash import Trashed, trashed_copies
from fusion_assets.manifest.fold import LedgerView
from fusion_assets.manifest.record import Record, Status
from fusion_assets.reconcile.conditions import Unseen
from fusion_assets.reconcile.found_lock import FoundLock
from fusion_assets.reconcile.lab import Lab, check_truenas, source_studies, trashed_studies
from fusion_assets.reconcile.locks import find_backup_lock, find_cleanup_lock, locked_backups
from fusion_assets.standard.validate import is_study_candidate
from resources.errors import NotMountedError, ResourceError
from resources.storage import Space


@dataclass(frozen=True, slots=True)
class StoreObservation:
    """The NAS as a store of copies, at one moment.

    Attributes:
        at: When, UTC.
        space: Free and total bytes.
        copies: Every study the ledger knows whose directory is on the NAS.
        unfinished: The studies (their names at the source) of which an eviction was broken off.
        leftovers: Directories in the trash that hold only files the sidecar did not list: kept for a person.
        held_back: Why nothing may be evicted at all; empty if something may.
        cleanup_lock: The lock of somebody else who makes room, or of what a crash of another host left; None for none.
        pins: What is pinned.
        ledger: The ledger as it was read.
    """

    at: datetime
    space: Space
    copies: tuple[Copy, ...]
    unfinished: tuple[str, ...]
    leftovers: tuple[str, ...]
    held_back: str
    pins: Pins
    ledger: LedgerView
    cleanup_lock: FoundLock | None = None


@dataclass(frozen=True, slots=True)
class AtSource:
    """What is at the source, seen once for all studies.

    Attributes:
        studies: The studies there, or why they could not be seen.
        trashed: Those whose release was begun; as above.
    """

    studies: frozenset[str] | Unseen
    trashed: frozenset[str] | Unseen


def observe_store(lab: Lab, *, now: datetime | None = None) -> StoreObservation:
    """Observe all copies on the NAS. Changes nothing.

    Args:
        lab: The lab.
        now: The time, UTC; the clock's by default.

    Raises:
        NotMountedError: The NAS is not there, or its ledger not whole.
        ResourceError: The NAS, the ledger or S3 cannot be asked.
    """
    now = now or datetime.now(UTC)
    check_truenas(lab)
    view, pins, space = lab.ledger.read(), read_pins(lab.ledger), lab.truenas.space()
    present = {entry.name for entry in lab.truenas.list() if is_study_candidate(entry)}
    locked, around = locked_backups(lab.truenas), look_at_source(lab)
    trashed = trashed_copies(lab.truenas)
    copies = []
    for name in sorted(present & view.records.keys()):
        record = view.records[name]
        copy = as_copy(lab, record)
        kept = why_kept(lab, record, copy.run_name, pins=pins, around=around, now=now)
        if not kept and name in locked and (lock := find_backup_lock(lab.truenas, name, copy.run_name)):
            kept = str(lock)
        copies.append(Copy(copy.run_name, name, copy.total_bytes, copy.completed_at, kept))
    return StoreObservation(
        at=now,
        space=space,
        copies=tuple(copies),
        unfinished=_unfinished(lab, view, trashed),
        leftovers=tuple(lab.truenas.location(each.path) for each in trashed if not _is_half_done(each, view)),
        held_back=held_by_snapshots(view, space),
        pins=pins,
        ledger=view,
        cleanup_lock=find_cleanup_lock(lab.truenas),
    )


def as_copy(lab: Lab, record: Record) -> Copy:
    """What the ledger says of a copy.

    Args:
        lab: The lab, for the names its configuration gives.
        record: The ledger's record of the study.
    """
    is_complete = record.status is Status.COMPLETE
    return Copy(
        run_name=run_name_of(lab, record),
        backup_name=record.backup_name,
        total_bytes=record.total_bytes,
        completed_at=record.completed_at if is_complete else None,
    )


def run_name_of(lab: Lab, record: Record) -> str:
    """What a recorded study is called by everywhere: its name at the source, unless an alias came or went since."""
    named_so = lab.config.backup_name(record.run_name) == record.backup_name
    return record.run_name if named_so else record.backup_name


def look_at_source(lab: Lab) -> AtSource:
    """What is at the source; where that cannot be seen, why: the instrument may be switched off.

    Args:
        lab: The lab.
    """
    try:
        entries = tuple(lab.source.list())
        if not entries:
            what = f"the source {lab.source.root} is empty: a share that is not mounted looks like this"
            empty = Unseen(NotMountedError(what))
            return AtSource(empty, empty)
        return AtSource(frozenset(source_studies(entries)), frozenset(trashed_studies(lab)))
    except ResourceError as error:
        unseen = Unseen(error)
        return AtSource(unseen, unseen)


def why_kept(lab: Lab, record: Record, run_name: str, *, pins: Pins, around: AtSource, now: datetime) -> str:
    """Why a copy may not leave the NAS, by what is seen of all of them at once; empty if it may. Pure but for `lab`.

    Args:
        lab: The lab, for what it declares.
        record: The ledger's record of the study.
        run_name: What the study is called by.
        pins: What is pinned.
        around: What is at the source.
        now: The time, UTC.
    """
    if record.status is not Status.COMPLETE or record.completed_at is None:
        return f"its backup is not complete: the latest record says {record.status.value}"
    if pinned := pins.why(record.backup_name, now):
        return pinned
    if lab.config.backup_name(run_name) != record.backup_name:
        return f"[alias] of config.toml gives its name {run_name} to another study"
    return why_not_released(record, run_name, around, delete_source=lab.config.backup.delete_source)


def why_not_released(record: Record, run_name: str, around: AtSource, *, delete_source: bool) -> str:
    """Why a study has not finished its way, the source being where it ends; empty if it has. Pure.

    Args:
        record: The ledger's record of the study.
        run_name: Its name at the source.
        around: What is at the source.
        delete_source: Whether the lab releases its sources; else they stay, and keep no copy on the NAS.
    """
    if record.was_released or not delete_source:
        in_trash = not isinstance(around.trashed, Unseen) and run_name in around.trashed
        return "its release was begun and not finished" if in_trash else ""
    if isinstance(around.studies, Unseen) or isinstance(around.trashed, Unseen):
        why = around.studies.why if isinstance(around.studies, Unseen) else ""
        return f"it was not released, and whether it is still at the source cannot be seen: {why}"
    if run_name in around.studies or run_name in around.trashed:
        return "it is still at the source, which is released first"
    return ""


def _is_half_done(found: Trashed, view: LedgerView) -> bool:
    """Whether there is something to finish or to put right, rather than files that only a person can judge."""
    record = view.records.get(found.backup_name)
    return found.has_sidecar or (record is not None and was_begun(record))


def _unfinished(lab: Lab, view: LedgerView, trashed: tuple[Trashed, ...]) -> tuple[str, ...]:
    half_done = {each.backup_name for each in trashed if _is_half_done(each, view)}
    started = {record.backup_name for record in view.records.values() if was_begun(record)}
    return tuple(_named(lab, view.records, name) for name in sorted(half_done | started))


def _named(lab: Lab, records: Mapping[str, Record], backup_name: str) -> str:
    record = records.get(backup_name)
    return run_name_of(lab, record) if record else backup_name
