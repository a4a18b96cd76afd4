"""Readers without a disk behind them: bytes in memory, and a file of terabytes that is mostly zeros."""

from dataclasses import dataclass, field
from typing import Self

from resources.storage import Entry


@dataclass
class MemoryReader:
    """`content` as an open file; counts what is read of it."""

    content: bytes
    bytes_read: int = 0
    requests: int = 0
    longest: int = 0

    def readinto(self, buffer: memoryview, offset: int) -> int:
        part = self.content[offset : offset + len(buffer)]
        buffer[: len(part)] = part
        self.bytes_read += len(part)
        self.requests += 1
        self.longest = max(self.longest, len(buffer))
        return len(part)

    def stat(self) -> Entry:
        return Entry("image.qptiff", "file", len(self.content), 0)

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@dataclass
class HugeReader:
    """A file of any size: the given parts, and zeros between them."""

    parts: dict[int, bytes]
    requests: int = 0
    bytes_read: int = field(default=0)

    def readinto(self, buffer: memoryview, offset: int) -> int:
        buffer[:] = bytes(len(buffer))
        for at, part in self.parts.items():
            first, last = max(at, offset), min(at + len(part), offset + len(buffer))
            if first < last:
                buffer[first - offset : last - offset] = part[first - at : last - at]
        self.requests += 1
        self.bytes_read += len(buffer)
        return len(buffer)
