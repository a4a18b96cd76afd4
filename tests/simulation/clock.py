"""The simulated time: one clock for all that runs in this process and in the processes it starts; servers keep theirs.

What belongs here: making ``datetime.now`` and ``time.time`` say what the month says. What does not: what happens when.
`time.monotonic` and sleeping stay real: what they measure is work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import time_machine

# Ahead of every real clock: a process must not seem to have begun after it took a lock. And before 2038. The month has
# the 1st, on which all is backed up, the 20th, on which room is made, and the night when New York's clocks go forward.
START = datetime(2037, 2, 26, 12, 0, tzinfo=UTC)
ZONE = "America/New_York"


@dataclass
class Clock:
    """The clock that everything reads.

    Attributes:
        traveller: Moves this process through time.
        wrong_by: How far the clock is off, as that of a host whose time server lost its way.
    """

    traveller: time_machine.Traveller
    wrong_by: timedelta = timedelta(0)

    def move_to(self, at: datetime) -> None:
        """It is `at` now, or what this host takes for it. It runs on from there."""
        self.traveller.move_to(at + self.wrong_by)


@contextmanager
def travelling(at: datetime = START) -> Iterator[Clock]:
    """It is `at` from here on, and time goes on as fast as ever."""
    with time_machine.travel(at, tick=True) as traveller:
        yield Clock(traveller)


def seconds_ahead() -> float:
    """By how much the simulated clock is ahead of the real one: what a child process is told."""
    return datetime.now(UTC).timestamp() - time_machine.escape_hatch.time.time()
