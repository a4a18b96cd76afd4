"""The arithmetic of a multipart object: how large its parts are, and the checksum S3 states for the whole.

Pure. What belongs here: S3's limits on parts and the composite checksum. What does not: sending anything.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

MIB = 1024 * 1024
MIN_PART_SIZE = 5 * MIB
MAX_PART_SIZE = 5 * 1024 * MIB
MAX_PARTS = 10_000
MAX_SINGLE_PUT = 5 * 1024 * MIB


@dataclass(frozen=True, slots=True)
class Part:
    """One uploaded part of a multipart object.

    Attributes:
        number: 1 to 10,000; parts are joined in this order.
        etag: As S3 answered, quotes included.
        sha256: 32 bytes, of exactly this part.
        size: Bytes.
    """

    number: int
    etag: str
    sha256: bytes
    size: int


def composite_sha256(parts: Sequence[Part]) -> str:
    """The checksum S3 states for a multipart object: ``base64(SHA-256 of the parts' SHA-256s)-<number of parts>``.

    Args:
        parts: All parts of the object, in the order of their numbers.
    """
    joined = hashlib.sha256(b"".join(part.sha256 for part in parts)).digest()
    return f"{b64encode(joined).decode()}-{len(parts)}"


def part_size_for(size: int, part_size: int) -> int:
    """The part size to upload `size` bytes with: the wished one, or the smallest larger one S3 allows.

    A multiple of 1 MiB, hence of the 4096 bytes that unbuffered reads at a part's start must be aligned to.

    Args:
        size: Bytes of the whole object.
        part_size: The part size wished for, in bytes.

    Raises:
        ValueError: The object is larger than 10,000 parts of 5 GiB.
    """
    smallest = max(part_size, MIN_PART_SIZE, -(-size // MAX_PARTS))
    rounded = -(-smallest // MIB) * MIB
    if rounded > MAX_PART_SIZE:
        if size > MAX_PARTS * MAX_PART_SIZE:
            raise ValueError(f"{size} bytes do not fit into one S3 object: {MAX_PARTS} parts of 5 GiB at the most")
        return MAX_PART_SIZE
    return rounded
