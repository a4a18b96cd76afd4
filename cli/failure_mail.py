"""The mails that commands send: that a run failed, and what waits from before; and what they print about that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from fusion_assets.config import Config
from fusion_assets.notify.backup import BackupFailure, FailedStudy, backup_failure_message
from fusion_assets.notify.letter import Message
from fusion_assets.notify.mailbox import Mailbox
from fusion_assets.notify.origin import here
from fusion_assets.notify.recipients import Event
from fusion_assets.reconcile.conditions import Name, Status
from fusion_assets.reconcile.plan import StudyPlan, Verdict, why_nothing
from fusion_assets.reconcile.recap import Recap, total
from fusion_assets.reconcile.whereabouts import whereabouts


def failed_studies(
    plans: Sequence[StudyPlan], recaps: Mapping[str, Recap], reasons: Mapping[str, str]
) -> tuple[FailedStudy, ...]:
    """The studies a run failed on, each with why.

    Args:
        plans: What was planned.
        recaps: What came of it.
        reasons: Why a step failed, by study; a study without one stands as its plan says.
    """
    return tuple(
        FailedStudy(
            plan.study,
            reasons.get(plan.study) or why_nothing(plan),
            locked=plan.observed.conditions[Name.UNLOCKED].status is Status.FALSE and plan.verdict is Verdict.FAILED,
            away=whereabouts(plan.observed),
        )
        for plan in plans
        if recaps[plan.study].failed
    )


def mail_failure(
    config: Config,
    smtp_env: Path | None,
    *,
    failed: tuple[FailedStudy, ...] = (),
    recaps: Mapping[str, Recap] | None = None,
    trouble: str = "",
) -> None:
    """Mail a failed run; a mail that cannot be sent never changes how the run ends.

    Args:
        config: The lab.
        smtp_env: The dotenv file named on the command line.
        failed: The studies that failed.
        recaps: What came of the run.
        trouble: Why the run could not be made at all.
    """
    failure = BackupFailure(failed, str(total(recaps)) if recaps else "", trouble)
    message = backup_failure_message(failure, here(config, datetime.now(UTC)))
    send_mail(config, smtp_env, Event.BACKUP_FAILURE, message)


def send_mail(config: Config, smtp_env: Path | None, event: Event, message: Message) -> None:
    """Mail how a person's command ended, each time it does, with what else waits; and say what came of it.

    Args:
        config: The lab.
        smtp_env: The dotenv file named on the command line.
        event: What happened.
        message: What to say of it.
    """
    if not config.notify.enabled:
        return
    posted = Mailbox(config, smtp_env=smtp_env).send(event, message)
    for sentence in (str(posted), *posted.problems):
        click.echo(sentence, err=True)


def send_waiting(config: Config, smtp_env: Path | None) -> None:
    """Send what an earlier command could not: without a daemon, nothing else would.

    Args:
        config: The lab.
        smtp_env: The dotenv file named on the command line.
    """
    if not config.notify.enabled:
        return
    delivered = Mailbox(config, smtp_env=smtp_env).deliver(at_once=True)
    for subject in delivered.sent:
        click.echo(f"a mail that waited was sent: {subject}", err=True)
    if delivered.waiting:
        click.echo(f"mails that wait: {delivered.waiting}: {delivered.sentence}", err=True)
    for problem in delivered.problems:
        click.echo(problem, err=True)
