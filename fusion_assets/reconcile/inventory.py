"""Which studies are not in their declared state although they should be: what a person wants to read once a day.

Pure. A study that is too young, or on which somebody works, is on its way. One that needs a person, cannot be seen,
was due long ago and was not done, or waits for what may never come, is astray.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from fusion_assets.reconcile.conditions import Name, true
from fusion_assets.reconcile.idle import HELD_OPEN, is_yet_to_come, old_enough_at
from fusion_assets.reconcile.plan import Desired, ObservedStudy, StudyPlan, Verdict, plan_study, why_nothing

# Sensors start what is due within minutes, and a queue of a day's studies is done by the next day.
_OVERDUE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Astray:
    """A study that is not in its declared state.

    Attributes:
        study: Its name at the source.
        verdict: How it stands.
        why: In a sentence.
    """

    study: str
    verdict: Verdict
    why: str


def find_astray(
    plans: Iterable[StudyPlan], desired: Desired, *, running: Collection[str], idle_days: float, now: datetime
) -> tuple[Astray, ...]:
    """The studies that are astray, in the order of the plans.

    Args:
        plans: Of all studies.
        desired: The state by which they were planned.
        running: Those on which a run works or waits to begin.
        idle_days: After how many days a study is due.
        now: The time, UTC.
    """
    return tuple(
        Astray(plan.study, plan.verdict, _why(plan, idle_days))
        for plan in plans
        if plan.study not in running and _is_astray(plan, desired, idle_days, now)
    )


def _is_astray(plan: StudyPlan, desired: Desired, idle_days: float, now: datetime) -> bool:
    if plan.verdict is Verdict.PENDING:
        return now - _due_at(plan, idle_days) > _OVERDUE
    if plan.verdict is Verdict.WAITING:
        return _may_wait_for_ever(plan.observed, idle_days, now) and not _lacks_nothing(plan.observed, desired)
    return plan.verdict in (Verdict.FAILED, Verdict.UNKNOWN)


def _may_wait_for_ever(observed: ObservedStudy, idle_days: float, now: datetime) -> bool:
    """Whether it is not age that a study waits for: a viewer left open is closed, and a date set right, by a person."""
    idle = observed.conditions[Name.IDLE]
    if idle.is_true:
        return False
    if idle.reason == HELD_OPEN:
        return now - old_enough_at(observed.newest_mtime_ns, idle_days) > _OVERDUE
    return is_yet_to_come(observed.newest_mtime_ns, now)


def _lacks_nothing(observed: ObservedStudy, desired: Desired) -> bool:
    """Whether it is as declared but for a program that holds it: anybody may look at what is archived and stays."""
    at_rest = {**observed.conditions, Name.IDLE: true("Idle")}
    return plan_study(desired, replace(observed, conditions=at_rest)).verdict is Verdict.SETTLED


def _due_at(plan: StudyPlan, idle_days: float) -> datetime:
    return old_enough_at(plan.observed.newest_mtime_ns, idle_days)


def _why(plan: StudyPlan, idle_days: float) -> str:
    if plan.verdict is Verdict.PENDING:
        lacks = f"still lacks {', '.join(plan.actions)}"
        has_left = plan.observed.newest_mtime_ns == 0
        return lacks if has_left else f"was due on {_due_at(plan, idle_days):%Y-%m-%d}, and {lacks}"
    if plan.observed.conditions[Name.IDLE].reason == HELD_OPEN and plan.verdict is Verdict.WAITING:
        return f"was due on {_due_at(plan, idle_days):%Y-%m-%d}, but {why_nothing(plan)}"
    return why_nothing(plan)
