"""Why a run failed and which checks found something, read from its events, in the words a person needs.

What belongs here: reading events. What does not: telling anybody.
"""

from __future__ import annotations

import hashlib
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


# With its unit: 383.5 KiB that are missing now are 1.4 MiB an hour later, of the same full NAS.
# And an age as a whole: of "8 h 0 min ago" comes "1 d 8 h ago".
_NUMBERS = re.compile(r"\d+ (?:d|h|min|s)\b(?: \d+ (?:h|min)\b)?(?= ago)|\d[\d.,]*(?: (?:bytes|[KMGTP]iB)\b)?")
# Columns that name a thing, in which numbers tell one from another.
_STUDY, _STATE = "study", "state"
_NAMES = frozenset({_STUDY, "path", "rule", _STATE, "line"})


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


@dataclass(frozen=True, slots=True)
class Finding:
    """What a failed check found, of one study.

    Attributes:
        study: The study's name at the source, where a check of many studies names it; else empty.
        found: In a sentence.
        standing: The same for as long as nothing changed; SHA-256 in hex, for it may be of a hundred thousand files.
        state: How the study stands, where the check says so; else empty.
    """

    study: str
    found: str
    standing: str
    state: str = ""


def findings(evaluation: dg.AssetCheckEvaluation) -> list[Finding]:
    """What a failed check found: its description, else what its metadata says, each study of a table by itself.

    Args:
        evaluation: The check's result.
    """
    rows = [row for value in evaluation.metadata.values() for row in _rows(value)]
    studies = dict.fromkeys(str(row[_STUDY]) for row in rows if _STUDY in row)
    if not studies:
        return [Finding("", what_was_found(evaluation), _standing(without_numbers(_said(evaluation)), rows))]
    return [_finding(study, [row for row in rows if row.get(_STUDY) == study]) for study in studies]


def _finding(study: str, rows: Sequence[Mapping[str, object]]) -> Finding:
    others = [{name: cell for name, cell in row.items() if name != _STUDY} for row in rows]
    return Finding(study, _first_rows(others), _standing("", rows), str(rows[0].get(_STATE, "")))


def what_was_found(evaluation: dg.AssetCheckEvaluation) -> str:
    """The same in one sentence.

    Args:
        evaluation: The check's result.
    """
    tables = [_first_rows(_rows(value)) for value in evaluation.metadata.values()]
    said = evaluation.description or "; ".join(words for words in (_said(evaluation), *tables) if words)
    return said or "see its metadata in the Dagster UI"


def without_numbers(text: str) -> str:
    """How a sentence stands: the next try fails with other times, sizes and ports in it.

    Args:
        text: The sentence.
    """
    return _NUMBERS.sub("#", text)


def _standing(said: str, rows: Iterable[Mapping[str, object]]) -> str:
    digest = hashlib.sha256(said.encode())
    for row in rows:
        cells = [str(cell) if name in _NAMES else without_numbers(str(cell)) for name, cell in row.items()]
        digest.update("\0".join(["", *cells]).encode())
    return digest.hexdigest()


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


def _said(evaluation: dg.AssetCheckEvaluation) -> str:
    texts = [value.text for value in evaluation.metadata.values() if isinstance(value, dg.TextMetadataValue)]
    return evaluation.description or "; ".join(text for text in texts if text not in {None, "", NONE})


def _rows(value: dg.MetadataValue[Any]) -> list[Mapping[str, object]]:
    return [record.data for record in value.records] if isinstance(value, dg.TableMetadataValue) else []


def _first_rows(rows: Sequence[Mapping[str, object]]) -> str:
    more = f" and {len(rows) - _MOST_ROWS} more" if len(rows) > _MOST_ROWS else ""
    return "; ".join(_row(row) for row in rows[:_MOST_ROWS]) + more


def _row(cells: Mapping[str, object]) -> str:
    return ", ".join(str(cell) for cell in cells.values() if cell not in ("", None))
