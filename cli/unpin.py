"""`fusion unpin STUDY`: let a study leave the NAS again when room is needed."""

from __future__ import annotations

import sys

import click

from cli.pin import author_and_time, known_backup_name, say
from cli.settings import Settings, global_options
from fusion_assets.eviction.pins import Pin, read_pins
from fusion_assets.reconcile.lab import open_lab


@click.command()
@click.argument("study")
@click.option("--reason", default="", help="Why, for whoever wonders in a year.")
@global_options
def command(study: str, reason: str) -> None:
    """Let STUDY (its name at the source or on the NAS) be evicted again when the NAS runs low.

    Exit code 1 if it is not pinned.
    """
    settings = click.get_current_context().ensure_object(Settings)
    author, now = author_and_time()
    with open_lab(settings.load()) as lab:
        backup_name = known_backup_name(lab, study)
        pins = read_pins(lab.ledger)
        if not pins.unknown and not pins.why(backup_name, now):
            click.echo(f"{study} is not pinned")
            sys.exit(1)
        say(lab, Pin(backup_name, pinned=False, reason=reason.strip(), author=author, at=now))
    click.echo(f"{study} may be evicted again when the NAS runs low")
