"""The errors of the ground floor: what can go wrong at a storage or at S3, in words a lab's maintainer understands.

Clients translate every library's and system's own exception into one of these at their border; nothing above catches
``OSError``, ``botocore`` or ``smbprotocol`` exceptions. What belongs to a study (a bad name, a failed proof) is not
here.
"""

from __future__ import annotations


class ResourceError(Exception):
    """Something at a storage, at S3 or at a mail server went wrong.

    Args:
        message: One sentence for a person: what was tried, what happened, and what to do about it where that is known.
        path: The path or key it happened to, as a person would write it; empty when it concerns the whole place.
    """

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


def described(error: BaseException) -> str:
    """An error in words, never in none: a ``TimeoutError()`` or ``AssertionError()`` of Python's own has no text."""
    return str(error).strip() or type(error).__name__


class UnavailableError(ResourceError):
    """The place did not answer, or broke off: the one kind of error that trying again can cure."""


class AddressError(ResourceError):
    """What config.toml names as a place is no address, or none that this system can open."""


class NotMountedError(ResourceError):
    """The root is missing, or is empty where it must not be: most likely a share that is not mounted."""


class NotFoundError(ResourceError):
    """There is nothing at that path or key."""


class AlreadyExistsError(ResourceError):
    """Something is already at the path that was to be created."""


class AccessDeniedError(ResourceError):
    """The credentials are refused, or do not allow this."""


class HeldOpenError(ResourceError):
    """Another program holds the file open and does not share it (SMB/Windows sharing violation)."""


class StorageFullError(ResourceError):
    """No space, or no quota, is left."""


class UnsafeNameError(ResourceError):
    """The storage would refuse, mangle or confuse this name."""


class ChecksumError(ResourceError):
    """The bytes that arrived are not the bytes that were sent."""
