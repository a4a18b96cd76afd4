"""`fusion unlock STUDY`: take away the lock that a crash left behind, after saying whose it is."""

from __future__ import annotations

import sys

import click

from cli.settings import Settings, global_options
from fusion_assets.reconcile.lab import open_lab
from fusion_assets.reconcile.locks import unlock


@click.command()
@click.argument("study")
@click.option("--force", is_flag=True, help="Even if its owner still lives on this host.")
@global_options
def command(study: str, *, force: bool) -> None:
    """Remove the lock of STUDY (its name at the source). Nothing else is touched; the next run goes on from there."""
    settings = click.get_current_context().ensure_object(Settings)
    with open_lab(settings.load()) as lab:
        lab.source.check_mounted()
        result = unlock(lab.source, study, force=force)
    click.echo(result.message)
    sys.exit(0 if result.removed else 1)
