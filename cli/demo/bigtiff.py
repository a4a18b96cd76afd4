"""A little-endian BigTIFF, laid out before it is written: pages of tiles or strips, with the index where one wants it.

What belongs here: tags, directories, placement, and LZW that any reader can decode. What does not: what the pictures
show and what their descriptions say (`qptiff`).

Every segment's encoded length follows from its size alone, so the whole layout is known before the first pixel exists:
files are written front to back, and a file of a real slide's geometry can be laid out without its 137 GB of pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

Placement = Literal["start", "end", "spread"]

UNCOMPRESSED, LZW = 1, 5
SOFTWARE = b"PerkinElmer-QPI"

_HEADER_BYTES = 16
_SHORT, _LONG, _RATIONAL, _ASCII, _LONG8 = 3, 4, 5, 2, 16
_CLEAR, _END = 256, 257
_LITERALS = 247  # after a clear code; the 254th would widen the codes to 10 bits


@dataclass(frozen=True, slots=True)
class PageSpec:
    """One page: everything its directory says.

    Attributes:
        width: Pixels.
        height: Pixels.
        description: The ImageDescription, without its closing NUL.
        tile: Edge of its square tiles in pixels; 0 for strips.
        rows: Rows of a strip.
        rgb: Three values of 8 bits a pixel, else one of 16.
        reduced: Whether it is a smaller version of another page.
        compression: `UNCOMPRESSED` or `LZW`.
        software: The Software tag; readers tell a QPI file by it.
    """

    width: int
    height: int
    description: bytes
    tile: int = 0
    rows: int = 64
    rgb: bool = False
    reduced: bool = False
    compression: int = LZW
    software: bytes = SOFTWARE

    @property
    def pixel_bytes(self) -> int:
        """Bytes of one pixel."""
        return 3 if self.rgb else 2

    def segment_bytes(self) -> npt.NDArray[np.uint64]:
        """The encoded length of each tile or strip, in bytes."""
        if self.tile:
            count = -(-self.width // self.tile) * -(-self.height // self.tile)
            raw = [self.tile * self.tile * self.pixel_bytes] * count
        else:
            row = self.width * self.pixel_bytes
            raw = [row * min(self.rows, self.height - first) for first in range(0, self.height, self.rows)]
        return np.array([encoded_bytes(size, self.compression) for size in raw], dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything of a file will be.

    Attributes:
        size: Bytes of the whole file.
        index: Header and directories: offset and content of each, in order.
        segments: For each page the offsets of its segments.
    """

    size: int
    index: tuple[tuple[int, bytes], ...]
    segments: tuple[npt.NDArray[np.uint64], ...]


