"""The runs that ended since the last look, as plain data: what failed and what each check found.

Dagster tells nobody of a failed check that does not block, and has no sensor for checks: so each run's events are read
once, when it has ended.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import dagster as dg

from fusion_assets.partitions import run_name_of
from fusion_assets.studies.failures import Failure, Finding, evaluations, find_failure, findings
from fusion_assets.studies.tags import STATE_TAG
from sensors.run_tries import ENDED, PARTITION_TAG, ended_at, runs_in_flight

# Reading the events of a run takes some 10 ms.
_AT_A_TIME = 200
_A_PAGE = 25
# A person who deletes runs in the UI deletes a few; of more than these, one that took a deleted one's number is missed.
_KNOWN = 25


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
    """Which runs were looked at; without any time: by a clock that is wrong for a moment, all of them were told anew.

    Attributes:
        above: Runs to which Dagster's storage gave a higher number are among the known ones, or new.
        known: The newest runs there were, newest first.
        awaited: Those of them, and of older ones, that had not ended, or were not read for want of time; oldest first.
    """

    above: int
    known: tuple[str, ...] = ()
    awaited: tuple[str, ...] = ()

    def to_text(self) -> str:
        """The cursor as text."""
        return json.dumps({"above": self.above, "known": self.known, "awaited": self.awaited})


def run_cursor_from_text(text: str | None) -> RunCursor | None:
    """Read what `RunCursor.to_text` wrote.

    Args:
        text: The text.

    Returns:
        None where there is no text, or none that can be read.
    """
    try:
        content = json.loads(text or "")
        return RunCursor(int(content["above"]), tuple(content["known"]), tuple(content["awaited"]))
    except (ValueError, KeyError, TypeError):
        return None


def read_ended_runs(instance: dg.DagsterInstance, cursor: RunCursor | None) -> tuple[list[EndedRun], RunCursor]:
    """The runs that ended since, in the order in which they did.

    Args:
        instance: The Dagster instance.
        cursor: Which were looked at; None begins now: what ended before was seen by whoever started it.

    Returns:
        The runs, and the cursor for the next look.
    """
    newest, above = _newest_runs(instance, cursor.above if cursor else None)
    in_flight = {run.run_id: None for run in runs_in_flight(instance, {})}
    # Known by their ids, and not by the highest number: SQLite gives that of the newest run again when it is deleted,
    # all of them when its file was, and Postgres does not show them in their order. So those in flight are all awaited.
    new = [run_id for run_id in reversed(newest) if cursor and run_id not in cursor.known]
    awaited = dict.fromkeys([*(cursor.awaited if cursor else ()), *new]) | in_flight
    ended = [run_id for run_id in awaited if run_id not in in_flight][:_AT_A_TIME]
    left = tuple(run_id for run_id in awaited if run_id not in ended)
    records = instance.get_run_records(dg.RunsFilter(run_ids=ended, statuses=list(ENDED))) if ended else []
    runs = [_read(instance, record.dagster_run) for record in sorted(records, key=ended_at)]
    return runs, RunCursor(above, tuple(newest[:_KNOWN]), left)


def _newest_runs(instance: dg.DagsterInstance, above: int | None) -> tuple[list[str], int]:
    """The runs above a number, newest first, or a page of the newest; and above which number to look next time."""
    found: list[dg.RunRecord] = []
    while page := instance.get_run_records(limit=_A_PAGE, cursor=found[-1].dagster_run.run_id if found else None):
        found += page
        if above is None or page[-1].storage_id <= above:
            break
    newest = [record for record in found if above is None or record.storage_id > above]
    if len(newest) > _KNOWN:
        next_above = newest[_KNOWN].storage_id
    elif newest:
        next_above = newest[-1].storage_id - 1 if above is None else above
    else:  # deleted, all of them or the newest: what is there now was seen, and numbers go on from here
        next_above = found[0].storage_id if found else 0
    return [record.dagster_run.run_id for record in newest], next_above


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
