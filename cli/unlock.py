"""`fusion unlock STUDY|--ledger|--cleanup`: take away the locks that a crash left, after saying whose they are."""

from __future__ import annotations

import sys
from difflib import get_close_matches

import click

from cli.settings import Settings, global_options
from fusion_assets.reconcile.lab import Lab, open_lab, source_studies, trashed_studies
from fusion_assets.reconcile.locks import locked_backups
from fusion_assets.reconcile.unlocking import Unlocked, unlock, unlock_cleanup, unlock_ledger
from resources.errors import UnsafeNameError


@click.command()
@click.argument("study", required=False)
@click.option("--ledger", is_flag=True, help="The lock of the ledger, instead of a study's.")
@click.option("--cleanup", is_flag=True, help="The lock of whoever makes room on the NAS.")
@click.option("--force", is_flag=True, help="Even if its owner still lives on this host.")
@global_options
def command(study: str | None, *, ledger: bool, cleanup: bool, force: bool) -> None:
    """Remove the locks of STUDY (its name at the source), there and on the NAS; the next run goes on from there.

    With --ledger or --cleanup, remove the one that a process of another host left there when it crashed.

    Exit code 1 if there is nothing to remove, or its owner still runs; 2 if there is no such study.
    """
    settings = click.get_current_context().ensure_object(Settings)
    if [study is not None, ledger, cleanup].count(True) != 1:
        raise click.UsageError("name one study, or --ledger, or --cleanup")
    with open_lab(settings.load()) as lab:
        lab.truenas.check_mounted()
        if study is not None:
            result = _unlock_study(lab, study, force=force)
        elif ledger:
            result = unlock_ledger(lab.ledger, force=force)
        else:
            result = unlock_cleanup(lab.truenas, force=force)
    click.echo(result.message)
    sys.exit(0 if result.removed else 1)


def _unlock_study(lab: Lab, study: str, *, force: bool) -> Unlocked:
    lab.source.check_mounted()
    names = {"run_name": study, "backup_name": lab.config.backup_name(study)}
    try:
        result = unlock(lab.source, lab.truenas, **names, force=force)
    except UnsafeNameError as error:
        raise click.UsageError(f"{study!r} is not the name of a study: {error}") from error
    if not result.removed:
        refuse_unknown(lab, study)
    return result


def refuse_unknown(lab: Lab, study: str) -> None:
    """A study that is in none of the places is a mistyped one, not one without a lock.

    Args:
        lab: The lab.
        study: The name that was given.

    Raises:
        click.UsageError: With the nearest name there is.
    """
    at_source = {*source_studies(tuple(lab.source.list())), *trashed_studies(lab)}
    backups = {entry.name for entry in lab.truenas.list()} | {*locked_backups(lab.truenas)}
    if study in at_source or lab.config.backup_name(study) in backups:
        return
    nearest = get_close_matches(study, at_source, n=1)
    hint = f" | hint: did you mean {nearest[0]}?" if nearest else ""
    raise click.UsageError(f"there is no study {study!r} at {lab.source.root}{hint}")
