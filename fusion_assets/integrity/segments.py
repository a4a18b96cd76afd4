"""The tiles or strips of one page: as many as its geometry needs, all inside the file, and not a hole of zeros.

What belongs here: geometry, extents, and which segments are sampled. What does not: pages, chains, descriptions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import add

from fusion_assets.integrity.directory import (
    VALUES_AT_A_TIME,
    Dialect,
    Directory,
    DirectoryError,
    read_integer,
    read_integers,
)
from fusion_assets.integrity.pieces import PieceReader

# One request each. They are shared out by the number of segments, because a hole of zeros hits a page by its size:
# in a small file nearly every segment is looked at, in one of 137 GB every 1 % of the pixels.
SAMPLES_PER_FILE = 128
CANDIDATES_PER_PAGE = 16
SAMPLE_BYTES = 256  # no compressed stream holds 256 zeros in a row at its start
UNCOMPRESSED = 1

_WIDTH, _LENGTH, _COMPRESSION, _SAMPLES, _PLANAR = 256, 257, 259, 277, 284
_STRIP_OFFSETS, _ROWS_PER_STRIP, _STRIP_BYTES = 273, 278, 279
_TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_BYTES = 322, 323, 324, 325
_ALL_ROWS = 2**32 - 1
_SEPARATE_PLANES = 2

Segment = tuple[int, int]  # offset, bytes


@dataclass(frozen=True, slots=True)
class Geometry:
    """How one page's pixels are cut up.

    Attributes:
        width: Pixels.
        height: Pixels.
        samples: Values per pixel: 1 for a channel, 3 for RGB.
        tiled: Tiles, else strips.
        segments: How many tiles or strips that makes.
        compression: The TIFF code: 1 none, 5 LZW, 8 Deflate.
    """

    width: int
    height: int
    samples: int
    tiled: bool
    segments: int
    compression: int

    @property
    def unit(self) -> str:
        """What a segment is called."""
        return "tiles" if self.tiled else "strips"


@dataclass(slots=True)
class _Tally:
    """What the pass over a page's offsets and byte counts has met so far."""

    outside: int = 0
    empty: int = 0
    first_outside: tuple[int, int, int] = (0, 0, 0)
    candidates: list[Segment] = field(default_factory=list)


