"""The recap, as Ansible prints it: one line a study, ``ok= changed= skipped= failed=``, and a total.

Pure. A step counts as *ok* when its part of the declared state was already there, *changed* when it was brought about,
*skipped* when it was not tried, *failed* when it was tried and did not succeed, or cannot succeed without a person. A
study of which something could not be observed is no success either: somebody has to hear of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fusion_assets.reconcile.conditions import Name, Status
from fusion_assets.reconcile.plan import EVICTED, Desired, Step, StudyPlan, Verdict, why_nothing

Result = Literal["ok", "changed", "skipped", "failed"]

_PROOF: Mapping[Step, Name] = {
    Step.VALIDATED: Name.VALIDATED,
    Step.TRUENAS_COPY: Name.ON_TRUENAS,
    Step.S3_ARCHIVE: Name.ON_S3,
    Step.MANIFEST_ENTRY: Name.RECORDED,
    Step.SOURCE_RELEASED: Name.SOURCE_RELEASED,
}


@dataclass(frozen=True, slots=True)
class Recap:
    """Counts of steps by result, of one study or of all."""

    ok: int = 0
    changed: int = 0
    skipped: int = 0
    failed: int = 0

    def __add__(self, other: Recap) -> Recap:
        return Recap(
            self.ok + other.ok, self.changed + other.changed, self.skipped + other.skipped, self.failed + other.failed
        )

    def to_json(self) -> dict[str, int]:
        """The fixed JSON form: ``{"ok", "changed", "skipped", "failed"}``."""
        return {"ok": self.ok, "changed": self.changed, "skipped": self.skipped, "failed": self.failed}

    def __str__(self) -> str:
        return f"ok={self.ok} changed={self.changed} skipped={self.skipped} failed={self.failed}"


@dataclass(frozen=True, slots=True)
class StepDone:
    """What came of one step of one study.

    Attributes:
        study: The study's name at the source.
        step: The step.
        result: How it is counted.
        message: What went wrong, never empty then; empty otherwise.
    """

    study: str
    step: Step
    result: Result
    message: str = ""


def recap_study(desired: Desired, plan: StudyPlan, done: Mapping[Step, Result]) -> Recap:
    """Count the steps of one study.

    Args:
        desired: The declared state; a step it does not ask for is not counted.
        plan: The last plan of the study: what is left to do, and how it stands.
        done: What came of the steps that were tried.
    """
    results = list(_results(desired, plan, done).values())
    return Recap(**{result: results.count(result) for result in ("ok", "changed", "skipped", "failed")})


def standing_failure(desired: Desired, plan: StudyPlan, done: Mapping[Step, Result]) -> StepDone | None:
    """What a study counts as failed for although no step of it was tried and failed: it needs a person, who is told.

    Args:
        desired: The declared state.
        plan: The last plan of the study.
        done: What came of the steps that were tried.
    """
    if "failed" in done.values():
        return None
    failed = [step for step, result in _results(desired, plan, done).items() if result == "failed"]
    return StepDone(plan.study, failed[0], "failed", why_nothing(plan)) if failed else None


def _results(desired: Desired, plan: StudyPlan, done: Mapping[Step, Result]) -> dict[Step, Result]:
    steps = [step for step in Step if step is not Step.SOURCE_RELEASED or desired.delete_source]
    results = {step: done.get(step) or _standing(plan, step) for step in steps}
    if plan.verdict in (Verdict.FAILED, Verdict.UNKNOWN) and "failed" not in results.values():
        results[next((step for step in steps if results[step] == "skipped"), steps[-1])] = "failed"
    return results


def _standing(plan: StudyPlan, step: Step) -> Result:
    condition = plan.observed.conditions[_PROOF[step]]
    if condition.is_true or condition.reason == EVICTED:
        return "ok"
    if condition.status is Status.FALSE and step is Step.VALIDATED:
        return "failed"
    return "skipped"


def recap_to_json(recaps: Mapping[str, Recap]) -> dict[str, Any]:
    """The fixed last line of ``fusion apply -f json``: ``{"type": "recap", "studies": {…}, "total": {…}}``."""
    return {
        "type": "recap",
        "studies": {study: recap.to_json() for study, recap in recaps.items()},
        "total": total(recaps).to_json(),
    }


def total(recaps: Mapping[str, Recap]) -> Recap:
    """The sum over all studies."""
    return sum(recaps.values(), Recap())
