"""What the sensor of idle studies tells people: that it sees nothing, and which studies no run can bring forward.

What belongs here: causes, how each stands, and when it is over. What does not: the words (`notify`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from fusion_assets.config import Config, Event
from fusion_assets.notify.backup import BackupFailure, FailedStudy, backup_failure_message
from fusion_assets.notify.mailbox import Mailbox
from fusion_assets.notify.origin import here
from fusion_assets.notify.outages import LeftLock, left_locks_message, unseen_lab_message
from fusion_assets.reconcile.conditions import Name, Status
from fusion_assets.reconcile.plan import KNOWN_INVALID, LOCKED, StudyPlan, Verdict, why_nothing

# An instrument that is switched off overnight is nothing to mail about; a share that stays away is.
BLIND_AFTER = timedelta(hours=1)
_BLIND = "lab:unseen"
_STUCK = "study:"
_LOCK = "lock:"


def tell_of_blindness(config: Config, mailbox: Mailbox, why: str, *, since: datetime, now: datetime) -> None:
    """Tell that the lab could not be looked at for long: once, until it could be again.

    Args:
        config: The lab.
        mailbox: Its mailbox.
        why: What happened.
        since: Since when.
        now: The time, UTC.
    """
    if now - since < BLIND_AFTER:
        return
    mailbox.post(
        Event.BACKUP_FAILURE,
        {_BLIND: ""},  # one outage is one cause, however its error is worded at each tick
        lambda _: unseen_lab_message(why, since=since, origin=here(config, now)),
    )


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
    over = {cause for plan in plans for cause in (f"{_LOCK}{plan.study}", f"{_STUCK}{plan.study}")}
    mailbox.settle(over - locked.keys() - stuck.keys())
    mailbox.post(
        Event.BACKUP_FAILURE,
        {cause: _standing(plan) for cause, plan in locked.items()},
        lambda new: left_locks_message(
            [LeftLock(locked[cause].study, why_nothing(locked[cause])) for cause in new], here(config, now)
        ),
    )
    mailbox.post(
        Event.BACKUP_FAILURE,
        {cause: _standing(plan) for cause, plan in stuck.items()},
        lambda new: backup_failure_message(
            BackupFailure(tuple(_failed(stuck[cause]) for cause in new), by_daemon=True), here(config, now)
        ),
    )


def _lock_is_left(plan: StudyPlan) -> bool:
    """Whether the owner of its lock is gone: of a living one the plan only says that somebody is at work."""
    unlocked = plan.observed.conditions[Name.UNLOCKED]
    return unlocked.status is Status.FALSE and unlocked.reason != LOCKED


def _is_stuck(plan: StudyPlan) -> bool:
    told_by_run = (
        plan.observed.conditions[Name.VALIDATED].reason == KNOWN_INVALID
    )  # validated once, by a run that failed
    return plan.verdict is Verdict.FAILED and not told_by_run and not _lock_is_left(plan)


def _standing(plan: StudyPlan) -> str:
    """How a study stands, without what changes by itself: the age of a lock, or whether it has settled meanwhile."""
    conditions = plan.observed.conditions
    told = [name for name in Name if name is not Name.IDLE]
    unmet = [f"{name}={conditions[name].reason}" for name in told if not conditions[name].is_true]
    return " ".join([plan.observed.fingerprint, *unmet])


def _failed(plan: StudyPlan) -> FailedStudy:
    return FailedStudy(plan.study, why_nothing(plan))
