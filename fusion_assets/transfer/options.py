"""How hard a transfer works: sizes, threads and limits, in one value that is passed down.

What belongs here: the numbers and why they are what they are. What does not: anything measured while working.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from resources.s3_parts import MIB, part_size_for


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """The numbers of a transfer.

    Attributes:
        part_size: Bytes of a multipart object's parts, as wished for; files up to this long go in one PUT.
        workers: Threads that copy.
        upload_workers: Threads that read back and upload, at the most. More than `workers`, because each waits for a
            server's answer most of the time; large files use as many as there is memory for.
        bandwidth_limit: Bytes per second read from where the bytes come from; None for no limit.
        buffer_size: Bytes of one buffer. Files that fit are "small" and travel whole, in batches; larger ones in
            pieces of this size. 4 MiB is where SMB and O_DIRECT stop getting faster.
        memory: Bytes of all buffers together, at the most.
        batch_files: Files between two durability barriers of the NAS, at the most.
        batch_bytes: Bytes between two durability barriers, at the most, unless one file alone is larger.
        space_reserve: Bytes that must stay free on the NAS beside what is to be copied.
        part_size_for: Which part size an object of so many bytes really gets: S3's limits.
    """

    part_size: int = 16 * MIB
    workers: int = 4
    upload_workers: int = 16
    bandwidth_limit: float | None = None
    buffer_size: int = 4 * MIB
    memory: int = 64 * MIB
    batch_files: int = 500
    batch_bytes: int = 256 * MIB
    space_reserve: int = 64 * MIB
    part_size_for: Callable[[int, int], int] = part_size_for

    def is_small(self, size: int) -> bool:
        """Whether a file of so many bytes fits into one buffer, with room to notice that it grew, and into one PUT."""
        return size < self.buffer_size and size <= self.part_size

    def part_size_of(self, size: int) -> int:
        """The part size for a file of so many bytes; the size itself when it goes in one PUT."""
        return size if size <= self.part_size else self.part_size_for(size, self.part_size)
