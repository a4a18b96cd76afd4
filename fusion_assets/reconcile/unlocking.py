"""Removing the lock that a crash left, for the person who asks: never that of a process that is seen to run.

What belongs here: `fusion unlock`. What does not: finding a lock, and taking over that of the dead (`locks`).
"""

from __future__ import annotations

from dataclasses import dataclass

from fusion_assets.manifest.ledger import Ledger
from fusion_assets.reconcile.found_lock import CLEANUP_LOCK, FoundLock, backup_lock_path, study_lock_path
from fusion_assets.reconcile.locks import find_lock
from resources.lockfile import remove
from resources.storage import Storage


@dataclass(frozen=True, slots=True)
class Unlocked:
    """What came of an `unlock`: whether every lock there was is removed, and a message for a person."""

    removed: bool
    message: str


def unlock(source: Storage, nas: Storage, *, run_name: str, backup_name: str, force: bool = False) -> Unlocked:
    """Remove the locks that a crash left on a study, unless an owner of one is seen to be running: both, or neither.

    Args:
        source: The source.
        nas: The NAS.
        run_name: The study's name at the source; it need not be there any more.
        backup_name: Its name at the destinations.
        force: Remove them even if an owner is running.

    Raises:
        ResourceError: A place cannot be seen, or refused.
    """
    places = ((source, study_lock_path(run_name)), (nas, backup_lock_path(backup_name)))
    found = [(place, lock) for place, path in places if (lock := find_lock(place, path, run_name))]
    if not found:
        where = f"{source.location(run_name)}, nor has its backup at {nas.root}"
        return Unlocked(removed=False, message=f"{run_name} has no lock at {where}")
    if not force and (living := [lock for _, lock in found if lock.state.alive]):
        return Unlocked(removed=False, message=f"{living[0]}; --force removes the lock all the same")
    done = [_remove(place, lock) for place, lock in found]
    return Unlocked(all(one.removed for one in done), "\n".join(one.message for one in done))


def unlock_cleanup(nas: Storage, *, force: bool = False) -> Unlocked:
    """Remove the lock that a crash left on the cleanup, unless its owner is seen to be running.

    Args:
        nas: The NAS.
        force: Remove it even if its owner is running.

    Raises:
        ResourceError: The NAS cannot be seen, or refused.
    """
    found = find_lock(nas, CLEANUP_LOCK, "")
    if found is None:
        return Unlocked(removed=False, message=f"there is no {nas.location(CLEANUP_LOCK)}: nobody makes room")
    if found.state.alive and not force:
        return Unlocked(removed=False, message=f"{found}; --force removes the lock all the same")
    return _remove(nas, found)


def unlock_ledger(ledger: Ledger, *, force: bool = False) -> Unlocked:
    """Remove the lock that a crash left on the ledger, unless its owner is seen to be running.

    That of a dead process of this host is taken over by the next writer; that of another host waits for a person.

    Args:
        ledger: The ledger.
        force: Remove it even if its owner is running.

    Raises:
        ResourceError: The ledger cannot be seen, or refused.
    """
    what, state = f"the ledger {ledger.location}", ledger.lock_state()
    if state is None:
        return Unlocked(removed=False, message=f"{what} has no lock")
    if state.alive and not force:
        waiting = f"{what} is locked by {state.text} | hint: wait until it is done"
        return Unlocked(removed=False, message=f"{waiting}; --force removes the lock all the same")
    if not ledger.remove_lock(state.lock):
        return Unlocked(removed=False, message=f"the lock of {what} was removed or taken by somebody else just now")
    return Unlocked(removed=True, message=f"removed the lock of {what}, of {state.text}")


def _remove(place: Storage, found: FoundLock) -> Unlocked:
    if not remove(place, found.state.lock):
        return Unlocked(
            removed=False,
            message=f"{place.location(found.state.lock.path)} was removed or taken by somebody else just now",
        )
    return Unlocked(removed=True, message=f"removed {place.location(found.state.lock.path)}, of {found.state.text}")
