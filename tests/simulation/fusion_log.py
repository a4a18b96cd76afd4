"""The instrument's log: what it does all day, an error now and then, a storm of them, and rotations of three kinds.

What belongs here: writing it, and remembering which error stood in it when. What does not: which of them are mailed.
"""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

OLD = "Old laser interlock opened before anybody watched"
STORM = "Frame grabber lost its buffer"
PHRASES = (
    "Stage did not reach its position",
    "Autofocus found no tissue",
    "Laser power is out of range",
    "Reservoir of wash buffer is empty",
    "Exposure ended before the shutter opened",
    "Tile could not be stitched",
    "Barcode of the reporter plate cannot be read",
    "Pump pressure does not hold",
    "Temperature of the chamber drifts",
    "Disk queue is longer than the camera allows",
    "Cover was opened while moving",
    "Needle touched the bottom of the well",
)


@dataclass
class FusionLog:
    """The log.

    Attributes:
        file: Where it is.
        storm: How many lines a storm has.
        unread: Errors that were written since anybody could have read the log, by phrase.
        read: When each error was first there to be read at a look, by phrase; one entry for each look.
        errors: How many were written.
        rotations: How often it was rotated.
    """

    file: Path
    storm: int
    unread: set[str] = field(default_factory=set)
    read: dict[str, list[datetime]] = field(default_factory=dict)
    errors: int = 0
    rotations: int = 0

    def begin(self, now: datetime) -> None:
        """A log that is years old: nobody wants a mail about these errors."""
        self.file.parent.mkdir(parents=True)
        for number in range(5):
            self._append(now - timedelta(days=number + 1), f"ERROR [Laser] {OLD}\n   at Fusion.Laser.Check()")
        self.work(now)

    def work(self, now: datetime) -> None:
        """An entry of an ordinary moment, which also ends whatever stood before it."""
        self._append(now, "INFO [Run] Sample: A1, Cycle 3: acquiring")

    def fail(self, phrase: str, now: datetime) -> None:
        """An error, with a stack trace behind it."""
        self._append(now, f"ERROR [Run] {phrase}\r\n   at Fusion.Run.Step()\r\n   at Fusion.Run.All()")
        self.unread.add(phrase)
        self.errors += 1

    def rage(self, now: datetime) -> None:
        """A storm of the same error: numbers are all that differs."""
        lines = [f"{_stamp(now)} ERROR [Camera] {STORM} ({number % 97})\r\n" for number in range(self.storm)]
        self._write("".join(lines), now)
        self.unread.add(STORM)
        self.errors += self.storm

    def rotate(self, kind: str, now: datetime) -> None:
        """Rotate it: by ``rename``, by ``copy`` and truncation, or by ``replace`` with a longer file."""
        self.rotations += 1
        old = self.file.with_name(f"{self.file.name}.{self.rotations}")
        if kind == "copy":
            shutil.copy2(self.file, old)
            os.truncate(self.file, 0)
        else:
            self.file.rename(old)
        if kind == "replace":
            self._write("".join(f"{_stamp(now)} INFO [Run] self test {n}\r\n" for n in range(20_000)), now)
        self.work(now)

    def was_read(self, now: datetime) -> None:
        """The sensor has looked at the log."""
        for phrase in self.unread:
            self.read.setdefault(phrase, []).append(now)
        self.unread = set()

    def _append(self, at: datetime, text: str) -> None:
        self._write(f"{_stamp(at)} {text}\r\n", at)

    def _write(self, text: str, at: datetime) -> None:
        with self.file.open("a", newline="") as file:
            file.write(text)
        os.utime(self.file, (at.timestamp(), at.timestamp()))


def _stamp(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S},{at.microsecond // 1000:03d}"


def plan_errors(random_: random.Random, start: datetime, end: datetime, a_day: float) -> list[tuple[datetime, str]]:
    """When which error happens; some come again and again, others once."""
    weights = [1 / (number + 1) for number in range(len(PHRASES))]
    days = (end - start) / timedelta(days=1)
    moments = sorted(start + (end - start) * random_.random() for _ in range(round(days * a_day)))
    return [(at, random_.choices(PHRASES, weights)[0]) for at in moments]
