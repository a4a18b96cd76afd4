"""A clock that was 400 days ahead for one tick: Dagster would tick nothing for 400 days."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._daemon.sensor import is_under_min_interval

from resources.tick_times import main, take_back_tick_times

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
AHEAD = NOW + timedelta(days=400)
EVERY_MINUTE = SimpleNamespace(min_interval_seconds=60)


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.get() as opened:
        yield opened


def add(
    instance: dg.DagsterInstance, name: str, data: SensorInstigatorData | ScheduleInstigatorData, ticked: datetime
) -> InstigatorState:
    location = GrpcServerCodeLocationOrigin(host="localhost", port=4000, location_name="fusion")
    kind = InstigatorType.SENSOR if isinstance(data, SensorInstigatorData) else InstigatorType.SCHEDULE
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "fusion"), name)
    state = instance.add_instigator_state(InstigatorState(origin, kind, InstigatorStatus.RUNNING, data))
    at, begun = ticked.timestamp(), TickStatus.SKIPPED
    instance.create_tick(
        TickData(state.instigator_origin_id, name, kind, begun, at, end_timestamp=at, selector_id=state.selector_id)
    )
    return state


def stored(instance: dg.DagsterInstance, state: InstigatorState) -> InstigatorState:
    found = instance.get_instigator_state(state.instigator_origin_id, state.selector_id)
    assert found is not None
    return found


def test_a_sensor_ticks_again_with_all_it_remembers_after_a_clock_that_was_ahead_was_set_back(
    instance: dg.DagsterInstance, capsys: pytest.CaptureFixture[str]
) -> None:
    ahead = datetime.now(UTC) + timedelta(days=400)
    data = SensorInstigatorData(
        ahead.timestamp(), "a run key", 60, "a cursor", ahead.timestamp(), NOW.timestamp(), None, ahead.timestamp()
    )
    state = add(instance, "idle_studies", data, ahead)
    assert is_under_min_interval(stored(instance, state), EVERY_MINUTE)
    main()
    assert "the clock was set back: idle_studies" in capsys.readouterr().err
    found = stored(instance, state).instigator_data
    assert isinstance(found, SensorInstigatorData)
    assert not is_under_min_interval(stored(instance, state), SimpleNamespace(min_interval_seconds=1e-9))
    assert (found.cursor, found.last_run_key, found.min_interval) == ("a cursor", "a run key", 60)
    assert found.last_sensor_start_timestamp == NOW.timestamp()


def test_a_schedule_does_not_wait_for_the_moment_after_one_that_is_yet_to_come(instance: dg.DagsterInstance) -> None:
    data = ScheduleInstigatorData("0 2 1 * *", NOW.timestamp(), AHEAD.timestamp())
    state = add(instance, "monthly_backup", data, AHEAD)
    assert take_back_tick_times(instance, NOW) == ["monthly_backup"]
    assert stored(instance, state).instigator_data == ScheduleInstigatorData(
        "0 2 1 * *", NOW.timestamp(), NOW.timestamp()
    )
    (tick,) = instance.get_ticks(state.instigator_origin_id, state.selector_id)
    assert (tick.timestamp, tick.end_timestamp, tick.status) == (NOW.timestamp(), NOW.timestamp(), TickStatus.SKIPPED)


def test_what_ticked_before_now_is_left_alone(instance: dg.DagsterInstance) -> None:
    data = SensorInstigatorData(NOW.timestamp(), last_tick_start_timestamp=NOW.timestamp())
    state = add(instance, "alerts", data, NOW)
    assert take_back_tick_times(instance, NOW) == []
    assert stored(instance, state).instigator_data == data
