"""A study that is larger than the room there is must not lose it to younger ones, again and again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.reconcile.conditions import Name, false, true
from fusion_assets.reconcile.launch import Decisions, Tries, decide, state_of
from fusion_assets.reconcile.plan import LOCKED, Desired, ObservedStudy, StudyPlan, plan_studies
from fusion_assets.reconcile.room import Claims, Room, claims_elsewhere

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
TB = 1024**4
CONDITIONS = {name: true("Fine") for name in Name} | {
    Name.ON_TRUENAS: false("NotCopied"),
    Name.ON_S3: false("No"),
    Name.RECORDED: false("No"),
    Name.SOURCE_RELEASED: false("AtSource"),
}


def plans_of(*sizes: int) -> tuple[StudyPlan, ...]:
    """Studies named by their age, the oldest first, all of them to be copied."""
    studies = [
        ObservedStudy(f"s{n}", f"s{n}", True, CONDITIONS, n, fingerprint=str(n), bytes_to_copy=size)
        for n, size in enumerate(sizes)
    ]
    return plan_studies(Desired(delete_source=True), studies)


def started(decisions: Decisions) -> list[str]:
    return [launch.plan.study for launch in decisions.launches]


def look(plans: tuple[StudyPlan, ...], room: Room, tries: dict[str, Tries] | None = None, **more: object) -> Decisions:
    return decide(plans, **{"running": (), "tries": tries or {}, "now": NOW, "at_most": 25, "room": room, **more})


def test_the_oldest_waits_for_its_room_without_a_run_and_no_younger_one_takes_it() -> None:
    plans = plans_of(4 * TB, 3 * TB, TB)
    full = look(plans, Room(3 * TB + TB // 10, 5 * TB))
    assert started(full) == []
    assert "4.0 TiB are to be copied, 3.1 TiB are free for it; evictions make room" in full.held_back["s0"]
    assert full.held_back["s1"] == full.held_back["s2"] == "waits for room on the NAS: s0 is older and comes first"
    assert started(look(plans, Room(5 * TB, 5 * TB))) == ["s0"], "and what is left is not enough for the next"


def test_what_is_on_the_nas_already_is_archived_while_others_wait_for_room() -> None:
    assert started(look(plans_of(4 * TB, 0), Room(TB, 5 * TB))) == ["s1"]


def test_one_that_evictions_never_make_room_for_fails_and_is_told_of_and_keeps_nobody_waiting() -> None:
    assert started(look(plans_of(9 * TB, TB), Room(2 * TB, 5 * TB))) == ["s0", "s1"]


def test_room_that_a_run_still_fills_is_not_given_away_twice() -> None:
    first, second = plans_of(3 * TB, 2 * TB)
    waits = look((first, second), Room(4 * TB, 5 * TB), running={"s0"})
    assert started(waits) == []
    assert "1.0 TiB are free for it; runs at work fill the rest" in waits.held_back["s1"], "no eviction makes that room"
    at_work = replace(first.observed, conditions={**CONDITIONS, Name.UNLOCKED: false(LOCKED)})
    by_hand = plan_studies(Desired(delete_source=True), [at_work, second.observed])
    assert started(look(by_hand, Room(4 * TB, 5 * TB))) == []
    assert started(look(by_hand, Room(5 * TB, 5 * TB))) == ["s1"]


def test_what_failed_on_a_full_nas_keeps_its_turn_and_is_tried_again_within_hours_of_room_being_made() -> None:
    plans = plans_of(4 * TB, 3 * TB)
    tries = {state_of(plans[0]): Tries(6, NOW, for_room=True)}
    room = Room(5 * TB, 5 * TB)
    assert started(look(plans, room, tries)) == []
    assert started(look(plans, room, tries, now=NOW + timedelta(minutes=81))) == ["s0"]


def test_what_fails_for_another_reason_keeps_no_room() -> None:
    plans = plans_of(4 * TB, 3 * TB)
    tries = {state_of(plans[0]): Tries(6, NOW)}
    assert started(look(plans, Room(5 * TB, 5 * TB), tries)) == ["s1"]


def test_a_nas_that_does_not_say_how_full_it_is_keeps_nobody_waiting() -> None:
    plans = plans_of(4 * TB, 3 * TB)
    assert started(decide(plans, running=(), tries={}, now=NOW, at_most=25)) == ["s0", "s1"]


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(-1, 12), st.integers(0, 12))
def test_nobody_passes_one_that_waits_and_no_more_is_started_than_there_is_room_for(sizes, free, more) -> None:
    room = Room(free, free + more)
    decisions = look(plans_of(*sizes), room)
    wanted = [(f"s{n}", size) for n, size in enumerate(sizes) if 0 < size <= room.attainable]
    began = [name in started(decisions) for name, _ in wanted]
    assert began == sorted(began, reverse=True), "the oldest first"
    assert sum(size for (_, size), begun in zip(wanted, began, strict=True) if begun) <= max(free, 0)


@dataclass
class Lab:
    """Studies whose names say nothing of their age, on a NAS that fills, looked at a few at a time."""

    sizes: dict[str, int]
    ages: dict[str, int]
    free: int
    more: int
    claims: Claims = field(default_factory=dict)
    after: str = ""
    waiting: set[str] = field(default_factory=set)
    running: dict[str, int] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    def tick(self, chunk: int, at_most: int) -> list[str]:
        """Look at the next few; gives whom it starts."""
        names = [name for name in sorted(self.sizes) if name > self.after and name not in self.ended]
        reached = names[chunk - 1] if chunk < len(names) else ""
        observed = [
            ObservedStudy(n, n, True, CONDITIONS, self.ages[n], bytes_to_copy=self.running.get(n, self.sizes[n]))
            for n in names[:chunk]
        ]
        decisions = look(
            plan_studies(Desired(delete_source=True), observed),
            Room(self.free, max(self.free, self.more)),
            running=set(self.running),
            at_most=at_most,
            elsewhere=claims_elsewhere(self.claims, after=self.after, reached=reached),
        )
        began = started(decisions)
        self.after, self.claims = (self.after if len(began) == at_most else reached), decisions.claims
        self.waiting -= set(began)
        self.waiting |= {study for study, why in decisions.held_back.items() if "waits for room" in why}
        self.running |= {study: self.sizes[study] for study in began}
        return began

    def write(self, most: int) -> None:
        """Let every run write, and end when it has written all."""
        for study in sorted(self.running):
            written = min(most, self.running[study])
            self.free -= written
            self.running[study] -= written
            if not self.running[study]:
                del self.running[study]
                self.ended.add(study)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8),
    st.integers(-1, 15),
    st.integers(9, 15),
    st.lists(st.tuples(st.integers(1, 8), st.integers(1, 4), st.integers(0, 9), st.integers(0, 9)), max_size=12),
)
def test_nobody_passes_one_that_waits_however_few_are_looked_at_a_time(studies, free, more, days) -> None:
    names = [f"s{n}" for n in range(len(studies))]
    sizes, ages = ({name: one[part] for name, one in zip(names, studies, strict=True)} for part in (0, 1))
    lab = Lab(sizes, ages, free, more)
    for chunk, at_most, written, evicted in days:
        began = lab.tick(chunk, at_most)
        taken = sum(lab.running.values())
        assert not taken or taken <= lab.free, "more was claimed than there is"
        for study in filter(sizes.get, began):
            older = [other for other in lab.waiting if (ages[other], other) < (ages[study], study)]
            assert taken + sum(sizes[other] for other in older) <= lab.free, f"{study} takes the room of {older}"
        lab.write(written)
        lab.free += evicted


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(1, 8), st.integers(1, 8))
def test_where_room_is_made_all_get_theirs_in_the_end_however_few_are_looked_at_a_time(sizes, chunk, at_most) -> None:
    names = [f"s{n}" for n in range(len(sizes))]
    lab = Lab(dict(zip(names, sizes, strict=True)), {name: len(names) - n for n, name in enumerate(names)}, 0, 9)
    for _ in range(len(sizes) * len(sizes) * 2):
        lab.tick(chunk, at_most)
        lab.write(9)
        lab.free = max(lab.free, 9)  # evictions
    assert lab.ended == set(names)
