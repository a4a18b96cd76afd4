"""From the bytes of a log to whole lines in ASCII-compatible bytes, and back to exact offsets in the file.

What belongs here: finding out an encoding, cutting at line ends, and decoding one line. What does not: what lines mean.

UTF-16 is recoded to UTF-8 piece by piece, so that everything above searches one kind of bytes; every other encoding
that is accepted keeps ASCII as it is (`patterns`).
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from dataclasses import dataclass

HEAD_BYTES = 4096
"""How much of a file's beginning is looked at to find out its encoding."""

LONGEST_LINE = 8192
"""Bytes of a line that are decoded and matched; the rest of a longer one is skipped."""

_UTF_16 = frozenset({"utf-16-le", "utf-16-be"})


def detect(head: bytes) -> str:
    """The encoding of a log: by its byte order mark, by UTF-16's zero bytes, else UTF-8, or cp1252 where that fails.

    Args:
        head: Its first bytes, up to `HEAD_BYTES`.

    Returns:
        ``utf-16-le``, ``utf-16-be``, ``utf-8`` or ``cp1252``. Lines of the last two are decoded alike: each as UTF-8,
        or as cp1252 if it is not that; a log may have its first umlaut after a gigabyte.
    """
    for mark, codec in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if head.startswith(mark):
            return codec
    first, second = head[0::2], head[1::2]
    if len(second) > 1:  # of Western text in UTF-16 every other byte is zero; of a run of zeros, both
        share_first, share_second = first.count(0) / len(first), second.count(0) / len(second)
        if max(share_first, share_second) > 0.4 and min(share_first, share_second) < 0.1:  # noqa: PLR2004 - as said
            return "utf-16-le" if share_second > share_first else "utf-16-be"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def mark_length(head: bytes, codec: str) -> int:
    """How many bytes of a file's beginning are its byte order mark."""
    marks = {"utf-8": codecs.BOM_UTF8, "utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}
    mark = marks.get(codec, b"")
    return len(mark) if mark and head.startswith(mark) else 0


def decoder(codec: str) -> Callable[[bytes], str]:
    """What makes text of the bytes of a line of a `Piece`; it never fails."""
    if codec in _UTF_16:
        return lambda line: line.decode("utf-8", "replace")
    if codec in {"utf-8", "cp1252"}:
        return _either
    return lambda line: line.decode(codec, "replace")


def _either(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("cp1252", "replace")


@dataclass(slots=True)
class Piece:
    """Whole lines of a log.

    Attributes:
        data: The lines, ASCII-compatible.
        start: Where they begin in the file, in bytes.
        end: Where they end there.
        codec: The file's encoding.
    """

    data: bytes
    start: int
    end: int
    codec: str
    _known: tuple[int, int] = (0, 0)

    def offset(self, position: int) -> int:
        """Where a position in `data` is in the file; cheap as long as positions do not go back."""
        if self.codec not in _UTF_16:
            return self.start + position
        at, wide = self._known if self._known[0] <= position else (0, 0)
        between = self.data[at:position].decode("utf-8", "surrogatepass").encode(self.codec, "surrogatepass")
        self._known = (position, wide + len(between))
        return self.start + self._known[1]


def cut(raw: bytes, start: int, codec: str, *, all_of_it: bool = False) -> Piece | None:
    """The whole lines at the beginning of what was read.

    Args:
        raw: What was read.
        start: From where, in bytes; at a line's beginning.
        codec: The file's encoding.
        all_of_it: Take a last line without an end, too, up to its last whole character.

    Returns:
        None if there is not a single whole line.
    """
    if codec in _UTF_16:
        raw = raw[: len(raw) & ~1]
        data = raw.decode(codec, "surrogatepass").encode("utf-8", "surrogatepass")
    else:
        data = raw
    length = _whole_characters(data, codec) if all_of_it else _end_of_lines(data)
    if not length:
        return None
    piece = Piece(data[:length], start, start + len(raw), codec)
    if length < len(data):
        piece.end = piece.offset(length)
    return piece


def _end_of_lines(data: bytes) -> int:
    end = data.rfind(b"\n") + 1
    # A carriage return at the very end may be half of a line end; one before that ends a line of old Mac texts.
    return end or data.rfind(b"\r", 0, len(data) - 1) + 1


def _whole_characters(data: bytes, codec: str) -> int:
    if codec != "utf-8":
        return len(data)
    for back in range(1, min(4, len(data) + 1)):
        if data[-back] >= 0xC0:  # noqa: PLR2004 - the first byte of a character of several
            wanted = 2 if data[-back] < 0xE0 else 3 if data[-back] < 0xF0 else 4  # noqa: PLR2004 - UTF-8
            return len(data) - back if back < wanted and back < len(data) else len(data)
        if data[-back] < 0x80:  # noqa: PLR2004 - ASCII
            break
    return len(data)


def line_start(data: bytes, position: int, floor: int) -> int:
    """Where the line begins in which `position` lies, not before `floor`."""
    start = data.rfind(b"\n", floor, position) + 1 or floor
    return data.rfind(b"\r", start, position) + 1 or start


def line_end(data: bytes, position: int) -> tuple[int, int]:
    """Where the line ends in which `position` lies, and where the next one begins."""
    end = data.find(b"\n", position)
    end = len(data) if end < 0 else end
    carriage = data.find(b"\r", position, end)
    if carriage < 0:
        return end, min(end + 1, len(data))
    return carriage, carriage + 2 if data[carriage + 1 : carriage + 2] == b"\n" else carriage + 1


def lines_of(data: bytes) -> Iterator[bytes]:
    """The lines without their ends."""
    at = 0
    while at < len(data):
        end, following = line_end(data, at)
        yield data[at : min(end, at + LONGEST_LINE)]
        at = following
