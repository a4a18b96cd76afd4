"""The day the NAS fills: right on a steady lab, unmoved by outliers and evictions, honest where little is known."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.eviction.forecast import Eviction, Forecast, NotEnough, forecast
from fusion_assets.eviction.history import Sample

START = datetime(2026, 1, 1, tzinfo=UTC)
GIB = 1024**3
TOTAL = 100_000 * GIB


def _filling(days: int, per_day: float, used: float = 50_000, jitter: float = 0.0) -> list[Sample]:
    chance = random.Random(1)
    return [
        Sample(
            START + timedelta(hours=hour),
            TOTAL,
            TOTAL - int((used + per_day * hour / 24 + chance.uniform(-jitter, jitter)) * GIB),
        )
        for hour in range(days * 24)
    ]


def _judged(samples: list[Sample], evictions: tuple[Eviction, ...] = ()) -> Forecast:
    found = forecast(samples, evictions, 15)
    assert isinstance(found, Forecast), str(found)
    return found


def test_a_lab_that_fills_steadily_is_told_its_day() -> None:
    found = _judged(_filling(60, 100, jitter=200))
    assert found.bytes_per_day == pytest.approx(100 * GIB, rel=0.1)
    assert found.until_threshold.likely == pytest.approx((85_000 - 56_000) / 100, rel=0.1)
    assert found.until_full.likely == pytest.approx(440, rel=0.1)
    earliest, likely, latest = found.until_full.earliest, found.until_full.likely, found.until_full.latest
    assert earliest is not None
    assert likely is not None
    assert latest is not None
    assert earliest <= likely <= latest


def test_evictions_do_not_make_the_lab_look_as_if_it_had_stopped() -> None:
    samples = _filling(60, 100)
    at = START + timedelta(days=30)
    evicted = [Sample(s.at, s.total, s.free + 3000 * GIB) if s.at >= at else s for s in samples]
    found = _judged(evicted, (Eviction(at, 3000 * GIB),))
    assert found.bytes_per_day == pytest.approx(100 * GIB, rel=0.05)


def test_one_odd_measurement_moves_nothing() -> None:
    samples = _filling(60, 100)
    samples[700] = Sample(samples[700].at, TOTAL, 0)
    assert _judged(samples).bytes_per_day == pytest.approx(100 * GIB, rel=0.05)


def test_a_nas_that_empties_never_fills() -> None:
    found = _judged(_filling(30, -10))
    assert found.until_full.likely is None
    assert "not in sight" in str(found)


def test_below_the_threshold_already_is_said_as_now() -> None:
    found = _judged(_filling(30, 10, used=90_000))
    assert found.until_threshold.likely == 0
    assert "below the threshold now" in str(found)


@pytest.mark.parametrize("samples", [[], _filling(1, 10), _filling(60, 10)[:3], _filling(1, 10) * 3])
def test_too_little_history_is_said_to_be_too_little(samples: list[Sample]) -> None:
    found = forecast(samples, (), 15)
    assert isinstance(found, NotEnough)
    assert "not enough history" in str(found)


@given(
    st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**6)), max_size=60),
    st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**6)), max_size=5),
)
def test_any_history_gives_a_forecast_in_order_or_none(
    seen: list[tuple[int, int]], gone: list[tuple[int, int]]
) -> None:
    samples = [Sample(START + timedelta(seconds=s), 10**6, free) for s, free in sorted(seen)]
    found = forecast(samples, [Eviction(START + timedelta(seconds=s), size) for s, size in gone], 15)
    assert str(found)
    if isinstance(found, Forecast):
        assert found.low <= found.bytes_per_day <= found.high
