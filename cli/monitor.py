"""`fusion monitor tail|learn`: errors in the instrument's log, printed and mailed; and what patterns see in it."""

from __future__ import annotations

import sys
import time
import traceback
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from cli.main import EXIT_FAILED, EXIT_UNEXPECTED
from cli.output import print_json
from cli.settings import Settings, format_option, global_options
from fusion_assets.config import Config, ConfigError, find_config
from fusion_assets.monitor import ErrorGroup, LogPlace, Patterns, Tailed, compile_patterns, open_log, take_look
from fusion_assets.monitor.learn import FEW, Learned, as_toml, learn
from fusion_assets.monitor.place import split_address
from fusion_assets.monitor.tail import QUIET
from resources.errors import UnavailableError, described

if TYPE_CHECKING:
    from fusion_assets.notify.mailbox import Mailbox

_CRASH = "log:crash"
_CRASH_KEEP = timedelta(days=1)
# Mails that wait for their server are tried again this often while the log is quiet.
_DELIVER_SECONDS = 60.0


@click.group()
def command() -> None:
    """Errors of the instrument: notice them in its log."""


@command.command(short_help="Follow the instrument's log; print and mail each error.")
@click.option("--once", is_flag=True, help="Read what is new, and end.")
@click.option("--from-start", is_flag=True, help="Begin at the log's beginning, whatever was read before.")
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 3600),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two looks at the log.",
)
@global_options
def tail(*, once: bool, from_start: bool, interval: float) -> None:
    """Follow the log that `source.log` names, print each error once, and mail it to the subscribers of fusion_error.

    The first look begins at the log's end. How far it was read is kept, so that neither a restart nor a rotation of the
    log repeats or misses an error; the same error is reported again after `monitor.sent_keep_days`.

    Ctrl-C ends it. An unexpected error is mailed as monitor_crash, with exit code 1; with --once, exit code 3 says that
    the log could not be read.
    """
    from fusion_assets.notify.log_mail import install_log_mail
    from fusion_assets.notify.mailbox import Mailbox

    settings = click.get_current_context().ensure_object(Settings)
    config = settings.load()
    compile_patterns(config.monitor.patterns)
    mailbox = Mailbox(config, smtp_env=settings.smtp_env)
    install_log_mail(config, mailbox=mailbox, all_at_exit=True)
    with open_log(config) as place:
        follower = _Follower(config, place, mailbox, from_start=from_start)
        try:
            code = follower.look_once() if once else follower.follow(interval)
        except KeyboardInterrupt:
            click.echo("stopped; what was not read yet is read at the next start", err=True)
            code = 0
        except ConfigError as error:
            _mail_crash(config, mailbox, error)
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody must hear that nobody is watching
            _mail_crash(config, mailbox, error)
            click.echo(f"fusion: the monitor crashed: {type(error).__name__}: {described(error)}", err=True)
            if settings.verbose:
                traceback.print_exception(error)
            code = EXIT_FAILED
    sys.exit(code)


