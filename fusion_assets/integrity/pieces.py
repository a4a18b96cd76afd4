"""Reading scattered bytes of a huge file in few requests and little memory, whatever the file claims about itself.

What belongs here: piece sizes, the small cache, the budget and the counters. What does not: what the bytes mean.

The pieces are 4-64 KiB because an image's index is scattered over the whole file when the scanner wrote it page by
page: for 290 pages over 137 GB, a 1 MiB read-ahead fetched 303 MB where 7 MB are needed.
"""

from __future__ import annotations

from collections import OrderedDict

from resources.storage import Reader

MIN_PIECE = 4 * 1024
MAX_PIECE = 64 * 1024
CACHED_PIECES = 8


class PastEndError(Exception):
    """Bytes were asked for that the file does not have."""


class BudgetSpentError(Exception):
    """The file asks for more reading than any real image needs: it is damaged, or made to harm."""


class PieceReader:
    """Reads any bytes of an open file through a cache of a few pieces.

    Args:
        reader: The open file; its errors (held open, unavailable) pass through.
        size: Bytes the file has.
        budget: Bytes that may be read before `BudgetSpentError`; a request counts as at least 4 KiB, so that the
            number of requests is bounded as well.

    Attributes:
        size: Bytes the file has.
        bytes_read: Bytes read from the file so far.
        requests: Reads made so far.
    """

    def __init__(self, reader: Reader, size: int, *, budget: int) -> None:
        self._reader = reader
        self._budget = budget
        self._pieces: OrderedDict[int, bytes] = OrderedDict()
        self._sequential_at = -1
        self._last_length = 0
        self.size = size
        self.bytes_read = 0
        self.requests = 0

    def read(self, offset: int, length: int) -> bytes:
        """The `length` bytes at `offset`.

        Raises:
            PastEndError: They are not all inside the file.
            BudgetSpentError: The file has already cost too much.
        """
        if offset < 0 or offset + length > self.size:
            raise PastEndError(f"bytes {offset:,}-{offset + length:,} are asked for, the file has {self.size:,}")
        parts: list[bytes] = []
        position, end = offset, offset + length
        while position < end:
            start, piece = self._piece_at(position, end - position)
            part = piece[position - start : end - start]
            parts.append(part)
            position += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _piece_at(self, position: int, wanted: int) -> tuple[int, bytes]:
        for start, piece in self._pieces.items():
            if start <= position < start + len(piece):
                self._pieces.move_to_end(start)
                return start, piece
        piece = self._fetch(position, wanted)
        if not piece:
            raise PastEndError(f"the file ends at {position:,} or before, it was opened with {self.size:,} bytes")
        return position, piece

    def _fetch(self, start: int, wanted: int) -> bytes:
        """One request. Reading on where the last one ended doubles the piece: the index may lie together."""
        if start == self._sequential_at:
            wanted = max(wanted, 2 * self._last_length)
        length = min(max(wanted, MIN_PIECE), MAX_PIECE, self.size - start)
        self._budget -= max(length, MIN_PIECE)
        if self._budget < 0:
            raise BudgetSpentError(
                f"its index costs more than any real image's ({self.bytes_read:,} bytes read so far)"
            )
        buffer = bytearray(length)
        got = self._reader.readinto(memoryview(buffer), start)
        self.requests += 1
        self.bytes_read += got
        self._sequential_at, self._last_length = start + length, length
        piece = bytes(buffer[:got])
        self._pieces[start] = piece
        if len(self._pieces) > CACHED_PIECES:
            self._pieces.popitem(last=False)
        return piece
