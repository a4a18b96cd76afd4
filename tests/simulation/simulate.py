"""A lab simulated from the first day to the last: what `make simulate` and its shortened twin in CI both do.

What belongs here: putting the lab, its month and the invariants together, and what there is to tell of it at the end.
What does not: how it is shown (`__main__`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.simulation.instrument import VALID
from tests.simulation.invariants import Invariants, Seen
from tests.simulation.lab import SimulatedLab, simulated_lab
from tests.simulation.month import live
from tests.simulation.settings import Settings


@dataclass(frozen=True)
class Day:
    """What there is to say of the lab at midnight.

    Attributes:
        ends: When.
        written: Studies the instrument has finished so far.
        archived: Those that are complete; None while the NAS or S3 cannot be seen.
        evicted: Those of which S3 alone has the bytes; None as above.
        free: Percent of the NAS; None as above.
        mails: Received so far.
        faults: What was out of order on that day, or happened to the lab.
    """

    ends: datetime
    written: int
    archived: int | None
    evicted: int | None
    free: float | None
    mails: int
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Told:
    """What came of a simulation.

    Attributes:
        promises: How often each was checked.
        broken: What was broken: when, which promise, and how.
        happened: What was done to the lab, and how often.
        numbers: What the lab did.
        mails: Letters by what they tell of.
    """

    promises: Mapping[str, int]
    broken: tuple[str, ...]
    happened: Mapping[str, int]
    numbers: Mapping[str, str]
    mails: Mapping[str, int]


def simulate(
    folder: Path,
    settings: Settings,
    tell: Callable[[SimulatedLab, float], None] = lambda _lab, _share: None,
    tell_day: Callable[[Day], None] = lambda _day: None,
) -> Told:
    """Let a lab live, and hold it to its promises at every midnight and at the end.

    Args:
        folder: A new folder for all of it.
        settings: How much happens in how much time.
        tell: Told how it goes: the lab, and the share of the time that is over.
        tell_day: Told of each day that is over.
    """
    with simulated_lab(folder, settings) as lab:
        invariants, before = Invariants(lab), Counter[str]()

        def midnight() -> None:
            seen, happened = invariants.check(), lab.happened - before
            before.update(happened)
            tell_day(_day(lab, seen, happened))

        live(lab, midnight, lambda share: tell(lab, share))
        seen = invariants.check(at_the_end=True)
        assert seen is not None, "the month ends with all places there"
        return Told(invariants.checks, tuple(invariants.broken), lab.happened, _numbers(lab, seen), _mails(seen))


def _day(lab: SimulatedLab, seen: Seen | None, happened: Counter[str]) -> Day:
    records = [record for record in seen.ledger.values() if record["status"] == "complete"] if seen else []
    space = lab.nas.space()
    return Day(
        ends=lab.now,
        written=sum(not study.writes for study in lab.studies),
        archived=len(records) if seen else None,
        evicted=sum(bool(record.get("truenas_evicted_at")) for record in records) if seen else None,
        free=100 * space.free / space.total if seen else None,
        mails=len(list(lab.mails.glob("*.eml"))),
        faults=tuple(dict.fromkeys([*lab.faults, *happened])),
    )


def _numbers(lab: SimulatedLab, seen: Seen) -> dict[str, str]:
    archived = [record for record in seen.ledger.values() if record["status"] == "complete"]
    evicted = [record for record in archived if record.get("truenas_evicted_at")]
    space = lab.nas.space()
    return {
        "studies written": str(len(lab.studies)),
        "of these valid": str(sum(study.fate in VALID for study in lab.studies)),
        "archived": f"{len(archived)}, {_megabytes(archived)}",
        "evicted from the NAS": f"{len(evicted)}, {_megabytes(evicted)}",
        "free on the NAS": f"{100 * space.free / space.total:.0f} % of {space.total / 1e6:.0f} MB",
        "errors in the log": f"{lab.log.errors:,}",
        "mails received": f"{len(seen.received.message_ids)}, {len(seen.received.letters)} letters in them",
        **{f"runs of {job}": str(count) for job, count in sorted(lab.daemon.started.items())},
    }


def _megabytes(records: list[dict[str, object]]) -> str:
    return f"{sum(int(str(record['total_bytes'])) for record in records) / 1e6:.0f} MB"


def _mails(seen: Seen) -> Counter[str]:
    return Counter(letter.kind for letter in seen.received.letters)
