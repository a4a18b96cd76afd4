"""`fusion explain STUDY`: each condition of a study as observed now, what comes next, what the daemon decided."""

from __future__ import annotations

import glob
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from cli.output import print_json, print_plan
from cli.plan import refuse_no_match
from cli.run import reconciling
from cli.settings import Settings, format_option, global_options
from fusion_assets.notify.letter import counted
from fusion_assets.reconcile.conditions import Name, Unseen
from fusion_assets.reconcile.decisions import Decision, load_decisions
from fusion_assets.reconcile.plan import BREAKS_STANDARD, KNOWN_INVALID, StudyPlan, summarize
from fusion_assets.reconcile.steps import validate
from fusion_assets.reconcile.surroundings import attempt

if TYPE_CHECKING:
    from fusion_assets.manifest.record import Record
    from fusion_assets.reconcile.lab import Lab


@click.command()
@click.argument("study")
@format_option
@global_options
def command(study: str, output: str) -> None:
    """Show why a study is where it is: every condition as observed now, what comes next, and what keeps it waiting.

    STUDY is its name at the source, or at the destinations. `fusion status STUDY` is the same.
    """
    explain(click.get_current_context().ensure_object(Settings), study, output)


def explain(settings: Settings, study: str, output: str) -> None:
    """Look at one study, and print all that is known of it.

    Args:
        settings: The global options.
        study: Its name at the source, or at the destinations.
        output: ``text`` or ``json``.

    Raises:
        click.UsageError: There is no such study.
    """
    limit = glob.escape(study)
    with reconciling(settings, as_json=output == "json") as run:
        observation = run.observe(limit)
        plans = run.plan(observation)
        problems = {plan.study: _problems(run.lab, plan) for plan in plans}
    refuse_no_match(limit, observation, named=study)
    decisions = load_decisions(run.folder)
    for plan in plans:
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
            _print(plan, decisions.get(plan.study), history, problems[plan.study])


def _problems(lab: Lab, plan: StudyPlan) -> tuple[str, ...]:
    """All that is wrong with an invalid study; its condition says the first, and counts the others."""
    if plan.observed.conditions[Name.VALIDATED].reason not in (BREAKS_STANDARD, KNOWN_INVALID):
        return ()
    found = attempt(lambda: validate(lab, plan.study).problems)
    return (f"not all can be told: {found.why}",) if isinstance(found, Unseen) else found


def _print(plan: StudyPlan, decision: Decision | None, history: tuple[Record, ...], problems: tuple[str, ...]) -> None:
    print_plan([plan], summarize([plan]), verbose=True)
    for problem in problems:
        click.echo(f"invalid: {problem}")
    if plan.observed.backup_name != plan.study:
        click.echo(f"called {plan.observed.backup_name} at the destinations")
    if decision is None:
        click.echo("daemon: no sensor has decided anything about it, or there was nothing to decide")
    else:
        verb = "started" if decision.started else "held back"
        click.echo(f"daemon: {verb} since {decision.at}: {decision.why}")
    # What was added by a record may be in fields that are not shown: such lines would only be repeated.
    for line in [line for line, _ in groupby(history, _ledger_line)][-5:]:
        click.echo(line)


def _ledger_line(record: Record) -> str:
    times = [time for time in (record.source_deleted_at, record.completed_at, record.started_at) if time]
    when = f"{times[0]:%Y-%m-%d %H:%M} UTC" if times else "at an unknown time"
    files = counted(record.file_count, "file")
    return f"ledger: {record.status.value}, {files}, {record.total_bytes:,} bytes, {when}"


def _decision_to_json(decision: Decision | None) -> dict[str, Any] | None:
    return {"at": decision.at, "started": decision.started, "why": decision.why} if decision else None
