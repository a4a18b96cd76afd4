"""What is mailed of the instrument's log: its errors, and that it cannot be read; by the sensor and the command line.

What belongs here: causes, how each stands, and when it is over. What does not: the words (`notify`), and reading
the log (`monitor`).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from fusion_assets.config import Config, Event
from fusion_assets.monitor import ErrorGroup, Tailed
from fusion_assets.monitor.tail import TELL_AFTER
from fusion_assets.notify.fusion_error import FusionError, fusion_error_message, unread_log_message
from fusion_assets.notify.letter import Message
from fusion_assets.notify.mailbox import Mailbox
from fusion_assets.notify.origin import here
from fusion_assets.notify.posted import Fate, Posted
from resources.errors import UnavailableError
from sensors.outages import tell_of_outage

_LOG = logging.getLogger(__name__)
_ERROR = "fusion:"
_UNREAD = "log:unread"


def tell_of_log(config: Config, mailbox: Mailbox, tailed: Tailed, now: datetime) -> tuple[Posted, ...]:
    """Mail what a look at the log found: to be given to `take_look`, which saves the state afterwards.

    Args:
        config: The lab.
        mailbox: Its mailbox.
        tailed: What was found.
        now: The time, UTC.

    Returns:
        What became of the mails; empty when there was nothing to tell.

    Raises:
        UnavailableError: A mail could be neither queued nor sent: the look must not count.
    """
    for note in tailed.notes:
        _LOG.warning("%s", note)  # mailed as our own warnings are: something of the log was not seen
    log = config.source.log or ""
    if tailed.recovered:
        mailbox.settle([_UNREAD])
    posted: list[Posted] = []
    if tailed.warning:
        posted.append(
            mailbox.post(
                Event.MONITOR_CRASH,
                {_UNREAD: ""},  # one cause, however its error is worded at each look
                lambda _: unread_log_message(log, tailed.warning, here(config, now)),
            )
        )
    if tailed.groups:
        posted.append(_tell_of_errors(config, mailbox, tailed.groups, now))
    for each in posted:
        if each.fate is Fate.LOST:
            raise UnavailableError(f"errors of the instrument cannot be mailed, and are looked for again: {each}")
    return tuple(posted)


def tell_of_hanging(config: Config, mailbox: Mailbox, *, since: datetime, now: datetime) -> None:
    """Tell that no look could be taken for long, since another one does not end: as of a log that cannot be read.

    Args:
        config: The lab.
        mailbox: Its mailbox.
        since: Since when.
        now: The time, UTC.
    """
    why = (
        f"since {since:%Y-%m-%d %H:%M} UTC a look at it does not end: its share hangs, or `fusion monitor tail` was "
        "suspended; errors in it are not noticed"
    )
    tell_of_outage(
        mailbox,
        Event.MONITOR_CRASH,
        _UNREAD,
        lambda: unread_log_message(config.source.log or "", why, here(config, now)),
        lasted=now - since,
        after=TELL_AFTER,
    )


def tell_of_going_on(mailbox: Mailbox) -> None:
    """Note that looks are taken again.

    Args:
        mailbox: The lab's mailbox.
    """
    mailbox.settle([_UNREAD])


def _tell_of_errors(config: Config, mailbox: Mailbox, groups: Sequence[ErrorGroup], now: datetime) -> Posted:
    days = config.monitor.sent_keep_days
    by_cause = {f"{_ERROR}{group.key}": group for group in groups}

    def words(new: Sequence[str]) -> Message:
        errors = [_plain(by_cause[cause]) for cause in new]
        return fusion_error_message(errors, config.source.log or "", days, here(config, now))

    # The monitor says when an error is new again. The mailbox only has to recognise a look that is taken again after a
    # crash: it forgets a little earlier, lest it take for known what is new to the monitor by a second.
    keep = timedelta(days=0.99 * days) if days else None
    causes = {cause: "" if days else _this_one(group) for cause, group in by_cause.items()}
    return mailbox.post(Event.FUSION_ERROR, causes, words, keep=keep)


def _plain(group: ErrorGroup) -> FusionError:
    block = group.block
    return FusionError(block.lines, group.count, block.offset, block.context.sample, block.context.cycle)


def _this_one(group: ErrorGroup) -> str:
    """What tells one occurrence of an error from the next, where each is mailed: its place and its own timestamp."""
    return hashlib.sha256(f"{group.block.offset} {group.block.lines[0]}".encode()).hexdigest()
