"""Proving old backups again: which are due, and reading one again whole.

Disks rot silently, and a bucket can be altered: what was proven a year ago is only remembered as proven. What belongs
here: which are due, and judging one backup in both places. What does not: repairing it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from fusion_assets.manifest.record import Record, Status
from fusion_assets.reconcile.entries import append, sidecar_problems
from fusion_assets.reconcile.lab import EVICTED_FIELD, EVICTION_BEGUN_FIELD, Lab, check_truenas, is_at_source
from fusion_assets.reconcile.locking import locked
from fusion_assets.reconcile.proven import NEVER, SCRUBBED_FIELD, copy_proven_at, scrubbed_at
from fusion_assets.reconcile.releasing import take_back
from fusion_assets.transfer.check import Problem, check_archive, check_copy
from fusion_assets.transfer.errors import TransferError
from resources.errors import ResourceError, described
from resources.lockfile import LockHeldError


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


@dataclass(frozen=True, slots=True)
class Share:
    """What came of one week's share.

    Attributes:
        done: Those that were read.
        unread: Why each other one that was tried could not be, by run name.
    """

    done: tuple[Scrubbed, ...]
    unread: Mapping[str, str]


def provable(records: Iterable[Record]) -> tuple[Provable, ...]:
    """The backups that can be proven again, the one that was proven longest ago first.

    Args:
        records: The latest record of every study.
    """
    found = (
        Provable(record.run_name, record.backup_name, record.total_bytes, proven_at(record))
        for record in records
        if record.status is Status.COMPLETE
        and not (record.extra.get(EVICTED_FIELD) or record.extra.get(EVICTION_BEGUN_FIELD))
    )
    return tuple(sorted(found, key=lambda one: (one.proven_at, one.backup_name)))


def proven_at(record: Record) -> datetime:
    """When a backup was last proven in both places.

    Args:
        record: What the ledger says of it.
    """
    return max(min(copy_proven_at(record), record.s3_verified_at or NEVER), scrubbed_at(record))


def scrub_share(
    lab: Lab,
    waiting: Sequence[Provable],
    *,
    cycle_weeks: int,
    max_bytes: int | None,
    log: Callable[[str], None] = lambda _: None,
) -> Share:
    """Prove this week's share of all backups again, so that each is proven once in a cycle.

    One that cannot be read takes no other's turn: it would stay the oldest, and keep all others from being proven.

    Args:
        lab: The lab.
        waiting: From `provable`.
        cycle_weeks: How many weeks a cycle has.
        max_bytes: How much to read at the most; the first is read in any case, or a big one would never be.
        log: Told of each backup.
    """
    share = -(-len(waiting) // cycle_weeks)
    done: list[Scrubbed] = []
    unread: dict[str, str] = {}
    for backup in waiting:
        size = sum(one.backup.total_bytes for one in done) + backup.total_bytes
        if len(done) == share or (done and max_bytes is not None and size > max_bytes):
            break
        log(f"{len(done) + 1} of {share}: {backup.run_name}, {backup.total_bytes:,} bytes")
        try:
            if found := scrub(lab, backup, now=datetime.now(UTC)):
                done.append(found)
        except LockHeldError as held:
            log(f"{backup.run_name} is being worked on, and waits for another week: {described(held)}")
        except (ResourceError, TransferError) as error:
            unread[backup.run_name] = described(error)
            if away := _away(lab):
                log(f"the others wait for another week: {away}")
                break
    return Share(tuple(done), unread)


def _away(lab: Lab) -> str:
    """Why no backup can be proven at this moment; empty if the places answer."""
    try:
        check_truenas(lab)
        lab.bucket.check_reachable()
    except ResourceError as error:
        return described(error)
    return ""


def scrub(lab: Lab, backup: Provable, *, now: datetime) -> Scrubbed | None:
    """Read a copy again whole, ask S3 about every object, and write down what came of it.

    A backup that is found damaged is no longer complete in the ledger: so its source is not released, its copy not
    evicted, and the next plan says what is missing.

    Args:
        lab: The lab.
        backup: Which.
        now: The time, UTC.

    Returns:
        None if by now there is nothing to prove: it was evicted meanwhile, or its backup began anew.

    Raises:
        LockHeldError: Somebody works on it.
        TransferError: There is no finished copy any more, or its sidecar is damaged.
        ResourceError: A place cannot be asked: unknown, not damaged.
    """
    check_truenas(lab)
    with locked(lab, backup.run_name, source=_is_seen_at_source(lab, backup.run_name)):
        record = lab.ledger.read().records.get(backup.backup_name)
        if record is None or not provable((record,)):
            return None
        problems = (
            *sidecar_problems(lab, record),
            *check_copy(lab.truenas, backup.backup_name),
            *check_archive(lab.truenas, lab.bucket, backup.backup_name),
        )
        if problems:
            take_back(lab, record, problems)
        else:
            append(lab, replace(record, extra={**record.extra, SCRUBBED_FIELD: now.isoformat()}))
    return Scrubbed(backup, problems)


def _is_seen_at_source(lab: Lab, run_name: str) -> bool:
    """Whether to lock it there, too. The instrument may be off: the lock of the backup keeps all others away."""
    try:
        return is_at_source(lab, run_name)
    except ResourceError:
        return False
