"""Open local files: positional, thread-safe readers and writers that go past the page cache where that is possible.

What belongs here: descriptors, O_DIRECT and cache advice. What does not: directories, names and roots (`local`).

Two descriptors serve one file: a direct one for aligned blocks, and a buffered one for the rest (an unaligned tail,
memory that is not aligned, file systems without O_DIRECT such as tmpfs). The kernel keeps the two coherent.
"""

# Paths stay strings: pathlib would cost 10 us a file and take `\\?\` prefixes apart.
# ruff: noqa: PTH108

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Self

from resources.errors import ResourceError
from resources.local_system import preallocate, reopen
from resources.storage import Entry, Kind

BLOCK = 4096
"""Offsets and lengths of direct transfers are multiples of this; every common device and file system accepts it."""

_STREAMING = 1 << 20  # a read this long is a copy passing through, not a look at a header: do not keep it in memory
_DIRECT = getattr(os, "O_DIRECT", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_DO_NOT_WAIT = getattr(os, "O_NONBLOCK", 0)
_POSITIONAL = hasattr(os, "preadv")  # not on Windows: there a lock joins the seek and the transfer
_drop_cache = getattr(os, "posix_fadvise", None)
_sync_data = getattr(os, "fdatasync", os.fsync)

Translate = Callable[[OSError, str], ResourceError]
"""Turns a system's error, and the verb that failed, into one of ours."""

READ_FLAGS = os.O_RDONLY | _BINARY | _NO_FOLLOW
WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | _BINARY | _NO_FOLLOW
CREATE_FLAGS = WRITE_FLAGS | os.O_TRUNC

_NAME_SURROGATE = 0x20000000  # the bit in a Windows reparse tag that says "this name stands for another one"

_REPARSE_TAGS = hasattr(os.stat_result, "st_reparse_tag")
_KINDS: dict[int, Kind] = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}


def kind_of(status: os.stat_result) -> Kind:
    """What a ``stat`` (not following links) describes; Windows junctions are links too."""
    if _REPARSE_TAGS and getattr(status, "st_reparse_tag", 0) & _NAME_SURROGATE:
        return "symlink"
    return _KINDS.get(stat.S_IFMT(status.st_mode), "other")


def entry_of(path: str, status: os.stat_result) -> Entry:
    """The `Entry` for `path`, from a ``stat`` that did not follow links."""
    kind = kind_of(status)
    return Entry(path, kind, status.st_size if kind == "file" else 0, status.st_mtime_ns, status.st_ino)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of `data` at the descriptor's position; a write may be cut short by a full disk or a signal."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


@contextmanager
def created(full: str, flags: int) -> Iterator[int]:
    """A descriptor of a new file; the file is removed again when writing it fails.

    Half a file must not look like a file, a lock without its text tells nobody whose it is, and a full disk is not
    helped by either.
    """
    descriptor = os.open(full, flags, 0o666)
    try:
        yield descriptor
    except BaseException:
        os.close(descriptor)
        with suppress(OSError):
            os.unlink(full)
        raise
    os.close(descriptor)


def read_cached(full: str) -> bytes:
    """The whole of a small file, from wherever the system has it; two calls for a file that does not change."""
    try:
        descriptor = os.open(full, READ_FLAGS | _DO_NOT_WAIT)  # a pipe in its place is empty, and holds up nobody
    except BlockingIOError:
        descriptor = os.open(full, READ_FLAGS)  # a file server on this machine is about to give up its lease on it
    try:
        size = os.fstat(descriptor).st_size
        pieces = [os.read(descriptor, size + 1)]
        while pieces[-1]:
            pieces.append(os.read(descriptor, size + 1))
    finally:
        os.close(descriptor)
    return pieces[0] if len(pieces) <= 2 else b"".join(pieces)  # noqa: PLR2004 - the content and the empty end


def read_start(full: str, buffer: memoryview, *, direct: bool) -> int | None:
    """The start of a file in one transfer; None where that does not work so, and it has to be opened in full.

    For 20,000 files of 20 KB, going past the page cache takes 9,000-14,000 files/s, dropping each file's cache first
    10,000-16,000: the little it costs buys certainty, since advice to drop a cache may be ignored.

    Args:
        full: The path for the system.
        buffer: To fill; page-aligned, whole blocks long.
        direct: Past the page cache.
    """
    if not _POSITIONAL or (direct and not _DIRECT):
        return None
    try:
        descriptor = os.open(full, READ_FLAGS | (_DIRECT if direct else 0))
        try:
            count = os.preadv(descriptor, [buffer], 0)
            # A short read is the end of the file or an interruption.
            is_whole = count == len(buffer) or count >= os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno == errno.EINVAL:  # no O_DIRECT here, or not with this memory
            return None
        raise
    return count if is_whole else None


