"""Evict one study in a Dagster run of this process, and say what came of it: what `fusion cleanup run` does.

The run goes into the same instance as the daemon's, so that it is part of the same history.
"""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg

from fusion_assets.eviction.cleaning import Outcome
from fusion_assets.eviction.gates import Gate
from fusion_assets.partitions import partition_key, studies
from fusion_assets.studies.eviction import OBSERVED, TRUENAS_EVICTED, gate_check
from fusion_assets.studies.in_process import failure_of, run_in_process
from fusion_assets.studies.tags import DESPITE_SNAPSHOTS_TAG
from resources.errors import described


class Evictor:
    """Evicts studies of one lab.

    Args:
        definitions: The code location, with the job ``evict_study``.
        instance: Where the runs are recorded.
        despite_snapshots: Whether to go on although the space of the last eviction did not come back.
        warn: Called with every warning of a running step.
    """

    def __init__(
        self,
        definitions: dg.Definitions,
        instance: dg.DagsterInstance,
        *,
        despite_snapshots: bool,
        warn: Callable[[str], None],
    ) -> None:
        self._job = definitions.resolve_job_def("evict_study")
        self._instance = instance
        self._tags = {DESPITE_SNAPSHOTS_TAG: "yes"} if despite_snapshots else {}
        self._warn = warn

    def evict(self, study: str) -> Outcome:
        """Evict one study; what is wrong with it is in the outcome.

        Args:
            study: Its name at the source.

        Raises:
            KeyboardInterrupt: It was interrupted.
        """
        try:
            self._instance.add_dynamic_partitions(str(studies.name), [partition_key(study)])
            result = run_in_process(
                self._job, self._instance, study, [TRUENAS_EVICTED], tags=self._tags, warn=self._warn
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not stop the other studies
            return Outcome(study, "failed", f"unexpected {type(error).__name__}: {described(error)}")
        return _outcome(study, result)


def _outcome(study: str, result: dg.ExecuteInProcessResult) -> Outcome:
    closed = {
        check.check_name: str(check.metadata[OBSERVED].value)
        for check in result.get_asset_check_evaluations()
        if not check.passed
    }
    if failure := failure_of(result):
        return Outcome(study, "failed", failure)
    for event in result.get_asset_materialization_events():
        metadata = event.materialization.metadata
        held = closed.get(gate_check(Gate.SPACE_RISES), "")
        left = str(metadata["left in the trash"].value)
        message = "; ".join(part for part in (held, f"left in the trash: {left}" if left != "nothing" else "") if part)
        return Outcome(study, "evicted", message, int(str(metadata["bytes"].value)), space_held=bool(held))
    return Outcome(study, "kept", "; ".join(closed.values()))
