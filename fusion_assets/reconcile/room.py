"""Who gets the room on the NAS: the oldest study first, by sizes that are known before a run begins.

A run that finds the NAS full has failed, and pauses; meanwhile younger and smaller studies would take all room that is
made, again and again, and the oldest might never get any. So a study waits for its room without a run, and none that
is younger gets past it. Where a look takes several ticks, each of them sees some of the studies only: what the others
claim is remembered from one to the next. What belongs here: that queue. What does not: making room (`eviction`), and
the check right before the first byte is written (`transfer`), which knows exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fusion_assets.reconcile.lab import Lab
from fusion_assets.reconcile.plan import Step, StudyPlan
from fusion_assets.transfer.options import TransferOptions
from fusion_assets.transfer.preflight import readable_size
from resources.errors import ResourceError


@dataclass(frozen=True, slots=True)
class Room:
    """Room on the NAS, in bytes.

    Attributes:
        free: What copies may take now.
        attainable: What they may take once evictions have done what they do by themselves.
    """

    free: int
    attainable: int


@dataclass(frozen=True, slots=True)
class Claim:
    """Room on the NAS that one study wants, or is about to fill.

    Attributes:
        age: The newest mtime among its files, in ns: the oldest study comes first.
        size: In bytes.
        at_work: Whether a run fills it already, or was started to.
    """

    age: int
    size: int
    at_work: bool = False


Claims = Mapping[str, Claim]


def measure_room(lab: Lab) -> Room | None:
    """Ask the NAS.

    Args:
        lab: The lab.

    Returns:
        None when it does not say.
    """
    try:
        space = lab.truenas.space()
    except ResourceError:
        return None
    config, reserve = lab.config, TransferOptions().space_reserve
    evicted_to = space.total * config.cleanup.free_threshold_pct / 100 if config.sensors.truenas_capacity else 0
    return Room(space.free - reserve, max(space.free, int(evicted_to)) - reserve)


def claims_elsewhere(claims: Claims, *, after: str, reached: str) -> dict[str, Claim]:
    """The claims of studies that a look did not come by; those it came by say themselves what they want by now.

    Args:
        claims: All claims before the look.
        after: The study it began behind, by name; empty if it began with the first.
        reached: The last study it came to; empty if it came to the end.
    """
    return {study: claim for study, claim in claims.items() if study <= after or (reached and study > reached)}


def who_waits(room: Room | None, claims: Claims) -> dict[str, str]:
    """Why each study that has to wait for room does; what the others claim is theirs.

    One for which evictions alone never make room is not kept waiting, and keeps nobody: its run fails, and a person
    hears of it.

    Args:
        room: What there is; None when it is not known, and then nobody waits.
        claims: Of all studies.
    """
    if room is None:
        return {}
    left = room.free - sum(claim.size for claim in claims.values() if claim.at_work)
    asking = sorted((claim.age, study, claim.size) for study, claim in claims.items() if not claim.at_work)
    waiting: dict[str, str] = {}
    for _, study, size in asking:
        if size > room.attainable:
            continue
        if waiting:
            waiting[study] = f"waits for room on the NAS: {next(iter(waiting))} is older and comes first"
        elif size > left:
            comes = "evictions make room" if size > room.free else "runs at work fill the rest"
            waiting[study] = (
                f"waits for room on the NAS: {readable_size(size)} are to be copied, "
                f"{readable_size(max(0, left))} are free for it; {comes}"
            )
        else:
            left -= size
    return waiting


def room_for(plan: StudyPlan) -> int:
    """The bytes on the NAS that what is planned takes.

    Args:
        plan: The plan.
    """
    return plan.observed.bytes_to_copy if Step.TRUENAS_COPY in plan.actions else 0