def read_geometry(pieces: PieceReader, dialect: Dialect, directory: Directory) -> Geometry:
    """Width, height and the number of segments they need.

    Raises:
        DirectoryError: A tag it needs is missing, or zero where zero makes no image.
    """

    def number(code: int, default: int | None = None) -> int:
        value = read_integer(pieces, dialect, directory, code, default)
        if value == 0:
            raise DirectoryError(f"tag {code} is 0: an image without extent", directory.offset)
        return value

    width, height = number(_WIDTH), number(_LENGTH)
    samples, planar = number(_SAMPLES, 1), number(_PLANAR, 1)
    tiled = _TILE_OFFSETS in directory.tags
    if tiled:
        count = -(-width // number(_TILE_WIDTH)) * -(-height // number(_TILE_LENGTH))
    else:
        count = -(-height // min(number(_ROWS_PER_STRIP, _ALL_ROWS), height))
    if planar == _SEPARATE_PLANES:
        count *= samples
    return Geometry(width, height, samples, tiled, count, number(_COMPRESSION, UNCOMPRESSED))


def check_segments(
    pieces: PieceReader, dialect: Dialect, directory: Directory, geometry: Geometry
) -> tuple[list[Segment], str]:
    """Look at every segment's place.

    Returns:
        The segments worth sampling (at most `CANDIDATES_PER_PAGE`, evenly spread), and what is wrong ("": nothing).

    Raises:
        DirectoryError: The page does not say where its segments are.
    """
    codes = (_TILE_OFFSETS, _TILE_BYTES) if geometry.tiled else (_STRIP_OFFSETS, _STRIP_BYTES)
    for code in codes:
        if code not in directory.tags:
            raise DirectoryError(f"tag {code} is missing: the page does not say where its pixels are", directory.offset)
    offsets_tag, bytes_tag = (directory.tags[code] for code in codes)
    if not offsets_tag.count == bytes_tag.count == geometry.segments:
        return [], (
            f"{geometry.width:,} x {geometry.height:,} pixels need {geometry.segments:,} {geometry.unit}, "
            f"{offsets_tag.count:,} offsets and {bytes_tag.count:,} lengths are there"
        )
    tally = _Tally()
    wanted = spread(geometry.segments, CANDIDATES_PER_PAGE)
    windows = zip(read_integers(pieces, dialect, offsets_tag), read_integers(pieces, dialect, bytes_tag), strict=True)
    for window, (offsets, lengths) in enumerate(windows):
        first = window * VALUES_AT_A_TIME
        if min(lengths) == 0 or min(offsets) < dialect.header_bytes or max(map(add, offsets, lengths)) > pieces.size:
            _count_bad(tally, first, zip(offsets, lengths, strict=True), dialect.header_bytes, pieces.size)
        here = (index - first for index in wanted if first <= index < first + len(offsets))
        tally.candidates += [(offsets[index], lengths[index]) for index in here if lengths[index]]
    return tally.candidates, _verdict(tally, geometry, pieces.size)


def _count_bad(tally: _Tally, first: int, segments: Iterable[Segment], header_bytes: int, file_size: int) -> None:
    for index, (offset, length) in enumerate(segments, start=first):
        if offset == 0 and length == 0:
            tally.empty += 1
        elif length == 0 or offset < header_bytes or offset + length > file_size:
            if not tally.outside:
                tally.first_outside = (index, offset, length)
            tally.outside += 1


def _verdict(tally: _Tally, geometry: Geometry, file_size: int) -> str:
    """A page may leave out segments (offset and length 0: nothing was scanned there), but not all of them."""
    if tally.outside:
        index, offset, length = tally.first_outside
        return (
            f"{tally.outside:,} of its {geometry.segments:,} {geometry.unit} lie outside the file or are empty, the "
            f"first is {index:,} at {offset:,}-{offset + length:,}; the file has {file_size:,} bytes"
        )
    if tally.empty == geometry.segments:
        return f"none of its {geometry.segments:,} {geometry.unit} has any data"
    return ""


def spread(count: int, at_most: int) -> list[int]:
    """Up to `at_most` of the indices 0 … count - 1, evenly spread, with the first and the last."""
    if count <= at_most:
        return list(range(count))
    if at_most == 1:
        return [count // 2]
    return [index * (count - 1) // (at_most - 1) for index in range(at_most)]


def sample_shares(segment_counts: Sequence[int]) -> list[int]:
    """How many segments to sample of each page: by its share of the file's segments, at least one."""
    total = max(sum(segment_counts), 1)
    return [max(1, min(CANDIDATES_PER_PAGE, SAMPLES_PER_FILE * count // total)) for count in segment_counts]


def hole_in(pieces: PieceReader, geometry: Geometry, candidates: Sequence[Segment], share: int) -> Segment | None:
    """The segment that shows that this page was never written, or was wiped, if one does.

    In a compressed page one segment that begins with zeros is proof: no compressor writes that. An uncompressed page
    may be black where nothing was stained, so there all candidates must be black before it counts.
    """
    chosen = [candidates[index] for index in spread(len(candidates), share)]
    if geometry.compression != UNCOMPRESSED:
        return next((segment for segment in chosen if _begins_with_zeros(pieces, segment)), None)
    black = all(_is_black(pieces, segment) for segment in (*chosen, *candidates))
    return candidates[0] if candidates and black else None


def _begins_with_zeros(pieces: PieceReader, segment: Segment) -> bool:
    offset, length = segment
    return not any(pieces.read(offset, min(length, SAMPLE_BYTES)))


def _is_black(pieces: PieceReader, segment: Segment) -> bool:
    """Whether an uncompressed segment is zeros at its start and in its middle, which in an edge tile may be padding."""
    offset, length = segment
    size = min(length, SAMPLE_BYTES)
    return not any(pieces.read(offset, size)) and not any(pieces.read(offset + (length - size) // 2, size))
