"""The mails that reached the lab's people, as a person reads them: letters, even where several came as one mail.

What belongs here: reading what the mail server kept. What does not: which ones there should be.
"""

from __future__ import annotations

import email.policy
import re
from dataclasses import dataclass
from email import message_from_bytes
from functools import cache
from pathlib import Path

_RULE = "-" * 72
_NAMED = re.compile(r"\d[\d,]*|(?<=failed for )\S.*|:.*(?=archived)")


@dataclass(frozen=True)
class Letter:
    """One letter.

    Attributes:
        title: What its subject says; the host left out.
        text: All of it.
        mail: The number of the mail that brought it.
    """

    title: str
    text: str
    mail: int

    @property
    def kind(self) -> str:
        """What it tells of, without names and numbers."""
        return re.sub(r"^instrument error.*|.*instrument errors.*", "instrument errors", _NAMED.sub("…", self.title))


@dataclass(frozen=True)
class _Mail:
    message_id: str
    letters: tuple[Letter, ...]


@dataclass(frozen=True)
class Received:
    """All that was received.

    Attributes:
        letters: In order.
        message_ids: Of each mail.
    """

    letters: tuple[Letter, ...]
    message_ids: tuple[str, ...]


def read_mails(folder: Path) -> Received:
    """Every mail the server kept.

    Args:
        folder: Of `cli.demo.mail.mail_server`.
    """
    mails = [_read(file) for file in sorted(folder.glob("*.eml"), key=lambda file: int(file.stem))]
    letters = tuple(letter for mail in mails for letter in mail.letters)
    return Received(letters, tuple(mail.message_id for mail in mails))


@cache  # a mail that was received never changes, and is read four times a simulated day
def _read(file: Path) -> _Mail:
    message = message_from_bytes(file.read_bytes(), policy=email.policy.default)
    body = message.get_body(("plain",))
    assert body is not None
    text = body.get_content().replace("\r\n", "\n")
    letters = _letters(str(message["Subject"]).strip(), text, int(file.stem))
    return _Mail(str(message["Message-ID"]), tuple(letters))


def _letters(subject: str, text: str, mail: int) -> list[Letter]:
    """One letter, or those that were gathered into one: first a list of their subjects, then each behind a rule."""
    head, *told = text.split(f"\n{_RULE}\n")
    if not told:
        return [Letter(title_of(subject), text, mail)]
    subjects = re.findall(r"^\d+\. (.+)$", head, re.MULTILINE)
    return [Letter(title_of(one), part, mail) for one, part in zip(subjects, told, strict=False)]


def title_of(subject: str) -> str:
    """What a subject says; the host left out."""
    return subject.removeprefix("[fusion-toolkit] ").rpartition(" on ")[0] or subject
