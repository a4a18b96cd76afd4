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
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from fusion_assets.notify.letter import Message
from fusion_assets.notify.recipients import Event

# One file and no write-ahead log: connections are opened for one change and closed, and a damaged file is moved whole.
_TABLES = """
CREATE TABLE IF NOT EXISTS causes (
    cause TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, at REAL NOT NULL, keep REAL, mail INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS mails (
    id INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL, subject TEXT NOT NULL, text TEXT NOT NULL, html TEXT,
    at REAL NOT NULL, parcel INTEGER);
CREATE TABLE IF NOT EXISTS parcels (
    id INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL, message_id TEXT NOT NULL, at REAL NOT NULL,
    refused TEXT);
CREATE TABLE IF NOT EXISTS sendings (event TEXT PRIMARY KEY, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS trouble (one INTEGER PRIMARY KEY CHECK (one = 1), at REAL NOT NULL, tries INTEGER NOT NULL,
    said TEXT NOT NULL);
"""
_TIMES = ("causes", "mails", "parcels", "sendings", "trouble")
_BUSY_SECONDS = 30.0

_FIRST_RETRY, _LONGEST_RETRY = 60.0, 3600.0
_REFUSED_RETRY = 86_400.0


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
class Queued:
    """A mail that waits.

    Attributes:
        id: Its number.
        event: What it is about.
        message: What it says.
        at: When it was queued.
        on_its_way: Whether it was handed over to a server that did not answer; nothing is added to it any more.
    """

    id: int
    event: Event
    message: Message
    at: datetime
    on_its_way: bool = False


@dataclass(frozen=True, slots=True)
class Parcel:
    """Mails of one event that go out as one, always with the same Message-ID.

    Attributes:
        id: Its number.
        event: What they are about.
        message_id: The part before the ``@``.
        mails: At least one, oldest first.
    """

    id: int
    event: Event
    message_id: str
    mails: tuple[Queued, ...]


