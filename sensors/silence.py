"""Which sensors and schedules do not go on: Dagster alerts nobody when one fails, is stopped, or is never looked at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.errors import DagsterUserCodeUnreachableError  # no public names for these
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, InstigatorTick, TickStatus

from fusion_assets.notify.outages import Stopped

# A tick may be late because the one before took its time, or the host was busy.
_LATE_TICKS = 3
_LATE_AT_LEAST = timedelta(minutes=10)
_LATE_MANY = 1000  # ticks of a second each are more than those ten minutes
_WELL = [TickStatus.SUCCESS, TickStatus.SKIPPED]
_ENDED = [*_WELL, TickStatus.FAILURE]
# The code server is being restarted, or a tick took longer than Dagster allows; the next one may go well.
_UNREACHABLE = DagsterUserCodeUnreachableError.__name__


def find_silent(instance: dg.DagsterInstance, expected: Mapping[str, int], now: datetime) -> dict[str, Stopped]:
    """The sensors and schedules that do not go on.

    Args:
        instance: The Dagster instance.
        expected: Those that should, each with the seconds between two ticks; 0 for one the calendar ticks.
        now: The time, UTC.

    Returns:
        By name; one that the daemon has not taken up yet is not among them.
    """
    known: defaultdict[str, list[InstigatorState]] = defaultdict(list)
    for state in instance.all_instigator_state():
        known[state.name].append(state)
    living = {name: _living(instance, known[name]) for name in expected if name in known}
    found = {name: _judge(instance, state, expected[name], now) for name, state in living.items()}
    return {name: stopped for name, stopped in found.items() if stopped}


def _living(instance: dg.DagsterInstance, states: Sequence[InstigatorState]) -> InstigatorState:
    """Of several of one name the one that ticked last: what a code location of another name left is kept for ever."""
    return max(states, key=lambda state: tick.timestamp if (tick := _last_tick(instance, state)) else 0.0)


def _judge(instance: dg.DagsterInstance, state: InstigatorState, seconds: int, now: datetime) -> Stopped | None:
    if state.status is InstigatorStatus.STOPPED:
        return Stopped(state.name, "it was switched off in the Dagster UI", _last_well(instance, state))
    # What fails at every tick does not go well because a tick is under way at this moment, or was when its daemon died.
    ended = _last_tick(instance, state, _ENDED)
    late = max(timedelta(seconds=_LATE_TICKS * seconds), _LATE_AT_LEAST)
    if ended and ended.is_failure:
        error, last_heard = ended.error, _last_well(instance, state)
        # One that is new, or was switched on a moment ago, has not gone well yet.
        if error and error.cls_name == _UNREACHABLE and now - (last_heard or _first_heard(instance, state)) <= late:
            return None
        cause = (error.cause or error) if error else None
        why = cause.message.strip().split("\n")[0] if cause else "its last tick failed"
        return Stopped(state.name, why, last_heard)
    last = _last_tick(instance, state)
    ticked_at = datetime.fromtimestamp(last.timestamp, UTC) if last else None
    if seconds and ticked_at and now - ticked_at > late:
        return Stopped(state.name, "it has not ticked since", ticked_at)
    return None


def _last_well(instance: dg.DagsterInstance, state: InstigatorState) -> datetime | None:
    """When it last went well; what Dagster notes with the sensor itself is gone as soon as the next tick begins."""
    well = _last_tick(instance, state, _WELL)
    return datetime.fromtimestamp(well.timestamp, UTC) if well else None


def _first_heard(instance: dg.DagsterInstance, state: InstigatorState) -> datetime:
    """When it ticked first; of one that ticks in vain for long, some time ago is enough."""
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=_LATE_MANY)
    return datetime.fromtimestamp(ticks[-1].timestamp, UTC)


def _last_tick(
    instance: dg.DagsterInstance, state: InstigatorState, statuses: list[TickStatus] | None = None
) -> InstigatorTick | None:
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1, statuses=statuses)
    return ticks[0] if ticks else None
