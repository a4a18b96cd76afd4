"""Why a run failed and which checks found something, read from its events, in the words a person needs.

What belongs here: reading events. What does not: telling anybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from fusion_assets.studies.checks import NONE

_UNKNOWN = "the run failed; see it in the Dagster UI"
_CHECK_FAILED = "DagsterAssetCheckFailedError"
_MOST_ROWS = 3
_INTERRUPTED = "it was interrupted: its services were stopped, or its host"
_KILLED = "its process was killed, or its host went down"
# What the code server and the daemon write of a run whose process is gone.
# The code server signs it: "[DagsterApiServer] Run execution process for …".
_GONE = re.compile(
    r"(\[\w+\] )?(Run execution process for \S+ (was terminated|unexpectedly exited)|Detected run worker status)"
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run failed.

    Attributes:
        step: The step that failed; empty when the run as a whole did.
        why: In the words of the error itself.
        broken_off: Whether it was killed or interrupted: nothing is wrong with what it was about.
    """

    step: str
    why: str
    broken_off: bool = False


def find_failure(events: Sequence[dg.DagsterEvent]) -> Failure:
    """Why a run that failed did so.

    Args:
        events: All events of the run.
    """
    if any(_GONE.match(event.message or "") for event in events):
        return Failure("", _KILLED, broken_off=True)
    for event in events:
        if event.is_step_failure and _is_interruption(event.step_failure_data.error):
            return Failure(event.step_key or "", _INTERRUPTED, broken_off=True)
        if event.is_step_failure:
            return Failure(event.step_key or "", _why_step_failed(event, events))
    for event in events:
        # Of a run that was marked as failed from outside, e.g. after its longest time, there is nothing but a message.
        if event.is_job_failure and event.event_specific_data and (error := event.job_failure_data.error):
            if _is_interruption(error):
                return Failure("", _INTERRUPTED, broken_off=True)
            return Failure("", _first_line(error.message) or _UNKNOWN)
    return Failure("", next((e.message for e in events if e.is_failure and e.message), _UNKNOWN))


def evaluations(events: Iterable[dg.DagsterEvent]) -> list[dg.AssetCheckEvaluation]:
    """The checks that a run evaluated, each the last time it did.

    Args:
        events: All events of the run.
    """
    found = {}
    for event in events:
        if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            found[evaluation.asset_check_key] = evaluation
    return list(found.values())


def what_was_found(evaluation: dg.AssetCheckEvaluation) -> str:
    """What a failed check found, in a sentence: its description, else what its metadata says.

    Args:
        evaluation: The check's result.
    """
    if evaluation.description:
        return evaluation.description
    said = [_words(value) for value in evaluation.metadata.values()]
    return "; ".join(words for words in said if words) or "see its metadata in the Dagster UI"


def _why_step_failed(event: dg.DagsterEvent, events: Iterable[dg.DagsterEvent]) -> str:
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    if data.error is None:
        return _UNKNOWN
    cause = data.error.cause or data.error
    if cause.cls_name == _CHECK_FAILED:
        blocking = [one for one in evaluations(events) if one.blocking and not one.passed]
        return "; ".join(f"{one.check_name}: {what_was_found(one)}" for one in blocking) or cause.message.strip()
    return _first_line(cause.message) or str(cause.cls_name)


def _is_interruption(error: SerializableErrorInfo | None) -> bool:
    return bool(error and error.cls_name == dg.DagsterExecutionInterruptedError.__name__)


def _first_line(text: str) -> str:
    return text.strip().split("\n")[0]


def _words(value: dg.MetadataValue[Any]) -> str:
    if isinstance(value, dg.TextMetadataValue):
        return "" if value.text in (None, NONE) else value.text
    if isinstance(value, dg.TableMetadataValue):
        rows = [_row(record.data) for record in value.records]
        more = f" and {len(rows) - _MOST_ROWS} more" if len(rows) > _MOST_ROWS else ""
        return "; ".join(rows[:_MOST_ROWS]) + more
    return ""


def _row(cells: Mapping[str, object]) -> str:
    return ", ".join(str(cell) for cell in cells.values() if cell not in ("", None))
