"""The mail that a failed `backup run` or `apply` sends, and the sentence it prints about that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from fusion_assets.config import Config
from fusion_assets.notify.messages import BackupFailure, FailedStudy, backup_failure_message
from fusion_assets.notify.recipients import Event
from fusion_assets.notify.send import NotSent, Reason, notify
from fusion_assets.reconcile.conditions import Name, Status
from fusion_assets.reconcile.plan import StudyPlan, Verdict, why_nothing
from fusion_assets.reconcile.recap import Recap, total
from resources.process import this_host


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
    failure = BackupFailure(
        this_host(),
        datetime.now(UTC).astimezone(),
        config.path,
        failed,
        str(total(recaps)) if recaps else "",
        trouble,
    )
    result = notify(config, Event.BACKUP_FAILURE, backup_failure_message(failure), smtp_env=smtp_env)
    if isinstance(result, NotSent) and result.reason is Reason.DISABLED:
        return
    for sentence in (str(result), *result.problems):
        click.echo(sentence, err=True)
