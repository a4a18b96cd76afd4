"""How far a transfer is: one snapshot, and the meter it is read from.

What belongs here: counting, and telling whoever wants to know at most ten times a second, always from the thread that
started the transfer. What does not: bars and logs.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

REPORT_SECONDS = 0.1

Stage = Literal["copy", "flush", "read back", "upload", "finish", "prepare"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a transfer is.

    Attributes:
        files: Files of the study.
        total_bytes: Their bytes.
        files_done: Files that need nothing more in this run.
        to_copy: Bytes to copy to the NAS in this run.
        copied: Of these, bytes copied.
        to_read_back: Bytes to read from the NAS in this run at the most, to prove or to upload them.
        read_back: Of these, bytes read.
        uploaded: Bytes uploaded.
        current: The path touched last; empty before the first.
        seconds: Since the transfer began.
    """

    files: int
    total_bytes: int
    files_done: int
    to_copy: int
    copied: int
    to_read_back: int
    read_back: int
    uploaded: int
    current: str
    seconds: float

    @property
    def fraction(self) -> float:
        """The share of the work that is done, 0 to 1; 1 only when all of it is."""
        if self.files_done >= self.files:
            return 1.0
        # Within a large file bytes move and no file is done for a long time; between small ones it is the reverse.
        to_move = self.to_copy + self.to_read_back
        by_bytes = (self.copied + self.read_back) / to_move if to_move else 0.0
        return min(max(by_bytes, self.files_done / self.files), 0.999)


ProgressSink = Callable[[Progress], None]
"""Is told how far a transfer is; called from the thread that started it, at most ten times a second, and at its end."""


class Meter:
    """Counts what the threads of a transfer do. Safe from all of them."""

    def __init__(self, sink: ProgressSink | None) -> None:
        self._sink = sink
        self._lock = threading.Lock()
        self._started = time.perf_counter()
        self._reported = 0.0
        self._current = ""
        self._files, self._total_bytes, self._to_copy, self._to_read_back = 0, 0, 0, 0
        self.source_read = 0
        self.written = 0
        self.read_back = 0
        self.uploaded = 0
        self.files_done = 0
        self.seconds_of: defaultdict[Stage, float] = defaultdict(float)

    def expect(self, *, files: int, total_bytes: int, to_copy: int, to_read_back: int) -> None:
        """Say what is to be done."""
        self._files, self._total_bytes, self._to_copy, self._to_read_back = files, total_bytes, to_copy, to_read_back

    def copied(self, path: str, count: int) -> None:
        """Bytes were read from the source and written to the NAS."""
        with self._lock:
            self.source_read += count
            self.written += count
            self._current = path

    def count_read_back(self, path: str, count: int) -> None:
        """Bytes were read from the NAS."""
        with self._lock:
            self.read_back += count
            self._current = path

    def count_uploaded(self, count: int) -> None:
        """Bytes were accepted by S3."""
        with self._lock:
            self.uploaded += count

    def done(self, files: int) -> None:
        """Files need nothing more in this run."""
        with self._lock:
            self.files_done += files

    @contextmanager
    def timing(self, stage: Stage) -> Iterator[None]:
        """Add the wall time of what is inside to a stage; stages overlap, so they add up to more than the whole."""
        began = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds_of[stage] += time.perf_counter() - began

    @property
    def seconds(self) -> float:
        """Since the meter was made."""
        return time.perf_counter() - self._started

    def report(self, *, at_end: bool = False) -> None:
        """Tell the sink, unless it was told a moment ago; to be called from one thread only."""
        now = time.perf_counter()
        if self._sink is None or (now - self._reported < REPORT_SECONDS and not at_end):
            return
        self._reported = now
        with self._lock:
            snapshot = Progress(
                files=self._files,
                total_bytes=self._total_bytes,
                files_done=self.files_done,
                to_copy=self._to_copy,
                copied=self.written,
                to_read_back=self._to_read_back,
                read_back=self.read_back,
                uploaded=self.uploaded,
                current=self._current,
                seconds=self.seconds,
            )
        self._sink(snapshot)
