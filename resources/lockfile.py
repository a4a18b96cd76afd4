"""Lock files: one writer at a time among processes, hosts and operating systems that share only a storage.

A lock is a small JSON file that must not exist yet: who creates it holds it, and it says who that is. What belongs
here: taking, reading, releasing and describing such a file, and taking over the lock of an owner that is certainly
dead. What does not: which things are locked, and what a person types to get rid of a lock (their owners say that).
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from resources.errors import AlreadyExistsError, HeldOpenError, NotFoundError, ResourceError
from resources.process import is_alive, this_host, this_process
from resources.storage import Storage

# How often a taken lock is tried again: soon at first (most are held for milliseconds), then without hammering a NAS.
_FIRST_PAUSE_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 0.5
_EMPTY_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Lock:
    """What a lock file says.

    Attributes:
        path: Relative to the storage's root.
        content: The file's bytes: two locks are the same one if these are equal.
        hostname: Where the owner runs; empty when the file cannot be understood (a crash while it was written).
        pid: The owner's process there; 0 when it cannot be understood.
        started_at: When it was taken, UTC; when the file was written if it does not say; None if unknown.
        process: The owner's identity (`resources.process.this_process`), if it was recorded.
        extra: The fields its taker added.
    """

    path: str
    content: bytes
    hostname: str = ""
    pid: int = 0
    started_at: datetime | None = None
    process: str = ""
    extra: Mapping[str, object] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        """Whose it is, for a person."""
        return f"process {self.pid} on {self.hostname}" if self.hostname else "an owner that it does not name"


@dataclass(frozen=True, slots=True)
class LockState:
    """A lock as it stands at one moment.

    Attributes:
        lock: The lock.
        age: How long ago it was taken; None if it does not say.
        alive: Whether its owner still runs; None when that cannot be seen from this host.
        text: Whose, how old, alive or not: one clause for a person, to be put after "it is locked by".
    """

    lock: Lock
    age: timedelta | None
    alive: bool | None
    text: str

    @property
    def is_damaged(self) -> bool:
        """Whether it does not say whose it is, or since when."""
        return not self.lock.hostname or self.lock.started_at is None


class LockHeldError(ResourceError):
    """Somebody else holds the lock.

    Args:
        message: For a person.
        state: The lock that is in the way.
    """

    def __init__(self, message: str, state: LockState, *, path: str = "") -> None:
        super().__init__(message, path=path)
        self.state = state


def new_lock(
    path: str, *, extra: Mapping[str, object] | None = None, with_process: bool = False, now: datetime | None = None
) -> Lock:
    """A lock of this process, not taken yet.

    Args:
        path: Where its file shall be.
        extra: Fields beside ``hostname, pid, started_at``; values that JSON knows.
        with_process: Also record the identity that lets another process judge without doubt whether this one lives.
        now: The time, UTC; the clock's by default.
    """
    now = (now or datetime.now(UTC)).astimezone(UTC)
    process = this_process() if with_process else ""
    fields: dict[str, object] = {
        "hostname": this_host(),
        "pid": os.getpid(),
        "started_at": now.isoformat().replace("+00:00", "Z"),
        **({"process": process} if process else {}),
        **(extra or {}),
    }
    content = json.dumps(fields).encode() + b"\n"
    return Lock(path, content, this_host(), os.getpid(), now, process, dict(extra or {}))


def take(storage: Storage, lock: Lock) -> None:
    """Take a lock, or say at once who holds it.

    Raises:
        LockHeldError: It is held.
        NotFoundError: Its directory does not exist.
    """
    while True:
        try:
            storage.create_exclusive(lock.path, lock.content)
        except AlreadyExistsError:
            holder = read_lock(storage, lock.path)
        else:
            # A process that is stopped between creating the file and writing it comes back to find it taken over.
            holder = read_lock(storage, lock.path)
            if holder is not None and holder.content == lock.content:
                return
        if holder is not None:
            state = describe(holder, datetime.now(UTC))
            location = storage.location(lock.path)
            raise LockHeldError(f"{location} is held by {state.text}", state, path=location)


def release(storage: Storage, lock: Lock) -> bool:
    """Remove a lock this process took. A forked child that unwinds its parent's stack removes nothing.

    Returns:
        Whether it was removed: False when it is gone already, moved away with its directory, or somebody else's.
    """
    return lock.pid == os.getpid() and remove(storage, lock)


def remove(storage: Storage, lock: Lock) -> bool:
    """Remove a lock, whosever it is, if it is still the same one.

    Returns:
        Whether it was removed.
    """
    if _read(storage, lock.path) != lock.content:
        return False
    try:
        storage.remove_file(lock.path)
    except NotFoundError:
        return False
    return True


@contextmanager
def hold(storage: Storage, lock: Lock, *, patience: float = 0.0) -> Iterator[Lock]:
    """Hold a lock while the ``with`` block runs; it is removed however the block ends.

    Args:
        storage: Where.
        lock: From `new_lock`.
        patience: Seconds to wait for whoever holds it. While waiting, the lock of a dead owner is taken over.

    Raises:
        LockHeldError: Somebody else still holds it.
    """
    try:
        _wait_and_take(storage, lock, patience)
        yield lock
        release(storage, lock)
    except BaseException as error:
        release_after(error, storage, lock)
        raise


def release_after(error: BaseException, storage: Storage, lock: Lock) -> None:
    """Release a lock while `error` is on its way up; a failure to do so becomes a note to it and does not hide it."""
    try:
        release(storage, lock)
    except ResourceError as failure:
        error.add_note(f"its lock {storage.location(lock.path)} was not removed: {failure}")


def read_lock(storage: Storage, path: str) -> Lock | None:
    """The lock at `path`; None if there is none. A file that makes no sense is a lock too, of an unknown owner."""
    content = _read(storage, path)
    if content is None:
        return None
    try:
        return _parse(path, content)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return Lock(path, content, started_at=_written_at(storage, path))


def describe(lock: Lock, now: datetime) -> LockState:
    """Whose a lock is, how old, and whether its owner still runs.

    Args:
        lock: From `read_lock`.
        now: The time, UTC.
    """
    age = now - lock.started_at if lock.started_at else None
    since = f" since {lock.started_at:%Y-%m-%d %H:%M:%S} UTC" if lock.started_at else ""
    since += f" ({_spoken(age)})" if age is not None else ""
    if not lock.hostname or lock.started_at is None:
        return LockState(lock, age, None, f"{lock.owner}{since}; the file is damaged, most likely by a crash")
    alive = is_alive(lock.hostname, lock.pid, seen_at=lock.started_at, identity=lock.process)
    fate = {
        True: "that process is still running",
        False: "that process is no longer running",
        None: f"whether it still runs can only be seen on {lock.hostname}"
        if lock.hostname.casefold() != this_host().casefold()
        else "it runs in another container or system of this host, and cannot be seen from here",
    }[alive]
    return LockState(lock, age, alive, f"{lock.owner}{since}; {fate}")


def take_over(storage: Storage, dead: Lock) -> bool:
    """Put the lock of a dead owner out of the way, without ever removing a lock somebody took meanwhile.

    The file is renamed to a name made from its content, and left there: a second process that saw the same dead lock,
    but comes to rename only after the first one has taken the lock anew, finds that name taken and changes nothing.
    That costs one file of 200 bytes for each crash with a lock held.

    Args:
        storage: Where.
        dead: The lock as it was when its owner was judged dead.

    Returns:
        Whether this call did it.
    """
    identity = dead.content or str(dead.started_at).encode()
    grave = f"{dead.path}.dead-{hashlib.sha256(identity).hexdigest()[:16]}"
    try:
        storage.rename(dead.path, grave)
    except (NotFoundError, AlreadyExistsError, HeldOpenError):
        return False
    moved = _read(storage, grave)
    if moved == dead.content:
        return True
    # Only where the storage cannot refuse to rename over a file in one step (NFS): a live lock was moved. Put it back.
    try:
        storage.create_exclusive(dead.path, moved or b"")
    except AlreadyExistsError:
        return False
    return False


def _wait_and_take(storage: Storage, lock: Lock, patience: float) -> None:
    deadline = time.monotonic() + patience
    pause = _FIRST_PAUSE_SECONDS
    empty: tuple[Lock, float] | None = None  # a lock without a word in it, and since when it was seen
    while True:
        try:
            take(storage, lock)
        except LockHeldError as held:
            holder, now = held.state.lock, time.monotonic()
            if holder.content:
                empty = None
            elif empty is None or empty[0] != holder:
                empty = holder, now
            # Its owner was killed between creating the file and writing it, which takes a millisecond.
            is_nobodys = empty is not None and now - empty[1] >= _EMPTY_SECONDS
            if patience and (held.state.alive is False or is_nobodys) and take_over(storage, holder):
                continue
            if time.monotonic() >= deadline:
                raise
        except HeldOpenError:  # somebody is just removing the file (SMB and Windows do so in two steps)
            if time.monotonic() >= deadline:
                raise
        else:
            return
        # Waiters that started together must not try again together.
        time.sleep(min(pause * random.uniform(0.5, 1.0), max(0.0, deadline - time.monotonic())))  # noqa: S311 - no secret
        pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)


def _read(storage: Storage, path: str) -> bytes | None:
    try:
        return storage.read_file(path)
    except NotFoundError:
        return None


def _parse(path: str, content: bytes) -> Lock:
    fields = json.loads(content)
    hostname, pid = fields.pop("hostname"), fields.pop("pid")
    started_at = datetime.fromisoformat(fields.pop("started_at"))
    if started_at.tzinfo is None:
        started_at = started_at.replace(tzinfo=UTC)
    if not (hostname and isinstance(hostname, str) and type(pid) is int):
        raise ValueError("no owner")
    return Lock(path, content, hostname, pid, started_at.astimezone(UTC), str(fields.pop("process", "")), fields)


def _written_at(storage: Storage, path: str) -> datetime | None:
    try:
        return datetime.fromtimestamp(storage.stat(path).mtime_ns / 1e9, UTC)
    except NotFoundError:
        return None


def _spoken(age: timedelta) -> str:
    """``42 s ago``, ``3 min ago``, ``5 h 12 min ago``, ``9 d 4 h ago``."""
    if age < timedelta(0):
        return "in the future: the clocks differ"
    minutes, seconds = divmod(int(age.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h ago"
    if hours:
        return f"{hours} h {minutes} min ago"
    return f"{minutes} min ago" if minutes else f"{seconds} s ago"
