"""Proving old backups again: which are due, and reading one again whole.

Disks rot silently, and a bucket can be altered: what was proven a year ago is only remembered as proven. What belongs
here: which are due, and judging one backup in both places. What does not: repairing it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from fusion_assets.manifest.extra_fields import EVICTED_FIELD, EVICTION_BEGUN_FIELD, SCRUBBED_FIELD
from fusion_assets.manifest.record import Record, Status
from fusion_assets.reconcile.broken_off import load_broken_off, save_broken_off
from fusion_assets.reconcile.entries import append, sidecar_problems
from fusion_assets.reconcile.holding import locked
from fusion_assets.reconcile.lab import Lab, check_truenas, copy_place, is_at_source
from fusion_assets.reconcile.proven import NEVER, copy_proven_at, scrubbed_at
from fusion_assets.reconcile.releasing import take_back
from fusion_assets.transfer.check import Problem, check_archive, check_copy
from fusion_assets.transfer.errors import TransferError
from resources.errors import ResourceError, described
from resources.lockfile import LockHeldError

# What breaks off while it is read costs as much as what is proven, and comes to nothing: where a disk fails, at the end
# of each copy of a terabyte. The first few of a week do not count: with one bad copy the week's share is done all the
# same.
_FORGIVEN = 3
_DID_NOT_END = "a scrub that read it was ended before it had read it whole"


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
        unread: Why each one that was due could not be read when it was last tried, by run name.
        cut_short: Why others, and how many, were not come to; empty if the week's share was done.
    """

    done: tuple[Scrubbed, ...]
    unread: Mapping[str, str]
    cut_short: str = ""


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
    folder: Path,
    cycle_weeks: int,
    max_bytes: int | None,
    log: Callable[[str], None] = lambda _: None,
) -> Share:
    """Prove this week's share of all backups again, so that each is proven once in a cycle.

    One that breaks off while it is read goes to the end of the line, behind all that did not: else it would stay the
    oldest, and keep all others from being proven. What breaks off in a week, and what is then tried again of that, is
    bounded together by as much again as the week's share.

    Args:
        lab: The lab.
        waiting: From `provable`.
        folder: The lab's state folder: which broke off is remembered there.
        cycle_weeks: How many weeks a cycle has.
        max_bytes: How much to read at the most; the first is read in any case, or a big one would never be.
        log: Told of each backup.

    Raises:
        OSError: The state folder cannot be written.
    """
    budget = _Budget(-(-len(waiting) // cycle_weeks), max_bytes)
    named = {backup.backup_name: backup for backup in waiting}
    week = _Week(lab, folder, log, {name: why for name, why in load_broken_off(folder).items() if name in named})
    again = [named[name] for name in week.broken_off]
    cut_short = _read_the_oldest(week, budget, [one for one in waiting if one.backup_name not in week.broken_off])
    if cut_short:
        log(cut_short)
    for backup in again:
        if week.away or not budget.allows(week.beyond, backup):
            break
        week.read(backup)
    broken_off = {named[name].run_name: why for name, why in week.broken_off.items()}
    return Share(tuple(week.done), {**week.missing, **broken_off}, cut_short)


def _read_the_oldest(week: _Week, budget: _Budget, line: Sequence[Provable]) -> str:
    """Read this week's share of what did not break off when it was read last.

    Returns:
        Why that ended early, if it did.
    """
    for number, backup in enumerate(line):
        if not budget.allows([one.backup for one in week.done], backup):
            break
        if week.away or not budget.allows(week.beyond[_FORGIVEN:], backup):
            why = week.away or "too many copies broke off while they were read"
            return f"others that were not come to this week: {len(line) - number}, because {why}"
        week.read(backup)
    return ""


@dataclass(frozen=True, slots=True)
class _Budget:
    """How much to read: so many, and so many bytes, whichever is less; but one in any case."""

    share: int
    max_bytes: int | None

    def allows(self, read: Sequence[Provable], following: Provable) -> bool:
        size = sum(backup.total_bytes for backup in (*read, following))
        return not read or (len(read) < self.share and (self.max_bytes is None or size <= self.max_bytes))


@dataclass(slots=True)
class _Week:
    """What was read so far.

    Attributes:
        broken_off: Why each that broke off when it was read last did, by backup name; the one tried longest ago first.
        done: Those that were read.
        missing: Why there is nothing to read of others, by run name.
        beyond: Those that were read beyond the share: in vain, or because they broke off another week.
        away: Why no other can be read either.
    """

    lab: Lab
    folder: Path
    log: Callable[[str], None]
    broken_off: dict[str, str]
    done: list[Scrubbed] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    beyond: list[Provable] = field(default_factory=list)
    away: str = ""

    def read(self, backup: Provable) -> None:
        last, why = self.broken_off.get(backup.backup_name, ""), ""
        self._note(backup, _DID_NOT_END)  # a disk that hangs ends the run, and must not end each one after it
        self.log(f"{len(self.done) + 1}: {backup.run_name}, {backup.total_bytes:,} bytes")
        try:
            if found := scrub(self.lab, backup, now=datetime.now(UTC)):
                self.done.append(found)
        except LockHeldError as held:
            self.log(f"{backup.run_name} is being worked on, and waits for another week: {described(held)}")
            why = last
        except TransferError as error:  # there is nothing to read, which costs nothing
            self.missing[backup.run_name] = described(error)
        except ResourceError as error:
            why, self.away = described(error), _away(self.lab)
        self._note(backup, why)
        if last or why:
            self.beyond.append(backup)

    def _note(self, backup: Provable, why: str) -> None:
        self.broken_off.pop(backup.backup_name, None)
        if why:
            self.broken_off[backup.backup_name] = why
        save_broken_off(self.folder, self.broken_off)


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
            place = copy_place(lab, record.backup_name)  # what was read is the copy where it is now
            append(lab, replace(record, truenas_path=place, extra={**record.extra, SCRUBBED_FIELD: now.isoformat()}))
    return Scrubbed(backup, problems)


def _is_seen_at_source(lab: Lab, run_name: str) -> bool:
    """Whether to lock it there, too. The instrument may be off: the lock of the backup keeps all others away."""
    try:
        return is_at_source(lab, run_name)
    except ResourceError:
        return False
