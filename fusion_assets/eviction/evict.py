"""Evict one study: every gate looked at again, its copy moved into the trash and deleted there, the ledger told.

What belongs here: the order of these things. What does not: the gates (`gates`), which studies to evict (`policy`), and
ending what a crash broke off (`trash`).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fusion_assets.eviction import telling
from fusion_assets.eviction.gates import EvictionFacts, Gate, KeptError, judge_gates, judge_objects, look
from fusion_assets.eviction.store import look_at_source
from fusion_assets.eviction.trash import Finished, put_right, remove_copy
from fusion_assets.manifest.record import Record
from fusion_assets.reconcile.conditions import Condition, Unseen, false, true
from fusion_assets.reconcile.deletion import changed_between
from fusion_assets.reconcile.entries import append
from fusion_assets.reconcile.holding import locked
from fusion_assets.reconcile.lab import TRASH, Lab, check_truenas, is_directory
from fusion_assets.reconcile.locks import cleanup_lock
from fusion_assets.reconcile.releasing import take_back
from fusion_assets.reconcile.reserve import keep_reserve, with_reserve
from fusion_assets.standard.listing import Listing, read_listing
from fusion_assets.transfer.check import check_archive
from fusion_assets.transfer.sidecar import parse_sidecar
from resources.errors import AlreadyExistsError, HeldOpenError
from resources.lockfile import LockHeldError

# ZFS gives space back some seconds after a file is gone: a minute in all, counted, not timed.
PAUSES = (0.2, 0.8, 1.0, 2.0, 4.0, 8.0, 14.0, 30.0)


@dataclass(frozen=True, slots=True)
class Evicted:
    """What an eviction removed from the NAS; nothing, where the copy had been evicted already.

    Attributes:
        file_count: Files removed by this run.
        total_bytes: Their bytes.
        free_before: Free bytes before it; None where nothing was evicted, or nobody knows it any more.
        free_after: Free bytes when they had come back, or a minute later; None where that was not measured.
        space_came_back: Whether they did; None where that was not measured.
        left: Files that stay in the trash, because the sidecar does not list them.
        sidecar_sha256: Of the sidecar; it stands for every byte of the copy.
        gates: What was seen of every gate.
    """

    file_count: int
    total_bytes: int
    free_before: int | None
    free_after: int | None
    space_came_back: bool | None
    left: tuple[str, ...] = ()
    sidecar_sha256: str = ""
    gates: Mapping[Gate, Condition] | None = None


def _now() -> datetime:
    return datetime.now(UTC)


def evict(
    lab: Lab,
    run_name: str,
    log: Callable[[str], None] = lambda _: None,
    *,
    despite_snapshots: bool = False,
    clock: Callable[[], datetime] = _now,
    pauses: Sequence[float] | None = None,
) -> Evicted:
    """Delete a study's copy on the NAS, if every gate is open at this moment; end one that was broken off before.

    Args:
        lab: The lab.
        run_name: The study's name at the source.
        log: Told of what takes long, and of what is put right.
        despite_snapshots: Whether to go on although the space of the last eviction did not come back.
        clock: Gives the time, UTC.
        pauses: Seconds to wait between two looks at the free space; a minute in all by default.

    Raises:
        KeptError: A gate is closed, or somebody else holds a lock; the copy is kept.
        ResourceError: A place could not be asked, or refused.
        TransferError: What is there cannot be judged.
    """
    check_truenas(lab)
    backup_name = lab.config.backup_name(run_name)
    eviction = _Eviction(
        lab,
        run_name,
        backup_name,
        log,
        clock,
        PAUSES if pauses is None else pauses,
        despite_snapshots=despite_snapshots,
    )
    try:
        return with_reserve(lab.truenas, eviction.under_locks)
    except LockHeldError as held:
        raise KeptError(run_name, {Gate.UNLOCKED: false("Locked", str(held))}) from held


@dataclass(frozen=True, slots=True)
class _Eviction:
    """One eviction, and what it needs."""

    lab: Lab
    run_name: str
    backup_name: str
    log: Callable[[str], None]
    clock: Callable[[], datetime]
    pauses: Sequence[float]
    despite_snapshots: bool

    def under_locks(self) -> Evicted:
        """Do it, with the lock of the cleanup, and those of the study where it is."""
        lab = self.lab
        # The source may be switched off. The lock of the backup is enough to keep every other worker away.
        at_source = look_at_source(lab).studies
        is_there = not isinstance(at_source, Unseen) and self.run_name in at_source
        with cleanup_lock(lab.truenas), locked(lab, self.run_name, source=is_there):
            if done := put_right(lab, self.backup_name, self.clock(), self.log, self._measure):
                keep_reserve(lab.truenas)
                return _ended(done)
            return self._evict() if self._is_there() else Evicted(0, 0, None, None, None)

    def _is_there(self) -> bool:
        """Whether there is anything to evict: a run that was killed at its very end is asked for once more."""
        record = self.lab.ledger.read().records.get(self.backup_name)
        is_evicted = record is not None and telling.told(record) is not None
        return not is_evicted or is_directory(self.lab.truenas, self.backup_name)

    def _evict(self) -> Evicted:
        lab = self.lab
        facts, gates = self._look()
        record, listing, sidecar = facts.record, facts.listing, facts.sidecar
        if record is None or listing is None or sidecar is None:  # then a gate is closed, too
            raise KeptError(self.run_name, gates)
        self.log(f"{self.run_name}: asking S3 about each of {listing.file_count} objects")
        problems = tuple(check_archive(lab.truenas, lab.bucket, self.backup_name))
        gates[Gate.EVERY_OBJECT_IN_S3] = judge_objects(problems)
        if problems:
            take_back(lab, record, problems)
            raise KeptError(self.run_name, gates)
        self._refuse_open(listing, gates)
        return self._delete(record, listing, sidecar, gates)

    def _look(self) -> tuple[EvictionFacts, dict[Gate, Condition]]:
        """Look at every gate but that of the objects; the copy is kept unless all are open."""
        facts = look(self.lab, self.backup_name)
        gates = judge_gates(
            facts,
            self.run_name,
            threshold_pct=self.lab.config.cleanup.free_threshold_pct,
            delete_source=self.lab.config.backup.delete_source,
            now=self.clock(),
            despite_snapshots=self.despite_snapshots,
        )
        if not all(gate.is_true for gate in gates.values()):
            raise KeptError(self.run_name, gates)
        return facts, gates

    def _refuse_open(self, listing: Listing, gates: Mapping[Gate, Condition]) -> None:
        """Keep a copy of which somebody views an image: over SMB its removal would break off at that file."""
        for entry in listing.files:
            held = self.lab.truenas.is_held_open(f"{self.backup_name}/{entry.path}")
            if held is None:
                return  # here that cannot be asked, and does not matter
            if held:
                why = f"another program has {entry.path} open"
                raise KeptError(self.run_name, {**gates, Gate.UNLOCKED: false("InUse", why)})

    def _delete(self, record: Record, listing: Listing, sidecar: bytes, gates: Mapping[Gate, Condition]) -> Evicted:
        nas, before, begun_at = self.lab.truenas, self.lab.truenas.space(), self.clock()
        record = telling.taken_back(record)  # a copy that was evicted once and brought back begins anew
        trashed = f"{TRASH}/{self.backup_name}@{begun_at:%Y%m%dT%H%M%S%f}"
        append(self.lab, telling.begun(record, begun_at))
        try:
            # S3 may have been asked for hours. And who pins the study after this look reads in the ledger that its
            # eviction has begun.
            gates = {**gates, **self._look()[1]}
            self._move(trashed, listing, gates)
        except BaseException:
            append(self.lab, record)
            raise
        record = telling.gone(telling.begun(record, begun_at), self.clock(), before.free)
        append(self.lab, record)
        left = remove_copy(nas, trashed, listing, parse_sidecar(sidecar))
        measured = self._measure(listing.total_bytes, before.free)
        append(self.lab, telling.finished(record, measured.free))
        keep_reserve(nas)
        return Evicted(
            file_count=listing.file_count,
            total_bytes=listing.total_bytes,
            free_before=before.free,
            free_after=measured.free,
            space_came_back=measured.came_back,
            left=left,
            sidecar_sha256=hashlib.sha256(sidecar).hexdigest(),
            gates=gates,
        )

    def _move(self, trashed: str, listing: Listing, gates: Mapping[Gate, Condition]) -> None:
        """Move the copy into the trash, and look at it there once more; if it changed at the last moment, back."""
        nas = self.lab.truenas
        nas.make_directory(TRASH)
        try:
            nas.rename(self.backup_name, trashed)
        except (HeldOpenError, AlreadyExistsError) as error:
            raise KeptError(self.run_name, {**gates, Gate.UNLOCKED: false("InUse", str(error))}) from error
        found = read_listing(nas, trashed)
        if changed := changed_between(found, listing):
            nas.rename(trashed, self.backup_name)
            why = f"it changed at the last moment: {', '.join(changed[:3])}"
            raise KeptError(self.run_name, {**gates, Gate.NOTHING_UNARCHIVED: false("Changed", why)})

    def _measure(self, total_bytes: int, free_before: int) -> telling.Measured:
        """The free bytes once those of the copy came back, or when nobody waits for them any longer."""
        for pause in (0.0, *self.pauses):
            time.sleep(pause)
            space = self.lab.truenas.space()
            if telling.came_back(space, total_bytes, free_before, space.free):
                return telling.Measured(space.free, came_back=True)
        return telling.Measured(space.free, came_back=False)


def _ended(done: Finished) -> Evicted:
    """What ending an eviction that was broken off gave: of the gates, only whether its space came back is known."""
    measured = done.measured
    return Evicted(
        done.file_count,
        done.total_bytes,
        done.free_before,
        measured.free if measured else None,
        measured.came_back if measured else None,
        done.left,
        gates={Gate.SPACE_RISES: true("Measured")} if measured else None,
    )
