"""What can go wrong with a study on its way, beyond a place failing (`resources.errors`).

Each message names the files, says what is known about them, and what the next step is.
"""

from __future__ import annotations

from collections.abc import Iterable

_NAMED_IN_MESSAGE = 5


class TransferError(Exception):
    """A study could not be copied or archived; nothing unproven bears a final name.

    Args:
        message: One sentence for a person.
        paths: The files concerned, relative to the study.
    """

    def __init__(self, message: str, *, paths: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.paths = tuple(paths)


class SourceChangedError(TransferError):
    """Files changed, or went away, while they were copied: nothing of them was recorded."""


class RottenSourceError(TransferError):
    """A file of the source has other bytes than were proven of it, and nobody has said that these are right."""


class ReadBackError(TransferError):
    """What the NAS gives back is not what was written to it."""


class CorruptCopyError(TransferError):
    """Files of a NAS copy no longer have the bytes that were proven when they were copied."""


class ArchiveError(TransferError):
    """Objects in S3 could not be proven, or there is no proven copy to archive."""


def name_some(paths: Iterable[str]) -> str:
    """The first few paths, and how many more there are, for a message."""
    listed = sorted(paths)
    some = ", ".join(listed[:_NAMED_IN_MESSAGE])
    more = len(listed) - _NAMED_IN_MESSAGE
    return f"{some} and {more} more" if more > 0 else some
