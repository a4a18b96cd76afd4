"""`fusion cleanup run`: make room on the NAS, oldest backup first; what the monthly task calls."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from cli.cleanup_view import (
    mail_outcome,
    mail_trouble,
    plan_to_json,
    print_cleaned,
    print_cleanup_plan,
    print_outcome,
)
from cli.main import EXIT_FAILED, EXIT_OK
from cli.output import print_json, warn_of_bad_lines
from cli.run import dagster_instance
from cli.settings import Settings, format_option, global_options
from fusion_assets.eviction.cleaning import Cleaned, Outcome, clean, plan_cleanup
from fusion_assets.eviction.history import Sample
from fusion_assets.eviction.outlook import measure, outlook
from fusion_assets.eviction.store import StoreObservation, observe_store
from fusion_assets.hooks import HookError, run_hook
from fusion_assets.notify.log_mail import install_log_mail
from fusion_assets.reconcile.lab import Lab, check_truenas, open_lab
from fusion_assets.reconcile.locks import cleanup_lock
from fusion_assets.reconcile.reserve import with_reserve
from fusion_assets.state import state_folder
from resources.errors import ResourceError


@click.group()
def command() -> None:
    """Make room on the NAS."""


@command.command(short_help="Evict the oldest copies that S3 is proven to hold.")
@format_option
@click.option("--dry-run", is_flag=True, help="Show what would be evicted, and why the rest stays; change nothing.")
@click.option(
    "--despite-snapshots",
    is_flag=True,
    help="Go on although the space of an eviction did not come back, within the bounds of one cleanup.",
)
@global_options
def run(output: str, *, dry_run: bool, despite_snapshots: bool) -> None:
    """Delete copies on the NAS until `cleanup.free_threshold_pct` of it is free, the oldest backup first.

    A copy goes only if every gate is open at that moment: its backup is complete and released, nobody pinned it or
    works on it, its sidecar is the recorded one, nothing else lies in it, and S3 has every file of it with its
    checksum. One cleanup stays within `cleanup.max_studies`, `max_bytes` and `max_store_pct`, never takes the last
    copy, and stops when free space does not rise. S3 is never touched.

    A command configured as `cleanup` in [hooks] is run first. Exit code 1 if a study failed or space did not rise; 2
    if somebody else is making room.
    """
    settings = click.get_current_context().ensure_object(Settings)
    config = settings.load()
    as_json = output == "json"
    if not dry_run:
        install_log_mail(config, smtp_env=settings.smtp_env, all_at_exit=True)
    try:
        run_hook(config.hooks.cleanup, quiet=as_json)
        with open_lab(config) as lab:
            if dry_run:
                code = _preview(lab, as_json=as_json, despite_snapshots=despite_snapshots)
            else:
                code = _make_room(lab, settings, as_json=as_json, despite_snapshots=despite_snapshots)
    except (HookError, ResourceError) as error:
        if not dry_run:
            mail_trouble(config, settings.smtp_env, str(error))
        if isinstance(error, ResourceError):
            raise
        click.echo(click.style(str(error), fg="red"), err=True)
        code = EXIT_FAILED
    sys.exit(code)


def _preview(lab: Lab, *, as_json: bool, despite_snapshots: bool) -> int:
    store = observe_store(lab)
    warn_of_bad_lines(store.ledger.bad_lines)
    plan = plan_cleanup(lab, store, despite_snapshots=despite_snapshots)
    expected = outlook(lab.config, store.ledger, _sample(store))
    if as_json:
        print_json(plan_to_json(store, plan, lab.config.cleanup, expected))
    else:
        print_cleanup_plan(store, plan, lab.config.cleanup, expected)
    return EXIT_OK


def _make_room(lab: Lab, settings: Settings, *, as_json: bool, despite_snapshots: bool) -> int:
    def work() -> tuple[StoreObservation, Cleaned]:
        with cleanup_lock(lab.truenas):
            return _clean(lab, as_json=as_json, despite_snapshots=despite_snapshots)

    check_truenas(lab)  # on a NAS that is not mounted, the lock would lie in the mount point
    store, cleaned = with_reserve(lab.truenas, work)
    print_cleaned(store, cleaned, as_json=as_json)
    mail_outcome(lab.config, settings.smtp_env, store, cleaned, outlook(lab.config, store.ledger, _sample(store)))
    return EXIT_FAILED if cleaned.count("failed") or cleaned.stopped else EXIT_OK


def _clean(lab: Lab, *, as_json: bool, despite_snapshots: bool) -> tuple[StoreObservation, Cleaned]:
    store = observe_store(lab)
    warn_of_bad_lines(store.ledger.bad_lines)
    expected = measure(lab.config, store.ledger, _sample(store))
    plan = plan_cleanup(lab, store, despite_snapshots=despite_snapshots)
    if not as_json:
        print_cleanup_plan(store, plan, lab.config.cleanup, expected)
    if not plan.evictions and not store.unfinished:  # then Dagster need not even be started

        def evict_nothing(study: str) -> Outcome:
            raise AssertionError(f"{study} was not planned")

        return store, clean(lab, store, evict_nothing, despite_snapshots=despite_snapshots)
    with _evicting(lab, as_json=as_json, despite_snapshots=despite_snapshots) as evict_one:
        return store, clean(lab, store, evict_one, despite_snapshots=despite_snapshots)


@contextmanager
def _evicting(lab: Lab, *, as_json: bool, despite_snapshots: bool) -> Iterator[Callable[[str], Outcome]]:
    """Evict studies in Dagster runs of this process, and tell of each."""
    from definitions import build_defs
    from fusion_assets.studies.evicting import Evictor
    from fusion_assets.studies.lab_resource import OpenLab

    def warn(message: str) -> None:
        click.echo(click.style(f"warning: {message}", fg="yellow"), err=True)

    with dagster_instance(state_folder(lab.config)) as instance:
        definitions = build_defs(lab.config, resources={"lab": OpenLab(lab)})
        evictor = Evictor(definitions, instance, despite_snapshots=despite_snapshots, warn=warn)

        def evict_one(study: str) -> Outcome:
            outcome = evictor.evict(study)
            print_outcome(outcome, as_json=as_json)
            return outcome

        yield evict_one


def _sample(store: StoreObservation) -> Sample:
    return Sample(store.at, store.space.total, store.space.free)
