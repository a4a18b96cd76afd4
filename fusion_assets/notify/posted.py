"""What became of mails that were given to a mailbox, in words for the log and in values for programs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from fusion_assets.notify.recipients import Event


class Fate(StrEnum):
    """What became of a post."""

    NOTHING_NEW = "nothing_new"
    SENT = "sent"
    WAITING = "waiting"
    DROPPED = "dropped"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of a post.

    Attributes:
        fate: NOTHING_NEW: every cause was known; SENT; WAITING: it is queued; DROPPED: mails are switched off, or
            nobody subscribed; LOST: it could be neither queued nor sent.
        new: The causes it tells of; none of them counts as told when it was dropped or lost.
        sentence: The fate in words, for the log.
        problems: A sentence for everything a person should put right.
    """

    fate: Fate
    new: tuple[str, ...] = ()
    sentence: str = "nothing new"
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a round of sending did.

    Attributes:
        sent: The subject of every mail that went out, and whom the server took it for.
        waiting: How many still wait.
        dropped: How many were given up since nobody is subscribed any more.
        sentence: In words, why any waits; empty when none does.
        problems: As in `Posted`.
    """

    sent: tuple[str, ...] = ()
    waiting: int = 0
    dropped: int = 0
    sentence: str = ""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """A mail that waits.

    Attributes:
        event: What it is about.
        subject: Its subject.
        since: When it was queued, UTC.
        why: Why it has not gone out.
    """

    event: Event
    subject: str
    since: datetime
    why: str
