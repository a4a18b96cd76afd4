"""`fusion backup run`: apply, restricted to the idle studies at the source; what the monthly task calls."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import timedelta

import click

from cli.apply import carry_out
from cli.failure_mail import mail_failure
from cli.main import EXIT_FAILED, EXIT_OK
from cli.output import print_json, print_plan
from cli.plan import refuse_no_match
from cli.run import Run, reconciling
from cli.settings import Settings, format_option, global_options, limit_option
from fusion_assets.config import ConfigError
from fusion_assets.hooks import HookError, run_hook
from fusion_assets.notify.log_mail import install_log_mail
from fusion_assets.reconcile.conditions import Name
from fusion_assets.reconcile.holding import locks_in_the_way
from fusion_assets.reconcile.idle import NOT_SETTLED, Memory
from fusion_assets.reconcile.lab import Lab, check_places, source_studies, trashed_studies
from fusion_assets.reconcile.plan import StudyPlan, Verdict, summarize, why_nothing
from resources.errors import ResourceError, described


@click.group()
def command() -> None:
    """Archive studies."""


@command.command(short_help="Archive every idle study at the source.")
@limit_option
@format_option
@click.option("--dry-run", is_flag=True, help="Show what would be done; change nothing. The hook is run.")
@global_options
def run(limit: str | None, output: str, *, dry_run: bool) -> None:
    """Archive every idle study at the source, oldest first, and finish releases that were broken off.

    A study is idle when it looked the same in two observations (`backup.settle_minutes` apart), its newest file is
    older than `backup.idle_days`, and no file of it is held open. A lock left by a crash stops the run with exit
    code 1 before anything is touched: see `fusion unlock`.

    A command configured as `backup` in [hooks] is run first, e.g. to mount a share; if it fails, nothing is started.
    A dry run needs the share as well and runs it, too; it sends no mail, takes no lock, and writes nothing to the
    source, the NAS, S3, the ledger or Dagster's history.
    """
    settings = click.get_current_context().ensure_object(Settings)
    config = settings.load()
    if not dry_run:
        install_log_mail(config, smtp_env=settings.smtp_env, all_at_exit=True)
    try:
        run_hook(config.hooks.backup, quiet=output == "json")
        with reconciling(settings, as_json=output == "json") as opened:
            refuse_locks(opened.lab)
            code = _backup(opened, limit, output, dry_run=dry_run, verbose=settings.verbose)
    except click.ClickException:
        raise  # what was typed is wrong, and who typed it reads that
    except Exception as error:
        if not dry_run:
            known = isinstance(error, RefusedError | HookError | ConfigError | ResourceError)
            trouble = described(error) if known else f"unexpected {type(error).__name__}: {described(error)}"
            mail_failure(config, settings.smtp_env, trouble=trouble)
        if not isinstance(error, RefusedError | HookError):
            raise
        click.echo(click.style(str(error), fg="red"), err=True)
        code = EXIT_FAILED
    sys.exit(code)


class RefusedError(Exception):
    """The run must not start; nothing was touched."""


def _backup(opened: Run, limit: str | None, output: str, *, dry_run: bool, verbose: bool) -> int:
    observation = opened.observe(limit)
    refuse_no_match(limit, observation)
    plans = tuple(plan for plan in opened.plan(observation) if plan.observed.at_host)
    eligible = tuple(plan for plan in plans if plan.verdict is not Verdict.WAITING)
    _tell_of_second_look(plans, observation.memory, opened.config.backup.settle_minutes)
    not_idle = {plan.study: why_nothing(plan) for plan in plans if plan.verdict is Verdict.WAITING}
    for study, why in not_idle.items():
        if output == "text":
            click.echo(f"not idle: {study}: {why}")
        elif not dry_run:
            print_json({"type": "not_idle", "study": study, "message": why})
    if not dry_run:
        return carry_out(opened, eligible, output)
    summary = summarize(eligible)
    if output == "json":
        print_json({"studies": [plan.to_json() for plan in eligible], "summary": summary, "not_idle": not_idle})
    else:
        print_plan(eligible, summary, verbose=verbose)
    return EXIT_OK


def _tell_of_second_look(plans: Sequence[StudyPlan], memory: Memory, settle_minutes: float) -> None:
    """Say until when studies wait for their second look: by the calendar alone, it may be a month away."""
    waiting = [plan.study for plan in plans if plan.observed.conditions[Name.IDLE].reason == NOT_SETTLED]
    if not waiting:
        return
    until = max(memory[study].since for study in waiting) + timedelta(minutes=settle_minutes)
    click.echo(
        f"{len(waiting)} of {len(plans)} studies wait for their second look: run this again after "
        f"{until:%Y-%m-%d %H:%M} UTC; a dry run some time before is a first look, too",
        err=True,
    )


def refuse_locks(lab: Lab) -> None:
    """Refuse to start while any study at the source or in its trash, or the backup of one, is locked.

    Args:
        lab: The lab.

    Raises:
        RefusedError: With whose locks they are, and what to type.
    """
    locks = locks_in_the_way(lab, {*source_studies(check_places(lab)), *trashed_studies(lab)})
    if locks:
        raise RefusedError("\n".join([*(str(lock) for lock in locks), "nothing was touched"]))
