"""The lock of a study: while somebody works on it, nobody else does, on any host.

What belongs here: taking and leaving the lock, finding locks that are in the way, and what a person reads and types
about one. What does not: how a lock file works (`resources.lockfile`).

Such a lock is never broken by itself, not even when its owner is certainly dead: a crash in the middle of a study is
something a person should look at once.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fusion_assets.reconcile.facts import LockFacts
from fusion_assets.standard.listing import LOCK_NAME
from resources.errors import ResourceError
from resources.lockfile import (
    Lock,
    LockHeldError,
    LockState,
    describe,
    new_lock,
    read_lock,
    release,
    release_after,
    remove,
    take,
)
from resources.storage import Storage


@dataclass(frozen=True, slots=True)
class FoundLock:
    """A lock that was found in a study.

    Attributes:
        study: The study's name at the source.
        state: Whose it is, how old, and whether its owner still runs.
        message: For a person: all of that, and what to type.
    """

    study: str
    state: LockState
    message: str

    def __str__(self) -> str:
        """The message."""
        return self.message


@dataclass(frozen=True, slots=True)
class Unlocked:
    """What came of an `unlock`: whether a lock was removed, and a message for a person."""

    removed: bool
    message: str


@dataclass(slots=True)
class _Hold:
    """A lock of this process, and everybody in it who is inside."""

    lock: Lock
    users: set[object] = field(default_factory=set)


# A lock file belongs to the process, so who is inside must be known to the process: by the lock file's full path. A
# forked child inherits this table but not the locks, which is why each use asks whose lock it is.
_holds: dict[str, _Hold] = {}
_holds_guard = threading.Lock()


@contextmanager
def study_lock(storage: Storage, study: str, run_name: str) -> Iterator[None]:
    """Hold a study's lock while the ``with`` block runs; it is removed however the block ends.

    The lock is the process's: inside it, any thread of the same process may take it again for the same study (each step
    of a pipeline does), and the last one to leave removes it. If the study is moved or deleted meanwhile, the lock went
    with it, and leaving removes nothing.

    Args:
        storage: The source.
        study: The study's directory there.
        run_name: The study's name, as the lock records it.

    Raises:
        LockHeldError: Somebody else holds it, or a crash left it behind; the message says what to do.
        NotFoundError: There is no such study.
    """
    token = object()
    path = f"{study}/{LOCK_NAME}"
    key = storage.location(path)
    try:
        _enter(storage, study, key, new_lock(path, extra={"run_name": run_name}), token)
        yield
        _leave(storage, key, token)
    except BaseException as error:
        try:
            _leave(storage, key, token)
        except ResourceError as failure:
            error.add_note(f"the lock of {study} was not removed: {failure}")
        raise


def find_locks(storage: Storage, studies: Iterable[str]) -> list[FoundLock]:
    """The locks in these studies: one request for each study, no walk.

    Args:
        storage: The source.
        studies: Their directories.

    Returns:
        Those there are, but for locks of this very process.

    Raises:
        ResourceError: A study cannot be looked into: whether it is locked is unknown, not no.
    """
    return [found for study in studies if (found := _find(storage, study))]


def study_lock_facts(storage: Storage, study: str) -> LockFacts | None:
    """What stands in the way of working on a study; None if nothing does, or the lock is this process's own.

    Args:
        storage: The source.
        study: The study's directory.

    Raises:
        ResourceError: It cannot be seen.
    """
    found = _find(storage, study)
    return LockFacts(found.message, owner_is_gone=found.state.alive is False) if found else None


def unlock(storage: Storage, study: str, *, force: bool = False) -> Unlocked:
    """Remove the lock that a crash left in a study, unless its owner is seen to be running.

    Args:
        storage: The source.
        study: The study's directory.
        force: Remove it even then.

    Raises:
        ResourceError: The source refused.
    """
    lock = read_lock(storage, f"{study}/{LOCK_NAME}")
    if lock is None:
        return Unlocked(removed=False, message=f"{study} has no lock at {storage.location(study)}")
    state = describe(lock, datetime.now(UTC))
    if state.alive and not force:
        return Unlocked(removed=False, message=f"{_message(study, state)}; --force removes the lock all the same")
    if not remove(storage, lock):
        return Unlocked(removed=False, message=f"the lock of {study} was removed or taken by somebody else just now")
    return Unlocked(removed=True, message=f"removed {storage.location(lock.path)}, of {state.text}")


def _enter(storage: Storage, study: str, key: str, lock: Lock, token: object) -> None:
    with _holds_guard:
        if hold := _own_hold(key):
            hold.users.add(token)
            return
        try:
            take(storage, lock)
            _holds[key] = _Hold(lock, {token})
        except LockHeldError as held:
            raise LockHeldError(_message(study, held.state), held.state, path=held.path) from None
        except BaseException as error:  # also an interruption after the file was created
            _holds.pop(key, None)
            release_after(error, storage, lock)
            raise


def _leave(storage: Storage, key: str, token: object) -> None:
    with _holds_guard:
        hold = _own_hold(key)
        if hold is None or token not in hold.users:
            return
        hold.users.remove(token)
        if not hold.users:
            del _holds[key]
            release(storage, hold.lock)


def _own_hold(key: str) -> _Hold | None:
    hold = _holds.get(key)
    return hold if hold and hold.lock.pid == os.getpid() else None


def _find(storage: Storage, study: str) -> FoundLock | None:
    path = f"{study}/{LOCK_NAME}"
    lock = read_lock(storage, path)
    own = _own_hold(storage.location(path))
    if lock is None or (own and own.lock.content == lock.content):
        return None
    state = describe(lock, datetime.now(UTC))
    return FoundLock(study, state, _message(study, state))


def _message(study: str, state: LockState) -> str:
    name = study if re.fullmatch(r"[\w.-]+", study) else f'"{study}"'
    advice = {
        True: "wait until it is done",
        False: f"a crash left the lock behind; `fusion unlock {name}` removes it, and the next run goes on from there",
        None: f"if that process is certainly gone, `fusion unlock {name}` removes the lock",
    }[state.alive]
    return f"{study} is locked by {state.text} | hint: {advice}"
