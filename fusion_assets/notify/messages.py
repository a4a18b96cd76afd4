"""The words of mails. Pure: plain data in, subject, text and HTML out, whatever the data holds.

What belongs here: what a person reads, in an order that answers their questions: what happened, is anything lost, what
do I type. What does not: who reads it. A mail names studies by their directories and never quotes what images say of
samples or people (StudyName, Operator, barcodes).
"""

from __future__ import annotations

import html
import re
import shlex
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fusion_assets.notify.letter import Message
from fusion_assets.notify.recipients import Event

# More lines than a person reads in a mail; `fusion plan` shows the rest.
MAX_LISTED = 50
MAX_COMMANDS = 5
_MAX_REASON = 300

_SAFE = (
    "Nothing unproven was deleted. A study leaves the instrument's disk only when its copy on the NAS and its archive "
    "in S3 were both proven intact at that moment; whatever is not proven in both places is still at the source. "
    "Running the backup again is safe: it goes on where it stopped."
)


@dataclass(frozen=True, slots=True)
class FailedStudy:
    """A study that failed.

    Attributes:
        study: Its name at the source.
        reason: Why, in one sentence.
        path: Where it is at the source, if its names or its structure are what is wrong; else empty.
        locked: Whether a lock that a crash left behind is what is wrong.
    """

    study: str
    reason: str
    path: str = ""
    locked: bool = False


@dataclass(frozen=True, slots=True)
class BackupFailure:
    """A ``fusion backup run`` (or apply) that ended with an exit code other than 0.

    Attributes:
        host: Where it ran.
        at: When it ended; with its time zone.
        config_path: The lab's config.toml; None when it has none.
        failed: What failed, in the order in which it was tried.
        recap: The recap's total, e.g. ``ok=3 changed=2 skipped=0 failed=1``; empty when nothing was begun.
        trouble: Why the run as a whole stopped or never began; empty when only studies failed.
    """

    host: str
    at: datetime
    config_path: Path | None = None
    failed: tuple[FailedStudy, ...] = ()
    recap: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class _Command:
    why: str
    line: str


def backup_failure_message(failure: BackupFailure) -> Message:
    """The mail of ``backup_failure``: what failed and why, what is safe, what to type, the recap.

    Args:
        failure: What happened.
    """
    headline = _headline(failure)
    subject = f"[fusion-toolkit] {headline} on {_one_line(failure.host)}"
    return Message(subject, _text(failure, headline), _html(failure, headline))


def sample_message(event: Event, host: str, at: datetime, file: Path | None) -> Message:
    """The mail of ``fusion notify test``.

    Args:
        event: The event whose subscribers get it.
        host: Where it was sent from.
        at: When.
        file: The file its subscribers stand in.
    """
    text = (
        f"This is a test of the event {event.value}. Nothing is wrong.\n\n"
        f"You get it because your address is in {_one_line(str(file))}.\n"
        f"Mails of this event will reach you in the same way.\n\n{_signature(host, at)}\n"
    )
    return Message(f"[fusion-toolkit] TEST of {event.value} on {_one_line(host)}", text)


def _headline(failure: BackupFailure) -> str:
    count = len(failure.failed)
    studies = f"{count} {'study' if count == 1 else 'studies'} failed"
    if failure.trouble:
        return f"backup stopped, {studies}" if count else "backup stopped"
    return f"backup: {studies}" if count else "backup failed"


def _text(failure: BackupFailure, headline: str) -> str:
    parts = [f"{headline[0].upper()}{headline[1:]} on {_one_line(failure.host)}."]
    if failure.trouble:
        parts.append(f"Why it stopped\n  {_short(failure.trouble)}")
    if failure.failed:
        lines = [f"  {_one_line(item.study)}: {_short(item.reason)}" for item in failure.failed[:MAX_LISTED]]
        parts.append("\n".join(["What failed", *lines, *_and_more(failure, "  ")]))
    parts.append(f"What is safe\n  {_SAFE}")
    commands = [f"  {command.why}:\n    {command.line}" for command in _commands(failure)]
    parts.append("\n".join(["What to type", *commands]))
    if failure.recap:
        parts.append(f"Recap\n  {_one_line(failure.recap)}")
    parts.append(_signature(failure.host, failure.at))
    return "\n\n".join(parts) + "\n"


