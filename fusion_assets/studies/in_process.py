"""One Dagster run in this process, as a person's command starts it.

What belongs here: starting such a run, so that it can be interrupted. What does not: what is to be run (`apply`,
`evicting`), and reading what came of it (`failures`).
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import dagster as dg

from fusion_assets.partitions import partition_key
from fusion_assets.studies.failures import find_failure
from fusion_assets.studies.tags import BY_COMMAND, STARTED_BY_TAG
from resources.run_launcher import PROCESS_TAG, process_tag

_INTERRUPTIONS = (dg.DagsterExecutionInterruptedError.__name__, KeyboardInterrupt.__name__)


def run_in_process(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    study: str,
    assets: Sequence[str],
    *,
    tags: Mapping[str, str],
    warn: Callable[[str], None],
) -> dg.ExecuteInProcessResult:
    """Run a job for one study.

    Args:
        job: The job.
        instance: Where the run is recorded.
        study: The study's name at the source; its partition must be there.
        assets: Those of the job's assets that are to be made.
        tags: Of the run, beside the one that says who started it.
        warn: Called with every warning of a running step.

    Raises:
        KeyboardInterrupt: It was interrupted.
    """

    def pass_on_warning(entry: dg.EventLogEntry) -> None:
        if entry.level == logging.WARNING and not entry.is_dagster_event:
            warn(entry.user_message)

    run_id = str(uuid.uuid4())
    instance.add_event_listener(run_id, pass_on_warning)
    result = job.execute_in_process(
        instance=instance,
        run_id=run_id,
        partition_key=partition_key(study),
        asset_selection=[dg.AssetKey(asset) for asset in assets],
        tags={STARTED_BY_TAG: BY_COMMAND, PROCESS_TAG: process_tag(datetime.now(UTC)), **tags},
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        raise_on_error=False,
    )
    if _was_interrupted(result):
        raise KeyboardInterrupt
    return result


def failure_of(result: dg.ExecuteInProcessResult) -> str | None:
    """Why a run failed; None when it did not.

    Args:
        result: Of the run.
    """
    return None if result.success else find_failure(result.all_events).why


def _was_interrupted(result: dg.ExecuteInProcessResult) -> bool:
    """Whether Ctrl-C or a polite kill ended it: Dagster makes that a failed run, and the next study would begin."""
    errors = [event.job_failure_data.error for event in result.all_events if event.is_job_failure]
    return any(error and error.cls_name in _INTERRUPTIONS for error in errors)
