"""`fusion apply`: close the difference, study by study, oldest first, and recap."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from cli.failure_mail import failed_studies, mail_failure
from cli.main import EXIT_FAILED, EXIT_OK
from cli.output import print_json, print_plan, print_recap
from cli.plan import any_pending, refuse_no_match, warn_of_bad_lines
from cli.run import Run, reconciling
from cli.settings import Settings, format_option, global_options, limit_option
from fusion_assets.reconcile.plan import StudyPlan, Verdict, summarize
from fusion_assets.reconcile.recap import Recap, recap_to_json, total


@click.command()
@limit_option
@format_option
@click.option("--yes", is_flag=True, help="Do not ask, even in a terminal.")
@global_options
def command(limit: str | None, output: str, *, yes: bool) -> None:
    """Bring every study into its declared state, oldest first; one that fails never stops the others.

    A second run changes nothing. In a terminal the plan is shown and confirmed first; without one (cron, a scheduled
    task) it is carried out. Exit code 1 if any study failed or needs a person.
    """
    settings = click.get_current_context().ensure_object(Settings)
    with reconciling(settings, as_json=output == "json") as run:
        observation = run.observe(limit)
        refuse_no_match(limit, observation)
        plans = run.plan(observation)
        if output == "text" and any(plan.verdict is not Verdict.SETTLED for plan in plans):
            print_plan(plans, summarize(plans), verbose=settings.verbose)
            warn_of_bad_lines(observation)
            if any_pending(plans) and sys.stdin.isatty() and not yes:
                click.confirm("\nCarry out this plan?", abort=True)
        sys.exit(carry_out(run, plans, output))


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
        return EXIT_OK
    mail_failure(run.config, run.smtp_env, failed=failed_studies(plans, recaps, run.failures), recaps=recaps)
    return EXIT_FAILED


def print_end(recaps: dict[str, Recap], output: str) -> None:
    """Print the recap in the format asked for."""
    if output == "json":
        print_json(recap_to_json(recaps))
    else:
        print_recap(recaps)
