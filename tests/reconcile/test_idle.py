"""Idleness: two observations, the settle time, age, and open files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.reconcile.conditions import Status
from fusion_assets.reconcile.idle import Observation, judge_idle, memory_from_json, memory_to_json, remember

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive by hypothesis' rule


def judged(observation: Observation, **changes: object) -> tuple[Status, str]:
    settings = {
        "now": NOW,
        "newest_mtime_ns": int((NOW - timedelta(days=31)).timestamp() * 1e9),
        "held_open": None,
        "idle_days": 30,
        "settle_minutes": 30,
    }
    condition = judge_idle(observation, **{**settings, **changes})
    return condition.status, condition.reason


def test_a_study_seen_for_the_first_time_is_not_yet_idle_however_old_its_files_claim_to_be() -> None:
    assert judged(remember(None, "f", NOW)) == (Status.UNKNOWN, "NotSettled")


def test_a_study_that_looked_the_same_half_an_hour_ago_is_idle() -> None:
    before = remember(None, "f", NOW - timedelta(minutes=30))
    assert judged(remember(before, "f", NOW)) == (Status.TRUE, "Idle")


def test_a_study_that_grew_with_an_old_mtime_has_to_settle_again() -> None:
    before = remember(None, "f", NOW - timedelta(days=2))
    assert judged(remember(before, "g", NOW)) == (Status.UNKNOWN, "NotSettled")


def test_a_file_held_open_by_the_microscope_stops_everything() -> None:
    before = remember(None, "f", NOW - timedelta(days=2))
    assert judged(before, held_open="a/Scan1/a.qptiff") == (Status.FALSE, "HeldOpen")


def test_zero_days_and_zero_minutes_make_every_study_idle_at_its_first_observation() -> None:
    future = int((NOW + timedelta(hours=1)).timestamp() * 1e9)
    assert judged(remember(None, "f", NOW), idle_days=0, settle_minutes=0, newest_mtime_ns=future)[0] is Status.TRUE


def test_a_file_dated_beyond_the_calendar_keeps_only_its_own_study_waiting_and_says_why() -> None:
    before = remember(None, "f", NOW - timedelta(days=2))
    condition = judge_idle(
        before, now=NOW, newest_mtime_ns=300_000_000_000 * 10**9, held_open=None, idle_days=30, settle_minutes=30
    )
    assert (condition.status, condition.reason) == (Status.FALSE, "RecentlyModified")
    assert "| hint: that is yet to come; correct the time of the file" in condition.message


@given(st.integers(-(2**63), 2**63 - 1), st.floats(0, 36_500), st.floats(0, 525_600))
def test_no_time_of_a_file_and_no_setting_stops_the_planning(mtime_ns: int, days: float, minutes: float) -> None:
    before = remember(None, "f", NOW - timedelta(days=366))
    judged(before, newest_mtime_ns=mtime_ns, idle_days=days, settle_minutes=minutes)


def test_a_clock_that_was_set_back_starts_the_settle_time_anew() -> None:
    ahead = Observation("f", NOW + timedelta(days=300))
    assert remember(ahead, "f", NOW) == Observation("f", NOW)


@given(st.text(max_size=4), st.text(max_size=4), moments, moments)
def test_remembering_never_makes_a_study_look_settled_for_longer_than_it_was(
    first: str, second: str, then: datetime, now: datetime
) -> None:
    after = remember(Observation(first, then), second, now)
    assert after.fingerprint == second
    assert after.since <= now
    assert after.since == now or (first == second and after.since == then)


@given(st.dictionaries(st.text(max_size=8), st.builds(Observation, st.text(max_size=8), moments), max_size=5))
def test_the_memory_survives_a_restart(memory: dict[str, Observation]) -> None:
    assert memory_from_json(memory_to_json(memory)) == memory


@given(st.text())
def test_a_damaged_memory_only_costs_a_second_look(text: str) -> None:
    assert isinstance(memory_from_json(text), dict)


def test_an_abbreviated_fingerprint_is_recognised_and_an_empty_one_is_not() -> None:
    since = datetime(2026, 1, 1, tzinfo=UTC)
    later = since + timedelta(hours=1)
    assert remember(Observation("abcd", since), "abcdef", later) == Observation("abcdef", since)
    assert remember(Observation("", since), "abcdef", later) == Observation("abcdef", later)