@dataclass(frozen=True, slots=True)
class Added:
    """What became of causes.

    Attributes:
        mail: The number of the mail that tells of the new ones; None when all were known.
        new: Those it tells of.
    """

    mail: int | None
    new: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why nothing can be sent at present.

    Attributes:
        said: What the last try met.
        tries: How many have failed in a row.
        retry_at: When the next one is due.
    """

    said: str
    tries: int
    retry_at: datetime


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
        wanted = {_storable(cause): (cause, _storable(fingerprint)) for cause, fingerprint in causes.items()}
        with self._change(now) as database:
            at = now.timestamp()
            database.execute("DELETE FROM causes WHERE at + keep <= ?", (at,))
            told = {cause: _told(database, cause) for cause in wanted}
            new = {
                key: cause
                for key, (cause, fingerprint) in wanted.items()
                if (known := told[key]) is None
                or known[0] != fingerprint
                or (keep is not None and known[1] + keep <= at)
            }
            if not new:
                return Added(None, ())
            mail = _insert_mail(database, event, compose(tuple(new.values())), at)
            database.executemany(
                "INSERT OR REPLACE INTO causes VALUES (?, ?, ?, ?, ?)",
                [(key, wanted[key][1], at, keep, mail) for key in new],
            )
            return Added(mail, tuple(new.values()))

    def add_mail(self, event: Event, message: Message, now: datetime) -> int:
        """Queue a mail that has no cause to be known by, and return its number."""
        with self._change(now) as database:
            return _insert_mail(database, event, message, now.timestamp())

    def forget(self, causes: Iterable[str], now: datetime) -> None:
        """Make causes new again."""
        if not self.file.exists():
            return
        with self._change(now) as database:
            database.executemany("DELETE FROM causes WHERE cause = ?", [(_storable(cause),) for cause in causes])

    def forget_others(self, prefix: str, still: Collection[str], now: datetime) -> None:
        """Make every cause new again that begins with `prefix` and is not in `still`."""
        if not self.file.exists():
            return
        begin, kept = _storable(prefix), {_storable(cause) for cause in still}
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
            trouble = _trouble(database)
            if trouble and not at_once and at < trouble.retry_at.timestamp():
                return None
            for number, event, message_id, tried, refused in database.execute(
                "SELECT id, event, message_id, at, refused FROM parcels ORDER BY id"
            ).fetchall():
                if number in without or (refused is not None and not at_once and at < tried + _REFUSED_RETRY):
                    continue
                # Written before it is handed over: on a full disk it must not go out again and again, never noted.
                database.execute("UPDATE parcels SET at = ? WHERE id = ?", (at, number))
                return Parcel(number, Event(event), message_id, _mails(database, "parcel = ?", number))
            for event in _events_that_wait(database):
                sent = database.execute("SELECT at FROM sendings WHERE event = ?", (event.value,)).fetchone()
                pause = cooldown(event)
                if sent is None or at_once or at >= sent[0] + pause:
                    return _pack(database, event, at, alone=pause == 0)
            return None

    def note_sent(self, parcel: Parcel, now: datetime) -> None:
        """A server took it: it is no longer kept, and a cooldown begins."""
        with self._change(now) as database:
            _remove(database, parcel)
            database.execute("INSERT OR REPLACE INTO sendings VALUES (?, ?)", (parcel.event.value, now.timestamp()))
            database.execute("DELETE FROM trouble")

    def note_dropped(self, parcel: Parcel, now: datetime) -> None:
        """Nobody wants to read it: whoever subscribes later is told of what still stands."""
        with self._change(now) as database:
            mails = [(mail.id,) for mail in parcel.mails]
            database.executemany("DELETE FROM causes WHERE mail = ?", mails)
            _remove(database, parcel)

    def note_refused(self, parcel: Parcel, said: str, now: datetime) -> None:
        """The server refused this one, and would take others."""
        with self._change(now) as database:
            database.execute(
                "UPDATE parcels SET at = ?, refused = ? WHERE id = ?", (now.timestamp(), _storable(said), parcel.id)
            )

    def note_trouble(self, said: str, now: datetime) -> None:
        """No mail at all can be sent at present: try again in a while, and then in a longer one."""
        with self._change(now) as database:
            database.execute(
                "INSERT INTO trouble VALUES (1, ?, 1, ?)"
                " ON CONFLICT (one) DO UPDATE SET at = excluded.at, tries = tries + 1, said = excluded.said",
                (now.timestamp(), _storable(said)),
            )

    def waiting(self, now: datetime) -> tuple[tuple[Queued, str], ...]:
        """Every mail that waits, oldest first, each with what a server said when it refused it."""
        with self._change(now) as database:
            refusals = dict(database.execute("SELECT id, refused FROM parcels").fetchall())
            parcels = dict(database.execute("SELECT id, parcel FROM mails").fetchall())
            return tuple((mail, refusals.get(parcels[mail.id]) or "") for mail in _mails(database, "1 = ?", 1))

    def waits(self, mail: int, now: datetime) -> bool:
        """Whether a mail still waits."""
        with self._change(now) as database:
            return database.execute("SELECT 1 FROM mails WHERE id = ?", (mail,)).fetchone() is not None

    def trouble(self, now: datetime) -> Trouble | None:
        """Why nothing can be sent at present; None when the last mail went out."""
        with self._change(now) as database:
            return _trouble(database)

    def last_sent(self, now: datetime) -> dict[Event, datetime]:
        """When the last mail of each event went out."""
        with self._change(now) as database:
            rows = database.execute("SELECT event, at FROM sendings").fetchall()
            return {Event(event): _moment(at) for event, at in rows}

    @contextmanager
    def _change(self, now: datetime) -> Iterator[sqlite3.Connection]:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.file, timeout=_BUSY_SECONDS, isolation_level=None)) as database:
                # executescript would commit; one statement at a time stays inside the transaction
                database.execute("BEGIN IMMEDIATE")
                for statement in _TABLES.strip().removesuffix(";").split(";"):
                    database.execute(statement)
                _turn_clock_back(database, now.timestamp())
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


def _turn_clock_back(database: sqlite3.Connection, at: float) -> None:
    """What was noted at a time still to come was noted by a clock that ran ahead: count from now, not until then."""
    for table in _TIMES:
        database.execute(f"UPDATE {table} SET at = ? WHERE at > ?", (at, at))  # noqa: S608 - names of our own


def _told(database: sqlite3.Connection, cause: str) -> tuple[str, float] | None:
    row = database.execute("SELECT fingerprint, at FROM causes WHERE cause = ?", (cause,)).fetchone()
    return None if row is None else (row[0], row[1])


def _insert_mail(database: sqlite3.Connection, event: Event, message: Message, at: float) -> int:
    html = None if message.html is None else _storable(message.html)
    cursor = database.execute(
        "INSERT INTO mails (event, subject, text, html, at) VALUES (?, ?, ?, ?, ?)",
        (event.value, _storable(message.subject), _storable(message.text), html, at),
    )
    return int(cursor.lastrowid or 0)


def _events_that_wait(database: sqlite3.Connection) -> list[Event]:
    """Events with mails that are in no parcel, oldest first; none while a parcel of it is on its way unrefused."""
    rows = database.execute(
        "SELECT event, MIN(id) FROM mails WHERE parcel IS NULL AND event NOT IN"
        " (SELECT event FROM parcels WHERE refused IS NULL) GROUP BY event ORDER BY 2"
    )
    return [Event(event) for event, _ in rows.fetchall()]


def _pack(database: sqlite3.Connection, event: Event, at: float, *, alone: bool) -> Parcel:
    mails = _mails(database, "parcel IS NULL AND event = ?", event.value)[: 1 if alone else None]
    message_id = uuid4().hex
    cursor = database.execute(
        "INSERT INTO parcels (event, message_id, at) VALUES (?, ?, ?)", (event.value, message_id, at)
    )
    number = int(cursor.lastrowid or 0)
    database.executemany("UPDATE mails SET parcel = ? WHERE id = ?", [(number, mail.id) for mail in mails])
    return Parcel(number, event, message_id, mails)


def _remove(database: sqlite3.Connection, parcel: Parcel) -> None:
    database.execute("DELETE FROM mails WHERE parcel = ?", (parcel.id,))
    database.execute("DELETE FROM parcels WHERE id = ?", (parcel.id,))


def _mails(database: sqlite3.Connection, where: str, value: object) -> tuple[Queued, ...]:
    rows = database.execute(
        f"SELECT id, event, subject, text, html, at, parcel FROM mails WHERE {where} ORDER BY id",  # noqa: S608 - ours
        (value,),
    )
    return tuple(
        Queued(number, Event(event), Message(subject, text, html), _moment(at), parcel is not None)
        for number, event, subject, text, html, at, parcel in rows.fetchall()
    )


def _trouble(database: sqlite3.Connection) -> Trouble | None:
    row = database.execute("SELECT at, tries, said FROM trouble").fetchone()
    if row is None:
        return None
    at, tries, said = row
    pause = min(_FIRST_RETRY * 2 ** min(tries - 1, 10), _LONGEST_RETRY)
    return Trouble(said, tries, _moment(at + pause))


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _storable(text: str) -> str:
    """Names that are not UTF-8 arrive as lone surrogates, which SQLite does not take."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
