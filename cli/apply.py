"""`fusion apply`: close the difference, study by study, oldest first, and recap."""

from __future__ import annotations

import glob
import sys
from collections.abc import Sequence

import click

from cli.failure_mail import failed_studies, mail_failure, send_waiting
from cli.main import EXIT_FAILED, EXIT_OK
from cli.output import print_json, print_plan, print_recap
from cli.plan import any_pending, refuse_no_match
from cli.run import Run, reconciling
from cli.settings import Settings, format_option, global_options, limit_option
from fusion_assets.reconcile.accepting import accept_changes
from fusion_assets.reconcile.conditions import Name
from fusion_assets.reconcile.holding import locked
from fusion_assets.reconcile.observe import LabObservation
from fusion_assets.reconcile.plan import SOURCE_CHANGED, StudyPlan, Verdict, summarize
from fusion_assets.reconcile.recap import Recap, recap_to_json, total


@click.command()
@limit_option
@format_option
@click.option("--yes", is_flag=True, help="Do not ask, even in a terminal.")
@click.option(
    "--accept-changes",
    "accepted",
    metavar="STUDY",
    help="Work on STUDY alone, and let files of it that changed at the source replace what was proven of them.",
)
@global_options
def command(limit: str | None, output: str, *, yes: bool, accepted: str | None) -> None:
    """Bring every study into its declared state, oldest first; one that fails never stops the others.

    A second run changes nothing. In a terminal the plan is shown and confirmed first; without one (cron, a scheduled
    task) it is carried out. Exit code 1 if any study failed or needs a person.
    """
    settings = click.get_current_context().ensure_object(Settings)
    if accepted is not None:
        if limit is not None:
            raise click.UsageError("--accept-changes names its study; --limit cannot be given, too")
        limit = glob.escape(accepted)
    ask = sys.stdin.isatty() and not yes
    with reconciling(settings, as_json=output == "json") as run:
        observation = run.observe(limit)
        refuse_no_match(limit, observation, named=accepted)
        if accepted is not None:
            _accept(run, observation, accepted, ask=ask)
            observation = run.observe(limit)
        plans = run.plan(observation)
        if output == "text" and any(plan.verdict is not Verdict.SETTLED for plan in plans):
            print_plan(plans, summarize(plans), verbose=settings.verbose)
            if any_pending(plans) and ask:
                click.confirm("\nCarry out this plan?", abort=True)
        sys.exit(carry_out(run, plans, output))


def _accept(run: Run, observation: LabObservation, study: str, *, ask: bool) -> None:
    """Write down that the changes of one study are right, if that is what it is waiting for.

    Raises:
        click.UsageError: It is not.
    """
    found = [one for one in observation.studies if one.run_name == study]
    changed = [one for one in found if one.conditions[Name.VALIDATED].reason == SOURCE_CHANGED]
    if not changed:
        raise click.UsageError(f"no proven file of {study!r} changed at the source: there is nothing to accept")
    if ask:
        click.echo(f"{study}: {changed[0].conditions[Name.VALIDATED].message}")
        click.confirm("Replace what was proven, on the NAS and in S3?", abort=True)
    with locked(run.lab, study):
        accept_changes(run.lab, study, changed[0].fingerprint)


def carry_out(run: Run, plans: Sequence[StudyPlan], output: str) -> int:
    """Apply plans and print the recap.

    Args:
        run: The open lab.
        plans: What to do.
        output: ``text`` or ``json``.

    Returns:
        The exit code.
    """
    recaps = run.apply(plans)
    print_end(recaps, output)
    if not total(recaps).failed:
        send_waiting(run.config, run.smtp_env)
        return EXIT_OK
    mail_failure(run.config, run.smtp_env, failed=failed_studies(plans, recaps, run.failures), recaps=recaps)
    return EXIT_FAILED


def print_end(recaps: dict[str, Recap], output: str) -> None:
    """Print the recap in the format asked for."""
    if output == "json":
        print_json(recap_to_json(recaps))
    else:
        print_recap(recaps)
