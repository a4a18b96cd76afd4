"""How full the NAS was, and when: ``capacity.jsonl`` in the lab's state folder, thinned as it ages.

What belongs here: one measurement, reading and adding them. What does not: what they mean (`forecast`). Lines that make
no sense are passed over: a measurement more or less is nothing to stop for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fusion_assets.state import replace_text

FILE = "capacity.jsonl"

_ALL_FOR = timedelta(days=2)
_HOURLY_FOR = timedelta(days=60)
# Rewriting all of them each time would be 2,000 lines every quarter of an hour; a few too many do no harm.
_THIN_AFTER = 300


@dataclass(frozen=True, slots=True)
class Sample:
    """The space of the NAS at one moment.

    Attributes:
        at: When, UTC.
        total: Bytes.
        free: Bytes.
    """

    at: datetime
    total: int
    free: int

    @property
    def used(self) -> int:
        """Bytes that are taken."""
        return self.total - self.free


def read_samples(folder: Path) -> tuple[Sample, ...]:
    """All measurements, oldest first; none where there is no file.

    Args:
        folder: The lab's state folder.

    Raises:
        OSError: The file is there, and cannot be read.
    """
    try:
        text = (folder / FILE).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ()
    found = (_parse(line) for line in text.splitlines())
    return tuple(sorted((sample for sample in found if sample), key=lambda sample: sample.at))


def add_sample(folder: Path, sample: Sample) -> tuple[Sample, ...]:
    """Add a measurement, and thin the older ones now and then.

    Two processes may add at once. If one of them thins at that very moment, the other's line may be lost, as may be.

    Args:
        folder: The lab's state folder; made if it is not there.
        sample: The measurement.

    Returns:
        All of them, this one included.

    Raises:
        OSError: It cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fields = {"at": sample.at.isoformat(), "total": sample.total, "free": sample.free}
    with (folder / FILE).open("a", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps(fields) + "\n")
    samples = read_samples(folder)
    thinned = thin(samples, sample.at)
    if len(samples) - len(thinned) >= _THIN_AFTER:
        lines = ({"at": each.at.isoformat(), "total": each.total, "free": each.free} for each in thinned)
        replace_text(folder / FILE, "".join(json.dumps(line) + "\n" for line in lines))
        return thinned
    return samples


def thin(samples: Iterable[Sample], now: datetime) -> tuple[Sample, ...]:
    """All measurements of two days, one an hour for sixty, one a day before that. Pure.

    Args:
        samples: Oldest first.
        now: The time, UTC.
    """
    kept: dict[datetime, Sample] = {}
    for sample in samples:
        kept.setdefault(_slot(sample.at, now - sample.at), sample)
    return tuple(kept.values())


def _slot(at: datetime, age: timedelta) -> datetime:
    """What of several measurements only the first is kept of."""
    if age <= _ALL_FOR:
        return at
    hour = at.replace(minute=0, second=0, microsecond=0)
    return hour if age <= _HOURLY_FOR else hour.replace(hour=0)


def _parse(line: str) -> Sample | None:
    try:
        data = json.loads(line)
        at = datetime.fromisoformat(data["at"])
        sample = Sample(at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC), data["total"], data["free"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    numbers = type(sample.total) is int and type(sample.free) is int
    return sample if numbers and 0 <= sample.free <= sample.total else None
