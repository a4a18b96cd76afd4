"""Which sensor went silent: not a new one, nor what a code location of another name left in Dagster's history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.scheduler.instigation import InstigatorState, SensorInstigatorData, TickData, TickStatus
from dagster._utils.error import SerializableErrorInfo

from sensors.silence import find_silent
from tests.sensors.daemon import instigator

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SENSOR = "idle_studies"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


def add_sensors(instance: dg.DagsterInstance, ticked: Mapping[str, timedelta]) -> None:
    """One of each code location, and how long ago it last ticked."""
    for location_name, ago in ticked.items():
        at = (NOW - ago).timestamp()
        state = instigator(SENSOR, SensorInstigatorData(at, min_interval=300), location_name=location_name)
        instance.add_instigator_state(state)
        add_tick(instance, state, ago)


def add_tick(
    instance: dg.DagsterInstance, state: InstigatorState, ago: timedelta, error: SerializableErrorInfo | None = None
) -> None:
    instance.create_tick(
        TickData(
            instigator_origin_id=state.instigator_origin_id,
            instigator_name=SENSOR,
            instigator_type=InstigatorType.SENSOR,
            status=TickStatus.FAILURE if error else TickStatus.SKIPPED,
            timestamp=(NOW - ago).timestamp(),
            selector_id=state.selector_id,
            error=error,
        )
    )


@pytest.mark.parametrize(("minutes", "told"), [(1, False), (9, False), (11, True)])
def test_a_new_sensor_whose_first_ticks_meet_a_code_server_that_is_restarted_is_told_of_when_that_lasts(
    instance, minutes, told
) -> None:
    state = instigator(SENSOR, SensorInstigatorData(min_interval=30))
    instance.add_instigator_state(state)
    error = SerializableErrorInfo("Could not reach user code server", [], DagsterUserCodeUnreachableError.__name__)
    for ago in range(60 * minutes, 0, -30):
        add_tick(instance, state, timedelta(seconds=ago), error)
    assert bool(find_silent(instance, {SENSOR: 30}, NOW)) is told


@pytest.mark.parametrize("locations", [("fusion", "old"), ("old", "fusion")])
def test_what_was_left_by_a_code_location_of_another_name_is_no_sensor_that_went_silent(instance, locations) -> None:
    ago = {"fusion": timedelta(minutes=1), "old": timedelta(days=2)}
    add_sensors(instance, {location: ago[location] for location in locations})
    assert find_silent(instance, {SENSOR: 300}, NOW) == {}


@pytest.mark.parametrize("locations", [("fusion", "old"), ("old", "fusion")])
def test_a_sensor_that_went_silent_is_not_hidden_by_one_that_stopped_before(instance, locations) -> None:
    ago = {"fusion": timedelta(hours=1), "old": timedelta(days=2)}
    add_sensors(instance, {location: ago[location] for location in locations})
    assert find_silent(instance, {SENSOR: 300}, NOW)[SENSOR].last_heard == NOW - ago["fusion"]
