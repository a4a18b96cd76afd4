"""The gates of an eviction: what must be true of a study at the very moment its copy is deleted.

What belongs here: the gates, looking at one study for them, and judging what was seen (`judge_gates`, pure). What does
not: deleting (`evict`), and choosing what to evict (`policy`).

All that is cheap is looked at first. S3 is asked about every object only when every other gate is open: that is the one
gate that costs something, and the one that matters most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from fusion_assets.eviction.pins import Pins, read_pins
from fusion_assets.eviction.policy import missing_bytes
from fusion_assets.eviction.store import AtSource, look_at_source, why_not_released
from fusion_assets.eviction.telling import held_by_snapshots
from fusion_assets.eviction.trash import may_go
from fusion_assets.manifest.extra_fields import SIDECAR_FIELD
from fusion_assets.manifest.fold import LedgerView
from fusion_assets.manifest.record import Record, Status
from fusion_assets.reconcile.conditions import Condition, false, true
from fusion_assets.reconcile.entries import sidecar_is
from fusion_assets.reconcile.lab import Lab
from fusion_assets.standard.listing import SIDECAR_NAME, Listing, read_listing
from fusion_assets.standard.validate import is_study_candidate
from fusion_assets.transfer.check import Problem
from fusion_assets.transfer.errors import name_some
from fusion_assets.transfer.sidecar import SidecarError, parse_sidecar
from resources.errors import NotFoundError
from resources.storage import Space

_PROVE_AGAIN = " | hint: its steps `s3_archive` and `manifest_entry`, run in Dagster, prove both copies again"


class Gate(StrEnum):
    """The gates, in the order in which they are looked at."""

    NEEDS_SPACE = "NeedsSpace"
    UNLOCKED = "Unlocked"
    COMPLETE = "Complete"
    RELEASED = "Released"
    NOT_PINNED = "NotPinned"
    NOT_THE_LAST = "NotTheLast"
    SPACE_RISES = "SpaceRises"
    SIDECAR_PRESENT = "SidecarPresent"
    NOTHING_UNARCHIVED = "NothingUnarchived"
    EVERY_OBJECT_IN_S3 = "EveryObjectInS3"


MEANINGS = {
    Gate.NEEDS_SPACE: "Free space, measured now, is below the threshold.",
    Gate.UNLOCKED: "Nobody backs the study up or restores it, and nobody else makes room on the NAS.",
    Gate.COMPLETE: "The ledger's latest record of the study says complete.",
    Gate.RELEASED: "The study has left the source, unless the lab keeps its sources.",
    Gate.NOT_PINNED: "Nobody pinned the study.",
    Gate.NOT_THE_LAST: "Another complete copy stays on the NAS.",
    Gate.SPACE_RISES: "The space of the last eviction came back, and that of this one: no snapshot holds it.",
    Gate.SIDECAR_PRESENT: "The copy has its sidecar, and it is the one that the ledger recorded.",
    Gate.NOTHING_UNARCHIVED: "All that lies in the copy is in its sidecar, and so in S3.",
    Gate.EVERY_OBJECT_IN_S3: "Every file of the sidecar is in S3 with its size and checksum, asked object by object.",
}

# A closed gate of these is no fault: the study is as it should be, and stays for now.
_NO_FAULT = frozenset(
    {Gate.NEEDS_SPACE, Gate.UNLOCKED, Gate.COMPLETE, Gate.RELEASED, Gate.NOT_PINNED, Gate.NOT_THE_LAST}
)


def is_fault(gate: Gate) -> bool:
    """Whether a person has to look when this gate is closed.

    Args:
        gate: The gate.
    """
    return gate not in _NO_FAULT


class KeptError(Exception):
    """A gate was not open at the moment of deletion; nothing was deleted.

    Attributes:
        gates: What was seen of each gate that was looked at, in order.
    """

    def __init__(self, study: str, gates: Mapping[Gate, Condition]) -> None:
        self.gates = dict(gates)
        self.closed = {gate: condition for gate, condition in gates.items() if not condition.is_true}
        why = "; ".join(
            f"{gate.value}: {condition.message or condition.reason}" for gate, condition in self.closed.items()
        )
        super().__init__(f"{study} is kept on the NAS: {why}")

    @property
    def is_fault(self) -> bool:
        """Whether a person has to look; else it is kept as it should be."""
        return any(is_fault(gate) for gate in self.closed)


@dataclass(frozen=True, slots=True)
class EvictionFacts:
    """What was seen of one study right before its eviction, but for its objects.

    Attributes:
        record: The ledger's record of it.
        space: Of the NAS.
        pins: What is pinned.
        around: What is at the source.
        others: Other complete copies on the NAS.
        held_back: Why nothing may be evicted at all, from `held_by_snapshots`.
        listing: The copy; None when there is none.
        sidecar: Its sidecar's bytes; None when there is none.
        is_recorded: Whether those are what the ledger recorded; None where it recorded nothing of the sidecar.
    """

    record: Record | None
    space: Space
    pins: Pins
    around: AtSource
    others: int
    held_back: str
    listing: Listing | None
    sidecar: bytes | None
    is_recorded: bool | None


def look(lab: Lab, backup_name: str) -> EvictionFacts:
    """Look at one study for its gates, but for its objects in S3.

    Args:
        lab: The lab.
        backup_name: The study's name at the destinations.

    Raises:
        ResourceError: The NAS or the ledger cannot be asked; nothing may be deleted.
    """
    view = lab.ledger.read()
    record = view.records.get(backup_name)
    space = lab.truenas.space()
    try:
        listing = read_listing(lab.truenas, backup_name)
    except NotFoundError:
        listing = None
    sidecar = _sidecar(lab, backup_name)
    recorded = record.extra.get(SIDECAR_FIELD) if record else None
    return EvictionFacts(
        record=record,
        space=space,
        pins=read_pins(lab.ledger),
        around=look_at_source(lab),
        others=_others(lab, view, backup_name),
        held_back=held_by_snapshots(view, space),
        listing=listing,
        sidecar=sidecar,
        is_recorded=sidecar_is(lab, record) is not None if record and recorded else None,
    )


def judge_gates(
    facts: EvictionFacts,
    run_name: str,
    *,
    threshold_pct: float,
    delete_source: bool,
    now: datetime,
    despite_snapshots: bool = False,
) -> dict[Gate, Condition]:
    """Every gate but that of the objects, from what was seen; its lock being held. Pure.

    Args:
        facts: From `look`.
        run_name: The study's name at the source.
        threshold_pct: ``[cleanup] free_threshold_pct``.
        delete_source: ``[backup] delete_source``.
        now: The time, UTC.
        despite_snapshots: Whether a person said to go on although space did not come back.
    """
    record = facts.record
    backup_name = record.backup_name if record else ""
    why_at_source = (
        why_not_released(record, run_name, facts.around, delete_source=delete_source) if record else "never recorded"
    )
    pinned = facts.pins.why(backup_name, now)
    return {
        Gate.NEEDS_SPACE: _needs_space(facts.space, threshold_pct),
        Gate.UNLOCKED: true("Held", "its locks are held by this run"),
        Gate.COMPLETE: _complete(record),
        Gate.RELEASED: false("NotReleased", why_at_source) if why_at_source else true("Released"),
        Gate.NOT_PINNED: false("Pinned", pinned) if pinned else true("NotPinned"),
        Gate.NOT_THE_LAST: true("OthersStay", f"{facts.others} other complete copies")
        if facts.others
        else false("TheLast", "it is the last complete copy on the NAS"),
        Gate.SPACE_RISES: false("SpaceHeld", facts.held_back)
        if facts.held_back and not despite_snapshots
        else true("NothingHeld"),
        Gate.SIDECAR_PRESENT: _sidecar_present(facts),
        Gate.NOTHING_UNARCHIVED: _nothing_unarchived(facts),
    }


def judge_objects(problems: tuple[Problem, ...]) -> Condition:
    """The gate of the objects, from what HEAD of every one of them found wrong. Pure.

    Args:
        problems: From `fusion_assets.transfer.check.check_archive`.
    """
    if not problems:
        return true("Proven")
    more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""  # noqa: PLR2004 - as many as fit in a line
    return false("NotProven", "; ".join(str(problem) for problem in problems[:3]) + more)


def _needs_space(space: Space, threshold_pct: float) -> Condition:
    free = f"{space.free} of {space.total} bytes are free, {threshold_pct:g} % are wanted"
    return true("SpaceIsLow", free) if missing_bytes(space, threshold_pct) else false("SpaceSuffices", free)


def _complete(record: Record | None) -> Condition:
    if record is None:
        return false("NotRecorded", "the ledger does not know it")
    if record.status is not Status.COMPLETE or record.completed_at is None:
        return false("NotComplete", f"the latest record says {record.status.value}")
    return true("Complete", f"completed {record.completed_at:%Y-%m-%d %H:%M} UTC")


def _sidecar_present(facts: EvictionFacts) -> Condition:
    if facts.listing is None:
        return false("NoCopy", "there is no copy of it on the NAS")
    if facts.sidecar is None:
        return false("NoSidecar", "the copy has no sidecar: nothing says what was proven of it")
    if facts.is_recorded is False:
        return false("SidecarDiffers", f"the copy's sidecar is not the one that the ledger recorded{_PROVE_AGAIN}")
    try:
        checksums = parse_sidecar(facts.sidecar)
    except SidecarError as error:
        return false("SidecarDamaged", f"the sidecar cannot be read: {error}")
    sizes = {entry.path: entry.size for entry in facts.listing.files}
    found = len(checksums), sum(sizes.get(path, 0) for path in checksums)
    record = facts.record
    # A record that says nothing of the sidecar (one older than this program) must agree with what it lists.
    if record and facts.is_recorded is None and found != (record.file_count, record.total_bytes):
        recorded = f"{record.file_count} files of {record.total_bytes} bytes"
        return false(
            "RecordDiffers", f"the sidecar lists {found[0]} files of {found[1]} bytes, recorded are {recorded}"
        )
    return true("SidecarPresent", f"{len(checksums)} files")


def _nothing_unarchived(facts: EvictionFacts) -> Condition:
    if facts.listing is None or facts.sidecar is None:
        return true("NothingThere")
    try:
        checksums = parse_sidecar(facts.sidecar)
    except SidecarError:
        return true("NotComparable")  # the gate before says so
    strays = [
        entry.path for entry in facts.listing.entries if entry.kind != "directory" and not may_go(entry, checksums)
    ]
    if not strays:
        return true("AllArchived")
    hint = "move them out of it, or remove them"
    return false("Unarchived", f"files lie in the copy that are not in S3: {name_some(strays)} | hint: {hint}")


def _others(lab: Lab, view: LedgerView, backup_name: str) -> int:
    present = {entry.name for entry in lab.truenas.list() if is_study_candidate(entry)} - {backup_name}
    records = (view.records.get(name) for name in present)
    return sum(1 for record in records if record and record.status is Status.COMPLETE)


def _sidecar(lab: Lab, backup_name: str) -> bytes | None:
    try:
        return lab.truenas.read_file(f"{backup_name}/{SIDECAR_NAME}")
    except NotFoundError:
        return None
