"""Measurements of the NAS: kept through restarts, thinned with age, never stopped by a damaged line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from fusion_assets.eviction.history import FILE, Sample, add_sample, read_samples, thin

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def _every(minutes: float, days: float) -> list[Sample]:
    count = int(days * 1440 / minutes)
    return [Sample(NOW - timedelta(minutes=minutes * n), 1000, 400) for n in reversed(range(count))]


def test_a_measurement_is_there_after_a_restart(tmp_path: Path) -> None:
    add_sample(tmp_path / "state", Sample(NOW, 1000, 400))
    assert read_samples(tmp_path / "state") == (Sample(NOW, 1000, 400),)


def test_no_file_is_no_history_and_no_error(tmp_path: Path) -> None:
    assert read_samples(tmp_path) == ()


def test_lines_that_make_no_sense_are_passed_over(tmp_path: Path) -> None:
    add_sample(tmp_path, Sample(NOW, 1000, 400))
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"at": "2026-06-01"\n\xff\xfe\n{"at": "2026-06-01", "total": 1, "free": 2}\n[]\n')
    assert len(add_sample(tmp_path, Sample(NOW + timedelta(hours=1), 1000, 300))) == 2


def test_a_year_of_measurements_is_thinned_by_age() -> None:
    kept = thin(_every(15, 365), NOW)
    assert len([s for s in kept if NOW - s.at <= timedelta(days=2)]) == 2 * 96 + 1
    assert len(kept) < 193 + 58 * 24 + 305 + 30
    days = {s.at.date() for s in kept}
    assert len(days) >= 365


def test_thinning_twice_changes_nothing() -> None:
    once = thin(_every(15, 100), NOW)
    assert thin(once, NOW) == once


def test_the_file_does_not_grow_for_ever(tmp_path: Path) -> None:
    for sample in _every(15, 30):
        add_sample(tmp_path, sample)
    assert len(read_samples(tmp_path)) < 193 + 28 * 24 + 301 + 5