class _Handle:
    """A descriptor with positional transfers; closing twice is fine."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._lock = threading.Lock()

    def read(self, buffer: memoryview, offset: int) -> int:
        if _POSITIONAL:
            return os.preadv(self.descriptor, [buffer], offset)
        with self._lock:
            os.lseek(self.descriptor, offset, os.SEEK_SET)
            data = os.read(self.descriptor, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: memoryview, offset: int) -> None:
        while data:
            if _POSITIONAL:
                count = os.pwrite(self.descriptor, data, offset)
            else:
                with self._lock:
                    os.lseek(self.descriptor, offset, os.SEEK_SET)
                    count = os.write(self.descriptor, data)
            data, offset = data[count:], offset + count

    def drop_cache(self, offset: int = 0, length: int = 0) -> None:
        if _drop_cache is not None:
            _drop_cache(self.descriptor, offset, length, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _direct_twin(descriptor: int, flags: int) -> _Handle | None:
    """A descriptor past the page cache for an open file; None where the file system has none."""
    if not _DIRECT:
        return None
    try:
        return _Handle(reopen(descriptor, flags | _DIRECT))
    except OSError:
        return None


class LocalReader:
    """An open local file to read from.

    Args:
        full: The path for the system.
        path: The path within the storage, for `stat`.
        translate: Makes our errors out of the system's.
        uncached: Read past the page cache, or ask the system to drop what it holds.
    """

    def __init__(self, full: str, path: str, translate: Translate, *, uncached: bool) -> None:
        self._path, self._translate, self._uncached = path, translate, uncached
        self._handle = _Handle(os.open(full, READ_FLAGS))
        self._direct = _direct_twin(self._handle.descriptor, os.O_RDONLY) if uncached else None
        if uncached:
            self._handle.drop_cache()

    def readinto(self, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` from `offset`; returns the bytes read, fewer than asked for only at the end of the file."""
        filled = 0
        try:
            while filled < len(buffer):
                count = self._read_once(buffer[filled:], offset + filled)
                filled += count
                # A short read is the end of the file or an interruption; asking the length costs 1 us, a read of a
                # direct descriptor at an odd offset is an error.
                if filled < len(buffer) and (not count or offset + filled >= self._size()):
                    break
        except OSError as error:
            raise self._translate(error, "read") from error
        return filled

    def _size(self) -> int:
        return os.fstat(self._handle.descriptor).st_size

    def _read_once(self, buffer: memoryview, offset: int) -> int:
        blocks = len(buffer) - len(buffer) % BLOCK
        if self._direct and offset % BLOCK == 0 and blocks:
            try:
                return self._direct.read(buffer[:blocks], offset)
            except OSError as error:
                if error.errno != errno.EINVAL:  # EINVAL: the memory is not aligned well enough for the device
                    raise
        count = self._handle.read(buffer, offset)
        if self._uncached or count >= _STREAMING:
            self._handle.drop_cache(offset, count)
        return count

    def stat(self) -> Entry:
        """The open file itself, as it is now: same path, current size and mtime."""
        try:
            return entry_of(self._path, os.fstat(self._handle.descriptor))
        except OSError as error:
            raise self._translate(error, "look at") from error

    def close(self) -> None:
        """Close it; closing twice is allowed."""
        self._handle.close()
        if self._direct:
            self._direct.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class LocalWriter:
    """An open local file to write to, created or emptied.

    Args:
        full: The path for the system.
        translate: Makes our errors out of the system's.
        size: The size expected; that much is reserved at once, so that a full disk is known before the first byte.
    """

    def __init__(self, full: str, translate: Translate, *, size: int) -> None:
        self._translate = translate
        self._handle = _Handle(os.open(full, CREATE_FLAGS, 0o666))
        self._direct = _direct_twin(self._handle.descriptor, os.O_WRONLY)
        self._end, self._reserved = 0, 0
        self._end_lock = threading.Lock()
        try:
            if size > 0 and preallocate(self._handle.descriptor, size):
                self._reserved = size
        except OSError:
            self.close()
            os.unlink(full)
            raise

    def write(self, data: memoryview, offset: int) -> None:
        """Write all of `data` at `offset`."""
        try:
            direct = self._write_direct(data, offset)
            self._handle.write(data[direct:], offset + direct)
        except OSError as error:
            raise self._translate(error, "write") from error
        with self._end_lock:
            self._end = max(self._end, offset + len(data))

    def _write_direct(self, data: memoryview, offset: int) -> int:
        """Write the whole blocks at the start of `data` past the page cache; returns how many bytes that were."""
        blocks = len(data) - len(data) % BLOCK
        if not self._direct or offset % BLOCK or not blocks:
            return 0
        try:
            self._direct.write(data[:blocks], offset)
        except OSError as error:
            if error.errno != errno.EINVAL:  # EINVAL: the memory is not aligned well enough for the device
                raise
            return 0
        return blocks

    def flush(self) -> None:
        """Bring data and length to stable storage, and let go of what the page cache held of it."""
        try:
            _sync_data(self._handle.descriptor)
            self._handle.drop_cache()
        except OSError as error:
            raise self._translate(error, "flush") from error

    def close(self) -> None:
        """Close it, giving back what was reserved beyond the last byte written; closing twice is allowed."""
        try:
            if self._reserved > self._end:
                self._reserved = 0
                os.ftruncate(self._handle.descriptor, self._end)
            if self._direct:
                self._direct.close()
            self._handle.close()
        except OSError as error:
            raise self._translate(error, "close") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
