"""What Dagster's history says of earlier runs: which studies have one in flight, and what came of the tries of a state.

History serves for pacing alone: when it is lost, a study is tried again at once, and nothing worse happens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime

import dagster as dg

from fusion_assets.partitions import run_name_of
from fusion_assets.reconcile.launch import Tries
from fusion_assets.studies.tags import FOR_ROOM, HOPELESS, RETRY_TAG, STATE_TAG

PARTITION_TAG = "dagster/partition"

_IN_FLIGHT = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
# SQLite takes some hundred values in one question.
_STATES_A_QUERY = 100
# More than the runs that end during a look; of a thousand studies, each takes seconds.
_MEANWHILE = 200
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def studies_at_work(instance: dg.DagsterInstance, since: datetime) -> frozenset[str]:
    """The studies, by run name, for which a run of any job is queued, at work, or has been at work since then.

    Args:
        instance: The Dagster instance.
        since: When somebody began to look at the studies, UTC.
    """
    runs = runs_since(instance, since, {})
    return frozenset(run_name_of(run.tags[PARTITION_TAG]) for run in runs if PARTITION_TAG in run.tags)


def runs_in_flight(instance: dg.DagsterInstance, tags: Mapping[str, str]) -> list[dg.DagsterRun]:
    """The runs that are queued or at work.

    Args:
        instance: The Dagster instance.
        tags: Which they must bear.
    """
    return list(instance.get_runs(filters=dg.RunsFilter(statuses=list(_IN_FLIGHT), tags=dict(tags))))


def runs_since(instance: dg.DagsterInstance, since: datetime, tags: Mapping[str, str]) -> list[dg.DagsterRun]:
    """The runs that are queued or at work, or were at a moment.

    Args:
        instance: The Dagster instance.
        since: The moment, UTC.
        tags: Which they must bear.
    """
    in_flight = runs_in_flight(instance, tags)  # first: one that ends in between is in both
    # Judged by their own ends: Postgres keeps the time by which it can choose them in a zone of its own. And until now:
    # where a clock was ahead, ends lie in the future, and would keep a study at work until then.
    until, filters = datetime.now(UTC), dg.RunsFilter(statuses=list(ENDED), tags=dict(tags))
    newest = instance.get_run_records(filters, limit=_MEANWHILE, order_by="update_timestamp")
    return [*in_flight, *(record.dagster_run for record in newest if since <= ended_at(record) <= until)]


def tries_of(instance: dg.DagsterInstance, states: Collection[str]) -> dict[str, Tries]:
    """What came of the runs that were started for these states.

    Args:
        instance: The Dagster instance.
        states: From `fusion_assets.reconcile.launch.state_of`.

    Returns:
        By state; a state without an ended run is missing.
    """
    ended: defaultdict[str, list[dg.RunRecord]] = defaultdict(list)
    wanted_states = sorted(states)
    for start in range(0, len(wanted_states), _STATES_A_QUERY):
        some = wanted_states[start : start + _STATES_A_QUERY]
        wanted = dg.RunsFilter(tags={STATE_TAG: some}, statuses=list(ENDED))
        for record in instance.get_run_records(filters=wanted):
            ended[record.dagster_run.tags[STATE_TAG]].append(record)
    now = datetime.now(UTC)  # later than each of them, unless the clock was ahead
    return {state: _tries(records, now) for state, records in ended.items()}


def _tries(records: Iterable[dg.RunRecord], now: datetime) -> Tries:
    ordered = sorted(records, key=ended_at)
    retry = [record.dagster_run.tags.get(RETRY_TAG) for record in ordered]
    # An end that is yet to come would be waited for, or else lift the pause after every try that follows.
    past = [ended_at(record) for record in ordered if ended_at(record) <= now]
    return Tries(len(ordered), max(past, default=_LONG_AGO), hopeless=HOPELESS in retry, for_room=retry[-1] == FOR_ROOM)


def ended_at(record: dg.RunRecord) -> datetime:
    """When a run ended; one whose process died has no end of its own, and ended when that was noticed.

    Args:
        record: The run.
    """
    if record.end_time is not None:
        return datetime.fromtimestamp(record.end_time, UTC)
    at = record.update_timestamp
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
