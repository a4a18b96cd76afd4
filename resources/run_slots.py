"""What runs hold of Dagster's pools, and may hold no longer when nothing runs any more.

A slot of a pool is a row in a database, which a process that is killed leaves behind. The daemon frees those of runs
that have ended (dagster.yaml); a lab that works by commands alone has no daemon, and two killed commands would make all
later ones wait for ever. What belongs here: freeing them. What does not: whether a process lives (`run_launcher`).
"""

from __future__ import annotations

import dagster as dg
from dagster._core.launcher import WorkerStatus  # no public name; the version is pinned exactly

from resources.run_launcher import RunLauncher


def free_slots_of_the_dead(instance: dg.DagsterInstance) -> int:
    """Free what runs hold that have ended, or whose process is gone.

    Args:
        instance: Where the runs are recorded.

    Returns:
        How many runs held something.
    """
    events = instance.event_log_storage
    held = [run_id for run_id in events.get_concurrency_run_ids() if _is_over(instance, run_id)]
    for run_id in held:
        events.free_concurrency_slots_for_run(run_id)
    return len(held)


def _is_over(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    if run is None or run.is_finished:
        return True
    launcher = instance.run_launcher
    return isinstance(launcher, RunLauncher) and launcher.check_run_worker_health(run).status is WorkerStatus.NOT_FOUND
