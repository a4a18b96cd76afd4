"""The words of mails about the toolkit's own troubles: `toolkit_error`, `monitor_crash`, and mails that went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fusion_assets.notify.letter import Command, Commands, Lines, Message, Row, Section, Table, Words, counted
from fusion_assets.notify.origin import Origin
from fusion_assets.notify.recipients import Event

_SAFE = (
    "A warning deletes nothing. A study leaves the instrument or the NAS only when every proof was repeated and passed "
    "at that moment."
)
_NOT_WATCHED = (
    "Studies are not concerned: the monitor only reads the instrument's log. Errors of the instrument are not mailed "
    "until it runs again; then it goes on where it stopped, and none is missed."
)


@dataclass(frozen=True, slots=True)
class LogLine:
    """A warning or error of one of our own loggers.

    Attributes:
        level: ``WARNING``, ``ERROR`` or ``CRITICAL``.
        logger: Who wrote it.
        says: What it says, with a traceback if it has one.
        at: When it was first written; with a time zone.
        count: How often, with other numbers and times in it.
    """

    level: str
    logger: str
    says: str
    at: datetime
    count: int = 1


def toolkit_error_message(lines: Sequence[LogLine], origin: Origin) -> Message:
    """The mail about what the toolkit itself logged.

    Args:
        lines: At least one, each different.
        origin: Where.
    """
    first = lines[0].says.strip().splitlines() or [""]
    worst = "error" if any(line.level != "WARNING" for line in lines) else "warning"
    headline = f"{worst}: {first[0][:100]}" if len(lines) == 1 else f"{len(lines)} warnings and errors of the toolkit"
    return origin.letter(
        headline,
        Section("What was logged", tuple(block for line in lines for block in _logged(line, origin))),
        Section("What is safe", (Words(_SAFE),)),
        Section(
            "What to type",
            (Commands((Command("To see where every study stands", origin.command("fusion plan")),)),),
        ),
    )


def monitor_crash_message(error: str, traceback: str, origin: Origin) -> Message:
    """The mail of ``monitor_crash``.

    Args:
        error: What went wrong, in a sentence.
        traceback: As Python prints it; empty for none.
        origin: Where.
    """
    again = Command(
        "To start it again, unless a service or a scheduled task does", origin.command("fusion monitor tail")
    )
    return origin.letter(
        "the monitor of Fusion.log crashed",
        Section("What happened", (Words(error), *((Lines(traceback),) if traceback else ()))),
        Section("What is safe", (Words(_NOT_WATCHED),)),
        Section("What to type", (Commands((again,)),)),
    )


def damaged_mailbox_message(aside: Path, error: str, origin: Origin) -> Message:
    """The mail about a mailbox that had to be set aside.

    Args:
        aside: Where its file is kept.
        error: What is wrong with it.
        origin: Where.
    """
    happened = f"The file in which mails wait was damaged: {error}. It is kept as {aside}, and a new one was made."
    safe = (
        "Studies are not concerned: this file holds mails only. What still stands is mailed once more. A mail that "
        "waited in the damaged file may be lost."
    )
    look = Command("To see where every study stands, mailed or not", origin.command("fusion plan"))
    return origin.letter(
        "the mailbox was damaged, a new one was made",
        Section("What happened", (Words(happened),)),
        Section("What is safe", (Words(safe),)),
        Section("What to type", (Commands((look,)),)),
    )


def unwritten_message(event: Event, causes: Sequence[str], error: Exception, origin: Origin) -> Message:
    """The mail that goes out when writing the right one failed, which is a mistake of ours.

    Args:
        event: What it is about.
        causes: What it should have told of.
        error: What went wrong.
        origin: Where.
    """
    rows = tuple(Row(cause, "see the log, fusion plan and the Dagster UI") for cause in causes)
    why = f"The mail about it could not be written, please report this: {type(error).__name__}: {error}"
    return origin.letter(
        f"{event.value}: {counted(len(causes), 'cause')}",
        Section("What happened", (Table(rows),)),
        Section("Why this mail is so short", (Words(why),)),
    )


def _logged(line: LogLine, origin: Origin) -> tuple[Words, Lines]:
    times = f", {line.count:,} times" if line.count > 1 else ""
    return Words(f"{line.level} of {line.logger}, first at {origin.shown(line.at)}{times}:"), Lines(line.says)
