"""Make as much room as is needed: what was broken off first, then one eviction after the other, oldest backup first.

What belongs here: the loop, and when it ends. What does not: how one eviction is run (in a Dagster run, for a person's
command), and the choice (`policy`), which is made anew after every study that could not go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from fusion_assets.eviction.policy import Copy, EvictionPlan, missing_bytes, plan_evictions
from fusion_assets.eviction.store import StoreObservation
from fusion_assets.eviction.telling import held_by_snapshots
from fusion_assets.reconcile.lab import Lab

Result = Literal["evicted", "kept", "failed"]

# What fails one study after the other is no study's fault: S3 is away, say, and each would be waited for in turn.
_MOST_FAILURES = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one study.

    Attributes:
        study: Its name at the source.
        result: ``kept`` where a gate was closed as it should be, ``failed`` where a person has to look.
        message: Why it was not evicted, or what else there is to say.
        total_bytes: What was removed.
        space_held: Whether its space did not come back: nothing more may be evicted.
    """

    study: str
    result: Result
    message: str = ""
    total_bytes: int = 0
    space_held: bool = False


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What came of a cleanup.

    Attributes:
        outcomes: Of each study that was tried, in order.
        free: Free bytes at the end.
        still_missing: Bytes that are missing to the threshold at the end; 0 when it is reached.
        stopped: Why it ended early; empty if it did not.
        left_out: Why each of the other copies stays, by backup name.
    """

    outcomes: tuple[Outcome, ...]
    free: int
    still_missing: int
    stopped: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)

    def count(self, result: Result) -> int:
        """How many studies ended so."""
        return sum(1 for outcome in self.outcomes if outcome.result == result)


def plan_cleanup(lab: Lab, store: StoreObservation, *, despite_snapshots: bool = False) -> EvictionPlan:
    """What a cleanup of the store would do now.

    Args:
        lab: The lab, for its bounds.
        store: As observed.
        despite_snapshots: Whether to evict although the space of the last eviction did not come back.
    """
    copies = store.copies
    if store.held_back and not despite_snapshots:
        copies = tuple(replace(copy, kept=copy.kept or store.held_back) for copy in copies)
    return plan_evictions(store.space, copies, lab.config.cleanup)


def clean(
    lab: Lab,
    store: StoreObservation,
    evict_one: Callable[[str], Outcome],
    *,
    despite_snapshots: bool = False,
) -> Cleaned:
    """Evict until there is room enough, nothing may go any more, or space does not come back.

    Args:
        lab: The lab.
        store: As observed just now.
        evict_one: Evicts one study, by its name at the source; never raises for what is wrong with that study.
        despite_snapshots: Whether to go on where space does not come back; the bounds hold all the same.

    Raises:
        ResourceError: The NAS cannot be measured.
    """
    bounds = lab.config.cleanup
    outcomes = [evict_one(study) for study in store.unfinished]
    remaining = {copy.run_name: copy for copy in store.copies}
    evicted: list[Copy] = []
    for outcome in outcomes:
        if outcome.study in remaining and outcome.result != "evicted":
            remaining[outcome.study] = replace(remaining[outcome.study], kept=outcome.message)
    held_back = held_by_snapshots(lab.ledger.read(), lab.truenas.space()) if store.unfinished else store.held_back
    stopped = "" if despite_snapshots else held_back
    left_out: Mapping[str, str] = {}
    while not stopped:
        plan = plan_evictions(store.space, tuple(remaining.values()), bounds, evicted=evicted)
        left_out = plan.left_out
        if not plan.evictions or not missing_bytes(lab.truenas.space(), bounds.free_threshold_pct):
            break
        copy = plan.evictions[0]
        outcome = evict_one(copy.run_name)
        outcomes.append(outcome)
        if outcome.result == "evicted":
            evicted.append(remaining.pop(copy.run_name))
        else:
            remaining[copy.run_name] = replace(copy, kept=outcome.message or outcome.result)
        if outcome.space_held and not despite_snapshots:
            stopped = f"{outcome.study}: {outcome.message}"
        elif all(each.result == "failed" for each in outcomes[-_MOST_FAILURES:]) and len(outcomes) >= _MOST_FAILURES:
            stopped = f"{_MOST_FAILURES} studies in a row failed, the last one because {outcome.message}"
    space = lab.truenas.space()
    missing = missing_bytes(space, bounds.free_threshold_pct)
    return Cleaned(tuple(outcomes), space.free, missing, stopped, left_out)
