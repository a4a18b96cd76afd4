"""The runs that ended since the last look, as plain data: what failed and what each check found.

Dagster tells nobody of a failed check that does not block, and has no sensor for checks: so each run's events are read
once, when it has ended.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg

from fusion_assets.partitions import run_name_of
from fusion_assets.studies.failures import Failure, Finding, evaluations, find_failure, findings
from fusion_assets.studies.tags import STATE_TAG
from sensors.run_tries import ENDED, PARTITION_TAG, ended_at

# Two runs may end in the same moment, one of them after we looked: the last moments are looked at again.
_OVERLAP = timedelta(seconds=10)
# Reading the events of a run takes some 10 ms.
_AT_A_TIME = 200


@dataclass(frozen=True, slots=True)
class CheckFound:
    """What a check of a run found.

    Attributes:
        asset: What was checked.
        check: Its name.
        study: The study's name at the source; empty for a check of no study, or of many.
        is_error: Whether it is more than a warning.
        blocking: Whether its failure stops the study.
        findings: What it found, of each study; none when all was well.
    """

    asset: str
    check: str
    study: str
    is_error: bool
    blocking: bool
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run that ended.

    Attributes:
        run_id: The run.
        job: The job it was of.
        study: The study's name at the source; empty for a run of no study.
        succeeded: Whether it did.
        canceled: Whether a person ended it.
        failure: Why it failed; None when it did not.
        checks: What its checks found.
        made: The assets it made.
        tags: Its tags.
        tries: Of one that was broken off: how many runs for the same state of its study have failed by now.
    """

    run_id: str
    job: str
    study: str
    succeeded: bool
    canceled: bool
    failure: Failure | None
    checks: tuple[CheckFound, ...]
    made: frozenset[str]
    tags: Mapping[str, str] = field(default_factory=dict)
    tries: int = 1


@dataclass(frozen=True, slots=True)
class RunCursor:
    """How far the runs were looked at.

    Attributes:
        until: Runs that were last changed before are told of.
        told: Those of the last moments that are, too.
    """

    until: datetime
    told: frozenset[str] = frozenset()

    def to_text(self) -> str:
        """The cursor as text."""
        return json.dumps({"until": self.until.isoformat(), "told": sorted(self.told)})


def run_cursor_from_text(text: str | None, now: datetime) -> RunCursor:
    """Read what `RunCursor.to_text` wrote.

    Args:
        text: The text; None or anything unreadable begins now: what is older was seen by whoever started it.
        now: The time, UTC.
    """
    try:
        content = json.loads(text or "")
        return RunCursor(min(now, datetime.fromisoformat(content["until"])), frozenset(content["told"]))
    except (ValueError, KeyError, TypeError):
        return RunCursor(now)


def read_ended_runs(instance: dg.DagsterInstance, cursor: RunCursor, now: datetime) -> tuple[list[EndedRun], RunCursor]:
    """The runs that ended since, in the order in which they did.

    Args:
        instance: The Dagster instance.
        cursor: How far they were looked at.
        now: The time, UTC.

    Returns:
        The runs, and the cursor for the next look.
    """
    wanted = dg.RunsFilter(statuses=list(ENDED), updated_after=cursor.until - _OVERLAP)
    # Those that are told come first: however many of them changed within the overlap, some that are not are reached.
    most = len(cursor.told) + _AT_A_TIME
    records = instance.get_run_records(wanted, limit=most, order_by="update_timestamp", ascending=True)
    new = [record for record in records if record.dagster_run.run_id not in cursor.told]
    # Of a clock that was ahead there may be runs of a day to come: from there on nothing would be seen until then.
    until = min(now, max([cursor.until, *(changed_at(record) for record in records)]))
    recent = {record.dagster_run.run_id for record in records if changed_at(record) >= until - _OVERLAP}
    # A run that is given a tag long after its end is no news.
    fresh = [record for record in new if ended_at(record) >= cursor.until - timedelta(minutes=10)]
    return [_read(instance, record.dagster_run) for record in fresh], RunCursor(until, frozenset(recent))


def changed_at(record: dg.RunRecord) -> datetime:
    """When Dagster last wrote something about a run.

    Args:
        record: The run.
    """
    at = record.update_timestamp
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _read(instance: dg.DagsterInstance, run: dg.DagsterRun) -> EndedRun:
    events = [entry.dagster_event for entry in instance.all_logs(run.run_id) if entry.dagster_event]
    failure = find_failure(events) if run.status is dg.DagsterRunStatus.FAILURE else None
    key = run.tags.get(PARTITION_TAG)
    return EndedRun(
        run_id=run.run_id,
        job=run.job_name,
        study=run_name_of(key) if key else "",
        succeeded=run.status is dg.DagsterRunStatus.SUCCESS,
        canceled=run.status is dg.DagsterRunStatus.CANCELED,
        failure=failure,
        checks=tuple(_found(one, run_name_of(key) if key else "") for one in evaluations(events)),
        made=frozenset(
            event.asset_key.to_user_string() for event in events if event.is_step_materialization and event.asset_key
        ),
        tags=run.tags,
        tries=_tries(instance, run.tags) if failure and failure.broken_off else 1,
    )


def _tries(instance: dg.DagsterInstance, tags: Mapping[str, str]) -> int:
    if STATE_TAG not in tags:
        return 1
    same = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], tags={STATE_TAG: tags[STATE_TAG]})
    return instance.get_runs_count(same)


def _found(evaluation: dg.AssetCheckEvaluation, study: str) -> CheckFound:
    return CheckFound(
        asset=evaluation.asset_key.to_user_string(),
        check=evaluation.check_name,
        study=study,
        is_error=evaluation.severity is dg.AssetCheckSeverity.ERROR,
        blocking=bool(evaluation.blocking),
        findings=() if evaluation.passed else tuple(findings(evaluation)),
    )
