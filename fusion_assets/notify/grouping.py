"""Several mails of one event as one: a list of what they say first, then what each says, as many as a person reads."""

from __future__ import annotations

import html
from collections.abc import Sequence

from fusion_assets.notify.letter import Message, body, page

MAX_TOLD = 20
MAX_LISTED = 200

_RULE = "-" * 72


def grouped(messages: Sequence[Message]) -> Message:
    """One mail that says what several would have said.

    Args:
        messages: At least one, oldest first, of one event; a single one is left as it is.
    """
    if len(messages) == 1:
        return messages[0]
    subjects = [message.subject.removeprefix("[fusion-toolkit] ") for message in messages]
    listed = [f"{number}. {subject}" for number, subject in enumerate(subjects[:MAX_LISTED], start=1)]
    if len(subjects) > MAX_LISTED:
        listed.append(f"and {len(subjects) - MAX_LISTED} more")
    told = messages[:MAX_TOLD]
    rest = f"Only the first {MAX_TOLD} are told below." if len(messages) > MAX_TOLD else ""
    intro = " ".join(f"{len(messages)} mails of the same kind, gathered into this one. {rest}".split())
    text = "\n".join([intro, "", *listed, *(f"\n{_RULE}\n{message.text.rstrip()}" for message in told)]) + "\n"
    items = "".join(f"<div>{html.escape(line)}</div>" for line in listed)
    bodies = "".join(f"<hr>{body(message)}" for message in told)
    subject = f"[fusion-toolkit] {subjects[0]}, and {len(messages) - 1} more"
    return Message(subject, text, page(f"<p><b>{html.escape(intro)}</b></p>{items}{bodies}"))
