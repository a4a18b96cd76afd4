"""Carry out plans: each study's steps as a Dagster run in this process, then another look, until all is done.

The runs go into the same instance as the daemon's, so that they are part of the same history. One study that fails
never stops the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import dagster as dg

from fusion_assets.partitions import partition_key, studies
from fusion_assets.reconcile.holding import locked
from fusion_assets.reconcile.idle import Memory
from fusion_assets.reconcile.lab import Lab
from fusion_assets.reconcile.observe import observe_study
from fusion_assets.reconcile.plan import Desired, Step, StudyPlan, Verdict, plan_study
from fusion_assets.reconcile.recap import Recap, Result, StepDone, recap_study, standing_failure
from fusion_assets.studies.in_process import failure_of, run_in_process
from fusion_assets.studies.report import CHANGED
from fusion_assets.studies.tags import FINGERPRINT_TAG, IDLE_SINCE_TAG
from resources.errors import ResourceError, described

# Copy and record, then release; a third round would only repeat what did not help.
_MAX_ROUNDS = 3


class Applier:
    """Runs plans against one lab.

    Args:
        definitions: The code location, with the job ``archive_study``.
        instance: Where the runs are recorded.
        lab: The lab, for looking again after each run.
        memory: What was remembered of earlier observations.
        tell: Called with every step that was done or failed, as it happens.
        warn: Called with every warning of a running step, e.g. that it waits for a server to come back.
    """

    def __init__(
        self,
        definitions: dg.Definitions,
        instance: dg.DagsterInstance,
        lab: Lab,
        memory: Memory,
        *,
        tell: Callable[[StepDone], None],
        warn: Callable[[str], None],
    ) -> None:
        self._job = definitions.resolve_job_def("archive_study")
        self._instance = instance
        self._lab = lab
        self._memory = memory
        self._desired = Desired(lab.config.backup.delete_source)
        self._tell = tell
        self._warn = warn

    def apply(self, plans: Sequence[StudyPlan]) -> dict[str, Recap]:
        """Carry out plans, in their order.

        Args:
            plans: From `fusion_assets.reconcile.plan.plan_studies`; those without actions are only counted.

        Returns:
            The recap of every study.
        """
        # A study that is only in the trash or on the NAS has work left, too, and a new Dagster does not know it yet.
        new = [partition_key(plan.study) for plan in plans if plan.observed.at_source or plan.actions]
        if new:
            self._instance.add_dynamic_partitions(str(studies.name), new)
        return {plan.study: self._apply_study(plan) for plan in plans}

    def _apply_study(self, plan: StudyPlan) -> Recap:
        done: dict[Step, Result] = {}
        if plan.actions:
            try:
                # Over all steps and rounds: nobody may step in between two of them.
                with locked(self._lab, plan.study, backup=plan.actions != (Step.VALIDATED,)):
                    plan = self._close_difference(self._still_due(plan), done)
            except ResourceError as error:
                self._failed(plan, done, described(error))
        if failure := standing_failure(self._desired, plan, done):
            self._tell(failure)
        return recap_study(self._desired, plan, done)

    def _close_difference(self, plan: StudyPlan, done: dict[Step, Result]) -> StudyPlan:
        for _ in range(_MAX_ROUNDS):
            if not plan.actions or "failed" in done.values():
                break
            tried = plan.actions
            try:
                done |= self._run(plan)
                plan = self._plan_again(plan)
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not stop the other studies
                self._failed(plan, done, f"unexpected {type(error).__name__}: {described(error)}")
                break
            if plan.actions == tried and "failed" not in done.values():
                self._failed(plan, done, "the step succeeded, but the study is not in its declared state")
        return plan

    def _still_due(self, plan: StudyPlan) -> StudyPlan:
        """The plan as it is by now: the studies before may have taken days, beside a daemon that works, too.

        Where a place does not answer at this moment it stays as it was: the steps look again themselves, and wait.
        """
        try:
            by_now = self._plan_again(plan)
        except ResourceError:
            return plan
        return plan if by_now.verdict is Verdict.UNKNOWN else by_now

    def _plan_again(self, plan: StudyPlan) -> StudyPlan:
        return plan_study(self._desired, observe_study(self._lab, plan.study, self._memory))

    def _failed(self, plan: StudyPlan, done: dict[Step, Result], message: str) -> None:
        step = (*plan.actions, *done)[0]  # nothing is left to do when all went well but leaving the lock
        self._tell(StepDone(plan.study, step, "failed", message))
        done[step] = "failed"

    def _run(self, plan: StudyPlan) -> dict[Step, Result]:
        assets = [step.value for step in plan.actions]
        result = run_in_process(self._job, self._instance, plan.study, assets, tags=self._tags(plan), warn=self._warn)
        done = {step: _result_of(result, step) for step in plan.actions}
        failure = failure_of(result)
        # Of a run that failed, one step did: the first that made nothing, or, where a check failed after it, the last.
        broken = next((step for step in plan.actions if done[step] == "skipped"), plan.actions[-1]) if failure else None
        for step in plan.actions:
            if step is broken:
                done[step] = "failed"
                self._tell(StepDone(plan.study, step, "failed", failure or ""))
            elif done[step] != "skipped":
                self._tell(StepDone(plan.study, step, done[step]))
        return {step: found for step, found in done.items() if found != "skipped"}

    def _tags(self, plan: StudyPlan) -> dict[str, str]:
        seen = self._memory.get(plan.study)
        return {IDLE_SINCE_TAG: seen.since.isoformat(), FINGERPRINT_TAG: seen.fingerprint} if seen else {}


def _result_of(result: dg.ExecuteInProcessResult, step: Step) -> Result:
    for event in result.get_asset_materialization_events():
        if event.asset_key == dg.AssetKey(step.value):
            changed = event.materialization.metadata.get(CHANGED)
            return "changed" if changed is not None and changed.value else "ok"
    return "skipped"
