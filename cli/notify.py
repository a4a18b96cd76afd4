"""`fusion notify list-subscribers|test|waiting|flush`: who would be told what, whether it reaches them, what waits."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

import click

from cli.main import EXIT_CONFIG, EXIT_UNEXPECTED
from cli.output import print_json
from cli.settings import Settings, format_option, global_options
from fusion_assets.notify.recipients import Event, Subscribers, recipients_folder, subscribers

if TYPE_CHECKING:
    from fusion_assets.notify.send import NotSent, Prepared

_EVENTS = click.Choice([event.value for event in Event])


@click.group()
def command() -> None:
    """Mails about what went wrong: who gets them, and whether they arrive."""


@command.command("list-subscribers", short_help="Show who is mailed about each event.")
@click.option("--event", type=_EVENTS, default=None, help="Only this event.")
@format_option
@global_options
def list_subscribers(event: str | None, output: str) -> None:
    """Show who is mailed about each event, and the file they stand in.

    One address a line in recipients/EVENT.txt beside config.toml; recipients/default.txt counts where that has none.
    """
    config = click.get_current_context().ensure_object(Settings).load()
    folder = recipients_folder(config)
    found = [subscribers(folder, each) for each in ([Event(event)] if event else Event)]
    if output == "json":
        print_json(
            {
                "enabled": config.notify.enabled,
                "recipients_dir": str(folder),
                "events": [_to_json(each) for each in found],
            }
        )
        return
    for each in found:
        click.echo(_line(each))
    _warn(tuple(dict.fromkeys(problem for each in found for problem in each.problems)))
    if not config.notify.enabled:
        click.echo("note: mails are switched off: set enabled = true in [notify] of config.toml")


@command.command("test", short_help="Send a test mail to an event's subscribers.")
@click.option("--event", type=_EVENTS, required=True, help="Whose subscribers get the mail.")
@click.option("--dry-run", is_flag=True, help="Show the mail; connect to nothing.")
@global_options
def send_test(event: str, *, dry_run: bool) -> None:
    """Send a test mail to an event's subscribers, even while mails are switched off.

    Exit code 2 when nobody subscribed, or the credentials or settings do not work; 3 when the server does not answer.
    """
    from fusion_assets.notify.origin import here
    from fusion_assets.notify.sample import sample_message
    from fusion_assets.notify.send import NotSent, deliver, prepare

    settings = click.get_current_context().ensure_object(Settings)
    config = settings.load()
    wanted = Event(event)
    file = subscribers(recipients_folder(config), wanted).file
    message = sample_message(wanted, file, here(config, datetime.now(UTC)))
    prepared = prepare(config, wanted, message, smtp_env=settings.smtp_env)
    if isinstance(prepared, NotSent):
        _give_up(prepared)
    if dry_run:
        _warn(prepared.problems)
        _show(prepared)
    else:
        result = deliver(prepared)
        if isinstance(result, NotSent):
            _give_up(result)
        _warn(result.problems)
        click.echo(str(result))
    if not config.notify.enabled:
        click.echo("note: mails are switched off: set enabled = true in [notify] of config.toml")


@command.command("waiting", short_help="Show the mails that wait, and why.")
@format_option
@global_options
def show_waiting(output: str) -> None:
    """Show the mails that wait to be sent, oldest first, and why each does.

    A mail that cannot be sent is never lost: it is tried again by the daemon's sensors, and by every `backup run`,
    `apply` and `cleanup run`.
    """
    from fusion_assets.notify.mailbox import Mailbox

    settings = click.get_current_context().ensure_object(Settings)
    waiting = Mailbox(settings.load(), smtp_env=settings.smtp_env).waiting()
    if output == "json":
        fields = [
            {"event": each.event.value, "subject": each.subject, "since": each.since.isoformat(), "why": each.why}
            for each in waiting
        ]
        print_json({"waiting": fields})
        return
    for each in waiting:
        click.echo(f"{each.since:%Y-%m-%d %H:%M} UTC  {each.subject}\n    {each.why}")
    if not waiting:
        click.echo("no mail waits")


@command.command("flush", short_help="Send the mails that wait, now.")
@global_options
def flush() -> None:
    """Send the mails that wait, now: those that are gathered, and those whose next try has not come.

    Exit code 2 when mails are switched off, 3 when any still waits.
    """
    from fusion_assets.notify.mailbox import Mailbox

    settings = click.get_current_context().ensure_object(Settings)
    config = settings.load()
    delivered = Mailbox(config, smtp_env=settings.smtp_env).deliver(at_once=True)
    for sent in delivered.sent:
        click.echo(f"sent: {sent}")
    _warn(delivered.problems)
    if delivered.waiting:
        click.echo(f"mails that still wait: {delivered.waiting}: {delivered.sentence}", err=True)
        sys.exit(EXIT_UNEXPECTED if config.notify.enabled else EXIT_CONFIG)
    if not delivered.sent:
        click.echo("no mail waits")


def _line(found: Subscribers) -> str:
    width = max(len(event) for event in Event)
    if found.file is None:
        return f"{found.event.value:<{width}}  {click.style('nobody', fg='yellow')}"
    return f"{found.event.value:<{width}}  {', '.join(found.addresses)}  ({found.file})"


def _to_json(found: Subscribers) -> dict[str, Any]:
    return {
        "event": found.event.value,
        "recipients": list(found.addresses),
        "source": str(found.file) if found.file else None,
        "problems": list(found.problems),
    }


def _show(prepared: Prepared) -> None:
    mail, server = prepared.mail, prepared.settings
    click.echo(f"Server:  {server.host}:{server.port} ({server.security.value}, settings from {server.origin})")
    click.echo(f"From:    {mail.sender}")
    click.echo(f"To:      {', '.join(mail.recipients)}")
    click.echo(f"Subject: {mail.subject}\n\n{mail.text}")
    click.echo("dry run: nothing was sent")


def _give_up(result: NotSent) -> NoReturn:
    """Say why nothing was sent, and exit: 3 if only the server is to blame, else 2."""
    from fusion_assets.notify.send import Reason

    _warn(result.problems)
    click.echo(f"fusion: {result}", err=True)
    sys.exit(EXIT_UNEXPECTED if result.reason in (Reason.UNAVAILABLE, Reason.UNEXPECTED) else EXIT_CONFIG)


def _warn(problems: tuple[str, ...]) -> None:
    for problem in problems:
        click.echo(click.style(f"warning: {problem}", fg="yellow"), err=True)
