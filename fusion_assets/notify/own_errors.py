"""The words of mails about the toolkit's own troubles, for whoever maintains it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from fusion_assets.notify.letter import Letter, Message, Row, Section, Table, Words, counted, write
from fusion_assets.notify.recipients import Event


def damaged_mailbox_message(aside: Path, error: str, host: str, at: datetime) -> Message:
    """The mail about a mailbox that had to be set aside.

    Args:
        aside: Where its file is kept.
        error: What is wrong with it.
        host: Where.
        at: When.
    """
    happened = f"The file in which mails wait was damaged: {error}. It is kept as {aside}, and a new one was made."
    safe = (
        "Studies are not concerned: this file holds mails only. What still stands is mailed once more. A mail that "
        "waited in the damaged file may be lost: fusion plan shows where every study stands."
    )
    sections = (Section("What happened", (Words(happened),)), Section("What is safe", (Words(safe),)))
    return write(Letter("the mailbox was damaged, a new one was made", host, at, sections))


def unwritten_message(event: Event, causes: Sequence[str], error: Exception, host: str, at: datetime) -> Message:
    """The mail that goes out when writing the right one failed, which is a mistake of ours.

    Args:
        event: What it is about.
        causes: What it should have told of.
        error: What went wrong.
        host: Where.
        at: When.
    """
    rows = tuple(Row(cause, "see the log, fusion plan and the Dagster UI") for cause in causes)
    why = f"The mail about it could not be written, please report this: {type(error).__name__}: {error}"
    sections = (Section("What happened", (Table(rows),)), Section("Why this mail is so short", (Words(why),)))
    return write(Letter(f"{event.value}: {counted(len(causes), 'cause')}", host, at, sections))
