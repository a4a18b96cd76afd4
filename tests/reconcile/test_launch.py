"""What is started now: the oldest first, nothing twice, nothing hopeless, and everything in the end."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.reconcile.conditions import Name, false, true, unknown
from fusion_assets.reconcile.launch import Tries, decide, pause_after, state_of
from fusion_assets.reconcile.plan import KNOWN_INVALID, Desired, ObservedStudy, StudyPlan, plan_studies

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def study(number: int, *, fingerprint: str = "", **changes: object) -> ObservedStudy:
    conditions = {name: true("Fine") for name in Name}
    conditions |= {Name.ON_TRUENAS: false("NotCopied"), Name.ON_S3: false("No"), Name.RECORDED: false("No")}
    conditions[Name.SOURCE_RELEASED] = false("AtSource")
    conditions |= changes.get("conditions", {})
    name = f"202601{number + 1:02d}_a_b_c"
    return ObservedStudy(name, name, True, conditions, newest_mtime_ns=number, fingerprint=fingerprint or f"fp{number}")


def plans_of(*studies: ObservedStudy) -> tuple[StudyPlan, ...]:
    return plan_studies(Desired(delete_source=True), studies)


def test_five_hundred_studies_that_become_idle_at_once_are_started_in_bounded_batches_oldest_first() -> None:
    plans = plan_studies(
        Desired(delete_source=True),
        [ObservedStudy(f"s{n:03}", f"s{n:03}", True, study(0).conditions, n, fingerprint=str(n)) for n in range(500)],
    )
    running: set[str] = set()
    started: list[str] = []
    while True:
        batch = decide(plans, running=running, tries={}, now=NOW, at_most=25).launches
        if not batch:
            break
        assert len(batch) <= 25
        started += [launch.plan.study for launch in batch]
        running |= set(started)
    assert started == [f"s{n:03}" for n in range(500)]


def test_a_study_that_a_run_works_on_is_not_started_a_second_time() -> None:
    (plan,) = plans_of(study(1))
    decisions = decide([plan], running={plan.study}, tries={}, now=NOW, at_most=25)
    assert decisions.launches == ()
    assert "a run works on it" in decisions.held_back[plan.study]


def test_a_study_that_no_retry_can_cure_rests_until_its_files_change() -> None:
    (plan,) = plans_of(study(1, fingerprint="bad"))
    hopeless = {state_of(plan): Tries(1, NOW - 400 * DAY, hopeless=True)}
    assert not decide([plan], running=(), tries=hopeless, now=NOW, at_most=25).launches
    (repaired,) = plans_of(study(1, fingerprint="good"))
    assert decide([repaired], running=(), tries=hopeless, now=NOW, at_most=25).launches


def test_a_server_that_is_down_for_a_week_is_not_asked_every_five_minutes_but_every_day() -> None:
    (plan,) = plans_of(study(1))
    now, last, tried = NOW, NOW, 0
    while now < NOW + 7 * DAY:
        tries = {state_of(plan): Tries(tried, last)} if tried else {}
        if decide([plan], running=(), tries=tries, now=now, at_most=25).launches:
            tried, last = tried + 1, now
        now += timedelta(minutes=5)
    assert 8 <= tried <= 13


def test_the_same_try_has_the_same_key_and_the_next_try_another() -> None:
    (plan,) = plans_of(study(1))
    first = decide([plan], running=(), tries={}, now=NOW, at_most=1).launches[0]
    again = decide([plan], running=(), tries={}, now=NOW + DAY, at_most=1).launches[0]
    after = {state_of(plan): Tries(1, NOW)}
    second = decide([plan], running=(), tries=after, now=NOW + DAY, at_most=1).launches[0]
    assert first.key == again.key != second.key


def test_what_was_tried_of_one_released_study_decides_nothing_for_another() -> None:
    left = {"conditions": {Name.ON_TRUENAS: true("Copied"), Name.SOURCE_RELEASED: true("Released")}}
    tried, other = plans_of(*(replace(study(n, **left), at_source=False, fingerprint="") for n in (1, 2)))
    assert tried.actions == other.actions != ()
    hopeless = {state_of(tried): Tries(1, NOW, hopeless=True)}
    decisions = decide([tried, other], running=(), tries=hopeless, now=NOW, at_most=25)
    assert [launch.plan.study for launch in decisions.launches] == [other.study]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({Name.IDLE: false("RecentlyModified", "last modified yesterday")}, "last modified yesterday"),
        ({Name.IDLE: unknown("NotSettled", "look again")}, "look again"),
        ({Name.VALIDATED: false(KNOWN_INVALID, "[R1] bad name")}, "[R1] bad name"),
        ({Name.UNLOCKED: false("Locked", "held by process 7")}, "held by process 7"),
    ],
)
def test_a_study_that_waits_says_for_what(conditions, expected) -> None:
    plans = plans_of(study(1, conditions=conditions))
    assert expected in decide(plans, running=(), tries={}, now=NOW, at_most=25).held_back[plans[0].study]


@given(st.integers(1, 10_000))
def test_pauses_grow_and_never_pass_a_day(ended: int) -> None:
    assert timedelta(0) < pause_after(ended) <= pause_after(ended + 1) <= DAY


@given(
    st.lists(st.integers(0, 25), unique=True, max_size=12),
    st.sets(st.integers(0, 25)),
    st.dictionaries(st.integers(0, 25), st.builds(Tries, st.integers(0, 5), st.just(NOW), st.booleans())),
    st.integers(0, 25),
)
def test_every_study_is_either_started_or_told_why_not(numbers, running, tried, at_most) -> None:
    plans = plans_of(*(study(number) for number in numbers))
    tries = {state_of(plan): tried[n] for plan in plans if (n := plan.observed.newest_mtime_ns) in tried}
    busy = {plan.study for plan in plans if plan.observed.newest_mtime_ns in running}
    decisions = decide(plans, running=busy, tries=tries, now=NOW, at_most=at_most)
    started = [launch.plan.study for launch in decisions.launches]
    assert len(started) <= at_most
    assert sorted([*started, *decisions.held_back]) == sorted(plan.study for plan in plans)
    assert not busy & set(started)
    assert started == [plan.study for plan in plans if plan.study in set(started)]
