"""What may leave the NAS: by property, over any store, any bounds and any free space."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.config import CleanupSection
from fusion_assets.eviction.policy import Copy, EvictionPlan, missing_bytes, plan_evictions
from resources.storage import Space

START = datetime(2026, 1, 1, tzinfo=UTC)
TB = 1000**4

spaces = st.integers(0, 10**6).flatmap(lambda total: st.builds(Space, st.just(total), st.integers(0, total)))
sizes = st.integers(0, 10**5)
bounds = st.builds(
    CleanupSection,
    free_threshold_pct=st.floats(0.5, 99.5),
    max_studies=st.integers(1, 6),
    max_bytes=st.none() | st.integers(1, 2 * 10**5),
    max_store_pct=st.floats(0.5, 99.5),
)


@st.composite
def stores(draw: st.DrawFn) -> list[Copy]:
    count = draw(st.integers(0, 12))
    days = st.none() | st.integers(0, 5).map(lambda day: START + timedelta(days=day))
    reasons = st.sampled_from(["", "", "", "pinned", "locked"])
    return [_copy(number, draw(sizes), draw(days), draw(reasons)) for number in range(count)]


def _copy(number: int, size: int, completed: datetime | None, kept: str = "") -> Copy:
    return Copy(f"run{number}", f"backup{number}", size, completed, kept)


def _days(*terabytes: float) -> list[Copy]:
    """Copies of these sizes, one a day, the oldest first."""
    return [_copy(n, int(size * TB), START + timedelta(days=n)) for n, size in enumerate(terabytes)]


def _age(copy: Copy) -> tuple[datetime | None, str]:
    return copy.completed_at, copy.backup_name


@given(spaces, stores(), bounds)
def test_every_copy_goes_or_has_a_reason_to_stay(space: Space, copies: list[Copy], limits: CleanupSection) -> None:
    plan = plan_evictions(space, copies, limits)
    going = {copy.backup_name for copy in plan.evictions}
    assert going | plan.left_out.keys() == {copy.backup_name for copy in copies}
    assert not going & plan.left_out.keys()
    assert all(plan.left_out.values())


@given(spaces, stores(), bounds)
def test_no_cleanup_takes_the_last_copy(space: Space, copies: list[Copy], limits: CleanupSection) -> None:
    complete = [copy for copy in copies if copy.completed_at]
    plan = plan_evictions(space, copies, limits)
    assert len(plan.evictions) < max(1, len(complete))


@given(spaces, stores(), bounds)
def test_what_is_kept_or_not_complete_never_goes(space: Space, copies: list[Copy], limits: CleanupSection) -> None:
    plan = plan_evictions(space, copies, limits)
    assert not any(copy.kept or copy.completed_at is None for copy in plan.evictions)


@given(spaces, stores(), bounds)
def test_no_bound_is_exceeded(space: Space, copies: list[Copy], limits: CleanupSection) -> None:
    plan = plan_evictions(space, copies, limits)
    assert len(plan.evictions) <= limits.max_studies
    assert plan.planned_bytes == sum(copy.total_bytes for copy in plan.evictions)
    assert limits.max_bytes is None or plan.planned_bytes <= limits.max_bytes
    if len(plan.evictions) > 1:
        assert plan.planned_bytes <= sum(copy.total_bytes for copy in copies) * limits.max_store_pct / 100


@given(spaces, stores(), bounds)
def test_the_oldest_backups_go_first(space: Space, copies: list[Copy], limits: CleanupSection) -> None:
    plan = plan_evictions(space, copies, limits)
    assert list(plan.evictions) == sorted(plan.evictions, key=_age)
    for copy in copies:
        if plan.evictions and copy.completed_at and not copy.kept and _age(copy) < _age(plan.evictions[-1]):
            never_goes = copy.total_bytes == 0 or copy.total_bytes > (limits.max_bytes or copy.total_bytes)
            assert copy in plan.evictions or never_goes, plan.left_out


@given(spaces, stores(), bounds)
def test_no_more_goes_than_is_needed_and_enough_where_the_bounds_allow_it(
    space: Space, copies: list[Copy], limits: CleanupSection
) -> None:
    plan = plan_evictions(space, copies, limits)
    assert plan.missing_bytes == missing_bytes(space, limits.free_threshold_pct)
    if plan.evictions:
        assert plan.planned_bytes - plan.evictions[-1].total_bytes < plan.missing_bytes
    if not plan.suffices:
        assert not any("not needed" in reason for reason in plan.left_out.values())


@given(spaces, stores(), bounds, st.randoms())
def test_the_order_in_which_copies_are_listed_changes_nothing(
    space: Space, copies: list[Copy], limits: CleanupSection, chance: object
) -> None:
    shuffled = list(copies)
    chance.shuffle(shuffled)
    assert plan_evictions(space, copies, limits) == plan_evictions(space, shuffled, limits)


@given(spaces, stores(), bounds)
def test_one_after_the_other_goes_what_was_planned_at_once(
    space: Space, copies: list[Copy], limits: CleanupSection
) -> None:
    at_once, remaining, done = plan_evictions(space, copies, limits).evictions, list(copies), []
    while (plan := plan_evictions(space, remaining, limits, evicted=done)).evictions:
        done.append(plan.evictions[0])
        remaining.remove(plan.evictions[0])
    assert tuple(done) == at_once


@given(spaces, stores(), bounds)
def test_with_room_enough_nothing_goes(space: Space, copies: list[Copy], limits: CleanupSection) -> None:
    roomy = Space(space.total, space.total)
    assert plan_evictions(roomy, copies, limits).evictions == ()


def test_what_is_missing_is_planned_oldest_first_and_no_more() -> None:
    plan = plan_evictions(Space(100 * TB, 10 * TB), _days(2, 2, 2, 2, 2), CleanupSection(max_store_pct=99))
    assert plan.missing_bytes == 5 * TB
    assert [copy.run_name for copy in plan.evictions] == ["run0", "run1", "run2"]
    assert plan.left_out["backup3"] == "not needed: what is older suffices"


def test_a_first_study_larger_than_the_share_of_the_store_does_not_keep_the_nas_full() -> None:
    limits = CleanupSection(max_store_pct=10)
    plan = plan_evictions(Space(100 * TB, 1 * TB), _days(8, 1, 1), limits)
    assert [copy.run_name for copy in plan.evictions] == ["run0"]
    assert "max_store_pct" in plan.left_out["backup1"]


def test_a_study_larger_than_max_bytes_is_passed_over_and_said_to_be() -> None:
    limits = CleanupSection(max_bytes=2 * TB, max_store_pct=99)
    plan = plan_evictions(Space(100 * TB, 1 * TB), _days(3, 1, 1, 1), limits)
    assert [copy.run_name for copy in plan.evictions] == ["run1", "run2"]
    assert "never goes" in plan.left_out["backup0"]


def test_the_threshold_that_cannot_be_reached_is_said_to_be() -> None:
    plan: EvictionPlan = plan_evictions(Space(100 * TB, 0), _days(1, 1), CleanupSection(max_store_pct=99))
    assert not plan.suffices
    assert plan.left_out == {"backup1": "the last copy on the NAS is never evicted"}
