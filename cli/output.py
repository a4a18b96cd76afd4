"""How the command line shows plans, recaps and progress to a person; what programs get is JSON made by the domain."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from fusion_assets.manifest.fold import BadLine
from fusion_assets.notify.letter import counted
from fusion_assets.reconcile.conditions import Name, Status
from fusion_assets.reconcile.plan import StudyPlan, Verdict, why_nothing
from fusion_assets.reconcile.recap import Recap, total

if TYPE_CHECKING:
    from rich.progress import Progress

_COLOURS = {
    Verdict.SETTLED: "green",
    Verdict.PENDING: "yellow",
    Verdict.WAITING: "cyan",
    Verdict.FAILED: "red",
    Verdict.UNKNOWN: "magenta",
}


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON document on one line, flushed, so that a reader of a pipe sees it at once."""
    click.echo(json.dumps(value, ensure_ascii=False))
    sys.stdout.flush()


def warn_of_bad_lines(bad_lines: Iterable[BadLine]) -> None:
    """Say which lines of the ledger cannot be read, whatever else is asked for; they are kept as they are.

    Args:
        bad_lines: Of the ledger as it was just read.
    """
    for bad in bad_lines:
        click.echo(click.style(f"ledger: {bad}", fg="yellow"), err=True)


def print_plan(plans: Sequence[StudyPlan], summary: Mapping[str, Any], *, verbose: bool) -> None:
    """A plan for a person: one line a study, what would be done or why nothing is, and the counts.

    Args:
        plans: The plans, in the order in which they would be carried out.
        summary: What `fusion_assets.reconcile.plan.summarize` says of them.
        verbose: Show every condition of every study.
    """
    width = max((len(plan.study) for plan in plans), default=0)
    for plan in plans:
        mark = click.style(f"{plan.verdict.value:<8}", fg=_COLOURS[plan.verdict])
        click.echo(f"{plan.study:<{width}}  {mark} {_what(plan)}")
        if verbose:
            for name in Name:
                condition = plan.observed.conditions[name]
                why = [condition.reason] if condition.reason != name.value else []  # "Unlocked True Unlocked"
                said = " ".join([*why, condition.message]).rstrip()
                click.echo(f"    {name.value:<15} {condition.status.value:<8} {said}".rstrip())
    counts = ", ".join(f"{summary[verdict.value]} {verdict.value}" for verdict in Verdict if summary[verdict.value])
    click.echo(f"\nPlan: {counted(summary['studies'], 'study', 'studies')}: {counts or 'none'}.")


def _what(plan: StudyPlan) -> str:
    validated = plan.observed.conditions[Name.VALIDATED]
    if not plan.actions:
        return why_nothing(plan)
    steps = " -> ".join(action.value for action in plan.actions)
    # Validating writes down what is wrong already: nobody has to wait for that to read it.
    return f"{steps}: {validated.message}" if validated.status is Status.FALSE else steps


def print_recap(recaps: Mapping[str, Recap]) -> None:
    """The recap for a person, as Ansible prints it.

    Args:
        recaps: Counts by study, in the order to be shown.
    """
    click.echo(click.style("\nRECAP", bold=True))
    width = max((len(study) for study in (*recaps, "total")), default=0)
    for study, recap in recaps.items():
        click.echo(_recap_line(study, recap, width))
    click.echo(click.style(_recap_line("total", total(recaps), width), bold=True))


def _recap_line(study: str, recap: Recap, width: int) -> str:
    colour = "red" if recap.failed else "yellow" if recap.changed else "green" if recap.ok else "cyan"
    return f"{click.style(f'{study:<{width}}', fg=colour)} : {recap}"


@contextmanager
def progress_bar(*, shown: bool) -> Iterator[Progress]:
    """A progress display on stderr, so that stdout stays for what was asked for.

    Args:
        shown: False for JSON output; a terminal is needed too.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not (shown and console.is_terminal), transient=True) as progress:
        yield progress
