"""What goes wrong in a simulated month, and when: each in a part of the time of its own.

What belongs here: names and moments. What does not: how it is done (`lab`, `people`), and the loop that lets it happen
(`month`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from tests.simulation.clock import ZONE
from tests.simulation.lab import SimulatedLab
from tests.simulation.people import backfill, pin_oldest

FULL = 5
"""Days in which everything can happen that there is; a shorter lab has the worst of it."""
LONG = 15
"""In more days than this, most of it happens twice."""

# Long enough to be mailed about: a place is away for an hour before that.
_LONG = timedelta(hours=3)

Begin = Callable[[datetime], None]
"""Told when something is to happen, notes it."""


@dataclass(order=True)
class Incident:
    """Something that happens once."""

    at: datetime
    do: Callable[[], None] = field(compare=False)


@dataclass(frozen=True)
class _Planned:
    lab: SimulatedLab
    incidents: list[Incident] = field(default_factory=list)

    def once(self, name: str, do: Callable[[], None]) -> Begin:
        """Something that happens in a moment."""

        def happen() -> None:
            self.lab.happened[name] += 1
            do()

        return lambda at: self.incidents.append(Incident(at, happen))

    def outage(self, name: str, begin: Callable[[], None], end: Callable[[], None], lasts: timedelta = _LONG) -> Begin:
        """Something that is over after a while."""

        def fail() -> None:
            self.lab.faults.append(name)
            self.lab.happened[name] += 1
            begin()

        def recover() -> None:
            self.lab.faults.remove(name)
            end()

        def both(at: datetime) -> None:
            self.incidents.extend([Incident(at, fail), Incident(at + lasts, recover)])

        return both

    def clock(self, by: timedelta) -> Begin:
        """A clock that is wrong for some hours."""
        return self.outage(
            f"clock wrong by {by / timedelta(hours=1):+.0f} h",
            lambda: self.lab.set_clock_wrong(by),
            lambda: self.lab.set_clock_wrong(timedelta(0)),
        )


def plan_incidents(lab: SimulatedLab, start: datetime, end: datetime) -> list[Incident]:
    """When what goes wrong; no two at a time whose mails could not be told apart.

    Args:
        lab: The lab.
        start: When the time begins.
        end: When it ends.

    Returns:
        In the order in which they happen.
    """
    planned, step = _Planned(lab), lab.settings.step
    # The second copy that is damaged must be told of although the first one was.
    shares = (0.15, 0.5) if lab.settings.days > LONG else (0.15,)
    scrubs = [_next_scrub(start + (end - start) * share) for share in shares]
    for scrub in scrubs:
        planned.once("bit flipped on the NAS", lab.flip_a_bit)(scrub - step)
    # After the last of them a study that failed six times is tried again within a day.
    first, last = start + (end - start) * 0.1, min(start + (end - start) * 0.85, end - timedelta(hours=36))
    parts = _parts(planned)
    for number, part in enumerate(parts):
        chance = lab.random.random() * 0.3
        at = first + (last - first) * (number + chance) / len(parts)
        # Nothing is away while a damaged copy is found.
        part(next((scrub + step for scrub in scrubs if scrub - _LONG - step <= at <= scrub), at))
    return sorted(planned.incidents)


def _parts(planned: _Planned) -> list[Begin]:
    """What is to happen, in order, each in a part of the time."""
    lab, once, outage = planned.lab, planned.once, planned.outage
    a_day = lab.settings.a_day
    s3 = outage("S3 stopped", lab.stop_s3, lab.start_s3)
    storm = once("error storm", lambda: lab.log.rage(lab.now))
    daemon = outage("daemon killed", lab.kill_daemon, lab.start_daemon)
    mail = outage("mail server stopped", lab.stop_mail, lab.start_mail, a_day + _LONG)
    if lab.settings.days < FULL:
        return [s3, storm, daemon, mail]
    nas = outage("NAS unmounted", lab.unmount_nas, lab.mount_nas)
    source = outage("source unmounted", lab.unmount_source, lab.mount_source)
    parts = [
        s3,
        once("log rotated by renaming", lambda: lab.log.rotate("rename", lab.now)),
        nas,
        storm,
        daemon,
        mail,
        source,
        once("log rotated by copying", lambda: lab.log.rotate("copy", lab.now)),
        once("study pinned", lambda: pin_oldest(lab)),
        planned.clock(timedelta(hours=1)),
        once("cursors lost", lab.forget_cursors),
        outage("snapshot holds space", lab.nas.take_snapshot, lab.nas.drop_snapshot, 5 * a_day),
        once("study made again by hand", lambda: backfill(lab)),
        once("log replaced by a longer one", lambda: lab.log.rotate("replace", lab.now)),
        planned.clock(-timedelta(hours=1)),
        outage("daemon off", lab.kill_daemon, lab.start_daemon, 2 * a_day),
        lambda _at: None,  # it lasts as long as two other incidents
        lambda _at: None,
        outage("source unlisted", lab.lose_source, lab.find_source),
    ]
    return [*parts, s3, daemon, source, storm, nas] if lab.settings.days > LONG else parts


def _next_scrub(since: datetime) -> datetime:
    """When the calendar proves the copies again: on Saturday at 3 in the morning, where the lab is."""
    at = since.astimezone(ZoneInfo(ZONE)).replace(hour=3, minute=0, second=0, microsecond=0)
    while at < since or at.weekday() != 5:
        at += timedelta(days=1)  # by the clock on the wall, whenever clocks go forward
    return at.astimezone(UTC)