class _Follower:
    """Looks again and again, and says what each look found.

    Args:
        config: The lab.
        place: Its log.
        mailbox: Its mailbox.
        from_start: Whether the first look begins at the log's beginning.
    """

    def __init__(self, config: Config, place: LogPlace, mailbox: Mailbox, *, from_start: bool) -> None:
        self._config, self._place, self._mailbox, self._from_start = config, place, mailbox, from_start
        self._trouble = ""
        self._delivered = 0.0

    def follow(self, interval: float) -> int:
        """Look until interrupted."""
        click.echo(f"following {self._place.address}  (Ctrl-C to stop)", err=True)
        while True:
            tailed = self._look()
            if tailed is None or not tailed.more:
                time.sleep(interval)

    def look_once(self) -> int:
        """Look until all is read; give an entry at the end the time after which it counts as complete."""
        until = time.monotonic() + QUIET.total_seconds() + 2
        while True:
            tailed = self._look()
            if tailed is None or tailed.trouble:
                return EXIT_UNEXPECTED
            if not tailed.more:
                if not tailed.waits or time.monotonic() > until:
                    return 0
                time.sleep(0.5)

    def _look(self) -> Tailed | None:
        """One look; None if it could not be taken now, which was said."""
        from filelock import Timeout

        try:
            tailed = take_look(
                self._config, self._place, self._report, now=datetime.now(UTC), from_start=self._from_start
            )
        except Timeout:
            self._say_trouble("another process is reading the log at this moment; tried again")
            return None
        except UnavailableError as error:  # the mailbox's: what happens to the log itself is in the result
            self._say_trouble(str(error))
            return None
        self._from_start = False
        self._say_trouble(tailed.trouble)
        return tailed

    def _report(self, tailed: Tailed) -> None:
        from sensors.fusion_log_mail import tell_of_log

        # Said before it is mailed: whoever stops this in between has read it, and the mail comes at the next start.
        for group in tailed.groups:
            _print_error(group)
        for group in tailed.known:
            click.echo(click.style(f"again, {_counted(group)}: {group.block.lines[0]}", dim=True))
        sys.stdout.flush()
        now = datetime.now(UTC)
        for posted in tell_of_log(self._config, self._mailbox, tailed, now):
            for sentence in (str(posted), *posted.problems):
                click.echo(sentence, err=True)
        if not tailed.groups and time.monotonic() - self._delivered > _DELIVER_SECONDS:
            self._delivered = time.monotonic()
            self._mailbox.deliver()

    def _say_trouble(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            click.echo(click.style(f"warning: {trouble}", fg="yellow"), err=True)
        if self._trouble and not trouble:
            click.echo("the log can be read again", err=True)
        self._trouble = trouble


def _print_error(group: ErrorGroup) -> None:
    context = group.block.context
    named = [f"sample {context.sample}"] if context.sample else []
    named += [f"cycle {context.cycle}"] if context.cycle else []
    click.echo(click.style(", ".join(["error", _counted(group), *named]), fg="red") + f" (byte {group.block.offset:,})")
    for line in group.block.lines:
        click.echo(f"  {line}")


def _counted(group: ErrorGroup) -> str:
    return f"{group.count:,} times" if group.count > 1 else "once"


def _mail_crash(config: Config, mailbox: Mailbox, error: Exception) -> None:
    """Tell that nobody watches the log any more: once a day for one and the same reason."""
    from fusion_assets.config import Event
    from fusion_assets.notify.origin import here
    from fusion_assets.notify.own_errors import monitor_crash_message

    why = f"{type(error).__name__}: {described(error)}"
    trace = "".join(traceback.format_exception(error))
    posted = mailbox.post(
        Event.MONITOR_CRASH,
        {_CRASH: why},
        lambda _: monitor_crash_message(why, trace, here(config, datetime.now(UTC))),
        keep=_CRASH_KEEP,
    )
    click.echo(str(posted), err=True)


@command.command("learn", short_help="Show what the patterns see in a log, and what they may miss.")
@click.argument("file", type=click.Path(), required=False)
@click.option(
    "-p",
    "--pattern",
    "tried",
    metavar="NAME=REGEX",
    multiple=True,
    help="Try a pattern without writing it into config.toml: timestamp, error, sample, cycle or encoding.",
)
@format_option
@global_options
def learn_from(file: str | None, tried: tuple[str, ...], output: str) -> None:
    """Show what `[monitor.patterns]` sees in FILE (by default the log that `source.log` names); nothing is changed.

    Errors that are found, the samples and cycles named, lines that look like errors and are none, and patterns to paste
    into config.toml. Without a config.toml, the patterns are the defaults.
    """
    config = _config_for(file, click.get_current_context().ensure_object(Settings))
    said = {**(config.monitor.patterns if config else {}), **_tried(tried)}
    patterns = compile_patterns(said)
    if file is None and config is not None:
        with open_log(config) as place:
            learned = _learn(place, patterns)
    else:
        from resources.local import LocalStorage

        directory, name = split_address(str(file))
        learned = _learn(LogPlace(LocalStorage(directory), name, str(file)), patterns)
    if output == "json":
        print_json({**asdict(learned), "share_with_timestamp": learned.share_with_timestamp})
    else:
        _print_learned(learned, {**said, **learned.proposals})


def _config_for(file: str | None, settings: Settings) -> Config | None:
    """The configuration; a file can be learned from without one."""
    try:
        find_config(settings.config_path)
    except ConfigError:
        if file is None or settings.config_path:
            raise
        return None
    return settings.load()


def _tried(tried: tuple[str, ...]) -> dict[str, str]:
    pairs = [each.partition("=") for each in tried]
    for name, separator, _ in pairs:
        if not separator:
            raise click.UsageError(f"--pattern {name}: write it as NAME=REGEX, e.g. --pattern 'error=\\bFAILED\\b'")
    return {name: regex for name, _, regex in pairs}


def _learn(place: LogPlace, patterns: Patterns) -> Learned:
    with place.storage.open_reader(place.name) as reader:
        return learn(reader, patterns)


def _print_learned(learned: Learned, patterns: dict[str, str]) -> None:
    share = learned.share_with_timestamp
    click.echo(f"encoding      {learned.encoding}, {learned.size:,} bytes")
    hint = "" if share >= FEW else click.style("  <- few: is their form known?", fg="yellow")
    click.echo(f"timestamps    {share:.1%} of the last {learned.lines:,} lines{hint}")
    click.echo(f"samples       {', '.join(learned.samples) or 'none named'}")
    click.echo(f"cycles        {', '.join(learned.cycles) or 'none named'}")
    click.echo(f"errors        {learned.blocks:,}, {learned.different:,} different")
    _print_counted(learned.errors)
    if learned.missed:
        click.echo("\nlook like errors, but do not match the pattern error:")
        _print_counted(learned.missed)
    if learned.proposals:
        click.echo(f"\nto see more, paste this into config.toml ({', '.join(learned.proposals)} proposed: judge it):\n")
        click.echo(as_toml(patterns))
    elif not learned.missed:
        click.echo("\nnothing looks like an error that was not seen")


def _print_counted(lines: tuple[tuple[str, int], ...]) -> None:
    for line, count in lines:
        click.echo(f"  {count:>9,}  {line.splitlines()[0][:200]}")
