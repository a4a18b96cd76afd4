"""Files on a local disk, a mounted share or a Windows UNC path.

What belongs here: paths below one root, and the `Storage` methods on them. What does not: open files (`local_files`),
calls the `os` module lacks (`local_system`), and talking SMB ourselves (`smb`).
"""

# Paths stay strings: pathlib would cost 10 us a file and take `\\?\` prefixes apart.
# ruff: noqa: PTH100, PTH101, PTH102, PTH105, PTH106, PTH111, PTH112, PTH116, PTH120

from __future__ import annotations

import errno
import mmap
import os
import shutil
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from resources import local_system
from resources.errors import NotMountedError, ResourceError, UnsafeNameError
from resources.local_files import (
    BLOCK,
    CREATE_FLAGS,
    WRITE_FLAGS,
    LocalReader,
    LocalWriter,
    Translate,
    created,
    entry_of,
    kind_of,
    read_cached,
    read_start,
    write_all,
)
from resources.names import check_posix, check_relative, check_windows
from resources.os_errors import translated
from resources.storage import Entry, Reader, Space, Writer, walk_tree

_WINDOWS = sys.platform == "win32"
_DIRECTORY_FLAGS = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_CAN_SPARE_LINKS = os.supports_follow_symlinks
_SYNC_EACH_UP_TO = (
    8  # files: 3 ms one by one; one syncfs takes 0.6 ms, and 24 ms for 2,000, but waits for others' data too
)
_KEPT_BUFFER = 4 << 20  # bytes a thread keeps between small files


