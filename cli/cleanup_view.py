"""How `fusion cleanup` shows and mails what it would do, and what it did."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from cli.failure_mail import send_mail, send_waiting
from cli.output import print_json, print_recap
from fusion_assets.config import CleanupSection, Config
from fusion_assets.eviction.cleaning import Cleaned, Outcome
from fusion_assets.eviction.forecast import Forecast, NotEnough
from fusion_assets.eviction.policy import EvictionPlan
from fusion_assets.eviction.store import StoreObservation
from fusion_assets.notify.backup import FailedStudy
from fusion_assets.notify.capacity import CapacityWarning, capacity_warning_message
from fusion_assets.notify.cleanup import CleanupFailure, cleanup_failure_message
from fusion_assets.notify.letter import sized
from fusion_assets.notify.origin import here
from fusion_assets.notify.recipients import Event
from fusion_assets.reconcile.recap import Recap, recap_to_json
from resources.storage import Space

_COLOURS = {"evicted": "yellow", "kept": "cyan", "failed": "red"}


def spoken_space(space: Space) -> str:
    """How much is free, for a person.

    Args:
        space: As measured.
    """
    share = f" ({100 * space.free / space.total:.1f} %)" if space.total else ""
    return f"{sized(space.free)} of {sized(space.total)}{share} are free"


def print_cleanup_plan(
    store: StoreObservation, plan: EvictionPlan, bounds: CleanupSection, outlook: Forecast | NotEnough
) -> None:
    """What a cleanup would do: one line a copy, those that go first, then why each of the others stays.

    Args:
        store: As observed.
        plan: What would be done.
        bounds: ``[cleanup]``.
        outlook: When the NAS fills.
    """
    missing = f", {sized(plan.missing_bytes)} are missing" if plan.missing_bytes else ""
    click.echo(f"{spoken_space(store.space)}; {bounds.free_threshold_pct:g} % are wanted{missing}")
    click.echo(f"forecast: {outlook}")
    for study in store.unfinished:
        click.echo(f"{click.style('finish', fg='yellow')}  {study}  an eviction was broken off")
    copies = {copy.backup_name: copy for copy in store.copies}
    width = max((len(copy.run_name) for copy in copies.values()), default=0)
    for copy in plan.evictions:
        completed = f"{copy.completed_at:%Y-%m-%d %H:%M} UTC" if copy.completed_at else ""
        mark = click.style("evict ", fg="yellow")
        click.echo(f"{mark}  {copy.run_name:<{width}}  {sized(copy.total_bytes):>10}  backed up {completed}")
    for name, reason in plan.left_out.items():
        mark = click.style("keep  ", fg="green")
        click.echo(f"{mark}  {copies[name].run_name:<{width}}  {sized(copies[name].total_bytes):>10}  {reason}")
    _print_leftovers(store)
    if store.cleanup_lock:
        click.echo(click.style(f"not now: {store.cleanup_lock}", fg="yellow"), err=True)
    reached = "" if plan.suffices else "; that does not suffice"
    click.echo(f"\nPlan: {len(plan.evictions)} of {len(copies)} copies to evict, {sized(plan.planned_bytes)}{reached}.")


def plan_to_json(
    store: StoreObservation, plan: EvictionPlan, bounds: CleanupSection, outlook: Forecast | NotEnough
) -> dict[str, Any]:
    """The same for programs.

    Args:
        store: As observed.
        plan: What would be done.
        bounds: ``[cleanup]``.
        outlook: When the NAS fills.
    """
    names = {copy.backup_name: copy for copy in store.copies}
    return {
        "space": {"total": store.space.total, "free": store.space.free, "threshold_pct": bounds.free_threshold_pct},
        "missing_bytes": plan.missing_bytes,
        "planned_bytes": plan.planned_bytes,
        "suffices": plan.suffices,
        "evictions": [
            {
                "study": copy.run_name,
                "backup_name": copy.backup_name,
                "bytes": copy.total_bytes,
                "completed_at": copy.completed_at.isoformat() if copy.completed_at else None,
            }
            for copy in plan.evictions
        ],
        "kept": [
            {
                "study": names[name].run_name,
                "backup_name": name,
                "bytes": names[name].total_bytes,
                "reason": reason,
            }
            for name, reason in plan.left_out.items()
        ],
        "unfinished": list(store.unfinished),
        "leftovers": list(store.leftovers),
        "held_back": store.held_back,
        "locked": str(store.cleanup_lock or ""),
        "forecast": str(outlook),
    }


def print_outcome(outcome: Outcome, *, as_json: bool) -> None:
    """What came of one study, as it happens.

    Args:
        outcome: Of the study.
        as_json: As a line of JSON.
    """
    if as_json:
        event = {"type": "eviction", "study": outcome.study, "result": outcome.result, "bytes": outcome.total_bytes}
        print_json({**event, "message": outcome.message} if outcome.message else event)
        return
    mark = click.style(f"{outcome.result:<8}", fg=_COLOURS[outcome.result])
    click.echo(f"{mark} {outcome.study}{f': {outcome.message}' if outcome.message else ''}")


def print_cleaned(store: StoreObservation, cleaned: Cleaned, *, as_json: bool) -> None:
    """What came of a cleanup: the recap, and what a person has to know beside it.

    Args:
        store: As observed before.
        cleaned: What came of it.
        as_json: As a line of JSON.
    """
    recaps = {outcome.study: _recap(outcome) for outcome in cleaned.outcomes}
    if as_json:
        end = {"free": cleaned.free, "still_missing": cleaned.still_missing, "stopped": cleaned.stopped}
        print_json({**recap_to_json(recaps), **end, "leftovers": list(store.leftovers)})
    else:
        print_recap(recaps)
        click.echo(spoken_space(Space(store.space.total, cleaned.free)))
    if cleaned.stopped:
        click.echo(click.style(f"stopped: {cleaned.stopped}", fg="red"), err=True)
    elif cleaned.still_missing:
        click.echo(click.style(_why_short(cleaned), fg="yellow"), err=True)


def mail_outcome(
    config: Config, smtp_env: Path | None, store: StoreObservation, cleaned: Cleaned, outlook: Forecast | NotEnough
) -> None:
    """Mail a cleanup in which studies failed, that stopped, or after which the NAS is still too full.

    Args:
        config: The lab.
        smtp_env: The dotenv file named on the command line.
        store: As observed before.
        cleaned: What came of it.
        outlook: When the NAS fills.
    """
    origin = here(config, datetime.now(UTC))
    space = Space(store.space.total, cleaned.free)
    failed = tuple(FailedStudy(each.study, each.message) for each in cleaned.outcomes if each.result == "failed")
    if failed:
        failure = CleanupFailure(failed, _counts(cleaned), cleaned.stopped, spoken_space(space))
        send_mail(config, smtp_env, Event.CLEANUP_FAILURE, cleanup_failure_message(failure, origin))
    elif cleaned.stopped or cleaned.still_missing:
        warning = CapacityWarning(
            what="free space did not rise" if cleaned.stopped else "the NAS is still too full",
            why=cleaned.stopped or _why_short(cleaned),
            free=space.free,
            total=space.total,
            threshold_pct=config.cleanup.free_threshold_pct,
            forecast=str(outlook) if isinstance(outlook, Forecast) else "",
            held=bool(cleaned.stopped),
        )
        send_mail(config, smtp_env, Event.CAPACITY_WARNING, capacity_warning_message(warning, origin))
    else:
        send_waiting(config, smtp_env)


def mail_trouble(config: Config, smtp_env: Path | None, trouble: str) -> None:
    """Mail a cleanup that could not be made at all.

    Args:
        config: The lab.
        smtp_env: The dotenv file named on the command line.
        trouble: Why.
    """
    message = cleanup_failure_message(CleanupFailure(trouble=trouble), here(config, datetime.now(UTC)))
    send_mail(config, smtp_env, Event.CLEANUP_FAILURE, message)


def _why_short(cleaned: Cleaned) -> str:
    reasons = list(dict.fromkeys(cleaned.left_out.values()))
    why = f"; of the copies that stay: {'; '.join(reasons[:3])}" if reasons else "; no copy is left that may go"
    return f"{sized(cleaned.still_missing)} are still missing to the threshold{why}"


def _counts(cleaned: Cleaned) -> str:
    return f"evicted={cleaned.count('evicted')} kept={cleaned.count('kept')} failed={cleaned.count('failed')}"


def _recap(outcome: Outcome) -> Recap:
    return Recap(
        ok=0,
        changed=int(outcome.result == "evicted"),
        skipped=int(outcome.result == "kept"),
        failed=int(outcome.result == "failed"),
    )


def _print_leftovers(store: StoreObservation) -> None:
    for place in store.leftovers:
        click.echo(
            click.style(f"left for you: {place} holds files that were never archived; move them out", fg="yellow"),
            err=True,
        )
