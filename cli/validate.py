"""`fusion validate study|root PATH`: the naming standard, judged from one listing."""

from __future__ import annotations

import sys

import click

from cli.output import print_json
from cli.settings import format_option, global_options
from fusion_assets.standard import StudyReport, root_json, study_json, validate_root, validate_study

_path = click.argument("path", type=click.Path())
_quiet = click.option("-q", "--quiet", is_flag=True, help="Print nothing; the exit code says it all.")


@click.group()
def command() -> None:
    """Check studies against the naming standard R1-R8 (docs/data-standard.md)."""


@command.command()
@_path
@format_option
@_quiet
@global_options
def study(path: str, output: str, *, quiet: bool) -> None:
    """Check one study directory. Exit code 1 if it breaks a rule."""
    report = validate_study(path)
    if quiet:
        pass
    elif output == "json":
        print_json(study_json(report))
    else:
        _print_report(report)
    sys.exit(0 if report.ok else 1)


@command.command()
@_path
@format_option
@_quiet
@global_options
def root(path: str, output: str, *, quiet: bool) -> None:
    """Check every study directory in PATH. Exit code 1 if any breaks a rule."""
    report = validate_root(path)
    if quiet:
        pass
    elif output == "json":
        print_json(root_json(report))
    else:
        for found in report.studies:
            _print_report(found)
        for remark in report.info:
            click.echo(f"note: {remark}")
        good = sum(found.ok for found in report.studies)
        click.echo(f"\nstudies that conform: {good} of {len(report.studies)}")
    sys.exit(0 if report.ok else 1)


def _print_report(report: StudyReport) -> None:
    mark = click.style("ok    ", fg="green") if report.ok else click.style("BROKEN", fg="red")
    click.echo(f"{mark} {report.study}")
    for violation in report.violations:
        click.echo(f"  {violation}")
    for warning in report.warnings:
        click.echo(click.style(f"  warning: {warning}", fg="yellow"))
