"""What a mailbox remembers: mails that wait, causes that were told, and how sending went; in one SQLite file.

What belongs here: the tables, and each change of them as one transaction, so that several processes can work on one
file and a kill at any moment leaves all of a change or none. What does not: sending (`mailbox`), and any clock: the
time of every change comes from the caller.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fusion_assets.notify.letter import Message
from fusion_assets.notify.recipients import Event
from fusion_assets.notify.tables import (
    TABLES,
    Parcel,
    Queued,
    Refused,
    Trouble,
    events_that_wait,
    insert_mail,
    moment,
    note_sending,
    pack,
    read_cause,
    read_mails,
    read_parcels,
    read_refusals,
    read_trouble,
    refuse,
    remove,
    storable,
    taken_up,
    turn_clock_back,
)

_BUSY_SECONDS = 30.0


class UnusableError(Exception):
    """The file cannot be read or written.

    Args:
        message: Why.
        damaged: Whether it is no (longer a) database; else another try may go well.
    """

    def __init__(self, message: str, *, damaged: bool = False) -> None:
        super().__init__(message)
        self.damaged = damaged


@dataclass(frozen=True, slots=True)
class Added:
    """What became of causes.

    Attributes:
        mail: The number of the mail that tells of the new ones; None when all were known.
        new: Those it tells of.
    """

    mail: int | None
    new: tuple[str, ...]


class Queue:
    """The file.

    Args:
        file: It and its folder are made when they are missing.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def add(
        self,
        event: Event,
        causes: Mapping[str, str],
        compose: Callable[[Sequence[str]], Message],
        *,
        keep: float | None,
        now: datetime,
    ) -> Added:
        """Queue a mail for the causes that nobody was told of as they stand, and write them down, in one change.

        Args:
            event: What it is about.
            causes: Each with a fingerprint of how it stands.
            compose: What to say of the new ones; not called when there are none.
            keep: Seconds after which a cause is new again although it did not change; None for never.
            now: The time.
        """
        wanted = {storable(cause): (cause, storable(fingerprint)) for cause, fingerprint in causes.items()}
        with self._change(now) as database:
            at = now.timestamp()
            database.execute("DELETE FROM causes WHERE at + keep <= ?", (at,))
            told = {cause: read_cause(database, cause) for cause in wanted}
            new = {
                key: cause
                for key, (cause, fingerprint) in wanted.items()
                if (known := told[key]) is None
                or known[0] != fingerprint
                or (keep is not None and known[1] + keep <= at)
            }
            if not new:
                return Added(None, ())
            mail = insert_mail(database, event, compose(tuple(new.values())), at)
            database.executemany(
                "INSERT OR REPLACE INTO causes VALUES (?, ?, ?, ?, ?)",
                [(key, wanted[key][1], at, keep, mail) for key in new],
            )
            return Added(mail, tuple(new.values()))

    def add_mail(self, event: Event, message: Message, now: datetime) -> int:
        """Queue a mail that has no cause to be known by, and return its number."""
        with self._change(now) as database:
            return insert_mail(database, event, message, now.timestamp())

    def standing(self, causes: Iterable[str], now: datetime) -> frozenset[str]:
        """Those that were told and are not gone."""
        if not self.file.exists():
            return frozenset()
        with self._change(now) as database:
            return frozenset(cause for cause in causes if read_cause(database, storable(cause)))

    def forget(self, causes: Iterable[str], now: datetime) -> None:
        """Make causes new again."""
        if not self.file.exists():
            return
        with self._change(now) as database:
            database.executemany("DELETE FROM causes WHERE cause = ?", [(storable(cause),) for cause in causes])

    def forget_others(self, prefix: str, still: Collection[str], now: datetime) -> None:
        """Make every cause new again that begins with `prefix` and is not in `still`."""
        if not self.file.exists():
            return
        begin, kept = storable(prefix), {storable(cause) for cause in still}
        with self._change(now) as database:
            rows = database.execute("SELECT cause FROM causes WHERE substr(cause, 1, ?) = ?", (len(begin), begin))
            gone = [row for row in rows.fetchall() if row[0] not in kept]
            database.executemany("DELETE FROM causes WHERE cause = ?", gone)

    def next_parcel(
        self, cooldown: Callable[[Event], float], now: datetime, *, at_once: bool, without: Collection[int]
    ) -> Parcel | None:
        """The mails to be sent next, put together for good: what may have arrived once is never put together anew.

        Args:
            cooldown: For how many seconds after a mail of an event the next ones are gathered; 0: never gathered.
            now: The time.
            at_once: Do not wait for a cooldown or a retry.
            without: Parcels that were tried already.
        """
        with self._change(now) as database:
            at = now.timestamp()
            trouble = read_trouble(database)
            if trouble and not at_once and at < trouble.retry_at.timestamp():
                return None
            refused = read_refusals(database)
            parcels = [parcel for parcel in read_parcels(database) if parcel.id not in without]
            for parcel in [each for each in parcels if each.id not in refused]:
                return taken_up(database, parcel, at)
            for event in events_that_wait(database):
                sent = database.execute("SELECT at FROM sendings WHERE event = ?", (event.value,)).fetchone()
                pause = cooldown(event)
                if sent is None or at_once or at >= sent[0] + pause:
                    return pack(database, event, at, alone=pause == 0)
            # These come last: however many recipients cannot be reached, the others hear what is new.
            for parcel in [each for each in parcels if each.id in refused]:
                if at_once or now >= refused[parcel.id].again_at:
                    return taken_up(database, parcel, at)
            return None

    def note_sent(self, parcel: Parcel, now: datetime) -> None:
        """A server took it: it is no longer kept, and a cooldown begins."""
        with self._change(now) as database:
            remove(database, parcel)
            note_sending(database, parcel, now)

    def note_dropped(self, parcel: Parcel, now: datetime) -> None:
        """Nobody wants to read it: whoever subscribes later is told of what still stands, unless others were."""
        with self._change(now) as database:
            if not parcel.owed:
                mails = [(mail.id,) for mail in parcel.mails]
                database.executemany("DELETE FROM causes WHERE mail = ?", mails)
            remove(database, parcel)

    def note_deferred(self, parcel: Parcel, owed: Collection[str], said: str, now: datetime) -> None:
        """The server asked to try again later for some recipients, and would take other mails.

        Args:
            parcel: The parcel.
            owed: Who is still to get it, where somebody has it already; empty for everybody.
            said: What the server said.
            now: The time.
        """
        with self._change(now) as database:
            database.execute("INSERT OR REPLACE INTO deferred VALUES (?, ?)", (parcel.id, " ".join(owed)))
            refuse(database, parcel, said, now)
            if owed and not parcel.owed:
                note_sending(database, parcel, now)

    def note_refused(self, parcel: Parcel, said: str, now: datetime) -> None:
        """The server refused this one, and would take others."""
        with self._change(now) as database:
            refuse(database, parcel, said, now)

    def note_trouble(self, said: str, now: datetime) -> None:
        """No mail at all can be sent at present: try again in a while, and then in a longer one."""
        with self._change(now) as database:
            database.execute(
                "INSERT INTO trouble VALUES (1, ?, 1, ?)"
                " ON CONFLICT (one) DO UPDATE SET at = excluded.at, tries = tries + 1, said = excluded.said",
                (now.timestamp(), storable(said)),
            )

    def waiting(self, now: datetime) -> tuple[tuple[Queued, Refused | None], ...]:
        """Every mail that waits, oldest first, each with what a server said if it refused it."""
        with self._change(now) as database:
            refusals = read_refusals(database)
            parcels = dict(database.execute("SELECT id, parcel FROM mails").fetchall())
            return tuple((mail, refusals.get(parcels[mail.id])) for mail in read_mails(database, "1 = ?", 1))

    def waits(self, mail: int, now: datetime) -> bool:
        """Whether a mail still waits."""
        with self._change(now) as database:
            return database.execute("SELECT 1 FROM mails WHERE id = ?", (mail,)).fetchone() is not None

    def trouble(self, now: datetime) -> Trouble | None:
        """Why nothing can be sent at present; None when the last mail went out."""
        with self._change(now) as database:
            return read_trouble(database)

    def last_sent(self, now: datetime) -> dict[Event, datetime]:
        """When the last mail of each event went out."""
        with self._change(now) as database:
            rows = database.execute("SELECT event, at FROM sendings").fetchall()
            return {Event(event): moment(at) for event, at in rows}

    @contextmanager
    def _change(self, now: datetime) -> Iterator[sqlite3.Connection]:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.file, timeout=_BUSY_SECONDS, isolation_level=None)) as database:
                # executescript would commit; one statement at a time stays inside the transaction
                database.execute("BEGIN IMMEDIATE")
                for statement in TABLES.strip().removesuffix(";").split(";"):
                    database.execute(statement)
                turn_clock_back(database, now.timestamp())
                yield database
                database.execute("COMMIT")
        except sqlite3.Error as error:
            raise UnusableError(f"{self.file}: {error}", damaged=_is_damage(error)) from error
        except OSError as error:
            raise UnusableError(f"{self.file}: {error.strerror or error}") from error


def _is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)  # absent where Python itself raised it
    # extended codes carry the plain one in their last byte
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
