"""Signs that a study is not ready, from its listing alone: soft warnings before a backup, never a verdict.

What belongs here: `scan_health_check` and its two checks. What does not: names (`standard`), content (`structure`), and
deciding whether a study is idle (`reconcile`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fusion_assets.integrity.scans import find_scans
from fusion_assets.standard.listing import is_own_file
from resources.storage import Entry

MTIME_GAP_DAYS = 14.0
_DAY_NS = 24 * 3600 * 10**9


@dataclass(frozen=True, slots=True)
class HealthWarning:
    """One sign that a study is not ready.

    Attributes:
        check: ``empty``: no experiment has a complete scan. ``mtime_gap``: it was worked on over too long a time.
        message: The sign, with the values observed.
    """

    check: Literal["empty", "mtime_gap"]
    message: str


def scan_health_check(entries: Sequence[Entry], *, mtime_gap_days: float = MTIME_GAP_DAYS) -> list[HealthWarning]:
    """Look for signs that a study is not ready to be backed up.

    Args:
        entries: The study's listing, paths relative to the study.
        mtime_gap_days: How far apart the earliest and latest modification of its files may lie.

    Returns:
        The warnings; none: nothing speaks against it.
    """
    warnings: list[HealthWarning] = []
    if not any(scan.is_complete for scan in find_scans(entries)):
        message = "no experiment has a complete scan (Scan<N> with a final *.qptiff and .temp)"
        warnings.append(HealthWarning("empty", message))
    # Files only, and not our own: taking the lock already changes the time of the study's directory.
    files = [entry for entry in entries if entry.kind == "file" and not is_own_file(entry.path)]
    if files:
        earliest = min(files, key=lambda entry: entry.mtime_ns)
        latest = max(files, key=lambda entry: entry.mtime_ns)
        gap = (latest.mtime_ns - earliest.mtime_ns) / _DAY_NS
        if gap > mtime_gap_days:
            message = (
                f"its files were written over {gap:.1f} days, more than {mtime_gap_days:g} (first {earliest.path}, "
                f"last {latest.path}); it may still be worked on"
            )
            warnings.append(HealthWarning("mtime_gap", message))
    return warnings
