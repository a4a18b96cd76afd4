"""Since when a sensor could not do its work, as the text that Dagster keeps for it, and when a person is told.

The text is for a sensor that has nothing else to remember; that of idle studies has (`idle_cursor`). What does not
belong here: the words of a mail (`notify`), and when an outage is over, which each sensor sees for itself.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from fusion_assets.config import Event
from fusion_assets.notify.letter import Message
from fusion_assets.notify.mailbox import Mailbox

# No empty text: where a tick gives one, Dagster keeps the last.
WELL = "well"

# An instrument that is switched off overnight is nothing to mail about; a share that stays away is.
OUTAGE_AFTER = timedelta(hours=1)


def outage_since(cursor: str | None, now: datetime) -> datetime:
    """Since when the work cannot be done; now, if it could be until this moment.

    Args:
        cursor: What the last tick gave: such a time in ISO form, or `WELL`.
        now: The time, UTC.
    """
    try:
        return min(datetime.fromisoformat(cursor or WELL), now)  # later than now: the clock was ahead
    except (ValueError, TypeError):  # of a person who wrote a time without its zone
        return now


def tell_of_outage(
    mailbox: Mailbox,
    event: Event,
    cause: str,
    message: Callable[[], Message],
    *,
    lasted: timedelta,
    after: timedelta = OUTAGE_AFTER,
) -> None:
    """Tell of an outage that lasts: once, until its cause is settled, however its error is worded at each tick.

    Args:
        mailbox: The lab's mailbox.
        event: Who hears of it.
        cause: What it is known by.
        message: What to say of it.
        lasted: For how long it has lasted.
        after: From when on a person is told.
    """
    if lasted >= after:
        mailbox.post(event, {cause: ""}, lambda _: message())
