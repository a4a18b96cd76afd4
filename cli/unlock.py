"""`fusion unlock STUDY`: take away the locks that a crash left behind, after saying whose they are."""

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
    """Remove the locks of STUDY (its name at the source), there and on the NAS; the next run goes on from there."""
    settings = click.get_current_context().ensure_object(Settings)
    config = settings.load()
    with open_lab(config) as lab:
        lab.source.check_mounted()
        lab.truenas.check_mounted()
        names = {"run_name": study, "backup_name": config.backup_name(study)}
        result = unlock(lab.source, lab.truenas, **names, force=force)
    click.echo(result.message)
    sys.exit(0 if result.removed else 1)
