"""Digests of files that travel in pieces: how a file is cut, and what its parts' digests say of the whole.

Pure but for reading into buffers. What belongs here: pieces, part digests, the composite. What does not: where the
bytes go, and S3's own limits (`resources.s3_parts`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from resources.s3_parts import Part, composite_sha256
from resources.storage import Reader, Storage

BLOCK = 4096
"""Reads past a cache want lengths that are multiples of this."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a file that fits into a buffer and lies within one part.

    Attributes:
        part: Number of the part it lies in, from 0.
        offset: Where it begins in the file.
        length: Bytes.
        ends_file: Whether it is the last one.
    """

    part: int
    offset: int
    length: int
    ends_file: bool


def cut(size: int, part_size: int, buffer_size: int) -> Iterator[Piece]:
    """The pieces of a file, in order.

    Args:
        size: Bytes of the file.
        part_size: Bytes of a part.
        buffer_size: Bytes of a piece, at the most.
    """
    for part in range(part_count(size, part_size)):
        yield from cut_part(part, size, part_size, buffer_size)


def cut_part(part: int, size: int, part_size: int, buffer_size: int) -> Iterator[Piece]:
    """The pieces of one part, in order; arguments as for `cut`."""
    end = min((part + 1) * part_size, size)
    for offset in range(part * part_size, end, buffer_size):
        length = min(buffer_size, end - offset)
        yield Piece(part, offset, length, ends_file=offset + length == size)


def part_count(size: int, part_size: int) -> int:
    """How many parts a file has."""
    return -(-size // part_size) if size else 0


def part_length(part: int, size: int, part_size: int) -> int:
    """Bytes of part number `part` (from 0)."""
    return min(part_size, size - part * part_size)


def composite_of(digests: Sequence[bytes], size: int, part_size: int) -> str:
    """The checksum S3 states for a multipart object with these parts (``base64-N``).

    Args:
        digests: SHA-256 of each part, in order.
        size: Bytes of the whole.
        part_size: Bytes of each part but the last.
    """
    parts = [Part(n + 1, "", digest, part_length(n, size, part_size)) for n, digest in enumerate(digests)]
    return composite_sha256(parts)


def read_piece(reader: Reader, buffer: memoryview, piece: Piece) -> memoryview | None:
    """The bytes of a piece, in `buffer`; None if the file ends before the piece does, or goes on behind its last one.

    Args:
        reader: The open file.
        buffer: At least as long as the piece.
        piece: What to read.
    """
    # The last piece is asked for in whole blocks: so it can be read directly, and a file that grew is noticed.
    wanted = min(len(buffer), rounded_up(piece.length + 1)) if piece.ends_file else piece.length
    count = reader.readinto(buffer[:wanted], piece.offset)
    return buffer[:count] if count == piece.length else None


def read_small(
    storage: Storage, path: str, size: int, buffer: memoryview, *, uncached: bool = False
) -> memoryview | None:
    """The bytes of a whole file, in `buffer`; None if the file is shorter or longer.

    Args:
        storage: Where it is.
        path: The file.
        size: Bytes it must have.
        buffer: Longer than that.
        uncached: As for `Storage.open_reader`.
    """
    count = storage.read_into(path, buffer[: rounded_up(size + 1)], uncached=uncached)
    return buffer[:count] if count == size else None


def rounded_up(length: int) -> int:
    """`length`, or the next multiple of a block."""
    return -(-length // BLOCK) * BLOCK


def hash_file(
    reader: Reader, size: int, part_size: int, buffer: memoryview, seen: Callable[[int], None]
) -> tuple[str, list[bytes]] | None:
    """Read a file once, from start to end.

    Args:
        reader: The open file.
        size: Bytes it must have.
        part_size: Bytes of a part.
        buffer: To read into.
        seen: Is told after each piece how many bytes it had; may raise to stop.

    Returns:
        Its SHA-256 in hex, and those of its parts; None if it does not have `size` bytes.
    """
    if reader.stat().size != size:
        return None
    whole, parts = hashlib.sha256(), [hashlib.sha256() for _ in range(part_count(size, part_size))]
    for piece in cut(size, part_size, len(buffer)):
        data = read_piece(reader, buffer, piece)
        if data is None:
            return None
        seen(piece.length)
        whole.update(data)
        parts[piece.part].update(data)
    return whole.hexdigest(), [part.digest() for part in parts]


def hash_stored(
    storage: Storage,
    path: str,
    size: int,
    buffer: memoryview,
    *,
    part_size: int | None = None,
    seen: Callable[[int], None] = lambda _: None,
) -> tuple[str, list[bytes]] | None:
    """Read a stored file whole, from where it is kept and not from this machine's memory.

    Args:
        storage: Where it is.
        path: The file.
        size: Bytes it must have.
        buffer: To read into.
        part_size: Bytes of a part; None for one part.
        seen: As for `hash_file`.

    Returns:
        As `hash_file` does.
    """
    with storage.open_reader(path, uncached=True) as reader:
        return hash_file(reader, size, part_size or max(size, 1), buffer, seen)
