"""Who gets the room on the NAS: the oldest study first, by sizes that are known before a run begins.

A run that finds the NAS full has failed, and pauses; meanwhile younger and smaller studies would take all room that is
made, again and again, and the oldest might never get any. So a study waits for its room without a run, and none that
is younger gets past it. What belongs here: that queue. What does not: making room (`eviction`), and the check right
before the first byte is written (`transfer`), which knows exactly.
"""

from __future__ import annotations

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


class Queue:
    """The studies that want room, asked in the order of their age."""

    def __init__(self, room: Room | None, claimed: int) -> None:
        """Begin with the oldest.

        Args:
            room: What there is; None when it is not known, and then nobody waits.
            claimed: What runs that are under way still have to write.
        """
        self._room = room
        self._left = room.free - claimed if room else 0
        self._first = ""

    def why_not(self, plan: StudyPlan) -> str | None:
        """Why a study has to wait for room; if it has not, the room it needs is its own from here on.

        One for which evictions alone never make room is not kept waiting, and keeps nobody: its run fails, and a person
        hears of it.

        Args:
            plan: Of a study that is younger than all that were asked for before.
        """
        needed = room_for(plan)
        if self._room is None or not needed or needed > self._room.attainable:
            return None
        if self._first:
            return f"waits for room on the NAS: {self._first} is older and comes first"
        if needed > self._left:
            self._first = plan.study
            return (
                f"waits for room on the NAS: {readable_size(needed)} are to be copied, "
                f"{readable_size(max(0, self._left))} are free for it; evictions make room"
            )
        self._left -= needed
        return None


def room_for(plan: StudyPlan) -> int:
    """The bytes on the NAS that what is planned takes.

    Args:
        plan: The plan.
    """
    return plan.observed.bytes_to_copy if Step.TRUENAS_COPY in plan.actions else 0
