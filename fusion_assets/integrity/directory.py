"""The container: header, image file directories and tag values of classic TIFF and BigTIFF, in both byte orders.

What belongs here: parsing, and the rule that every tag value lies inside the file. What does not: what the tags say
about an image (`tiff`). Sources: TIFF 6.0; the BigTIFF design of libtiff.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from fusion_assets.integrity.pieces import PieceReader

MAX_TAGS = 1024  # in one directory; real ones have about 25
VALUES_AT_A_TIME = 64 * 1024  # at most 512 KiB

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGER_CODES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_BIG = 43
_CLASSIC = 42


class DirectoryError(Exception):
    """The header, a directory or a tag is not what TIFF allows; `offset` is where in the file.

    Args:
        message: What is wrong.
        offset: Where, in bytes from the start of the file.
    """

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Dialect:
    """How this file writes numbers: byte order, and the widths that tell BigTIFF from classic."""

    order: str
    big: bool

    @property
    def offset_code(self) -> str:
        """The struct code of a file offset."""
        return "Q" if self.big else "I"

    @property
    def offset_bytes(self) -> int:
        """Bytes of a file offset, and of the value field in a tag."""
        return 8 if self.big else 4

    @property
    def count_code(self) -> str:
        """The struct code of the number of tags that opens a directory."""
        return "Q" if self.big else "H"

    @property
    def header_bytes(self) -> int:
        """Bytes before which nothing but the header can lie."""
        return 16 if self.big else 8


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag: where its value lies (inside the directory or elsewhere), and how long it is."""

    code: int
    type: int
    count: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Directory:
    """One image file directory: its tags, what is wrong with them, and where the chain goes on (0: it ends)."""

    offset: int
    tags: dict[int, Tag]
    problems: tuple[str, ...]
    next_offset: int


def read_header(pieces: PieceReader) -> tuple[Dialect, int]:
    """The dialect, and the offset of the first directory.

    Raises:
        DirectoryError: This is not a TIFF.
    """
    if pieces.size == 0:
        raise DirectoryError("the file is empty (0 bytes)", 0)
    if pieces.size < 8:  # noqa: PLR2004 - the shorter of the two headers
        raise DirectoryError(f"the file has {pieces.size} bytes, too few for a TIFF", 0)
    start = pieces.read(0, 8)
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    version = struct.unpack(f"{order or '<'}H", start[2:4])[0]
    if order is None or version not in {_CLASSIC, _BIG}:
        what = "only zeros where the TIFF header belongs" if not any(start) else "it does not begin like a TIFF"
        raise DirectoryError(what, 0)
    if version == _CLASSIC:
        return Dialect(order, big=False), struct.unpack(f"{order}I", start[4:])[0]
    if start[4:] != struct.pack(f"{order}HH", 8, 0):
        raise DirectoryError("its BigTIFF header is damaged", 4)
    return Dialect(order, big=True), struct.unpack(f"{order}Q", pieces.read(8, 8))[0]


def read_directory(pieces: PieceReader, dialect: Dialect, offset: int) -> Directory:
    """Parse the directory at `offset` and judge where its values lie.

    Raises:
        DirectoryError: There is no directory there, so the chain cannot be followed further.
        PastEndError: It is not all inside the file.
    """
    if offset < dialect.header_bytes:
        raise DirectoryError("a directory cannot lie inside the header", offset)
    count_bytes = struct.calcsize(f"<{dialect.count_code}")
    count = struct.unpack(dialect.order + dialect.count_code, pieces.read(offset, count_bytes))[0]
    if count == 0:
        raise DirectoryError("a directory without tags: zeros where it belongs", offset)
    if count > MAX_TAGS:
        raise DirectoryError(
            f"a directory of {count:,} tags: no writer makes that, the bytes are not a directory", offset
        )
    entry = struct.Struct(f"{dialect.order}HH{dialect.offset_code}{dialect.offset_bytes}s")
    body = pieces.read(offset + count_bytes, count * entry.size + dialect.offset_bytes)
    tags: dict[int, Tag] = {}
    problems: list[str] = []
    first_entry = offset + count_bytes
    for index, (code, type_, values, field) in enumerate(entry.iter_unpack(body[: count * entry.size])):
        field_offset = first_entry + (index + 1) * entry.size - dialect.offset_bytes
        tag, problem = _place_tag(dialect, pieces.size, (code, type_, values), field, field_offset)
        if problem:
            problems.append(problem)
        else:
            tags[code] = tag
    next_offset = struct.unpack(dialect.order + dialect.offset_code, body[count * entry.size :])[0]
    return Directory(offset, tags, tuple(problems), next_offset)


def _place_tag(
    dialect: Dialect, file_size: int, head: tuple[int, int, int], field: bytes, field_offset: int
) -> tuple[Tag, str]:
    """The tag with its value's offset in the file, and what is wrong with that ("" for nothing)."""
    code, type_, count = head
    size = count * _TYPE_BYTES.get(type_, 0)
    offset = field_offset
    if size > dialect.offset_bytes:
        offset = struct.unpack(dialect.order + dialect.offset_code, field)[0]
    tag = Tag(code, type_, count, offset, size)
    if type_ not in _TYPE_BYTES:
        return tag, f"tag {code} has the unknown type {type_}"
    if count == 0:
        return tag, f"tag {code} has no value"
    if offset < dialect.header_bytes or offset + size > file_size:
        return tag, f"the value of tag {code} lies at {offset:,}-{offset + size:,}, the file has {file_size:,} bytes"
    return tag, ""


def read_integers(pieces: PieceReader, dialect: Dialect, tag: Tag) -> Iterator[array[int]]:
    """The tag's numbers, up to `VALUES_AT_A_TIME` at a time: one page of a whole slide has tens of thousands.

    Raises:
        DirectoryError: It does not hold unsigned integers.
    """
    code = _INTEGER_CODES.get(tag.type)
    if code is None:
        raise DirectoryError(f"tag {tag.code} has type {tag.type} where whole numbers belong", tag.offset)
    width = _TYPE_BYTES[tag.type]
    swapped = (dialect.order == "<") != (sys.byteorder == "little")
    for first in range(0, tag.count, VALUES_AT_A_TIME):
        values = array(code)
        length = min(VALUES_AT_A_TIME, tag.count - first) * width
        values.frombytes(pieces.read(tag.offset + first * width, length))
        if swapped:
            values.byteswap()
        yield values


def read_integer(pieces: PieceReader, dialect: Dialect, directory: Directory, code: int, default: int | None) -> int:
    """The first number of a tag.

    Raises:
        DirectoryError: The tag is missing and has no `default`, or holds no whole number.
    """
    tag = directory.tags.get(code)
    if tag is None:
        if default is None:
            raise DirectoryError(f"tag {code} is missing", directory.offset)
        return default
    first = Tag(tag.code, tag.type, 1, tag.offset, tag.size)
    return next(read_integers(pieces, dialect, first))[0]
