"""The tables of a mailbox, and what is written in and read from them: statements, each inside a caller's transaction.

What belongs here: SQL, and plain values for rows. What does not: transactions (`queue`), and any clock.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from fusion_assets.notify.letter import Message
from fusion_assets.notify.recipients import Event

# One file and no write-ahead log: connections are opened for one change and closed, and a damaged file is moved whole.
TABLES = """
CREATE TABLE IF NOT EXISTS causes (
    cause TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, at REAL NOT NULL, keep REAL, mail INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS mails (
    id INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL, subject TEXT NOT NULL, text TEXT NOT NULL, html TEXT,
    at REAL NOT NULL, parcel INTEGER);
CREATE TABLE IF NOT EXISTS parcels (
    id INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL, message_id TEXT NOT NULL, at REAL NOT NULL,
    refused TEXT);
CREATE TABLE IF NOT EXISTS deferred (parcel INTEGER PRIMARY KEY, owed TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sendings (event TEXT PRIMARY KEY, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS trouble (one INTEGER PRIMARY KEY CHECK (one = 1), at REAL NOT NULL, tries INTEGER NOT NULL,
    said TEXT NOT NULL);
"""
TIMES = ("causes", "mails", "parcels", "sendings", "trouble")

_FIRST_RETRY, _LONGEST_RETRY = 60.0, 3600.0
# A server that asks to wait wants some minutes (greylisting), or days (a mailbox that is full): wait as long again.
_FIRST_DEFERRED = 300.0
_REFUSED_RETRY = 86_400.0


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
        owed: Who is still to get it, where a server took it for others; empty for everybody.
    """

    id: int
    event: Event
    message_id: str
    mails: tuple[Queued, ...]
    owed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """That a server did not take a parcel, and would take others.

    Attributes:
        said: Its answer.
        again_at: When it is tried again.
    """

    said: str
    again_at: datetime


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


def turn_clock_back(database: sqlite3.Connection, at: float) -> None:
    """What was noted at a time still to come was noted by a clock that ran ahead: count from now, not until then."""
    for table in TIMES:
        database.execute(f"UPDATE {table} SET at = ? WHERE at > ?", (at, at))  # noqa: S608 - names of our own


def read_cause(database: sqlite3.Connection, cause: str) -> tuple[str, float] | None:
    """How a cause stood when it was told, and when that was; None when it was not."""
    row = database.execute("SELECT fingerprint, at FROM causes WHERE cause = ?", (cause,)).fetchone()
    return None if row is None else (row[0], row[1])


def insert_mail(database: sqlite3.Connection, event: Event, message: Message, at: float) -> int:
    """Queue a mail; gives its number."""
    html = None if message.html is None else storable(message.html)
    cursor = database.execute(
        "INSERT INTO mails (event, subject, text, html, at) VALUES (?, ?, ?, ?, ?)",
        (event.value, storable(message.subject), storable(message.text), html, at),
    )
    return int(cursor.lastrowid or 0)


def events_that_wait(database: sqlite3.Connection) -> list[Event]:
    """Events with mails that are in no parcel, oldest first; none while a parcel of it is on its way unrefused."""
    rows = database.execute(
        "SELECT event, MIN(id) FROM mails WHERE parcel IS NULL AND event NOT IN"
        " (SELECT event FROM parcels WHERE refused IS NULL) GROUP BY event ORDER BY 2"
    )
    return [Event(event) for event, _ in rows.fetchall()]


def pack(database: sqlite3.Connection, event: Event, at: float, *, alone: bool) -> Parcel:
    """Put the mails of an event that wait together for good, or only the first of them."""
    mails = read_mails(database, "parcel IS NULL AND event = ?", event.value)[: 1 if alone else None]
    message_id = uuid4().hex
    cursor = database.execute(
        "INSERT INTO parcels (event, message_id, at) VALUES (?, ?, ?)", (event.value, message_id, at)
    )
    number = int(cursor.lastrowid or 0)
    database.executemany("UPDATE mails SET parcel = ? WHERE id = ?", [(number, mail.id) for mail in mails])
    return Parcel(number, event, message_id, mails)


def read_parcels(database: sqlite3.Connection) -> list[Parcel]:
    """All parcels, oldest first."""
    rows = database.execute(
        "SELECT id, event, message_id, owed FROM parcels LEFT JOIN deferred ON deferred.parcel = parcels.id ORDER BY id"
    )
    return [
        Parcel(
            number, Event(event), message_id, read_mails(database, "parcel = ?", number), tuple((owed or "").split())
        )
        for number, event, message_id, owed in rows.fetchall()
    ]


def taken_up(database: sqlite3.Connection, parcel: Parcel, at: float) -> Parcel:
    """Note that a parcel is tried; before it is: on a full disk it must not go out again and again, never noted."""
    database.execute("UPDATE parcels SET at = ? WHERE id = ?", (at, parcel.id))
    return parcel


def read_refusals(database: sqlite3.Connection) -> dict[int, Refused]:
    """The parcels that a server did not take, by their number."""
    rows = database.execute(
        "SELECT parcels.id, parcels.at, refused, owed IS NOT NULL, MIN(mails.at) FROM parcels"
        " JOIN mails ON mails.parcel = parcels.id LEFT JOIN deferred ON deferred.parcel = parcels.id"
        " WHERE refused IS NOT NULL GROUP BY parcels.id"
    )
    found = {}
    for number, tried, said, is_deferred, since in rows.fetchall():
        pause = min(max(tried - since, _FIRST_DEFERRED), _REFUSED_RETRY) if is_deferred else _REFUSED_RETRY
        found[number] = Refused(said, moment(tried + pause))
    return found


def refuse(database: sqlite3.Connection, parcel: Parcel, said: str, now: datetime) -> None:
    """Note that a server did not take a parcel."""
    database.execute(
        "UPDATE parcels SET at = ?, refused = ? WHERE id = ?", (now.timestamp(), storable(said), parcel.id)
    )


def note_sending(database: sqlite3.Connection, parcel: Parcel, now: datetime) -> None:
    """Begin the cooldown of its event."""
    database.execute("INSERT OR REPLACE INTO sendings VALUES (?, ?)", (parcel.event.value, now.timestamp()))
    database.execute("DELETE FROM trouble")


def remove(database: sqlite3.Connection, parcel: Parcel) -> None:
    """Forget a parcel and its mails."""
    database.execute("DELETE FROM mails WHERE parcel = ?", (parcel.id,))
    database.execute("DELETE FROM deferred WHERE parcel = ?", (parcel.id,))
    database.execute("DELETE FROM parcels WHERE id = ?", (parcel.id,))


def read_mails(database: sqlite3.Connection, where: str, value: object) -> tuple[Queued, ...]:
    """The mails of which something is true, oldest first; `where` has one ``?``."""
    rows = database.execute(
        f"SELECT id, event, subject, text, html, at, parcel FROM mails WHERE {where} ORDER BY id",  # noqa: S608 - ours
        (value,),
    )
    return tuple(
        Queued(number, Event(event), Message(subject, text, html), moment(at), parcel is not None)
        for number, event, subject, text, html, at, parcel in rows.fetchall()
    )


def read_trouble(database: sqlite3.Connection) -> Trouble | None:
    """Why nothing can be sent at present; None when the last mail went out."""
    row = database.execute("SELECT at, tries, said FROM trouble").fetchone()
    if row is None:
        return None
    at, tries, said = row
    pause = min(_FIRST_RETRY * 2 ** min(tries - 1, 10), _LONGEST_RETRY)
    return Trouble(said, tries, moment(at + pause))


def moment(at: float) -> datetime:
    """Seconds since 1970 as a time, UTC."""
    return datetime.fromtimestamp(at, UTC)


def storable(text: str) -> str:
    """Names that are not UTF-8 arrive as lone surrogates, which SQLite does not take."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
