"""`fusion manifest`: the ledger for people and programs, its way back from S3, and a line's way out of both."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from cli.output import print_json
from cli.settings import Settings, format_option, global_options
from fusion_assets.manifest.fold import LedgerView, fold, read_lines
from fusion_assets.manifest.record import Record
from fusion_assets.notify.letter import counted
from fusion_assets.reconcile.lab import check_truenas, create_ledger, open_lab
from fusion_assets.standard.report import printable

_SHOWN = 120  # characters of a line; a bad one may be a megabyte of anything


@click.group()
def command() -> None:
    """Read the ledger of archived studies, and keep its mirror in S3."""


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


@command.command(short_help="Make the mirror of one month equal to its file, e.g. after a bad line was taken out.")
@click.argument("month")
@click.option(
    "--overwrite", is_flag=True, help="Let S3 lose the lines that the file does not have, after showing them."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--drop-records", is_flag=True, help="With --overwrite: good records, too. What they said is forgotten.")
@global_options
def mirror(month: str, *, overwrite: bool, yes: bool, drop_records: bool) -> None:
    """Make the mirror of MONTH (YYYY-MM) in S3 equal to its file on the NAS.

    S3 never loses a line by it, unless --overwrite says so. That is for one case: a line that cannot be read was taken
    out of the file by hand, and `fusion manifest restore` would bring it back. Lines that are good records are a ledger
    that was cut or rolled back: they are not overwritten, but restored.
    """
    if not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", month):
        raise click.UsageError(f"{month!r} is no month | hint: write it like 2026-11")
    settings = click.get_current_context().ensure_object(Settings)
    with open_lab(settings.load()) as lab:
        lab.truenas.check_mounted()
        lost = lab.ledger.lost_by_mirroring(month) if overwrite else ()
        _show_lost(month, lost, drop_records=drop_records)
        if lost and not yes:
            if not sys.stdin.isatty():
                raise click.UsageError("S3 would lose what is shown above; say --yes if that is meant")
            click.confirm("Let S3 lose that?", abort=True)
        lab.ledger.mirror(month, losing=lost if overwrite else None)
    click.echo(f"the mirror of {month} is equal to its file")


def _show_lost(month: str, lost: tuple[bytes, ...], *, drop_records: bool) -> None:
    """Show what S3 would lose.

    Raises:
        click.UsageError: Good records are among it, and nobody said that they may be.
    """
    records = 0
    for line in lost:
        said = next(read_lines(month, line + b"\n"), None)
        records += isinstance(said, Record)
        what = f"record of {said.backup_name}" if isinstance(said, Record) else "no record"
        shown = printable(line.decode("utf-8", errors="replace"))
        click.echo(f"S3 would lose: {what}: {shown[:_SHOWN]}{'…' if len(shown) > _SHOWN else ''}", err=True)
    if records and not drop_records:
        raise click.UsageError(
            f"good records that the file lacks: {records} | hint: `fusion manifest restore` brings them back; "
            "--drop-records forgets them"
        )


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
    click.echo(f"\n{counted(len(view.records), 'study', 'studies')}, {counted(len(view.bad_lines), 'bad line')}")
