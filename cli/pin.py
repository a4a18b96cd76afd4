"""`fusion pin STUDY`: keep a study on the NAS, whoever makes room there; `fusion pin --list` shows who keeps what."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from zoneinfo import ZoneInfo

import click

from cli.output import print_json
from cli.settings import Settings, format_option, global_options
from fusion_assets.config import Config
from fusion_assets.eviction.pins import Pin, add_pin, read_pins
from fusion_assets.eviction.telling import told, was_begun
from fusion_assets.manifest.mirror import MirrorError
from fusion_assets.reconcile.lab import Lab, check_truenas, create_ledger, is_directory, open_lab, source_studies
from fusion_assets.standard.validate import is_study_candidate
from resources.errors import ResourceError
from resources.process import this_host


@click.command()
@click.argument("study", required=False)
@click.option("--reason", default="", help="Why, for whoever wonders in a year.")
@click.option(
    "--until", type=click.DateTime(["%Y-%m-%d"]), metavar="YYYY-MM-DD", help="The last day of it [default: for ever]."
)
@click.option("--list", "listing", is_flag=True, help="Show what is pinned, by whom and why.")
@format_option
@global_options
def command(study: str | None, reason: str, until: datetime | None, output: str, *, listing: bool) -> None:
    """Never evict STUDY (its name at the source or on the NAS) from the NAS, until `fusion unpin STUDY`."""
    settings = click.get_current_context().ensure_object(Settings)
    config = settings.load()
    if listing:
        if study or reason or until:
            raise click.UsageError("--list stands alone")
        return _list(config, as_json=output == "json")
    if not study:
        raise click.UsageError("name one study, or --list")
    if not reason.strip():
        raise click.UsageError(f"say why: fusion pin {study} --reason TEXT")
    author, now = author_and_time()
    expires = _end_of(until, config) if until else None
    if expires is not None and expires <= now:
        raise click.UsageError(f"--until {until:%Y-%m-%d} is over already")
    with open_lab(config) as lab:
        backup_name = known_backup_name(lab, study)
        say(lab, Pin(backup_name, pinned=True, reason=reason.strip(), author=author, at=now, expires=expires))
        but = _why_not_there(lab, backup_name)
    end = f" until the end of {until:%Y-%m-%d}" if until else ""
    click.echo(f"{study} is pinned{end}, but {but}" if but else f"{study} stays on the NAS{end}")
    return None


def say(lab: Lab, pin: Pin) -> None:
    """Write a pin down beside the ledger; one that S3 could not mirror counts all the same.

    Args:
        lab: The lab.
        pin: What is said.

    Raises:
        ResourceError: It could not be written.
    """
    check_truenas(lab)
    if not lab.ledger.exists():
        create_ledger(lab)
    try:
        add_pin(lab.ledger, pin)
    except MirrorError as error:
        click.echo(click.style(f"warning: it is written down, but {error}", fg="yellow"), err=True)


def _why_not_there(lab: Lab, backup_name: str) -> str:
    """Why a study that was just pinned may not be on the NAS; empty if it is there, and stays.

    An eviction looks at the pins after the ledger says that it has begun: one that the ledger does not know sees this
    pin.
    """
    record = lab.ledger.read().records.get(backup_name)
    if record and was_begun(record):
        return "its eviction had begun by then and may not have seen that: `fusion plan` shows whether it was evicted"
    if is_directory(lab.truenas, backup_name):
        return ""
    if record and (evicted := told(record)):
        return f"it was evicted on {evicted.at:%Y-%m-%d}: S3 has it, and a copy that is brought back stays"
    return "it is not on the NAS: a copy that comes there stays"


def known_backup_name(lab: Lab, study: str) -> str:
    """What a study is called at its destinations; a name that is nowhere is a mistyped one.

    Args:
        lab: The lab.
        study: Its name at the source, or at the destinations.

    Raises:
        click.UsageError: There is no such study; with the nearest name there is.
        ResourceError: The NAS or the ledger cannot be asked.
    """
    backups = {entry.name for entry in lab.truenas.list() if is_study_candidate(entry)}
    backups |= lab.ledger.read().records.keys() | read_pins(lab.ledger).latest.keys()
    if (backup_name := lab.config.backup_name(study)) in backups:
        return backup_name
    if study in backups:
        return study
    at_source = _at_source(lab)
    if study in at_source:
        return backup_name
    nearest = get_close_matches(study, sorted(backups | at_source), n=1)
    hint = f" | hint: did you mean {nearest[0]}?" if nearest else ""
    raise click.UsageError(f"there is no study {study!r} on the NAS, in the ledger or at the source{hint}")


def author_and_time() -> tuple[str, datetime]:
    """Who says something now, and when."""
    return f"{getpass.getuser()}@{this_host()}", datetime.now(UTC)


def _at_source(lab: Lab) -> frozenset[str]:
    try:
        return frozenset(source_studies(tuple(lab.source.list())))
    except ResourceError:
        return frozenset()  # an instrument that is switched off keeps nobody from pinning what is on the NAS


def _list(config: Config, *, as_json: bool) -> None:
    with open_lab(config) as lab:
        lab.truenas.check_mounted()
        pins = read_pins(lab.ledger)
    standing = pins.standing(datetime.now(UTC))
    if as_json:
        print_json({"pins": [pin.to_fields() for pin in standing], "unknown": pins.unknown})
        return
    width = max((len(pin.backup_name) for pin in standing), default=0)
    for pin in standing:
        click.echo(f"{pin.backup_name:<{width}}  {pin}")
    if pins.unknown:
        click.echo(click.style(f"every study counts as pinned: {pins.unknown}", fg="red"), err=True)
    elif not standing:
        click.echo("nothing is pinned")


def _end_of(day: datetime, config: Config) -> datetime:
    """The midnight that ends a day, in the lab's time zone."""
    zone = config.schedules.timezone
    midnight = day + timedelta(days=1)
    return (midnight.replace(tzinfo=ZoneInfo(zone)) if zone else midnight.astimezone()).astimezone(UTC)
