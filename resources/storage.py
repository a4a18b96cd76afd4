"""The one interface to a place that holds files: what `local` and `smb` implement and everything above uses.

Paths are POSIX-style, relative to the storage's root, without a leading slash; ``""`` is the root itself. Every method
raises the errors of `resources.errors` and no others. What belongs here: the interface, the plain data it speaks in,
and what can be written once on top of it. What does not: anything about studies, S3, or one particular kind of storage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, Self

Kind = Literal["file", "directory", "symlink", "other"]


class Entry(NamedTuple):
    """One name in a listing, as its directory reports it; links are named, never followed.

    A tuple, because a look at a lab makes a million of them: a frozen dataclass takes four times as long (1.3 µs).

    Attributes:
        path: Relative to the storage's root, POSIX-style.
        kind: ``symlink`` includes Windows junctions and other reparse points.
        size: Bytes; 0 for what is not a file.
        mtime_ns: Last modification, nanoseconds since 1970 UTC.
        file_id: Inode or SMB file index, which survives a rename; 0 where the storage gives none.
    """

    path: str
    kind: Kind
    size: int
    mtime_ns: int
    file_id: int = 0

    @property
    def name(self) -> str:
        """The last component of the path."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Space:
    """Capacity of the volume a storage lies on, in bytes, as it is available to us (quotas included)."""

    total: int
    free: int


class Reader(Protocol):
    """An open file to read from, at any offset, from several threads at once."""

    def readinto(self, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` from `offset`; returns the bytes read, fewer than asked for only at the end of the file."""
        ...

    def stat(self) -> Entry:
        """The open file itself, as it is now: same path, current size and mtime."""
        ...

    def close(self) -> None:
        """Close it; closing twice is allowed."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...


class Writer(Protocol):
    """An open file to write to, at any offset, from several threads at once."""

    def write(self, data: memoryview, offset: int) -> None:
        """Write all of `data` at `offset`."""
        ...

    def flush(self) -> None:
        """Return only when everything written is on stable storage, as far as the storage can promise it."""
        ...

    def close(self) -> None:
        """Close it; closing twice is allowed. Closing does not imply `flush`."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...


class Storage(Protocol):
    """A root directory at some place, and everything we do there. Safe to use from several threads."""

    @property
    def root(self) -> str:
        """The root as a person writes it in ``config.toml``: a path, a UNC path, or ``smb://…``."""
        ...

    @property
    def read_back_claim(self) -> str:
        """What reading back here proves, in one honest clause, e.g. ``read past the page cache (O_DIRECT)``."""
        ...

    def location(self, path: str) -> str:
        """The full path of `path` as a person would type it: for the ledger, mails and messages."""
        ...

    def check_mounted(self) -> None:
        """Raise `NotMountedError` unless the root exists and is a directory that can be listed."""
        ...

    def list(self, path: str = "") -> list[Entry]:
        """What is directly in the directory `path`, sorted by path. `NotFoundError` if it is not there."""
        ...

    def walk(self, path: str = "") -> Iterator[Entry]:
        """Everything below `path`, directories before what is in them, sorted, links not followed."""
        ...

    def stat(self, path: str) -> Entry:
        """The entry at `path`. `NotFoundError` if there is none."""
        ...

    def open_reader(self, path: str, *, uncached: bool = False) -> Reader:
        """Open for reading. With `uncached`, the bytes come from the storage and not from this machine's memory."""
        ...

    def open_writer(self, path: str, *, size: int = 0) -> Writer:
        """Create or empty the file and open it for writing; `size` is the size expected, a hint for allocation."""
        ...

    def read_file(self, path: str, *, uncached: bool = False) -> bytes:
        """The whole of a small file, in as few round trips as the storage allows."""
        ...

    def read_into(self, path: str, buffer: memoryview, *, uncached: bool = False) -> int:
        """The start of a file, in as few round trips as the storage allows.

        Args:
            path: The file.
            buffer: To fill; best page-aligned and some blocks long, and longer than the file is expected to be.
            uncached: As for `open_reader`.

        Returns:
            The bytes read; fewer than `buffer` has only if that is the whole file.
        """
        ...

    def write_file(self, path: str, data: bytes | memoryview, *, mtime_ns: int | None = None) -> None:
        """Create or overwrite a small file, in as few round trips as the storage allows. Durable only after `flush`."""
        ...

    def create_exclusive(self, path: str, data: bytes) -> None:
        """Create a file that must not exist yet, durably: how locks are taken. `AlreadyExistsError` if it does."""
        ...

    def append(self, path: str, data: bytes) -> None:
        """Add to the end of a file, creating it if needed, in one write, durably."""
        ...

    def rename(self, source: str, target: str) -> None:
        """Rename a file or directory on the same volume. `AlreadyExistsError` if `target` exists."""
        ...

    def replace(self, source: str, target: str) -> None:
        """Rename a file over whatever file is at `target`, atomically."""
        ...

    def make_directory(self, path: str) -> None:
        """Create the directory and its parents; one that exists is fine."""
        ...

    def remove_file(self, path: str) -> None:
        """Remove one file or one symbolic link (never what it points to). `NotFoundError` if it is not there."""
        ...

    def remove_directory(self, path: str) -> None:
        """Remove one empty directory."""
        ...

    def set_mtime(self, path: str, mtime_ns: int) -> None:
        """Set the modification time, as exactly as the storage keeps it (SMB: 100 ns)."""
        ...

    def flush(self, paths: tuple[str, ...]) -> None:
        """A durability barrier: return when these files and their names are on stable storage."""
        ...

    def space(self) -> Space:
        """Capacity and free bytes of the volume."""
        ...

    def is_held_open(self, path: str) -> bool | None:
        """Whether another program holds the file open without sharing it; None where that cannot be asked."""
        ...

    def check_name(self, path: str) -> None:
        """Raise `UnsafeNameError` if this storage would refuse or mangle `path`: characters, names, lengths."""
        ...

    def close(self) -> None:
        """Give back connections and handles."""
        ...


def walk_tree(storage: Storage, path: str) -> Iterator[Entry]:
    """`Storage.walk`, for storages that list one directory at a time.

    Args:
        storage: Where.
        path: The directory to begin at.
    """
    # A stack instead of recursion: an entry four directories deep would be passed up by four generators.
    waiting = storage.list(path)[::-1]
    while waiting:
        entry = waiting.pop()
        yield entry
        if entry.kind == "directory":
            waiting.extend(storage.list(entry.path)[::-1])


PARTIAL_SUFFIX = ".partial"


def replace_file(storage: Storage, path: str, data: bytes) -> None:
    """Put `data` at `path` so that at every moment either the old or the new file is there whole, and durably.

    Args:
        storage: Where.
        path: The file's final path; its directory must exist.
        data: The whole content.
    """
    partial = path + PARTIAL_SUFFIX
    storage.write_file(partial, data)
    storage.flush((partial,))
    storage.replace(partial, path)
    storage.flush((path,))  # the new name, too: a power cut must not bring the old file back