def encoded_bytes(raw: int, compression: int) -> int:
    """How many bytes `raw` bytes become."""
    if compression == UNCOMPRESSED:
        return raw
    codes = raw + -(-raw // _LITERALS) + 1
    return -(-codes * 9 // 8)


def encode(raw: bytes, compression: int) -> bytes:
    """A segment's bytes as they are stored.

    The LZW is the simplest there is: literals only, and a clear code before the codes would grow beyond 9 bits. It does
    not shrink anything, but any decoder reads it, and packing 9 bits is a matter of array shifts: 100 MB/s.
    """
    if compression == UNCOMPRESSED:
        return raw
    groups = -(-len(raw) // _LITERALS)
    literals = np.zeros(groups * _LITERALS, dtype=np.uint16)
    literals[: len(raw)] = np.frombuffer(raw, dtype=np.uint8)
    codes = np.empty((groups, _LITERALS + 1), dtype=np.uint16)
    codes[:, 0] = _CLEAR
    codes[:, 1:] = literals.reshape(groups, _LITERALS)
    used = len(raw) + groups
    padded = np.zeros(-(-(used + 1) // 8) * 8, dtype=np.uint16)
    padded[:used] = codes.reshape(-1)[:used]
    padded[used] = _END
    return _pack_nine_bits(padded)[: encoded_bytes(len(raw), compression)].tobytes()


def _pack_nine_bits(codes: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    """Eight codes of 9 bits become nine bytes, the highest bit first."""
    eight = codes.reshape(-1, 8)
    nine = np.empty((len(eight), 9), dtype=np.uint8)
    nine[:, 0] = eight[:, 0] >> 1
    for byte in range(1, 8):
        nine[:, byte] = (eight[:, byte - 1] << (8 - byte)) | (eight[:, byte] >> (byte + 1))
    nine[:, 8] = eight[:, 7]
    return nine.reshape(-1)


def lay_out(pages: Sequence[PageSpec], placement: Placement = "end") -> Layout:
    """Decide where everything goes.

    Args:
        pages: In the order of the chain.
        placement: The directories together at the start or the end, or each behind its own pixels (``spread``).
    """
    sizes = [page.segment_bytes() for page in pages]
    data_bytes = [int(page_sizes.sum()) for page_sizes in sizes]
    index_bytes = [_directory_bytes(page, page_sizes) for page, page_sizes in zip(pages, sizes, strict=True)]
    data_at, index_at, end = _positions(data_bytes, index_bytes, placement)
    segments = [
        np.uint64(start) + np.concatenate(([np.uint64(0)], np.cumsum(page_sizes)[:-1]))
        for start, page_sizes in zip(data_at, sizes, strict=True)
    ]
    index = [(0, struct.pack("<2sHHHQ", b"II", 43, 8, 0, index_at[0]))]
    for number, page in enumerate(pages):
        next_at = index_at[number + 1] if number + 1 < len(pages) else 0
        index.append((index_at[number], _directory(page, index_at[number], next_at, segments[number], sizes[number])))
    return Layout(size=end, index=tuple(index), segments=tuple(segments))


def _positions(
    data_bytes: Sequence[int], index_bytes: Sequence[int], placement: Placement
) -> tuple[list[int], list[int], int]:
    """The offsets of each page's pixels and of each page's directory, and where the file ends."""
    blocks = {
        "start": [*((1, page) for page in range(len(data_bytes))), *((0, page) for page in range(len(data_bytes)))],
        "end": [*((0, page) for page in range(len(data_bytes))), *((1, page) for page in range(len(data_bytes)))],
        "spread": [(kind, page) for page in range(len(data_bytes)) for kind in (0, 1)],
    }[placement]
    lengths = (data_bytes, index_bytes)
    positions = ([0] * len(data_bytes), [0] * len(data_bytes))
    at = _HEADER_BYTES
    for kind, page in blocks:
        positions[kind][page] = at
        at += lengths[kind][page]
    return positions[0], positions[1], at


def _tags(
    page: PageSpec, offsets: npt.NDArray[np.uint64], sizes: npt.NDArray[np.uint64]
) -> list[tuple[int, int, int, bytes]]:
    """Code, type, count and value of every tag, in ascending order."""

    def short(code: int, *values: int) -> tuple[int, int, int, bytes]:
        return code, _SHORT, len(values), struct.pack(f"<{len(values)}H", *values)

    def long(code: int, value: int) -> tuple[int, int, int, bytes]:
        return code, _LONG, 1, struct.pack("<I", value)

    def text(code: int, value: bytes) -> tuple[int, int, int, bytes]:
        return code, _ASCII, len(value) + 1, value + b"\0"

    # 0.5068 um a pixel, in the very numbers of a real file.
    resolution = struct.pack("<II", 4294967295, 217676)
    where = (_LONG8, len(offsets), offsets.astype("<u8").tobytes())
    lengths = (_LONG, len(sizes), sizes.astype("<u4").tobytes())
    cut = (
        [long(322, page.tile), long(323, page.tile), (324, *where), (325, *lengths)]
        if page.tile
        else [(273, *where), long(278, page.rows), (279, *lengths)]
    )
    tags = [
        long(254, int(page.reduced)),
        long(256, page.width),
        long(257, page.height),
        short(258, *([8] * 3 if page.rgb else [16])),
        short(259, page.compression),
        short(262, 2 if page.rgb else 1),
        text(270, page.description),
        short(277, 3 if page.rgb else 1),
        (282, _RATIONAL, 1, resolution),
        (283, _RATIONAL, 1, resolution),
        short(284, 1),
        short(296, 3),
        text(305, page.software),
        *cut,
    ]
    return sorted(tags)


def _directory_bytes(page: PageSpec, sizes: npt.NDArray[np.uint64]) -> int:
    return len(_directory(page, 0, 0, sizes, sizes))


def _directory(
    page: PageSpec, at: int, next_at: int, offsets: npt.NDArray[np.uint64], sizes: npt.NDArray[np.uint64]
) -> bytes:
    """A directory and, right behind it, the values that do not fit into it."""
    tags = _tags(page, offsets, sizes)
    entries, values = [], []
    value_at = at + 8 + 20 * len(tags) + 8
    for code, type_, count, value in tags:
        if len(value) <= 8:  # noqa: PLR2004 - the width of BigTIFF's value field
            entries.append(struct.pack("<HHQ", code, type_, count) + value.ljust(8, b"\0"))
        else:
            entries.append(struct.pack("<HHQQ", code, type_, count, value_at))
            values.append(value)
            value_at += len(value)
    return b"".join((struct.pack("<Q", len(tags)), *entries, struct.pack("<Q", next_at), *values))


def write_bigtiff(
    path: Path, pages: Sequence[PageSpec], pictures: Iterable[npt.NDArray[np.generic]], placement: Placement = "end"
) -> None:
    """Write a file, front to back.

    Args:
        path: The new file.
        pages: Its pages.
        pictures: One array a page, (height, width) uint16 or (height, width, 3) uint8; consumed one at a time.
        placement: Where the directories are.
    """
    layout = lay_out(pages, placement)
    with path.open("wb") as file:
        file.truncate(layout.size)
        for at, content in layout.index:
            file.seek(at)
            file.write(content)
        for page, picture, offsets in zip(pages, pictures, layout.segments, strict=True):
            file.seek(int(offsets[0]))
            for segment in _cut(page, picture):
                file.write(encode(segment.tobytes(), page.compression))


def _cut(page: PageSpec, picture: npt.NDArray[np.generic]) -> Iterator[npt.NDArray[np.generic]]:
    """The page's tiles, padded with zeros at the edges, or its strips."""
    if not page.tile:
        for first in range(0, page.height, page.rows):
            yield picture[first : first + page.rows]
        return
    edge = page.tile
    for top in range(0, page.height, edge):
        for left in range(0, page.width, edge):
            part = picture[top : top + edge, left : left + edge]
            missing = [(0, edge - part.shape[0]), (0, edge - part.shape[1])] + [(0, 0)] * (part.ndim - 2)
            yield part if part.shape[:2] == (edge, edge) else np.pad(part, missing)
