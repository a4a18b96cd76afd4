"""Proving old backups again: which are due, and reading one again whole.

Disks rot silently, and a bucket can be altered: what was proven a year ago is only remembered as proven. What belongs
here: choosing (pure), and judging one backup in both places. What does not: repairing it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from fusion_assets.manifest.record import Record, Status
from fusion_assets.reconcile.entries import append
from fusion_assets.reconcile.lab import EVICTED_FIELD, Lab, check_truenas, is_at_source
from fusion_assets.reconcile.locking import locked
from fusion_assets.reconcile.proven import NEVER, SCRUBBED_FIELD, copy_proven_at, scrubbed_at
from fusion_assets.reconcile.releasing import take_back
from fusion_assets.transfer.check import Problem, check_archive, check_copy
from resources.errors import ResourceError


@dataclass(frozen=True, slots=True)
class Provable:
    """A complete backup with a copy on the NAS.

    Attributes:
        run_name: The study's name at the source.
        backup_name: Its name at the destinations.
        total_bytes: The bytes to read.
        proven_at: When it was last proven, UTC.
    """

    run_name: str
    backup_name: str
    total_bytes: int
    proven_at: datetime


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """What reading a backup again gave.

    Attributes:
        backup: Which.
        problems: What is wrong; empty when every byte on the NAS and every object in S3 is what was proven.
    """

    backup: Provable
    problems: tuple[Problem, ...]


def provable(records: Iterable[Record]) -> tuple[Provable, ...]:
    """The backups that can be proven again, the one that was proven longest ago first.

    Args:
        records: The latest record of every study.
    """
    found = (
        Provable(record.run_name, record.backup_name, record.total_bytes, proven_at(record))
        for record in records
        if record.status is Status.COMPLETE and not record.extra.get(EVICTED_FIELD)
    )
    return tuple(sorted(found, key=lambda one: (one.proven_at, one.backup_name)))


def proven_at(record: Record) -> datetime:
    """When a backup was last proven in both places.

    Args:
        record: What the ledger says of it.
    """
    return max(min(copy_proven_at(record), record.s3_verified_at or NEVER), scrubbed_at(record))


def choose(backups: Iterable[Provable], *, cycle_weeks: int, max_bytes: int | None) -> tuple[Provable, ...]:
    """Which backups to prove again this week, so that each is proven once in a cycle.

    Args:
        backups: From `provable`.
        cycle_weeks: How many weeks a cycle has.
        max_bytes: How much to read at the most; the first is read in any case, or a big one would never be.

    Returns:
        In the order of `backups`, at least one if there is any.
    """
    waiting = tuple(backups)
    share = -(-len(waiting) // cycle_weeks)
    chosen: list[Provable] = []
    size = 0
    for backup in waiting[:share]:
        size += backup.total_bytes
        if chosen and max_bytes is not None and size > max_bytes:
            break
        chosen.append(backup)
    return tuple(chosen)


def scrub(lab: Lab, backup: Provable, *, now: datetime) -> Scrubbed:
    """Read a copy again whole, ask S3 about every object, and write down what came of it.

    A backup that is found damaged is no longer complete in the ledger: so its source is not released, its copy not
    evicted, and the next plan says what is missing.

    Args:
        lab: The lab.
        backup: Which.
        now: The time, UTC.

    Raises:
        LockHeldError: Somebody works on it.
        TransferError: There is no finished copy any more, or its sidecar is damaged.
        ResourceError: A place cannot be asked: unknown, not damaged.
    """
    check_truenas(lab)
    with locked(lab, backup.run_name, source=_is_seen_at_source(lab, backup.run_name)):
        problems = (
            *check_copy(lab.truenas, backup.backup_name),
            *check_archive(lab.truenas, lab.bucket, backup.backup_name),
        )
        record = lab.ledger.read().records.get(backup.backup_name)
        if problems:
            take_back(lab, record, problems)
        elif record:
            append(lab, replace(record, extra={**record.extra, SCRUBBED_FIELD: now.isoformat()}))
    return Scrubbed(backup, problems)


def _is_seen_at_source(lab: Lab, run_name: str) -> bool:
    """Whether to lock it there, too. The instrument may be off: the lock of the backup keeps all others away."""
    try:
        return is_at_source(lab, run_name)
    except ResourceError:
        return False
