"""Which plans to start now, and why the others are not. Pure.

A plan says what is missing; whether to begin with it at this moment also depends on what is running already and on what
came of earlier tries. What belongs here: that decision. What does not: what is missing (`plan`), where the tries are
recorded, and starting anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from fusion_assets.reconcile.conditions import Name
from fusion_assets.reconcile.plan import LOCKED, StudyPlan, Verdict, why_nothing
from fusion_assets.reconcile.room import Claim, Claims, Room, room_for, who_waits

# A server that was restarted is back after minutes, a broken disk after a day: 5, 20, 80 minutes, 5 hours, then daily.
_FIRST_PAUSE = timedelta(minutes=5)
_LONGEST_PAUSE = timedelta(days=1)
_FACTOR = 4
# What failed for want of room waits for it without a run; the room it then gets must not be gone again a day later.
_PAUSES_FOR_ROOM = 3


@dataclass(frozen=True, slots=True)
class Tries:
    """What came of starting a study in the very state it is in now.

    Attributes:
        ended: How many tries ended; none of them changed the state, or it would be another one.
        last_ended_at: When the last of them ended; long ago if all that is known lies ahead of the clock.
        hopeless: Whether one failed for a reason that trying again cannot cure.
        for_room: Whether the last of them failed because the NAS was full.
    """

    ended: int
    last_ended_at: datetime
    hopeless: bool = False
    for_room: bool = False


@dataclass(frozen=True, slots=True)
class Launch:
    """A plan to start now.

    Attributes:
        plan: The plan.
        state: From `state_of`.
        number: How many times it was tried in this state before.
    """

    plan: StudyPlan
    state: str
    number: int

    @property
    def key(self) -> str:
        """The same for the same try: who is asked twice to start it starts it once."""
        return f"{self.plan.study}:{self.state}:{self.number}"


@dataclass(frozen=True, slots=True)
class Decisions:
    """What to start now.

    Attributes:
        launches: At most as many as were allowed, oldest study first.
        held_back: Why each other study that is not settled is not started, by name.
        claims: The room on the NAS that studies wait for or fill from now on, for the next decision.
    """

    launches: tuple[Launch, ...]
    held_back: Mapping[str, str]
    claims: Claims


def state_of(plan: StudyPlan) -> str:
    """What a try is about: the study, how it looks, and what is to be done. It changes when any of them does.

    A study that has left the source looks like every other: without its name, one that failed would stop them all.

    Args:
        plan: The plan.

    Returns:
        16 hex digits.
    """
    parts = [plan.study, plan.observed.fingerprint, *(action.value for action in plan.actions)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def pause_after(ended: int) -> timedelta:
    """How long to wait after so many tries that changed nothing.

    Args:
        ended: Their number, at least 1.
    """
    factor: int = _FACTOR ** min(ended - 1, 10)
    return min(_FIRST_PAUSE * factor, _LONGEST_PAUSE)


def again_at(tried: Tries | None) -> datetime:
    """When to try again what was tried so often; long ago for what never was.

    Args:
        tried: What came of earlier tries; None for none.
    """
    if tried is None or tried.ended == 0:
        return datetime.min.replace(tzinfo=UTC)
    return tried.last_ended_at + pause_after(min(tried.ended, _PAUSES_FOR_ROOM) if tried.for_room else tried.ended)


def decide(
    plans: Iterable[StudyPlan],
    *,
    running: Collection[str],
    tries: Mapping[str, Tries],
    now: datetime,
    at_most: int,
    room: Room | None = None,
    elsewhere: Claims = MappingProxyType({}),
) -> Decisions:
    """Decide what to start.

    Args:
        plans: In the order in which they are to be started.
        running: The studies on which a run works or waits to begin, by run name.
        tries: What came of earlier tries, by `state_of`.
        now: The time, UTC.
        at_most: How many to start.
        room: What there is on the NAS; None when that is not known, and then nothing waits for it.
        elsewhere: What other studies than these claim of it, as far as earlier decisions told.
    """
    plans = tuple(plans)
    tried = {plan.study: tries.get(state_of(plan)) for plan in plans if plan.actions}
    pauses = {plan.study: _why_not_now(plan, running, tried[plan.study], now) for plan in plans if plan.actions}
    own = {plan.study: _claim(plan, running, tried.get(plan.study), pauses.get(plan.study)) for plan in plans}
    claims = {**elsewhere, **{study: claim for study, claim in own.items() if claim.size}}
    waiting = who_waits(room, claims)
    launches: list[Launch] = []
    held_back: dict[str, str] = {}
    for plan in plans:
        if not plan.actions:
            if plan.verdict is not Verdict.SETTLED:
                held_back[plan.study] = why_nothing(plan)
            continue
        why = waiting.get(plan.study) or pauses[plan.study]
        if why is None and len(launches) == at_most:
            why = f"{at_most} others are started first; its turn comes at one of the next looks"
        if why is None:
            before = tried[plan.study]
            launches.append(Launch(plan, state_of(plan), before.ended if before else 0))
        else:
            held_back[plan.study] = why
    begun = {launch.plan.study for launch in launches}
    claims = {study: replace(claim, at_work=claim.at_work or study in begun) for study, claim in claims.items()}
    return Decisions(tuple(launches), held_back, claims)


def _claim(plan: StudyPlan, running: Collection[str], tried: Tries | None, pause: str | None) -> Claim:
    """What a study claims of the room on the NAS. One that pauses claims none, unless it pauses for want of room."""
    age = plan.observed.newest_mtime_ns
    if plan.study in running or plan.observed.conditions[Name.UNLOCKED].reason == LOCKED:
        return Claim(age, plan.observed.bytes_to_copy, at_work=True)
    wants = pause is None or (tried is not None and tried.for_room)
    return Claim(age, room_for(plan) if wants else 0)


def _why_not_now(plan: StudyPlan, running: Collection[str], tried: Tries | None, now: datetime) -> str | None:
    if plan.study in running:
        return "a run works on it, or waits to begin"
    if tried is None or tried.ended == 0:
        return None
    if tried.hopeless:
        return "it failed for a reason that trying again cannot cure; it is tried again when its files change"
    again = again_at(tried)
    if now < again:
        times = "once" if tried.ended == 1 else f"{tried.ended} times"
        return f"tried {times} without coming further; tried again at {again:%Y-%m-%d %H:%M} UTC"
    return None
