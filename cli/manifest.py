"""`fusion manifest`: the ledger for people and programs, and its way back from S3."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cli.output import print_json
from cli.settings import Settings, format_option, global_options
from fusion_assets.manifest.fold import LedgerView, fold
from fusion_assets.reconcile.lab import check_truenas, create_ledger, open_lab


@click.group()
def command() -> None:
    """Read the ledger of archived studies."""


@command.command(short_help="Show the latest record of every study.")
@click.argument("file", required=False, type=click.Path())
@format_option
@global_options
def show(file: str | None, output: str) -> None:
    """Show the latest record of every study in FILE (one month), or in the whole ledger of the configured lab.

    Exit code 1 if the ledger has lines that cannot be read.
    """
    view = _read_month(Path(file)) if file else _read_configured()
    if output == "json":
        records = [record.to_fields() for record in view.records.values()]
        print_json({"records": records, "bad_lines": [str(bad) for bad in view.bad_lines]})
    else:
        _print_view(view)
    sys.exit(1 if view.bad_lines else 0)


@command.command(short_help="Bring the ledger back from its mirror in S3.")
@global_options
def restore() -> None:
    """Bring the ledger back from its mirror in S3, after the NAS lost it. What the NAS still has is kept."""
    settings = click.get_current_context().ensure_object(Settings)
    with open_lab(settings.load()) as lab:
        lab.truenas.check_mounted()
        if not lab.ledger.exists():
            create_ledger(lab)
        months = lab.ledger.restore_from_mirror()
    click.echo(f"restored: {', '.join(months)}" if months else "nothing to restore: the ledger has all its mirror has")


def _read_month(file: Path) -> LedgerView:
    try:
        return fold(((file.name, file.read_bytes()),)).view
    except OSError as error:
        raise click.UsageError(f"{file} cannot be read: {error.strerror}") from error


def _read_configured() -> LedgerView:
    settings = click.get_current_context().ensure_object(Settings)
    with open_lab(settings.load()) as lab:
        if not lab.ledger.exists():
            check_truenas(lab)  # an empty ledger of a NAS that is not mounted would read like one of a new lab
        return lab.ledger.read()


def _print_view(view: LedgerView) -> None:
    width = max((len(name) for name in view.records), default=0)
    for name, record in sorted(view.records.items()):
        released = "released" if record.source_deleted_at else ""
        size = f"{record.file_count:>7} files {record.total_bytes:>16,} bytes"
        completed = f"{record.completed_at:%Y-%m-%d %H:%M} UTC" if record.completed_at else ""
        click.echo(f"{name:<{width}}  {record.status.value:<17} {size}  {completed:<20} {released}".rstrip())
    for bad in view.bad_lines:
        click.echo(click.style(f"bad line: {bad}", fg="red"), err=True)
    click.echo(f"\n{len(view.records)} studies, {len(view.bad_lines)} bad lines")
