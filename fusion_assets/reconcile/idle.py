"""When a study is idle: nothing has changed for long enough, seen twice, and nobody holds a file of it open.

An old mtime alone proves nothing: over SMB it stays old while a file grows (measured: 4 s behind, refreshed only on
close), and data copied in from elsewhere arrives with old mtimes. So a study is idle when its fingerprint was the same
in two observations at least the settle time apart, its newest mtime is older than `idle_days`, and no file is held
open.

Pure; what was seen before is passed in and what to remember is passed out. Where it is kept is the caller's business: a
file for the command line, the cursor for a sensor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fusion_assets.reconcile.conditions import Condition, false, true, unknown


@dataclass(frozen=True, slots=True)
class Observation:
    """How a study looked: its fingerprint, and since when it has looked so."""

    fingerprint: str
    since: datetime


Memory = Mapping[str, Observation]

NOT_SETTLED = "NotSettled"
"""The reason of a study that must be seen a second time."""

HELD_OPEN = "HeldOpen"
"""The reason of a study of which another program holds a file open."""

# The clocks of an instrument and of this host differ by less than this; a file dated later has a wrong time.
_CLOCKS_DIFFER = timedelta(days=1)
_FIRST_MOMENT = datetime.min.replace(tzinfo=UTC)
_LAST_MOMENT = datetime.max.replace(tzinfo=UTC)


def remember(previous: Observation | None, fingerprint: str, now: datetime) -> Observation:
    """What to remember of a study after seeing it now.

    Args:
        previous: What was remembered before, its fingerprint maybe abbreviated; None when it is new.
        fingerprint: How it looks now.
        now: The time of this observation, UTC.

    Returns:
        The previous observation while nothing changed; a new one when it looks different, or when the clock was set
        back to before the previous one, which makes the time between them meaningless.
    """
    if previous and previous.fingerprint and fingerprint.startswith(previous.fingerprint) and previous.since <= now:
        return Observation(fingerprint, previous.since)
    return Observation(fingerprint, now)


def modified_at(mtime_ns: int) -> datetime:
    """A file's time as a date, UTC.

    Args:
        mtime_ns: Nanoseconds since 1970; a file system takes what no calendar has (the year 11476 was seen), and one
            such file must not keep anybody from working on the other studies.

    Returns:
        The time; the first or the last moment of the calendar for one beyond it.
    """
    try:
        return datetime.fromtimestamp(mtime_ns / 1e9, UTC)
    except (ValueError, OverflowError, OSError):
        return _LAST_MOMENT if mtime_ns > 0 else _FIRST_MOMENT


def old_enough_at(mtime_ns: int, idle_days: float) -> datetime:
    """When a study will not have been modified for `idle_days`, UTC; the calendar's last moment if that is beyond it.

    Args:
        mtime_ns: The newest mtime among its files, nanoseconds since 1970.
        idle_days: From config.toml.
    """
    try:
        return modified_at(mtime_ns) + timedelta(days=idle_days)
    except OverflowError:
        return _LAST_MOMENT


def is_yet_to_come(mtime_ns: int, now: datetime) -> bool:
    """Whether a file's time lies so far ahead that a clock was wrong: it will not grow old as others do.

    Args:
        mtime_ns: The file's time, nanoseconds since 1970.
        now: The time, UTC.
    """
    return modified_at(mtime_ns) > now + _CLOCKS_DIFFER


def judge_idle(
    observation: Observation,
    *,
    now: datetime,
    newest_mtime_ns: int,
    held_open: str | None,
    idle_days: float,
    settle_minutes: float,
) -> Condition:
    """Whether a study may be touched.

    Args:
        observation: What `remember` gave for this observation.
        now: The time, UTC.
        newest_mtime_ns: The newest mtime among its files, nanoseconds since 1970.
        held_open: A file that another program holds open, where that could be asked.
        idle_days: How old the newest file must be; 0 means that age does not matter.
        settle_minutes: How long it must have looked the same; 0 means that one observation is enough.

    Returns:
        The `Idle` condition, its message saying when it may become true.
    """
    if held_open is not None:
        return false(HELD_OPEN, f"{held_open} is held open by another program")
    newest, ready = modified_at(newest_mtime_ns), old_enough_at(newest_mtime_ns, idle_days)
    if idle_days > 0 and ready > now:
        ahead = " | hint: that is yet to come; correct the time of the file, or this host's clock"
        return false(
            "RecentlyModified",
            f"last modified {newest:%Y-%m-%d %H:%M} UTC; old enough on {ready:%Y-%m-%d %H:%M}"
            f"{ahead if is_yet_to_come(newest_mtime_ns, now) else ''}",
        )
    settled_at = observation.since + timedelta(minutes=settle_minutes)
    if settled_at > now:
        return unknown(NOT_SETTLED, f"must look the same until {settled_at:%Y-%m-%d %H:%M} UTC; look again then")
    return true("Idle", f"unchanged since {newest:%Y-%m-%d %H:%M} UTC")


def memory_to_json(memory: Memory) -> str:
    """Write a memory as JSON text, for a file or a sensor's cursor."""
    return json.dumps({study: [seen.fingerprint, seen.since.isoformat()] for study, seen in sorted(memory.items())})


def memory_from_json(text: str | None) -> dict[str, Observation]:
    """Read what `memory_to_json` wrote.

    Args:
        text: The JSON text; None or anything unreadable gives an empty memory, which only means that every study has to
            be seen twice again.
    """
    try:
        return {
            study: Observation(fingerprint, datetime.fromisoformat(since))
            for study, (fingerprint, since) in json.loads(text or "{}").items()
        }
    except (ValueError, TypeError, AttributeError):
        return {}
