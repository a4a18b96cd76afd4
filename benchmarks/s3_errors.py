"""The one exception of the loopback S3 server."""

from __future__ import annotations


class S3Error(Exception):
    """An answer S3 gives instead of doing what was asked.

    Args:
        status: The HTTP status.
        code: S3's name for it, e.g. ``BadDigest``.
        message: For a person.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
