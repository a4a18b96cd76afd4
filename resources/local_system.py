"""What Python's `os` does not offer: a rename that refuses to overwrite, syncing, preallocation, the mount table.

What belongs here: thin, typed calls into the operating system, each with its fallback where the call is missing. What
does not: paths relative to a root, or errors in our words (`local` does both). Everything raises ``OSError``.
"""

# Paths stay strings: pathlib would cost 10 us a file and take `\\?\` prefixes apart.
# ruff: noqa: PTH100, PTH104, PTH112

from __future__ import annotations

import ctypes
import errno
import os
import re
import sys
from functools import cache
from pathlib import Path

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_FALLOC_FL_KEEP_SIZE = 1
_NOT_SUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})
_MOUNT_TABLE = Path("/proc/self/mountinfo")
_OPEN_FILES = "/proc/self/fd"
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)

NETWORK_FILESYSTEMS = frozenset(
    {"cifs", "smb3", "smbfs", "nfs", "nfs4", "9p", "afs", "ceph", "glusterfs", "lustre", "sshfs", "davfs", "vboxsf"}
)
"""File systems behind a network: another machine's memory may answer. FUSE is counted among them by `is_network`."""

DIRECT_FILESYSTEMS = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs"})
"""File systems whose O_DIRECT is known to read from the device."""

WINDOWS_NAMED_FILESYSTEMS = frozenset(
    {"cifs", "smb3", "smbfs", "ntfs", "ntfs3", "fuseblk", "vfat", "exfat", "msdos", "vboxsf"}
)
"""File systems that keep names by Windows' rules, whatever system mounts them."""


@cache
def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None


def _call(name: str, *arguments: object) -> bool:
    """Call the C library's `name`; False when the system or the file system does not know it."""
    function = getattr(_libc(), name, None)
    if function is None:
        return False
    if function(*arguments) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NOT_SUPPORTED:
        return False
    raise OSError(code, os.strerror(code))


def rename_without_overwriting(source: str, target: str) -> None:
    """Rename `source` to `target`; ``FileExistsError`` if `target` exists.

    One atomic call on Linux file systems that know it, and on Windows. Elsewhere (NFS, some FUSE, macOS) the look and
    the rename are two steps: a file created between them by another program would be replaced.
    """
    if sys.platform == "win32":
        os.rename(source, target)
        return
    old, new = os.fsencode(source), os.fsencode(target)
    if _call("renameat2", _AT_FDCWD, old, _AT_FDCWD, new, ctypes.c_uint(_RENAME_NOREPLACE)):
        return
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
    os.rename(source, target)


def preallocate(descriptor: int, size: int) -> bool:
    """Reserve `size` bytes for an open file without changing its length; False where that is not possible.

    ``os.posix_fallocate`` would write a byte into every block where the file system cannot allocate, and would leave
    the final length on a file that a crash cuts short.
    """
    return _call("fallocate", descriptor, _FALLOC_FL_KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(size))


def sync_filesystem(descriptor: int) -> bool:
    """Bring the whole file system of an open file to stable storage; False where that is not possible."""
    return _call("syncfs", descriptor)


def sync(path: str) -> None:
    """Bring one file, or directory, to stable storage; a link is an error."""
    flags = os.O_RDWR | getattr(os, "O_BINARY", 0) if sys.platform == "win32" else os.O_RDONLY
    try:
        descriptor = os.open(path, flags | _NO_FOLLOW)
    except PermissionError:
        if sys.platform == "win32" and os.path.isdir(path):
            return
        raise
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: str) -> None:
    """Make the names in a directory durable; Windows' file systems journal them and offer no call for it."""
    if sys.platform != "win32":
        sync(path)


def reopen(descriptor: int, flags: int) -> int:
    """A second descriptor, with other flags, for the file that is open as `descriptor`, even if it was renamed."""
    return os.open(f"{_OPEN_FILES}/{descriptor}", flags)


def filesystem_type(path: str) -> str:
    """The type of the file system `path` lies on (``ext4``, ``cifs`` …); ``remote`` for a Windows network drive.

    Returns:
        ``unknown`` where the system has no table of mounts.
    """
    if sys.platform == "win32":
        return _windows_filesystem_type(path)
    try:
        table = _MOUNT_TABLE.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return "unknown"
    return type_from_mount_table(table, os.path.realpath(path))


def type_from_mount_table(table: str, path: str) -> str:
    """The type of the file system `path` lies on, from the text of ``/proc/self/mountinfo`` (Linux proc(5), 3.5)."""
    best, found = "", "unknown"
    for line in table.splitlines():
        mount, _, source = line.partition(" - ")
        point = _unescaped(mount.split(" ")[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        # A later line hides an earlier one on the same mount point.
        if inside and len(point) >= len(best):
            best, found = point, source.split(" ")[0]
    return found


def _unescaped(field: str) -> str:
    r"""The kernel writes space, tab, newline and backslash as ``\040`` and so on."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def is_network(filesystem: str) -> bool:
    """Whether another machine (or, for FUSE, an unknown program) answers for this type of file system."""
    return filesystem in NETWORK_FILESYSTEMS or filesystem == "remote" or filesystem.startswith("fuse")


if sys.platform == "win32":
    _DRIVE_REMOTE = 4
    _GENERIC_READ = 0x80000000
    _OPEN_EXISTING = 3
    _INVALID_HANDLE = ctypes.c_void_p(-1).value
    _SHARING_ERRORS = (32, 33)

    def _windows_filesystem_type(path: str) -> str:
        drive = os.path.splitdrive(os.path.abspath(path))[0]
        remote = drive.startswith("\\\\") or ctypes.windll.kernel32.GetDriveTypeW(drive + "\\") == _DRIVE_REMOTE
        return "remote" if remote else "ntfs"

    def is_held_open(path: str) -> bool | None:
        """Whether another program has the file open, asked by opening it without sharing it."""
        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel32.CreateFileW.restype = ctypes.c_void_p
        handle = kernel32.CreateFileW(path, _GENERIC_READ, 0, None, _OPEN_EXISTING, 0, None)
        if handle != _INVALID_HANDLE:
            kernel32.CloseHandle(ctypes.c_void_p(handle))
            return False
        code = ctypes.get_last_error()
        if code in _SHARING_ERRORS:
            return True
        raise ctypes.WinError(code)
else:

    def _windows_filesystem_type(path: str) -> str:
        raise NotImplementedError(path)

    def is_held_open(path: str) -> bool | None:
        """None: POSIX systems do not say who has a file open; ``FileNotFoundError`` if it is not there."""
        os.lstat(path)
        return None
