"""The operating system's errors in our words: what an errno means to a maintainer, and what to do about it.

What belongs here: the one table from errno (and Windows error codes) to `resources.errors`. What does not: errors of
SMB servers, S3 or mail, which their own clients translate.
"""

from __future__ import annotations

import errno

from resources.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    HeldOpenError,
    NotFoundError,
    ResourceError,
    StorageFullError,
    UnavailableError,
    UnsafeNameError,
    described,
)

_UNREACHABLE = (
    UnavailableError,
    "the storage did not answer; check the disk, the network and the mount, then run again",
)
_FULL = (StorageFullError, "no space or quota is left; free some space or raise the quota, then run again")
_DENIED = (AccessDeniedError, "permission denied; check the rights of the account this runs under")
_HELD = (HeldOpenError, "another program holds it open; close it there, or wait until it is done")
_BAD_NAME = (UnsafeNameError, "this storage does not accept the name; rename it")

_BY_ERRNO: dict[int, tuple[type[ResourceError], str]] = {
    errno.ENOENT: (NotFoundError, "there is nothing at that path"),
    errno.EEXIST: (AlreadyExistsError, "something is already there"),
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: (AccessDeniedError, "the volume is mounted read-only; mount it read-write"),
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: (StorageFullError, "the file is larger than this file system or the account's limit allows"),
    errno.EIO: _UNREACHABLE,
    errno.ESTALE: _UNREACHABLE,
    errno.ETIMEDOUT: _UNREACHABLE,
    errno.EHOSTDOWN: _UNREACHABLE,
    errno.EHOSTUNREACH: _UNREACHABLE,
    errno.ENETUNREACH: _UNREACHABLE,
    errno.ENOTCONN: _UNREACHABLE,
    errno.ENODEV: _UNREACHABLE,
    errno.ENXIO: _UNREACHABLE,
    errno.EBUSY: _HELD,
    errno.ETXTBSY: _HELD,
    errno.ENAMETOOLONG: (UnsafeNameError, "the name is too long for this storage; shorten it"),
    errno.EILSEQ: _BAD_NAME,
    errno.ELOOP: (UnsafeNameError, "it is a symbolic link, and links are never followed"),
    errno.ENOTDIR: (NotFoundError, "it, or something on the way to it, is not a directory"),
    errno.EISDIR: (ResourceError, "it is a directory, not a file"),
    errno.ENOTEMPTY: (ResourceError, "the directory is not empty"),
    errno.EXDEV: (ResourceError, "the two paths lie on different volumes"),
}

# Windows reports most of these as errno 13 or 22 and keeps what matters in `winerror`.
_BY_WINERROR: dict[int, tuple[type[ResourceError], str]] = {
    32: _HELD,  # ERROR_SHARING_VIOLATION
    33: _HELD,  # ERROR_LOCK_VIOLATION
    39: _FULL,  # ERROR_HANDLE_DISK_FULL
    53: _UNREACHABLE,  # ERROR_BAD_NETPATH
    59: _UNREACHABLE,  # ERROR_UNEXP_NET_ERR
    64: _UNREACHABLE,  # ERROR_NETNAME_DELETED
    112: _FULL,  # ERROR_DISK_FULL
    121: _UNREACHABLE,  # ERROR_SEM_TIMEOUT
    123: _BAD_NAME,  # ERROR_INVALID_NAME
    145: _BY_ERRNO[errno.ENOTEMPTY],  # ERROR_DIR_NOT_EMPTY
    206: _BY_ERRNO[errno.ENAMETOOLONG],  # ERROR_FILENAME_EXCED_RANGE
    1295: _FULL,  # ERROR_DISK_QUOTA_EXCEEDED
}


def translated(error: OSError, doing: str, location: str) -> ResourceError:
    """The system's `error` as one of ours.

    Args:
        error: What the system raised.
        doing: The verb that failed, as in "cannot <doing> <location>".
        location: The full path, as a person would write it.
    """
    code = error.errno or 0
    found = _BY_WINERROR.get(getattr(error, "winerror", None) or 0) or _BY_ERRNO.get(code)
    kind, advice = found or (ResourceError, error.strerror or described(error))
    return kind(f"cannot {doing} {location}: {advice}", path=location)
