"""When Dagster last ticked, taken back to now where a clock that ran ahead has written a time that is still to come.

Dagster ticks a sensor when enough time has passed since its last tick, and a schedule for the moments after its last
one: when a clock that was 400 days ahead is set back, neither does anything for 400 days, and nothing says so. What
belongs here: those times. What does not: the daemon's own memory, which such a clock leads astray as well. So this is
done right before a daemon starts (``python -m resources.tick_times``; DAGSTER_HOME says for which lab).
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import dagster as dg

# No public names for these; the version is pinned exactly.
from dagster._core.scheduler.instigation import InstigatorTick, ScheduleInstigatorData, SensorInstigatorData, TickData

_Times = TypeVar("_Times", bound=SensorInstigatorData | ScheduleInstigatorData | TickData)


def take_back_tick_times(instance: dg.DagsterInstance, now: datetime) -> list[str]:
    """See to it that no sensor and no schedule waits for a time that a clock was ahead to.

    Args:
        instance: Where the ticks are recorded; no daemon works for it.
        now: The time, UTC.

    Returns:
        The names of the sensors and schedules that would have waited, sorted.
    """
    waiting = set()
    for state in instance.all_instigator_state():
        known = state.instigator_data
        if known and (data := _until(known, now)) != known:
            instance.update_instigator_state(state.with_data(data))
            waiting.add(state.name)
        # Dagster and we take the tick with the latest time for the last one.
        for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id, after=now.timestamp()):
            instance.update_tick(InstigatorTick(tick.tick_id, _until(tick.tick_data, now)))
            waiting.add(state.name)
    return sorted(waiting)


def _until(times: _Times, now: datetime) -> _Times:
    """The same with no time after now."""
    latest = now.timestamp()
    fields: dict[str, Any] = times._asdict()
    ahead: dict[str, Any] = {
        name: latest for name, at in fields.items() if name.endswith("timestamp") and at and at > latest
    }
    return cast("_Times", times._replace(**ahead))


def main() -> None:
    """Take back the times of the lab that DAGSTER_HOME names, and say of what."""
    with dg.DagsterInstance.get() as instance:
        waiting = take_back_tick_times(instance, datetime.now(UTC))
    if waiting:
        sys.stderr.write(f"the clock was set back: {', '.join(waiting)} would have waited for the time it had shown\n")


if __name__ == "__main__":
    main()
