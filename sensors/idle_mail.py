"""What the sensor of idle studies tells people: that it sees nothing, and which studies no run can bring forward.

What belongs here: causes, how each stands, and when it is over. What does not: the words (`notify`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from fusion_assets.config import Config, Event
from fusion_assets.notify.backup import BackupFailure, FailedStudy, backup_failure_message
from fusion_assets.notify.mailbox import Mailbox
from fusion_assets.notify.origin import here
from fusion_assets.notify.outages import LeftLock, left_locks_message, unseen_lab_message
from fusion_assets.reconcile.conditions import Name, Status
from fusion_assets.reconcile.judge import STALE_LOCK
from fusion_assets.reconcile.plan import KNOWN_INVALID, LOCKED, StudyPlan, Verdict, why_nothing
from fusion_assets.reconcile.whereabouts import whereabouts
from sensors.outages import tell_of_outage

_BLIND = "lab:unseen"
_STUCK = "study:"
_LOCK = "lock:"
# Whether it is idle is not told: what waits for a person stands the same before and after it has settled.
_TOLD = tuple(name for name in Name if name is not Name.IDLE)


def tell_of_blindness(config: Config, mailbox: Mailbox, why: str, *, since: datetime, now: datetime) -> None:
    """Tell that the lab could not be looked at for long: once, until it could be again.

    Args:
        config: The lab.
        mailbox: Its mailbox.
        why: What happened.
        since: Since when.
        now: The time, UTC.
    """
    tell_of_outage(
        mailbox,
        Event.BACKUP_FAILURE,
        _BLIND,
        lambda: unseen_lab_message(why, since=since, origin=here(config, now)),
        lasted=now - since,
    )


def stuck_causes(study: str) -> tuple[str, ...]:
    """The causes by which people are told that a study waits for a person.

    Args:
        study: Its name at the source.
    """
    return f"{_LOCK}{study}", f"{_STUCK}{study}"


def tell_of_stuck(config: Config, mailbox: Mailbox, plans: Iterable[StudyPlan], now: datetime) -> None:
    """Tell of studies that wait for a person and of which no failed run tells: once, until they stand differently.

    Args:
        config: The lab.
        mailbox: Its mailbox.
        plans: Of the studies that were looked at.
        now: The time, UTC.
    """
    mailbox.settle([_BLIND])
    plans = tuple(plans)
    locked = {f"{_LOCK}{plan.study}": plan for plan in plans if _lock_is_left(plan)}
    stuck = {f"{_STUCK}{plan.study}": plan for plan in plans if _is_stuck(plan)}
    mailbox.settle(f"{_LOCK}{plan.study}" for plan in plans if _lock_is_gone(plan))
    mailbox.settle(f"{_STUCK}{plan.study}" for plan in plans if _is_no_longer_stuck(plan))
    mailbox.post(
        Event.BACKUP_FAILURE,
        {cause: plan.observed.conditions[Name.UNLOCKED].reason for cause, plan in locked.items()},
        lambda new: left_locks_message([_left_lock(locked[cause]) for cause in new], here(config, now)),
    )
    mailbox.post(
        Event.BACKUP_FAILURE,
        {cause: _standing(plan) for cause, plan in stuck.items()},
        lambda new: backup_failure_message(
            BackupFailure(tuple(_failed(stuck[cause]) for cause in new), stuck=True), here(config, now)
        ),
    )


def _left_lock(plan: StudyPlan) -> LeftLock:
    unlocked = plan.observed.conditions[Name.UNLOCKED]
    return LeftLock(plan.study, unlocked.message, is_gone=unlocked.reason == STALE_LOCK)


def _lock_is_left(plan: StudyPlan) -> bool:
    """Whether it may stay locked for ever, as far as can be seen: of others the plan says that somebody is at work."""
    unlocked = plan.observed.conditions[Name.UNLOCKED]
    return unlocked.status is Status.FALSE and unlocked.reason != LOCKED


def _lock_is_gone(plan: StudyPlan) -> bool:
    """Also where somebody else is at work by now; but not where locks could not be seen."""
    unlocked = plan.observed.conditions[Name.UNLOCKED]
    return unlocked.is_true or unlocked.reason == LOCKED


def _is_stuck(plan: StudyPlan) -> bool:
    """Whether a person has to look, as far as all of it could be seen: else it would stand differently at each blip."""
    seen = all(plan.observed.conditions[name].status is not Status.UNKNOWN for name in _TOLD)
    return plan.verdict is Verdict.FAILED and seen and not _told_by_run(plan) and not _lock_is_left(plan)


def _is_no_longer_stuck(plan: StudyPlan) -> bool:
    """Whether that was seen: one that is locked for a moment, or cannot be seen, stands as it did."""
    return plan.verdict in (Verdict.SETTLED, Verdict.PENDING) or _told_by_run(plan)


def _told_by_run(plan: StudyPlan) -> bool:
    """Whether it was validated once, by a run that failed."""
    return plan.observed.conditions[Name.VALIDATED].reason == KNOWN_INVALID


def _standing(plan: StudyPlan) -> str:
    """How a study stands, without what changes by itself: the age of a lock, or whether it has settled meanwhile."""
    conditions = plan.observed.conditions
    unmet = [f"{name}={conditions[name].reason}" for name in _TOLD if not conditions[name].is_true]
    return " ".join([plan.observed.fingerprint, *unmet])


def _failed(plan: StudyPlan) -> FailedStudy:
    return FailedStudy(plan.study, why_nothing(plan), away=whereabouts(plan.observed))
