"""Which copies leave the NAS, in which order, and why every other one stays. Pure, total and deterministic.

The oldest backup goes first, until the bytes planned suffice. Three bounds keep a mistake small (``[cleanup]
max_studies, max_bytes, max_store_pct``), and one copy always stays: a cleanup that would empty the NAS does not exist.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fusion_assets.config import CleanupSection
from resources.storage import Space

_LATEST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Copy:
    """A study's copy on the NAS, as the policy sees it.

    Attributes:
        run_name: The study's name at the source.
        backup_name: Its name at the destinations.
        total_bytes: As recorded.
        completed_at: When its backup was complete, UTC; None if it is not.
        kept: Why it may not go; empty if it may.
    """

    run_name: str
    backup_name: str
    total_bytes: int
    completed_at: datetime | None
    kept: str = ""


@dataclass(frozen=True, slots=True)
class EvictionPlan:
    """What a cleanup would do.

    Attributes:
        evictions: The copies to evict, in this order.
        left_out: Why every other one stays, by backup name, oldest first.
        missing_bytes: What is missing to the free space that is wanted; 0 when nothing is.
        planned_bytes: What the evictions give back, those that are done already included.
    """

    evictions: tuple[Copy, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    missing_bytes: int = 0
    planned_bytes: int = 0

    @property
    def suffices(self) -> bool:
        """Whether the threshold is reached when all of it is done."""
        return self.planned_bytes >= self.missing_bytes


def missing_bytes(space: Space, threshold_pct: float) -> int:
    """The bytes that must be given back until the free space is what is wanted; 0 when it is already.

    Args:
        space: As measured.
        threshold_pct: ``[cleanup] free_threshold_pct``.
    """
    return max(0, math.ceil(space.total * threshold_pct / 100) - space.free)


def plan_evictions(
    space: Space, copies: Sequence[Copy], bounds: CleanupSection, *, evicted: Sequence[Copy] = ()
) -> EvictionPlan:
    """Choose what leaves the NAS.

    What is too large for `max_bytes` even alone is passed over, and said to be; else the first one that does not fit
    ends the plan: the next run goes on with it, and nothing younger overtakes it. Against `max_store_pct` the first
    one always fits: one study larger than that share must not keep the NAS full for ever.

    Args:
        space: As measured when the cleanup began.
        copies: All copies on the NAS that the ledger knows, in any order, those that may not go among them.
        bounds: ``[cleanup]``.
        evicted: What this cleanup evicted since `space` was measured: it counts against the bounds.
    """
    missing, planned = missing_bytes(space, bounds.free_threshold_pct), _bytes_of(evicted)
    store = _bytes_of(copies) + planned
    standing = sum(1 for copy in copies if copy.completed_at is not None)
    chosen: list[Copy] = []
    left_out: dict[str, str] = {}
    full = ""
    for copy in sorted(copies, key=lambda each: (each.completed_at or _LATEST, each.backup_name)):
        reason = copy.kept or full
        if not reason and planned >= missing:
            reason = "not needed: there is room enough" if not missing else "not needed: what is older suffices"
        if not reason and standing <= 1:
            reason = "the last copy on the NAS is never evicted"
        if not reason:
            reason, full = _beyond(copy, planned, len(evicted) + len(chosen), store, bounds)
        if reason:
            left_out[copy.backup_name] = reason
            continue
        chosen.append(copy)
        planned += copy.total_bytes
        standing -= 1
    return EvictionPlan(tuple(chosen), left_out, missing, planned)


def _beyond(copy: Copy, planned: int, count: int, store: int, bounds: CleanupSection) -> tuple[str, str]:
    """Why a copy stays because of a bound, and, where the plan ends there, why all younger ones do; empty if not."""
    if copy.completed_at is None:
        return "its backup is not complete", ""
    if copy.total_bytes <= 0:
        return "it would give nothing back", ""
    if bounds.max_bytes is not None and copy.total_bytes > bounds.max_bytes:
        return f"larger than max_bytes = {bounds.max_bytes} alone: it never goes unless that is raised", ""
    full = ""
    if count >= bounds.max_studies:
        full = f"the bound of one cleanup is reached: max_studies = {bounds.max_studies}"
    elif bounds.max_bytes is not None and planned + copy.total_bytes > bounds.max_bytes:
        full = f"the bound of one cleanup is reached: max_bytes = {bounds.max_bytes}"
    elif planned and planned + copy.total_bytes > store * bounds.max_store_pct / 100:
        full = f"the bound of one cleanup is reached: max_store_pct = {bounds.max_store_pct:g}"
    return full, full


def _bytes_of(copies: Sequence[Copy]) -> int:
    return sum(copy.total_bytes for copy in copies)
