"""`fusion status`: how the lab, or one study, stands; and the daemon's heartbeat, for watchers outside."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from cli.main import EXIT_FAILED, EXIT_OK
from cli.output import print_json, warn_of_bad_lines
from cli.settings import Settings, format_option, global_options
from fusion_assets.config import Config, Event
from fusion_assets.heartbeat import Heartbeat, read_heartbeat
from fusion_assets.manifest.extra_fields import EVICTED_FIELD

if TYPE_CHECKING:
    from fusion_assets.reconcile.lab import Lab
    from resources.errors import ResourceError

_CAUSE = "heartbeat:daemon"
_CLOCK = "that is yet to come: the clock was set back, and Dagster waits for that time unless its daemon is restarted"


@click.command()
@click.argument("study", required=False)
@click.option("--heartbeat", is_flag=True, help="Only the daemon's sign of life; exit code 1 when it is not fresh.")
@click.option(
    "--mail", is_flag=True, help="With --heartbeat: mail the subscribers of `heartbeat` when it is not fresh."
)
@format_option
@global_options
def command(study: str | None, output: str, *, heartbeat: bool, mail: bool) -> None:
    """Show how the lab stands: the daemon, the ledger, the NAS, and mails that wait; or how STUDY does.

    Of STUDY it says what `fusion explain` does. Without one, it looks into no study: `fusion plan` does.
    A place that does not answer is a line among the others, and the exit code of the error. With --heartbeat nothing
    but a file is read, so that a timer of the system or another host's watcher can call it; exit code 0 while the
    daemon is alive, 1 when it was not heard of for `heartbeat.max_age_minutes`.
    """
    settings = click.get_current_context().ensure_object(Settings)
    if mail and not heartbeat:
        raise click.UsageError("--mail belongs to --heartbeat")
    if study is not None:
        if heartbeat:
            raise click.UsageError("--heartbeat is the daemon's, not a study's")
        from cli.explain import explain

        explain(settings, study, output)
        return
    config, now = settings.load(), datetime.now(UTC)
    life = read_heartbeat(config, now)
    if heartbeat:
        if mail:
            _mail(config, settings, life, now)
        _show(output, {"heartbeat": _life_to_json(life)}, [_life_line(life, now)])
        sys.exit(EXIT_OK if life.fresh else EXIT_FAILED)
    from fusion_assets.reconcile.lab import open_lab

    waiting, mails = _mails(config, settings)
    with open_lab(config) as lab:
        fields, lines, trouble = _lab_status(lab, now)
    _show(
        output,
        {"heartbeat": _life_to_json(life), **fields, "mails_waiting": waiting},
        [_life_line(life, now), *lines, *mails],
    )
    if trouble:
        raise trouble


def _lab_status(lab: Lab, now: datetime) -> tuple[dict[str, Any], list[str], ResourceError | None]:
    """Each place by itself: when one is away, the others are just what a person wants to see; and the first error."""
    from fusion_assets.reconcile.lab import check_truenas
    from resources.errors import NotMountedError, ResourceError

    fields: dict[str, Any] = {"proven_longest_ago": None, "mirror": {"whole": True}}
    lines, mirror = [], ["mirror     S3 answers, and the ledger has all that its mirror there has"]
    trouble: ResourceError | None = None
    try:
        check_truenas(lab)
    except NotMountedError as error:  # what is there is not the NAS: nothing that it says is shown
        ledger = "ledger     not seen either, since it lies there; nor is its mirror compared with it"
        return {"truenas": _error(error)}, [*_not_seen("NAS", error), ledger], error
    except ResourceError as error:
        trouble, mirror, fields["mirror"] = error, _not_seen("mirror", error), _error(error)
    for key, name, look in (("ledger", "ledger", _ledger), ("truenas", "NAS", _truenas)):
        try:
            if trouble and not lab.ledger.exists():
                # Only the mirror tells a new NAS from one that is not mounted.
                raise NotMountedError(f"there is no ledger at {lab.ledger.location}, and its mirror cannot be asked")
            found, said = look(lab, now)
        except ResourceError as error:
            trouble, found, said = trouble or error, {key: _error(error)}, _not_seen(name, error)
        fields |= found
        lines += said
    return fields, [*lines, *mirror], trouble


def _error(error: ResourceError) -> dict[str, str]:
    from resources.errors import described

    return {"error": described(error)}


def _not_seen(name: str, error: ResourceError) -> list[str]:
    return [f"{name:<11}{click.style('not seen', fg='red')}: {_error(error)['error']}"]


def _ledger(lab: Lab, _: datetime) -> tuple[dict[str, Any], list[str]]:
    from fusion_assets.reconcile.scrub import provable

    view = lab.ledger.read()
    warn_of_bad_lines(view.bad_lines)
    records = tuple(view.records.values())
    counts = Counter(record.status.value for record in records)
    evicted = sum(1 for record in records if record.extra.get(EVICTED_FIELD))
    listed = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "nothing recorded yet"
    copies = provable(records)
    fields = {
        "ledger": {
            "studies": len(records),
            "by_status": dict(counts),
            "evicted": evicted,
            "bad_lines": [str(bad) for bad in view.bad_lines],
        },
        "proven_longest_ago": copies[0].run_name if copies else None,
    }
    lines = [f"ledger     {listed}; {evicted} evicted from the NAS ({lab.ledger.location})"]
    if view.bad_lines:
        lines.append(
            f"           {click.style(f'lines of it that cannot be read: {len(view.bad_lines)}', fg='yellow')}"
        )
    if copies:
        lines.append(f"proofs     the copy proven longest ago: {copies[0].run_name}, {copies[0].proven_at:%Y-%m-%d}")
    return fields, lines


def _truenas(lab: Lab, now: datetime) -> tuple[dict[str, Any], list[str]]:
    from fusion_assets.eviction.history import Sample
    from fusion_assets.eviction.outlook import outlook

    space = lab.truenas.space()
    expected = str(outlook(lab.config, lab.ledger.read(), Sample(now, space.total, space.free)))
    percent = 100 * space.free / space.total if space.total else 0.0
    threshold = lab.config.cleanup.free_threshold_pct
    fields = {"free": space.free, "total": space.total, "free_threshold_pct": threshold, "forecast": expected}
    line = f"NAS        {percent:.1f} % of {space.total / 1e12:.2f} TB free, {threshold:g} % wanted; {expected}"
    return {"truenas": fields}, [line]


def _mails(config: Config, settings: Settings) -> tuple[int, list[str]]:
    from fusion_assets.notify.mailbox import Mailbox

    if not config.notify.enabled:
        return 0, ["mails      switched off: set enabled = true in [notify] of config.toml"]
    waiting = Mailbox(config, smtp_env=settings.smtp_env).waiting()
    if not waiting:
        return 0, ["mails      none waits"]
    return len(waiting), [
        f"mails      {len(waiting)} wait since {waiting[0].since:%Y-%m-%d %H:%M} UTC: {waiting[0].why}"
    ]


def _mail(config: Config, settings: Settings, life: Heartbeat, now: datetime) -> None:
    """One mail for one death, and another for the next."""
    from fusion_assets.notify.mailbox import Mailbox
    from fusion_assets.notify.origin import here
    from fusion_assets.notify.outages import Stopped, silence_message

    mailbox = Mailbox(config, smtp_env=settings.smtp_env)
    if life.fresh:
        mailbox.settle([_CAUSE])
        mailbox.deliver()
        return
    posted = mailbox.post(
        Event.HEARTBEAT,
        {_CAUSE: ""},
        lambda _: silence_message([Stopped("the daemon", _CLOCK if life.is_ahead else "", life.at)], here(config, now)),
    )
    for sentence in (str(posted), *posted.problems):
        click.echo(sentence, err=True)


def _life_to_json(life: Heartbeat) -> dict[str, Any]:
    at = life.at.isoformat() if life.at else None
    return {"fresh": life.fresh, "at": at, "is_ahead": life.is_ahead, "file": str(life.file)}


def _life_line(life: Heartbeat, now: datetime) -> str:
    if life.at is None:
        return f"daemon     {click.style('never heard of', fg='red')} ({life.file})"
    if life.is_ahead:
        return f"daemon     {click.style('silent', fg='red')}, last heard of {life.at:%Y-%m-%d %H:%M} UTC: {_CLOCK}"
    minutes = (now - life.at).total_seconds() / 60
    mark = click.style("alive", fg="green") if life.fresh else click.style("silent", fg="red")
    return f"daemon     {mark}, last heard of {life.at:%Y-%m-%d %H:%M} UTC, {minutes:.0f} minutes ago"


def _show(output: str, fields: dict[str, Any], lines: list[str]) -> None:
    if output == "json":
        print_json(fields)
        return
    for line in lines:
        click.echo(line)
