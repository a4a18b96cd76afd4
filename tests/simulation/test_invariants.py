"""What holds the simulated lab to its promises sees what it must not miss: the same cause mailed again, or never."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from fusion_assets.notify.capacity import CapacityWarning, capacity_warning_message
from fusion_assets.notify.checks import FailedCheck, check_failed_message
from fusion_assets.notify.letter import Message
from fusion_assets.notify.origin import Origin
from tests.simulation.invariants import Invariants, Seen
from tests.simulation.mails import Letter, Received, title_of

ORIGIN = Origin("host", datetime(2037, 3, 1, tzinfo=UTC))
FIRST, SECOND = "20370227_WW_HCC_run-002", "20370228_WW_HCC_run-003"


def full() -> Message:
    return capacity_warning_message(CapacityWarning("the NAS is too full", "all are pinned", 1, 100, 25), ORIGIN)


def damaged(*studies: str) -> Message:
    found = "Scan1/a.qptiff, its bytes on the NAS are not those that were proven"
    checks = [FailedCheck(one, "scrub", "copies_intact", "ERROR", found, run_id=f"run-{one}") for one in studies]
    return check_failed_message(checks, ORIGIN)


def invariants() -> Invariants:
    log = SimpleNamespace(read={})
    lab = SimpleNamespace(
        outages=Counter(),
        happened=Counter(),
        times_low=1,
        rotten={FIRST: "a", SECOND: "a"},
        studies=[],
        log=log,
        settings=SimpleNamespace(keep_days=7),
    )
    return Invariants(lab)


def seen(*messages: Message) -> Seen:
    letters = [Letter(title_of(message.subject), message.text, number) for number, message in enumerate(messages)]
    return Seen({FIRST: {}, SECOND: {}}, {}, {}, Received(tuple(letters), ()))


@pytest.mark.parametrize(
    ("messages", "broken"),
    [
        ((full(),), ""),
        ((full(), full()), "'the NAS is too full' was mailed 2 times for 1 causes"),
        ((damaged(FIRST), damaged(SECOND)), ""),
        ((damaged(FIRST), damaged(FIRST, SECOND)), f"{FIRST} scrub copies_intact: "),
    ],
)
def test_a_cause_that_is_mailed_again_breaks_a_promise(messages, broken) -> None:
    found = "\n".join(invariants()._no_cause_twice(seen(*messages)))
    assert found.startswith(broken)
    assert bool(found) is bool(broken)


def test_a_second_damaged_copy_that_nobody_is_mailed_of_breaks_a_promise() -> None:
    (broken,) = invariants()._failures_mailed(seen(damaged(FIRST)))
    assert broken == f"the copy of {SECOND} rotted, and no mail says so"
    assert list(invariants()._failures_mailed(seen(damaged(FIRST), damaged(SECOND)))) == []
