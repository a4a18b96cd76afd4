"""Handing a parcel over to the mail server, and noting in the queue what came of it.

What belongs here: what each answer means for the parcel, and telling the people of our own errors of recipients whom no
mail reaches. What does not: which parcel is next (`queue`), and when (`mailbox`).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from fusion_assets.config import Config
from fusion_assets.notify.grouping import grouped
from fusion_assets.notify.origin import here
from fusion_assets.notify.own_errors import LogLine, toolkit_error_message
from fusion_assets.notify.queue import Queue
from fusion_assets.notify.recipients import Event, recipients_folder, subscribers
from fusion_assets.notify.send import NotSent, Reason, Sent, deliver, prepare
from fusion_assets.notify.tables import Parcel

# What stands in the way of every mail, not only of the one that met it.
OF_ALL_MAILS = frozenset({Reason.UNAVAILABLE, Reason.SETTINGS, Reason.NO_CREDENTIALS, Reason.REFUSED})

# As for every warning of our own: the same one once a day.
_SAME_AGAIN = timedelta(days=1)


def hand_over(config: Config, parcel: Parcel, smtp_env: Path | None) -> Sent | NotSent:
    """Hand a parcel to the server. Never raises: one mail that cannot be sent must not hold up all others.

    Args:
        config: The lab.
        parcel: The mails.
        smtp_env: ``--smtp-env``; None for the usual chain.
    """
    message = grouped([mail.message for mail in parcel.mails])
    try:
        prepared = prepare(
            config, parcel.event, message, smtp_env=smtp_env, message_id=parcel.message_id, only=parcel.owed
        )
        return prepared if isinstance(prepared, NotSent) else deliver(prepared)
    except Exception as error:  # noqa: BLE001 - see above
        return NotSent(Reason.UNEXPECTED, f"unexpected {type(error).__name__}: {error}")


def note(queue: Queue, parcel: Parcel, result: Sent | NotSent, now: datetime) -> None:
    """Note what came of handing a parcel over.

    Args:
        queue: Where it waits.
        parcel: The parcel.
        result: Of `hand_over`.
        now: The time.
    """
    asked_to_wait = [address for address, refusal in result.refused.items() if not refusal.for_good]
    if asked_to_wait:
        somebody_has_it = parcel.owed or isinstance(result, Sent)
        said = "; ".join(f"{address}: {result.refused[address].said}" for address in asked_to_wait)
        queue.note_deferred(parcel, asked_to_wait if somebody_has_it else (), f"asked to wait for {said}", now)
    elif isinstance(result, Sent) or (parcel.owed and result.reason is Reason.NO_RECIPIENT_TAKEN):
        queue.note_sent(parcel, now)
    elif nobody_wants(result):
        queue.note_dropped(parcel, now)
    elif result.reason is Reason.NOBODY:
        return
    elif result.reason in OF_ALL_MAILS:
        queue.note_trouble(result.sentence, now)
    else:
        queue.note_refused(parcel, result.sentence, now)


def nobody_wants(result: NotSent) -> bool:
    """Whether nobody is subscribed; a file that cannot be read, or holds typing errors only, does not say that."""
    return result.reason is Reason.NOBODY and not result.problems


def complain(queue: Queue, config: Config, parcel: Parcel, result: Sent | NotSent, now: datetime) -> None:
    """Mail whom no mail reaches: recipients that were refused for good, and lines that are no address.

    By address, not by what the server said: its words have a number in them that is another one each time, also when
    it refuses the mail about the refusal.

    Args:
        queue: Where it waits for being sent.
        config: The lab.
        parcel: The parcel.
        result: Of `hand_over`.
        now: The time.
    """
    folder = recipients_folder(config)
    gone = {address: refusal for address, refusal in result.refused.items() if refusal.for_good}
    spoken = {f"recipient:{address}": f"{address} was refused: {refusal.said}" for address, refusal in gone.items()}
    spoken |= {f"recipients:{problem}": problem for problem in subscribers(folder, parcel.event).problems}
    if not spoken or not set(subscribers(folder, Event.TOOLKIT_ERROR).addresses) - gone.keys():
        return
    queue.add(
        Event.TOOLKIT_ERROR,
        dict.fromkeys(spoken, ""),
        lambda new: toolkit_error_message(
            [LogLine("WARNING", "fusion_assets.notify", spoken[cause], now) for cause in new], here(config, now)
        ),
        keep=_SAME_AGAIN.total_seconds(),
        now=now,
    )
