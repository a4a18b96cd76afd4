"""The mailbox: one mail per cause until it changes, on disk before it is sent, and never in the way of the work.

What belongs here: when a mail goes out, what happens when it cannot, and what happens when the mailbox itself cannot be
used. What does not: the file (`queue`), the connection (`send`), and the words (`backup`, `checks`, ...).

The promises, whatever is killed and whenever:

- A cause is written down in the same change that queues its mail: neither without the other.
- One process sends at a time; the lock goes with the process. A mail that was handed over by a process that was killed
  before it could note that goes out again with the same Message-ID, which is how a reader's server knows it.
- A mail that cannot be sent waits, is tried again after 1, 2, 4, ... 60 minutes, and never expires. One that the server
  refuses while it takes others is tried again once a day, and holds up no other. A recipient for whom the server asks
  to wait gets it later, and the others get it once.
- A clock that was set back counts from there: no cooldown lasts until a day to come.
- Without a usable file, mails are sent at once and remembered in memory: give one `Mailbox` to all that a process does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from fusion_assets.config import Config
from fusion_assets.notify.grouping import grouped
from fusion_assets.notify.handing_over import OF_ALL_MAILS, complain, hand_over, nobody_wants, note
from fusion_assets.notify.letter import Message, counted
from fusion_assets.notify.memory import Memory
from fusion_assets.notify.origin import here
from fusion_assets.notify.own_errors import damaged_mailbox_message, unwritten_message
from fusion_assets.notify.posted import Delivered, Fate, Posted, Waiting
from fusion_assets.notify.queue import Queue, UnusableError
from fusion_assets.notify.recipients import Event, recipients_folder, subscribers
from fusion_assets.notify.send import NotSent, Sent, notify
from fusion_assets.notify.tables import Parcel, Queued, Refused, Trouble
from fusion_assets.state import state_folder

__all__ = ["COOLDOWN_MINUTES", "Delivered", "Fate", "Mailbox", "Posted", "Waiting", "cooldown_seconds"]

FILE = "mailbox.sqlite"

# What many studies or many lines can cause at once is gathered; what is said once a week, or by hand, is not.
COOLDOWN_MINUTES: Mapping[Event, float] = {
    Event.BACKUP_FAILURE: 60,
    Event.CLEANUP_FAILURE: 60,
    Event.FUSION_ERROR: 15,
    Event.MONITOR_CRASH: 60,
    Event.CHECK_FAILED: 60,
    Event.CAPACITY_WARNING: 60,
    Event.DIGEST: 0,
    Event.HEARTBEAT: 60,
}

# A sensor's tick has 60 s; what is not sent after these goes out at the next one.
_SENDING_SECONDS = 20.0
_LOCK_SECONDS = 5.0
_A_YEAR = 366 * 86_400.0

T = TypeVar("T")


def cooldown_seconds(config: Config, event: Event) -> float:
    """For how long after a mail of an event further ones are gathered into one; 0: each goes by itself."""
    if event is Event.TOOLKIT_ERROR:
        return config.notify.toolkit_error_cooldown_seconds
    return 60 * config.notify.cooldown_minutes.get(event, COOLDOWN_MINUTES[event])


class Mailbox:
    """Mails of one lab. No method raises: what went wrong is in the result.

    Args:
        config: The lab.
        smtp_env: ``--smtp-env``; None for the usual chain.
        folder: Where the mailbox lies; None for the state folder.
        clock: Tells the time, with a time zone.
    """

    def __init__(
        self,
        config: Config,
        *,
        smtp_env: Path | None = None,
        folder: Path | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._config = config
        self._smtp_env = smtp_env
        self._queue = Queue((folder or state_folder(config)) / FILE)
        self._clock = clock
        self._memory = Memory()

    def post(
        self,
        event: Event,
        causes: Mapping[str, str],
        compose: Callable[[Sequence[str]], Message],
        *,
        keep: timedelta | None = None,
    ) -> Posted:
        """Mail the causes that nobody was told of as they stand, and send what is due.

        Args:
            event: What happened.
            causes: What caused it, e.g. ``check:<run_name>:<asset>:<check>``, each with a fingerprint of how it stands:
                mailed once, and again when the fingerprint is another.
            compose: What to say of the new causes; called once, or not at all when all are known.
            keep: After this time a cause is new again though it did not change; None for never.
        """
        try:
            return self._post(event, causes, compose, keep)
        except Exception as error:  # noqa: BLE001 - see the class
            return Posted(Fate.LOST, tuple(causes), f"no mail: unexpected {type(error).__name__}: {error}")

    def _post(
        self,
        event: Event,
        causes: Mapping[str, str],
        compose: Callable[[Sequence[str]], Message],
        keep: timedelta | None,
    ) -> Posted:
        if not causes:
            return Posted(Fate.NOTHING_NEW, problems=self.deliver().problems)
        if dropped := self._dropped(event):
            return dropped

        def words(new: Sequence[str]) -> Message:
            try:
                return compose(new)
            except Exception as error:  # noqa: BLE001 - what happened must be told, even where its words are at fault
                return unwritten_message(event, new, error, here(self._config, self._clock()))

        seconds = None if keep is None else keep.total_seconds()
        added, problems = self._with_queue(
            lambda queue: queue.add(event, causes, words, keep=seconds, now=self._clock())
        )
        if added is None:
            new = self._memory.new(causes, seconds, self._clock())
            return self._send_unqueued(event, words(new), problems, new, causes) if new else Posted(Fate.NOTHING_NEW)
        if added.mail is None:
            return Posted(Fate.NOTHING_NEW, problems=problems + self.deliver().problems)
        return self._after_queueing(added.mail, added.new, problems, self.deliver())

    def send(self, event: Event, message: Message) -> Posted:
        """Mail something that is said every time: a command that failed, the weekly digest. What waits goes along.

        Args:
            event: What happened.
            message: What to say of it.
        """
        try:
            return self._send(event, message)
        except Exception as error:  # noqa: BLE001 - see the class
            return Posted(Fate.LOST, (), f"no mail: unexpected {type(error).__name__}: {error}")

    def _send(self, event: Event, message: Message) -> Posted:
        if dropped := self._dropped(event):
            return dropped
        mail, problems = self._with_queue(lambda queue: queue.add_mail(event, message, self._clock()))
        if mail is None:
            return self._send_unqueued(event, message, problems)
        return self._after_queueing(mail, (), problems, self.deliver(at_once=True))

    def standing(self, causes: Iterable[str]) -> frozenset[str]:
        """Those of which people were told, however they stood, and that are not gone.

        Args:
            causes: As they were given to `post`.
        """
        if not (asked := tuple(causes)):
            return frozenset()
        on_disk, _ = self._with_queue(lambda queue: queue.standing(asked, self._clock()))
        return self._memory.standing(asked) | (on_disk or frozenset())

    def settle(self, causes: Iterable[str]) -> None:
        """The causes are gone: when one comes back, it is mailed again."""
        gone = tuple(causes)
        self._memory.forget(gone)
        self._with_queue(lambda queue: queue.forget(gone, self._clock()))

    def settle_others(self, prefix: str, still: Collection[str]) -> None:
        """Every cause that begins with `prefix` and is not in `still` is gone."""
        self._memory.forget_others(prefix, still)
        self._with_queue(lambda queue: queue.forget_others(prefix, still, self._clock()))

    def deliver(self, *, at_once: bool = False) -> Delivered:
        """Send what is due: the cooldown of its event is over, and the time of the next try has come.

        Args:
            at_once: Wait for neither.
        """
        try:
            return self._deliver(at_once=at_once)
        except Exception as error:  # noqa: BLE001 - a backup that went well must not fail because its mail did
            return Delivered(problems=(f"mails cannot be sent: unexpected {type(error).__name__}: {error}",))

    def fault(self) -> str:
        """Why mails cannot be kept on disk; empty when they can, or are switched off."""
        if not self._config.notify.enabled:
            return ""
        return "; ".join(self._with_queue(lambda queue: queue.trouble(self._clock()))[1])

    def waiting(self) -> tuple[Waiting, ...]:
        """Every mail that waits, oldest first, each with why. A mailbox that is not there is not made."""

        def look(queue: Queue) -> tuple[Waiting, ...]:
            if not queue.file.exists():
                return ()
            now = self._clock()
            mails, trouble, sent = queue.waiting(now), queue.trouble(now), queue.last_sent(now)
            return tuple(self._waiting(mail, refused, trouble, sent.get(mail.event)) for mail, refused in mails)

        return self._with_queue(look)[0] or ()

    def _dropped(self, event: Event) -> Posted | None:
        """The fate of a mail that nobody wants to read; None when somebody may."""
        if not self._config.notify.enabled:
            return Posted(Fate.DROPPED, sentence="no mail: [notify] enabled is false")
        found = subscribers(recipients_folder(self._config), event)
        if found.addresses or found.problems:
            # a file that cannot be read, or holds nothing but typing errors, does not say that nobody wants to know
            return None
        return Posted(Fate.DROPPED, sentence=f"no mail: nobody subscribed to {event.value}")

    def _with_queue(self, action: Callable[[Queue], T]) -> tuple[T | None, tuple[str, ...]]:
        """Do something with the queue; None when that cannot be done, and what a person should know of it."""
        problems: tuple[str, ...] = ()
        try:
            try:
                return action(self._queue), ()
            except UnusableError as error:
                if not error.damaged:
                    raise
                problems = self._move_aside(error)
                return action(self._queue), problems
        except Exception as error:  # noqa: BLE001 - whatever it is: the work goes on, and the mail is sent at once
            return None, (*problems, f"the mailbox cannot be used: {error}")

    def _move_aside(self, error: UnusableError) -> tuple[str, ...]:
        """Set a damaged file aside, for whoever wants to know what was in it, and tell the people of our own errors."""
        file, now = self._queue.file, self._clock()
        with _lock(file.with_name("mailbox.repair.lock")) as held:
            if not held or not self._is_damaged(now):
                return ()  # another process is at it, or was faster
            aside = file.with_name(f"{file.name}.damaged-{now:%Y%m%dT%H%M%S}-{uuid4().hex[:6]}")
            journal = file.with_name(f"{file.name}-journal")  # of the damaged file: it would damage the next one, too
            if journal.exists():
                journal.rename(aside.with_name(f"{aside.name}-journal"))
            file.rename(aside)
            message = damaged_mailbox_message(aside, str(error), here(self._config, now))
            self._queue.add_mail(Event.TOOLKIT_ERROR, message, now)
        return (f"the mailbox was damaged ({error}); it is kept as {aside}, and a new one was made",)

    def _is_damaged(self, now: datetime) -> bool:
        try:
            self._queue.waiting(now)
        except UnusableError as error:
            return error.damaged
        return False

    def _send_unqueued(
        self,
        event: Event,
        message: Message,
        problems: tuple[str, ...],
        new: tuple[str, ...] = (),
        causes: Mapping[str, str] | None = None,
    ) -> Posted:
        result = notify(self._config, event, message, smtp_env=self._smtp_env)
        if isinstance(result, NotSent):
            return Posted(Fate.LOST, new, f"{result}; it could not be queued either", problems + result.problems)
        self._memory.told({cause: (causes or {})[cause] for cause in new}, self._clock())
        return Posted(Fate.SENT, new, f"{result}, without the mailbox", problems + result.problems)

    def _after_queueing(
        self, mail: int, new: tuple[str, ...], problems: tuple[str, ...], delivered: Delivered
    ) -> Posted:
        problems += delivered.problems
        waits, unknown = self._with_queue(lambda queue: queue.waits(mail, self._clock()))
        if waits or unknown:
            return Posted(Fate.WAITING, new, f"mail waits: {delivered.sentence or 'it is sent later'}", problems)
        if delivered.dropped and not delivered.sent:
            return Posted(Fate.DROPPED, new, "no mail: nobody is subscribed any more", problems)
        return Posted(Fate.SENT, new, f"mail sent: {'; '.join(delivered.sent) or 'by another process'}", problems)

    def _deliver(self, *, at_once: bool) -> Delivered:
        if not self._queue.file.exists():
            return Delivered()
        if not self._config.notify.enabled:
            return self._with_waiting(Delivered())
        with _lock(self._queue.file.with_name("mailbox.sending.lock")) as held:
            if not held:
                return self._with_waiting(Delivered(sentence="another process is sending"))
            return self._with_waiting(self._send_parcels(at_once=at_once))

    def _send_parcels(self, *, at_once: bool) -> Delivered:
        sent: list[str] = []
        problems: dict[str, None] = {}
        tried: list[int] = []
        dropped, sentence = 0, ""
        until = time.monotonic() + _SENDING_SECONDS
        while time.monotonic() < until:
            parcel, found = self._with_queue(lambda queue: self._next(queue, tried, at_once=at_once))
            problems.update(dict.fromkeys(found))
            if parcel is None:
                break
            tried.append(parcel.id)
            result = self._hand_over(parcel)
            problems.update(dict.fromkeys(result.problems))
            if isinstance(result, Sent):
                sent.append(f"{grouped([mail.message for mail in parcel.mails]).subject} ({result})")
                continue
            sentence = result.sentence
            dropped += len(parcel.mails) if nobody_wants(result) else 0
            if result.reason in OF_ALL_MAILS:
                break
        return Delivered(tuple(sent), 0, dropped, sentence, tuple(problems))

    def _next(self, queue: Queue, tried: Sequence[int], *, at_once: bool) -> Parcel | None:
        def cooldown(event: Event) -> float:
            return cooldown_seconds(self._config, event)

        return queue.next_parcel(cooldown, self._clock(), at_once=at_once, without=tried)

    def _hand_over(self, parcel: Parcel) -> Sent | NotSent:
        """Hand a parcel to the server, and note what came of it."""
        result = hand_over(self._config, parcel, self._smtp_env)

        def noted(queue: Queue) -> None:
            note(queue, parcel, result, self._clock())
            complain(queue, self._config, parcel, result, self._clock())

        return replace(result, problems=result.problems + self._with_queue(noted)[1])

    def _with_waiting(self, delivered: Delivered) -> Delivered:
        """The result of a round, and what it left."""
        waiting = self.waiting()
        why = waiting[0].why if waiting else ""
        return replace(delivered, waiting=len(waiting), sentence=delivered.sentence or why)

    def _waiting(
        self, mail: Queued, refused: Refused | None, trouble: Trouble | None, sent: datetime | None
    ) -> Waiting:
        if not self._config.notify.enabled:
            why = "[notify] enabled is false"
        elif refused:
            why = f"{refused.said} (again after {refused.again_at:%Y-%m-%d %H:%M} UTC)"
        elif trouble:
            again = f"again after {trouble.retry_at:%Y-%m-%d %H:%M} UTC"
            why = f"{trouble.said} (tried {counted(trouble.tries, 'time')}; {again})"
        elif sent and not mail.on_its_way:
            after = sent + timedelta(seconds=min(cooldown_seconds(self._config, mail.event), _A_YEAR))
            why = f"a mail of this event went out at {sent:%H:%M}; more are gathered until {after:%Y-%m-%d %H:%M} UTC"
        else:
            why = "it is sent with the next round"
        return Waiting(mail.event, mail.message.subject, mail.at, why)


@contextmanager
def _lock(file: Path) -> Iterator[bool]:
    """Hold a lock among processes, which ends with its holder; False when another one holds it for too long."""
    from filelock import FileLock, Timeout

    lock = FileLock(file, timeout=_LOCK_SECONDS)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