def _html(failure: BackupFailure, headline: str) -> str:
    parts = [f"<p><b>{_escaped(headline[0].upper() + headline[1:])} on {_escaped(failure.host)}.</b></p>"]
    if failure.trouble:
        parts.append(f"<h3>Why it stopped</h3><p>{_escaped(_short(failure.trouble))}</p>")
    if failure.failed:
        rows = [
            f"<tr><td><code>{_escaped(item.study)}</code></td><td>{_escaped(_short(item.reason))}</td></tr>"
            for item in failure.failed[:MAX_LISTED]
        ]
        more = "".join(f"<p>{_escaped(line)}</p>" for line in _and_more(failure, ""))
        parts.append(f'<h3>What failed</h3><table cellpadding="4">{"".join(rows)}</table>{more}')
    parts.append(f"<h3>What is safe</h3><p>{_escaped(_SAFE)}</p>")
    commands = [
        f"<dt>{_escaped(each.why)}</dt><dd><code>{_escaped(each.line)}</code></dd>" for each in _commands(failure)
    ]
    parts.append(f"<h3>What to type</h3><dl>{''.join(commands)}</dl>")
    if failure.recap:
        parts.append(f"<h3>Recap</h3><p><code>{_escaped(failure.recap)}</code></p>")
    parts.append(f"<p>{_escaped(_signature(failure.host, failure.at))}</p>")
    return f'<html><body style="font-family: sans-serif">{"".join(parts)}</body></html>\n'


def _and_more(failure: BackupFailure, indent: str) -> list[str]:
    hidden = len(failure.failed) - MAX_LISTED
    return [f"{indent}and {hidden} more; fusion plan shows them all"] if hidden > 0 else []


def _commands(failure: BackupFailure) -> list[_Command]:
    config = f" --config {_typed(str(failure.config_path))}" if failure.config_path else ""
    commands = [_Command("To see where every study stands, and what would be done", f"fusion plan{config}")]
    commands += [
        _Command(f"To see what is wrong with {_one_line(item.study)}", f"fusion validate study {_typed(item.path)}")
        for item in [item for item in failure.failed if item.path][:MAX_COMMANDS]
    ]
    commands += [
        _Command(
            f"To remove the lock in {_one_line(item.study)}, once you know that nothing works on it any more",
            f"fusion unlock {_typed(item.study)}{config}",
        )
        for item in [item for item in failure.failed if item.locked][:MAX_COMMANDS]
    ]
    commands.append(_Command("Then, to go on", f"fusion backup run{config}"))
    return commands


def _signature(host: str, at: datetime) -> str:
    return f"fusion-toolkit on {_one_line(host)}, {at.isoformat(sep=' ', timespec='seconds')}"


def _one_line(text: str) -> str:
    """A name or reason as one line that shows: directories may be called anything, line breaks included."""
    shown = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return " ".join("".join(char if char.isprintable() else " " for char in shown).split())


def _short(reason: str) -> str:
    """A reason as one line; the log has the whole of it."""
    shown = _one_line(reason)
    return shown if len(shown) <= _MAX_REASON else f"{shown[: _MAX_REASON - 1]}…"


def _escaped(text: str) -> str:
    return html.escape(_one_line(text))


def _typed(argument: str) -> str:
    """An argument as it can be pasted into a shell; double quotes where they do, since Windows knows no others."""
    shown = _one_line(argument)
    if re.fullmatch(r"[\w@%+=:,./\\-]+", shown):
        return shown
    return shlex.quote(shown) if re.search(r'["$`!]', shown) else f'"{shown}"'
