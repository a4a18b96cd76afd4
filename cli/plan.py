"""`fusion plan`: the difference between the declared and the observed state. Looks at everything, changes nothing."""

from __future__ import annotations

import sys

import click

from cli.main import EXIT_OK
from cli.output import print_json, print_plan
from cli.run import reconciling
from cli.settings import Settings, format_option, global_options, limit_option
from fusion_assets.reconcile.observe import LabObservation
from fusion_assets.reconcile.plan import StudyPlan, summarize

EXIT_PENDING = 10


@click.command()
@limit_option
@format_option
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 10 when changes are pending.")
@global_options
def command(limit: str | None, output: str, *, detailed_exitcode: bool) -> None:
    """Show what `fusion apply` would do, and why nothing is done where nothing is."""
    settings = click.get_current_context().ensure_object(Settings)
    with reconciling(settings, as_json=output == "json") as run:
        observation = run.observe(limit)
    refuse_no_match(limit, observation)
    plans = run.plan(observation)
    summary = summarize(plans)
    if output == "json":
        print_json({"studies": [plan.to_json() for plan in plans], "summary": summary})
    else:
        print_plan(plans, summary, verbose=settings.verbose)
    sys.exit(EXIT_PENDING if detailed_exitcode and any_pending(plans) else EXIT_OK)


def any_pending(plans: tuple[StudyPlan, ...]) -> bool:
    """Whether any plan has something to do."""
    return any(plan.actions for plan in plans)


def refuse_no_match(limit: str | None, observation: LabObservation, *, named: str | None = None) -> None:
    """A limit that matches nothing is a mistake, not an empty success.

    Args:
        limit: The glob that was looked for.
        observation: What was found.
        named: The study, where one was named instead of a glob.

    Raises:
        click.UsageError: With what was asked for.
    """
    if limit is not None and not observation.studies:
        if named is not None:
            raise click.UsageError(f"there is no study {named!r} at the source or in the ledger")
        raise click.UsageError(f"--limit {limit!r} matches no study at the source or in the ledger")
