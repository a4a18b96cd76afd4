"""The two locks of a study, at the source and of its backup: while one works on it, nobody else does, on any host.

Beside them the lock of a cleanup, which is taken over from the dead as that of a backup is.
What belongs here: taking and leaving a lock, and finding locks in the way. What does not: how a lock file works
(`resources.lockfile`), what is said of one (`found_lock`), removing one (`unlocking`), holding both (`holding`).

The lock at the source lies in the study (``.fusion-toolkit.lock``). It is never broken by itself, not even when its
owner is certainly dead: a crash in the middle of a study is something a person should look at once.

The lock of the backup keeps two workers off one copy and one archive once the study has left the source, and is what an
eviction or a restore holds, too. It lies on the NAS, on the volume of what it protects, but in a folder of its own
(``.fusion-locks``): a copy stays exactly what was proven, and can be moved or evicted under its lock. The lock of an
owner that is certainly dead (this host, not another container of it, and no such process since) is taken over without a
question. Wherever a person is to look, the same crash left the lock at the source, too, and that one asks; without a
source there is no place to look at, and everything that is done to a backup is proven again before anything is deleted.
If its owner may still live on another host, it waits for `fusion unlock STUDY`, which removes both.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fusion_assets.reconcile.found_lock import (
    CLEANUP_LOCK,
    LOCK_SUFFIX,
    LOCKS,
    FoundLock,
    backup_lock_path,
    lock_message,
    study_lock_path,
)
from resources.errors import NotFoundError, ResourceError
from resources.lockfile import (
    Lock,
    LockHeldError,
    describe,
    new_lock,
    read_lock,
    release,
    release_after,
    take,
    take_over,
)
from resources.storage import Storage


@dataclass(slots=True)
class _Hold:
    """A lock of this process, and everybody in it who is inside."""

    lock: Lock
    users: set[object] = field(default_factory=set)


# A lock file belongs to the process, so who is inside must be known to the process: by the lock file's full path. A
# forked child inherits this table but not the locks, which is why each use asks whose lock it is.
_holds: dict[str, _Hold] = {}
_holds_guard = threading.Lock()


def study_lock(storage: Storage, study: str, run_name: str) -> AbstractContextManager[None]:
    """Hold a study's lock at the source while the ``with`` block runs; it is removed however the block ends.

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
    return _held(storage, study, new_lock(study_lock_path(study), extra={"run_name": run_name}))


def backup_lock(nas: Storage, backup_name: str, run_name: str) -> AbstractContextManager[None]:
    """Hold the lock of a study's backup while the ``with`` block runs, just as `study_lock` does at the source.

    Whoever changes or archives ``<backup_name>`` on the NAS, or deletes because of it, holds this. The lock of an owner
    that is certainly dead is taken over.

    Args:
        nas: The NAS; its folder `LOCKS` must be there.
        backup_name: The study's name at the destinations.
        run_name: The study's name at the source: what a person types to unlock it.

    Raises:
        LockHeldError: Somebody else holds it; the message says what to do.
        NotFoundError: There is no folder for it.
    """
    lock = new_lock(backup_lock_path(backup_name), extra={"run_name": run_name}, with_process=True)
    return _held(nas, run_name, lock, from_the_dead=True)


def cleanup_lock(nas: Storage) -> AbstractContextManager[None]:
    """Hold the lock of a cleanup while the ``with`` block runs: room on the NAS is made by one process at a time.

    As with `study_lock`, it is the process's: an eviction of a cleanup may take it again. The lock of an owner that is
    certainly dead is taken over.

    Args:
        nas: The NAS.

    Raises:
        LockHeldError: Somebody else holds it; the message says what to do.
    """
    return _held(nas, "", new_lock(CLEANUP_LOCK, with_process=True), from_the_dead=True)


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
    return [found for study in studies if (found := find_study_lock(storage, study))]


def find_study_lock(storage: Storage, study: str) -> FoundLock | None:
    """The lock that stands in the way of working on a study at the source; None if there is none, or it is our own.

    Args:
        storage: The source.
        study: The study's directory.

    Raises:
        ResourceError: It cannot be seen.
    """
    return find_lock(storage, study_lock_path(study), study)


def locked_backups(nas: Storage) -> frozenset[str]:
    """The backup names for which there is a lock file, whoever's: one listing.

    Args:
        nas: The NAS.

    Raises:
        ResourceError: The locks cannot be seen.
    """
    try:
        entries = nas.list(LOCKS)
    except NotFoundError:
        return frozenset()
    return frozenset(entry.name.removesuffix(LOCK_SUFFIX) for entry in entries if entry.name.endswith(LOCK_SUFFIX))


def find_backup_lock(nas: Storage, backup_name: str, run_name: str) -> FoundLock | None:
    """The lock that stands in the way of working on a backup.

    Args:
        nas: The NAS.
        backup_name: The study's name at the destinations.
        run_name: The study's name at the source.

    Returns:
        None if there is none, it is this process's own, or its owner is certainly dead, so that it is taken over.

    Raises:
        ResourceError: It cannot be seen.
    """
    found = find_lock(nas, backup_lock_path(backup_name), run_name)
    return found if found and found.state.alive is not False else None


def find_cleanup_lock(nas: Storage) -> FoundLock | None:
    """The lock of a cleanup that stands in the way of making room.

    Args:
        nas: The NAS.

    Returns:
        None if there is none, it is this process's own, or its owner is certainly dead, so that it is taken over.

    Raises:
        ResourceError: It cannot be seen.
    """
    found = find_lock(nas, CLEANUP_LOCK, "")
    return found if found and found.state.alive is not False else None


def find_lock(storage: Storage, path: str, study: str) -> FoundLock | None:
    """The lock of this path, also that of the dead.

    Args:
        storage: Where it lies.
        path: Its file there.
        study: The study's name, as a person types it; empty for the lock of a cleanup.

    Returns:
        None if there is none, or it is this process's own.

    Raises:
        ResourceError: It cannot be seen.
    """
    lock = read_lock(storage, path)
    own = _own_hold(storage.location(path))
    if lock is None or (own and own.lock.content == lock.content):
        return None
    state = describe(lock, datetime.now(UTC))
    return FoundLock(study, state, lock_message(storage, study, state))


@contextmanager
def _held(storage: Storage, study: str, lock: Lock, *, from_the_dead: bool = False) -> Iterator[None]:
    token = object()
    key = storage.location(lock.path)
    try:
        _enter(storage, study, key, lock, token, from_the_dead=from_the_dead)
        yield
        _leave(storage, key, token)
    except BaseException as error:
        try:
            _leave(storage, key, token)
        except ResourceError as failure:
            error.add_note(f"the lock of {study} was not removed: {failure}")
        raise


def _enter(storage: Storage, study: str, key: str, lock: Lock, token: object, *, from_the_dead: bool) -> None:
    with _holds_guard:
        if hold := _own_hold(key):
            hold.users.add(token)
            return
        try:
            _take(storage, lock, from_the_dead=from_the_dead)
            _holds[key] = _Hold(lock, {token})
        except LockHeldError as held:
            raise LockHeldError(lock_message(storage, study, held.state), held.state, path=held.path) from None
        except BaseException as error:  # also an interruption after the file was created
            _holds.pop(key, None)
            release_after(error, storage, lock)
            raise


def _take(storage: Storage, lock: Lock, *, from_the_dead: bool) -> None:
    try:
        take(storage, lock)
    except LockHeldError as held:
        if not (from_the_dead and held.state.alive is False and take_over(storage, held.state.lock)):
            raise
        take(storage, lock)


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
