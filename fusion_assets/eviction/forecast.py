"""On which day the NAS fills, judged by how fast it filled so far. Pure.

Robust rather than clever: the slope is the median of the slopes between any two measurements that are far apart
(Theil-Sen), so that a study of a terabyte, a broken disk or a clock that jumped moves it little; the spread of those
same slopes is its uncertainty. What is judged is the *gross* filling: what is taken now, and all that was evicted
since. Otherwise every cleanup would look as if the lab had stopped measuring.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from statistics import median

from fusion_assets.eviction.history import Sample
from fusion_assets.notify.letter import counted

_DAY = 86_400.0
_SHORTEST = timedelta(days=2)
_FEWEST = 8
# 100 points give 3,000 pairs: milliseconds. More would only repeat the same hours.
_POINTS = 100
# Slopes between neighbours are noise; those over at least a quarter of the history are what it really does.
_FAR = 0.25
_LOW, _HIGH = 0.1, 0.9


@dataclass(frozen=True, slots=True)
class Eviction:
    """What one eviction gave back, and when."""

    at: datetime
    returned_bytes: int


@dataclass(frozen=True, slots=True)
class Reach:
    """When something is reached, in days from now.

    Attributes:
        likely: By the median slope; None for never, as far as can be seen.
        earliest: By the steep end of what was seen; None for never.
        latest: By the flat end; None for never.
    """

    likely: float | None
    earliest: float | None
    latest: float | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """How the NAS fills.

    Attributes:
        bytes_per_day: The gross filling, by the median; negative where it empties.
        low: The flat end of what was seen (a tenth of the slopes are below).
        high: The steep end (a tenth of them are above).
        until_threshold: When free space falls below the threshold, if nothing is evicted.
        until_full: When nothing is free any more, if nothing is evicted.
    """

    bytes_per_day: float
    low: float
    high: float
    until_threshold: Reach
    until_full: Reach

    def __str__(self) -> str:
        gib = 1024**3
        rate = f"{self.bytes_per_day / gib:+.2f} GiB a day ({self.low / gib:+.2f} to {self.high / gib:+.2f})"
        return f"{rate}; below the threshold {_spoken(self.until_threshold)}; full {_spoken(self.until_full)}"


@dataclass(frozen=True, slots=True)
class NotEnough:
    """Too little was measured to say anything."""

    why: str

    def __str__(self) -> str:
        return f"not enough history for a forecast: {self.why}"


def forecast(samples: Sequence[Sample], evictions: Sequence[Eviction], threshold_pct: float) -> Forecast | NotEnough:
    """When the NAS fills.

    Args:
        samples: Measurements, oldest first; the newest one is taken for now.
        evictions: All evictions since the oldest of them; those before it do no harm.
        threshold_pct: ``[cleanup] free_threshold_pct``.
    """
    if len(samples) < _FEWEST:
        return NotEnough(f"{counted(len(samples), 'measurement')}, {_FEWEST} are needed")
    span = samples[-1].at - samples[0].at
    if span < _SHORTEST:
        return NotEnough(f"{span / timedelta(days=1):.1f} days, {_SHORTEST.days} are needed")
    points = _bucketed(_gross(samples, evictions))
    slopes = _slopes(points, _FAR * span.total_seconds())
    if not slopes:
        return NotEnough("the measurements lie too close together")
    now = samples[-1]
    last = len(slopes) - 1
    low, likely, high = slopes[int(_LOW * last)], median(slopes), slopes[math.ceil(_HIGH * last)]
    above = now.free - now.total * threshold_pct / 100
    return Forecast(
        likely * _DAY, low * _DAY, high * _DAY, _reach(above, low, likely, high), _reach(now.free, low, likely, high)
    )


def _gross(samples: Sequence[Sample], evictions: Sequence[Eviction]) -> list[tuple[float, float]]:
    """Seconds since the first measurement, and the bytes taken then had nothing been evicted since."""
    start = samples[0].at
    since = sorted((eviction.at, eviction.returned_bytes) for eviction in evictions if eviction.at > start)
    returned = [0, *accumulate(size for _, size in since)]
    times = [at for at, _ in since]
    return [
        ((sample.at - start).total_seconds(), sample.used + returned[bisect_right(times, sample.at)])
        for sample in samples
    ]


def _bucketed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `_POINTS` points, evenly over the time, each the median of what was measured around it."""
    width = max(points[-1][0] / _POINTS, 1.0)
    buckets: dict[int, list[tuple[float, float]]] = {}
    for seconds, size in points:
        buckets.setdefault(int(seconds / width), []).append((seconds, size))
    return [(median(s for s, _ in bucket), median(b for _, b in bucket)) for bucket in buckets.values()]


def _slopes(points: Sequence[tuple[float, float]], apart: float) -> list[float]:
    """Bytes a second between any two points far enough apart, in order."""
    return sorted(
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for index, earlier in enumerate(points)
        for later in points[index + 1 :]
        if later[0] - earlier[0] >= apart
    )


def _reach(distance: float, low: float, likely: float, high: float) -> Reach:
    return Reach(_days(distance, likely), _days(distance, high), _days(distance, low))


def _days(distance: float, slope: float) -> float | None:
    if distance <= 0:
        return 0.0
    return distance / slope / _DAY if slope > 0 else None


def _spoken(reach: Reach) -> str:
    if reach.likely == 0.0:
        return "now"
    if reach.likely is None and reach.earliest is None:
        return "not in sight"
    words = ["?" if days is None else f"{days:.0f}" for days in (reach.likely, reach.earliest, reach.latest)]
    likely = f"in about {words[0]} days" if reach.likely is not None else "perhaps not at all"
    return f"{likely} (between {words[1]} and {words[2]})"
