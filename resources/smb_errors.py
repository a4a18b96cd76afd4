"""An SMB server's status codes in our words: what one means to a maintainer, and what to do about it.

What belongs here: the one table from NTSTATUS (MS-ERREF 2.3.1) to `resources.errors`. What does not: errors of the
local system (`os_errors`).
"""

from __future__ import annotations

from typing import Final

from resources.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    HeldOpenError,
    NotFoundError,
    NotMountedError,
    ResourceError,
    StorageFullError,
    UnavailableError,
    UnsafeNameError,
)

SUCCESS: Final = 0
PENDING: Final = 0x00000103
NO_MORE_FILES: Final = 0x80000006
NO_SUCH_FILE: Final = 0xC000000F
END_OF_FILE: Final = 0xC0000011
ACCESS_DENIED: Final = 0xC0000022
CANNOT_DELETE: Final = 0xC0000121
NAME_COLLISION: Final = 0xC0000035
SHARING_VIOLATION: Final = 0xC0000043
DISK_FULL: Final = 0xC000007F
NOT_A_DIRECTORY: Final = 0xC0000103
IS_A_DIRECTORY: Final = 0xC00000BA
NOT_FOUND: Final = frozenset({NO_SUCH_FILE, 0xC0000034, 0xC000003A})

SESSION_LOST: Final = frozenset({0xC00000C9, 0xC0000203, 0xC000035C, 0xC000020C})
"""The share or the session is gone on the server's side: log in again."""


class BrokenChannelError(Exception):
    """The connection broke off: whether the last request was carried out is not known."""


class StatusError(Exception):
    """The server refused a request."""

    def __init__(self, status: int) -> None:
        super().__init__(f"NTSTATUS {status:#010x}")
        self.status = status


class OtherSpellingError(Exception):
    """A name exists in other upper and lower case, which the server takes for the same."""

    def __init__(self, spelling: str) -> None:
        super().__init__(spelling)
        self.spelling = spelling


_DENIED = (AccessDeniedError, "permission denied; check the rights of the account on the server")
_ACCOUNT = (AccessDeniedError, "the server refuses the account or its password; check username and password_env")
_FULL = (StorageFullError, "no space or quota is left; free some space or raise the quota, then run again")
_HELD = (HeldOpenError, "another program holds it open; close it there, or wait until it is done")
_NAME = (UnsafeNameError, "the server does not accept the name; rename it")
_NOTHING = (NotFoundError, "there is nothing at that path")
_LOST = (UnavailableError, "the server broke off or is overloaded; try again")
_DISK = (UnavailableError, "the server reports an error of its disk; check it before anything else")

_BY_STATUS: dict[int, tuple[type[ResourceError], str]] = {
    NO_SUCH_FILE: _NOTHING,
    0xC0000034: _NOTHING,  # OBJECT_NAME_NOT_FOUND
    0xC000003A: (NotFoundError, "there is nothing at that path, or a directory on the way is missing"),
    NOT_A_DIRECTORY: (NotFoundError, "it, or something on the way to it, is not a directory"),
    NAME_COLLISION: (AlreadyExistsError, "something is already there"),
    ACCESS_DENIED: _DENIED,
    CANNOT_DELETE: (AccessDeniedError, "it cannot be deleted; it is marked read-only, or the account may not delete"),
    0xC00000A2: (AccessDeniedError, "the share is read-only"),  # MEDIA_WRITE_PROTECTED
    0xC000006D: _ACCOUNT,  # LOGON_FAILURE
    0xC000006E: _ACCOUNT,  # ACCOUNT_RESTRICTION
    0xC000006F: (AccessDeniedError, "the account may not log in at this time of day"),
    0xC0000071: (AccessDeniedError, "the account's password has expired; set a new one"),
    0xC0000072: (AccessDeniedError, "the account is disabled; enable it on the server"),
    0xC0000224: (AccessDeniedError, "the account's password must be changed first"),
    0xC0000234: (AccessDeniedError, "the account is locked out after wrong passwords; unlock it on the server"),
    0xC000015B: (AccessDeniedError, "the account may not log in over the network"),  # LOGON_TYPE_NOT_GRANTED
    0xC00000CC: (NotMountedError, "the server has no such share, or its directory is missing; check the name"),
    SHARING_VIOLATION: _HELD,
    0xC0000054: _HELD,  # FILE_LOCK_CONFLICT
    0xC0000056: (HeldOpenError, "it is deleted, but a program still holds it open; close it there"),
    DISK_FULL: _FULL,
    0xC0000044: _FULL,  # QUOTA_EXCEEDED
    0xC0000904: (StorageFullError, "the file is larger than the server's file system allows"),  # FILE_TOO_LARGE
    0xC0000033: _NAME,  # OBJECT_NAME_INVALID
    0xC000003B: _NAME,  # OBJECT_PATH_SYNTAX_BAD
    0xC0000039: _NAME,  # OBJECT_PATH_INVALID
    0xC0000106: (UnsafeNameError, "the name is too long for the server; shorten it"),  # NAME_TOO_LONG
    0x8000002D: (UnsafeNameError, "the path leads through a symbolic link, and links are never followed"),
    IS_A_DIRECTORY: (ResourceError, "it is a directory, not a file"),
    0xC0000101: (ResourceError, "the directory is not empty"),
    0xC00000D4: (ResourceError, "the two paths lie on different volumes"),  # NOT_SAME_DEVICE
    0xC00000BB: (ResourceError, "the server does not support it; SMB 3 must be enabled there"),  # NOT_SUPPORTED
    0xC00000B5: _LOST,  # IO_TIMEOUT
    0xC000009A: _LOST,  # INSUFFICIENT_RESOURCES
    0xC0000205: _LOST,  # INSUFF_SERVER_RESOURCES
    0xC00000D0: _LOST,  # REQUEST_NOT_ACCEPTED: too many connections
    0xC0000128: _LOST,  # FILE_CLOSED
    0xC00000C4: _LOST,  # UNEXPECTED_NETWORK_ERROR
    0xC000003E: _DISK,  # DATA_ERROR
    0xC000009C: _DISK,  # DEVICE_DATA_ERROR
    0xC0000185: _DISK,  # IO_DEVICE_ERROR
    0xC00000E9: _DISK,  # UNEXPECTED_IO_ERROR
    **dict.fromkeys(SESSION_LOST, _LOST),
}


def translated(error: StatusError, doing: str, location: str) -> ResourceError:
    """The server's `error` as one of ours.

    Args:
        error: What the server said.
        doing: The verb that failed, as in "cannot <doing> <location>".
        location: The full path, as a person would write it.
    """
    kind, advice = _BY_STATUS.get(error.status, (ResourceError, f"the server answered {error}"))
    return kind(f"cannot {doing} {location}: {advice}", path=location)