class LocalStorage:
    r"""A directory of this machine as a `Storage`.

    Links are named in listings and never followed: opening one is an `UnsafeNameError`. The root itself may be one.

    Args:
        root: An absolute or relative path; on Windows also ``\\host\share\path``.
    """

    def __init__(self, root: str | Path) -> None:
        self._root = os.fspath(root)
        self._base = _long_path(os.path.abspath(os.path.expanduser(self._root)))
        self._filesystem: tuple[int, str] = (-1, "unknown")
        self._threads = threading.local()

    @property
    def root(self) -> str:
        """The root as it was given."""
        return self._root

    @property
    def read_back_claim(self) -> str:
        """What reading back with `uncached` proves here."""
        filesystem = self._filesystem_type()
        if local_system.is_network(filesystem):
            return (
                f"read back through the {filesystem} mount; this machine's cache was asked to drop it, "
                "the server's may have answered"
            )
        if filesystem in local_system.DIRECT_FILESYSTEMS:
            return "read back past the page cache (O_DIRECT)"
        if filesystem in {"tmpfs", "ramfs"}:
            return f"read back from memory: a {filesystem} has no storage behind it"
        if hasattr(os, "posix_fadvise"):
            return f"read back from {filesystem}, after asking this machine's cache to drop it"
        return "read back through the operating system, whose cache may have answered"

    def location(self, path: str) -> str:
        """The full path, as a person would type it."""
        if not path:
            return self._root
        return self._root.rstrip("/\\" if _WINDOWS else "/") + os.sep + path.replace("/", os.sep)

    def _from_here(self) -> str:
        """Of a relative root, what it is relative to: the command may run in another directory by cron."""
        return "" if Path(self._root).expanduser().is_absolute() else f" in {Path.cwd()}"

    def check_mounted(self) -> None:
        """Raise `NotMountedError` unless the root exists and is a directory that can be listed."""
        try:
            with os.scandir(self._base) as entries:
                next(entries, None)
        except OSError as error:
            reason = {
                errno.ENOENT: f"there is no such directory{self._from_here()}; is the disk or the share mounted?",
                errno.ENOTDIR: "it is not a directory; check the path",
                errno.EACCES: "it cannot be read; check the rights of the account this runs under",
            }.get(error.errno or 0)
            if reason is None:
                raise translated(error, "list", self._root) from error
            raise NotMountedError(f"cannot use {self._root}: {reason}", path=self._root) from error

    def list(self, path: str = "") -> list[Entry]:
        """What is directly in the directory, sorted by path."""
        with self._doing("list", path):
            found = _list(self._full(path), f"{path}/" if path else "", follow=not path)
        found.sort()  # by path: no two entries of a directory have the same
        return found

    def walk(self, path: str = "") -> Iterator[Entry]:
        """Everything below, directories before what is in them, names in order, links not followed."""
        return walk_tree(self, path)

    def stat(self, path: str) -> Entry:
        """The entry at `path`; a link is described, not followed."""
        with self._doing("look at", path):
            full = self._full(path)
            return entry_of(path, os.stat(full, follow_symlinks=not path))

    def open_reader(self, path: str, *, uncached: bool = False) -> Reader:
        """Open for reading; with `uncached`, past the page cache, best into page-aligned buffers of whole blocks."""
        with self._doing("open", path):
            return LocalReader(self._full(path), path, self._translator(path), uncached=uncached)

    def open_writer(self, path: str, *, size: int = 0) -> Writer:
        """Create or empty the file; `StorageFullError` at once if `size` bytes cannot be reserved."""
        with self._doing("create", path):
            return LocalWriter(self._full(path), self._translator(path), size=size)

    def read_file(self, path: str, *, uncached: bool = False) -> bytes:
        """The whole of a small file."""
        if not uncached:
            with self._doing("read", path):
                return read_cached(self._full(path))
        while True:
            buffer = self._buffer(self.stat(path).size)
            count = self.read_into(path, buffer, uncached=True)
            if count < len(buffer):  # else it has grown
                return bytes(buffer[:count])

    def read_into(self, path: str, buffer: memoryview, *, uncached: bool = False) -> int:
        """The start of a file; three calls."""
        with self._doing("read", path):
            count = read_start(self._full(path), buffer, direct=uncached)
        if count is not None:
            return count
        with self.open_reader(path, uncached=uncached) as reader:
            return reader.readinto(buffer, 0)

    def _buffer(self, size: int) -> memoryview:
        """Page-aligned memory for `size` bytes and a bit, reused by each thread: fresh pages cost more than a read."""
        wanted = -(-(size + 1) // BLOCK) * BLOCK
        kept: memoryview | None = getattr(self._threads, "buffer", None)
        if kept is None or len(kept) < wanted:
            kept = memoryview(mmap.mmap(-1, wanted))
            if wanted <= _KEPT_BUFFER:
                self._threads.buffer = kept
        return kept[:wanted]

    def write_file(self, path: str, data: bytes | memoryview, *, mtime_ns: int | None = None) -> None:
        """Create or overwrite a small file; durable only after `flush`."""
        with self._doing("write", path):
            full = self._full(path)
            with created(full, CREATE_FLAGS) as descriptor:
                write_all(descriptor, data)
                if mtime_ns is not None and not _WINDOWS:
                    os.utime(descriptor, ns=(mtime_ns, mtime_ns))
            if mtime_ns is not None and _WINDOWS:
                os.utime(full, ns=(mtime_ns, mtime_ns))

    def create_exclusive(self, path: str, data: bytes) -> None:
        """Create a file that must not exist yet, durably."""
        with self._doing("create", path):
            full = self._full(path)
            with created(full, WRITE_FLAGS | os.O_EXCL) as descriptor:
                write_all(descriptor, data)
                os.fsync(descriptor)
            local_system.sync_directory(os.path.dirname(full))

    def append(self, path: str, data: bytes) -> None:
        """Add to the end of a file, creating it if needed, in one write, durably."""
        with self._doing("append to", path):
            full = self._full(path)
            descriptor = os.open(full, WRITE_FLAGS | os.O_APPEND, 0o666)
            try:
                is_new = os.fstat(descriptor).st_size == 0
                if os.write(descriptor, data) < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if is_new:
                local_system.sync_directory(os.path.dirname(full))

    def rename(self, source: str, target: str) -> None:
        """Rename a file or directory on the same volume, never over anything."""
        with self._doing("rename", source, target):
            local_system.rename_without_overwriting(self._full(source), self._full(target))

    def replace(self, source: str, target: str) -> None:
        """Rename a file over whatever file is at `target`, atomically."""
        with self._doing("rename", source, target):
            os.replace(self._full(source), self._full(target))

    def make_directory(self, path: str) -> None:
        """Create the directory and its parents, but never the root: a missing root is a share that is not mounted."""
        with self._doing("create", path):
            full = self._full(path)
            if self._root_is_missing():
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), full)
            try:
                os.mkdir(full)
            except FileExistsError:
                if not os.path.isdir(full):
                    raise
            except FileNotFoundError:
                parent = path.rpartition("/")[0]
                if not parent:
                    raise
                self.make_directory(parent)
                self.make_directory(path)

    def remove_file(self, path: str) -> None:
        """Remove one file or one symbolic link."""
        with self._doing("remove", path):
            full = self._full(path)
            try:
                _remove(os.unlink, full)
            except PermissionError:
                # Windows removes links to directories, and junctions, as directories.
                if not _WINDOWS or entry_of(path, os.lstat(full)).kind != "symlink":
                    raise
                os.rmdir(full)

    def remove_directory(self, path: str) -> None:
        """Remove one empty directory."""
        with self._doing("remove", path):
            _remove(os.rmdir, self._full(path))

    def set_mtime(self, path: str, mtime_ns: int) -> None:
        """Set the modification time, to the nanosecond where the file system keeps it."""
        with self._doing("set the time of", path):
            os.utime(self._full(path), ns=(mtime_ns, mtime_ns), follow_symlinks=os.utime not in _CAN_SPARE_LINKS)

    def flush(self, paths: tuple[str, ...]) -> None:
        """Bring these files and their names to stable storage."""
        if not paths:
            return
        if len(paths) > _SYNC_EACH_UP_TO and self._sync_filesystem():
            return
        for path in paths:
            with self._doing("flush", path):
                local_system.sync(self._full(path))
        for directory in sorted({path.rpartition("/")[0] for path in paths}):
            with self._doing("flush", directory):
                local_system.sync_directory(self._full(directory))

    def _sync_filesystem(self) -> bool:
        """One syncfs for all; False behind a network, where it need not reach the server's disk (cifs: no FLUSH)."""
        if _WINDOWS or local_system.is_network(self._filesystem_type()):
            return False
        with self._doing("flush", ""):
            descriptor = os.open(self._base, _DIRECTORY_FLAGS)
            try:
                return local_system.sync_filesystem(descriptor)
            finally:
                os.close(descriptor)

    def space(self) -> Space:
        """Capacity and free bytes of the volume, as they are available to this account."""
        with self._doing("measure the space of", ""):
            usage = shutil.disk_usage(self._base)
        return Space(total=usage.total, free=usage.free)

    def is_held_open(self, path: str) -> bool | None:
        """Windows: whether another program holds the file open. Elsewhere None: it cannot be asked."""
        with self._doing("look at", path):
            return local_system.is_held_open(self._full(path))

    def check_name(self, path: str) -> None:
        """Raise `UnsafeNameError` if the file system would refuse or mangle `path`."""
        if _WINDOWS or self._filesystem_type() in local_system.WINDOWS_NAMED_FILESYSTEMS:
            check_windows(path, self.location(path))
        else:
            check_posix(path, self.location(path))

    def close(self) -> None:
        """Give back what each thread kept; nothing else is held."""
        self._threads = threading.local()

    def _full(self, path: str) -> str:
        if "/." in path or "//" in path or "\0" in path or path.startswith(("/", ".")) or path.endswith("/"):
            check_relative(path, self.location(path))
        if not path:
            return self._base
        return f"{self._base}{os.sep}{path.replace('/', os.sep)}" if _WINDOWS else f"{self._base}/{path}"

    def _filesystem_type(self) -> str:
        """The type of file system under the root, asked again when another one is mounted there."""
        with self._doing("look at", ""):
            device = os.stat(self._base).st_dev
        if self._filesystem[0] != device:
            self._filesystem = (device, local_system.filesystem_type(self._base))
        return self._filesystem[1]

    def _root_is_missing(self) -> bool:
        """Whether the root itself is not there; False when it cannot be told, for then another error says why."""
        try:
            return kind_of(os.stat(self._base)) != "directory"
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False

    def _translator(self, path: str) -> Translate:
        return lambda error, doing: self._translate(error, doing, path)

    def _translate(self, error: OSError, doing: str, path: str, target: str | None = None) -> ResourceError:
        if error.errno in {errno.ENOENT, errno.ENOTDIR} and self._root_is_missing():
            return NotMountedError(
                f"cannot use {self._root}: there is no such directory{self._from_here()}; "
                "is the disk or the share mounted?",
                path=self._root,
            )
        place = self.location(path)
        if target is not None:
            place = f"{place} to {self.location(target)}"
        return translated(error, doing, place)

    @contextmanager
    def _doing(self, verb: str, path: str, target: str | None = None) -> Iterator[None]:
        """Translate the system's errors into ours, saying what was tried and where."""
        try:
            yield
        except OSError as error:
            raise self._translate(error, verb, path, target) from error
        except ValueError as error:  # a NUL, or text that is no proper Unicode
            raise UnsafeNameError(f"cannot {verb} {self.location(path)!r}: {error}; rename it", path=path) from error


