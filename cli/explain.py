"""`fusion explain STUDY`: each condition of a study as observed now, what comes next, what the daemon decided."""

from __future__ import annotations

import glob
from typing import TYPE_CHECKING, Any

import click

from cli.output import print_json, print_plan
from cli.plan import refuse_no_match
from cli.run import reconciling
from cli.settings import Settings, format_option, global_options
from fusion_assets.reconcile.decisions import Decision, load_decisions
from fusion_assets.reconcile.plan import StudyPlan, summarize

if TYPE_CHECKING:
    from fusion_assets.manifest.record import Record


@click.command()
@click.argument("study")
@format_option
@global_options
def command(study: str, output: str) -> None:
    """Show why a study is where it is: every condition as observed now, what comes next, and what keeps it waiting.

    STUDY is its name at the source, or at the destinations.
    """
    settings = click.get_current_context().ensure_object(Settings)
    limit = glob.escape(study)
    with reconciling(settings, as_json=output == "json") as run:
        observation = run.observe(limit)
    refuse_no_match(limit, observation, named=study)
    decisions = load_decisions(run.folder)
    for plan in run.plan(observation):
        history = observation.ledger.history(plan.observed.backup_name)
        if output == "json":
            print_json(
                {
                    **plan.to_json(),
                    "decision": _decision_to_json(decisions.get(plan.study)),
                    "history": [record.to_fields() for record in history],
                }
            )
        else:
            _print(plan, decisions.get(plan.study), history)


def _print(plan: StudyPlan, decision: Decision | None, history: tuple[Record, ...]) -> None:
    print_plan([plan], summarize([plan]), verbose=True)
    if plan.observed.backup_name != plan.study:
        click.echo(f"called {plan.observed.backup_name} at the destinations")
    if decision is None:
        click.echo("daemon: no sensor has decided anything about it, or there was nothing to decide")
    else:
        verb = "started" if decision.started else "held back"
        click.echo(f"daemon: {verb} since {decision.at}: {decision.why}")
    for record in history[-5:]:
        times = [time for time in (record.source_deleted_at, record.completed_at, record.started_at) if time]
        when = f"{times[0]:%Y-%m-%d %H:%M} UTC" if times else "at an unknown time"
        click.echo(f"ledger: {record.status.value}, {record.file_count} files, {record.total_bytes:,} bytes, {when}")


def _decision_to_json(decision: Decision | None) -> dict[str, Any] | None:
    return {"at": decision.at, "started": decision.started, "why": decision.why} if decision else None