def _remove(remove: Callable[[str], None], full: str) -> None:
    """Remove what `full` names; on Windows what bears the read-only attribute, too, which must be taken away first."""
    try:
        remove(full)
    except PermissionError:
        if not _WINDOWS:
            raise
        os.chmod(full, stat.S_IWRITE)
        remove(full)


def _long_path(full: str) -> str:
    r"""On Windows, the form that may be longer than 260 characters and is taken literally: ``\\?\C:\…``."""
    if not _WINDOWS or full.startswith("\\\\?\\"):
        return full
    if full.startswith("\\\\"):
        return "\\\\?\\UNC\\" + full.lstrip("\\")
    return "\\\\?\\" + full


def _list(full: str, prefix: str, *, follow: bool) -> list[Entry]:
    """The entries of a directory, their paths beginning with `prefix`; a link to one is an error unless `follow`."""
    if _WINDOWS:
        return _read_entries(full, prefix)
    # Through a descriptor the kernel looks each name up in the directory, not from the top of the path: 20 % faster.
    descriptor = os.open(full, _DIRECTORY_FLAGS | (0 if follow else _NO_FOLLOW))
    try:
        return _read_entries(descriptor, prefix)
    finally:
        os.close(descriptor)


def _read_entries(directory: str | int, prefix: str) -> list[Entry]:
    with os.scandir(directory) as entries:
        return [entry_of(prefix + entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
