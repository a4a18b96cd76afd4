"""What the ledger says of evictions: the fields of a record, and what they mean for the next eviction.

What belongs here: writing and reading those fields. What does not: deciding (`policy`, `gates`), deleting (`evict`).

The ledger is told three times: that an eviction begins, before the copy is moved; that the copy is gone from its place,
before its files are removed; and what free space there is afterwards. So a run killed anywhere leaves its trace.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from fusion_assets.eviction.forecast import Eviction
from fusion_assets.manifest.extra_fields import (
    ADOPTED_FIELD,
    COPY_BEGUN_FIELD,
    EVICTED_FIELD,
    EVICTION_BEGUN_FIELD,
    FREE_AFTER_FIELD,
    FREE_BEFORE_FIELD,
)
from fusion_assets.manifest.fold import LedgerView
from fusion_assets.manifest.record import Record
from resources.storage import Space

_FIELDS = frozenset({EVICTED_FIELD, EVICTION_BEGUN_FIELD, FREE_BEFORE_FIELD, FREE_AFTER_FIELD})
# Of what is given back, half must be seen: compression makes a copy smaller on the disk than its bytes.
_SHARE = 0.5
# What others write meanwhile hides a small study's bytes: that little, on any volume, says nothing.
_NOISE_BYTES = 16 * 1024**2
_NOISE_SHARE = 0.001


@dataclass(frozen=True, slots=True)
class Told:
    """An eviction as the ledger has it.

    Attributes:
        backup_name: The study's name at the destinations.
        at: When its copy left its place.
        total_bytes: Of the copy.
        free_before: Free bytes before; None if not told.
        free_after: Free bytes afterwards; None if not told, because the run was killed.
    """

    backup_name: str
    at: datetime
    total_bytes: int
    free_before: int | None
    free_after: int | None


@dataclass(frozen=True, slots=True)
class Measured:
    """The space of an eviction, once it was given time to come back.

    Attributes:
        free: Free bytes.
        came_back: Whether it did.
    """

    free: int
    came_back: bool


def begun(record: Record, at: datetime) -> Record:
    """A record that says that an eviction begins."""
    return replace(record, extra={**record.extra, EVICTION_BEGUN_FIELD: at.isoformat()})


def gone(record: Record, at: datetime, free_before: int | None) -> Record:
    """A record that says that the copy is gone from its place, the removal of its files not finished."""
    return replace(record, extra={**record.extra, EVICTED_FIELD: at.isoformat(), FREE_BEFORE_FIELD: free_before})


def finished(record: Record, free_after: int | None) -> Record:
    """A record that says that nothing of the copy is left."""
    extra = {name: value for name, value in record.extra.items() if name != EVICTION_BEGUN_FIELD}
    return replace(record, extra={**extra, FREE_AFTER_FIELD: free_after})


def taken_back(record: Record) -> Record:
    """A record that says nothing of an eviction: the copy is where it was."""
    return replace(record, extra={name: value for name, value in record.extra.items() if name not in _FIELDS})


def was_begun(record: Record) -> bool:
    """Whether an eviction of this study was begun and not finished."""
    return EVICTION_BEGUN_FIELD in record.extra


def came_back(space: Space, total_bytes: int, free_before: int, free_now: int) -> bool:
    """Whether the space of an eviction is free now, as far as can be measured.

    Args:
        space: Of the NAS, for its size.
        total_bytes: Of what was deleted.
        free_before: Free bytes before.
        free_now: Free bytes now.
    """
    noise = min(_NOISE_BYTES, int(space.total * _NOISE_SHARE))
    return free_now >= free_before + total_bytes * _SHARE - noise


def told(record: Record) -> Told | None:
    """The eviction a record speaks of; None if it speaks of none."""
    at = _time(record.extra.get(EVICTED_FIELD))
    if at is None:
        return None
    before, after = _number(record.extra, FREE_BEFORE_FIELD), _number(record.extra, FREE_AFTER_FIELD)
    return Told(record.backup_name, at, record.total_bytes, before, after)


def held_by_snapshots(view: LedgerView, space: Space) -> str:
    """Why nothing more may be evicted: the space of the last eviction did not come back, and has not since; else empty.

    Snapshots, recycle bins and hard links hold blocks. Who deletes on until space is free deletes everything then.
    Which eviction was the last, and what was copied since, is told by the order of the ledger's lines: a clock that was
    ahead would hide all that followed.

    Args:
        view: The ledger.
        space: As measured now.
    """
    if has_returned(view, space):
        return ""
    line, last = _measured_evictions(view)[-1]
    before, after = last.free_before or 0, last.free_after
    if came_back(space, last.total_bytes, before, space.free + _copied_since(view, line)):
        return ""
    removed = f"{last.total_bytes} bytes of {last.backup_name} were removed {last.at:%Y-%m-%d %H:%M} UTC"
    if after is None:
        return (
            f"{removed}, and the eviction was broken off before it was seen whether free space rises: it was {before} "
            f"bytes then, and is {space.free} now | hint: `fusion cleanup run` ends that eviction, and measures"
        )
    return (
        f"{removed}, but free space went from {before} to {after} bytes, and is {space.free} now: a snapshot or a bin "
        "holds them | hint: let old snapshots go, then run this again; or `fusion cleanup run --despite-snapshots`"
    )


def has_returned(view: LedgerView, space: Space) -> bool:
    """Whether the space of the last eviction was seen to come back, then or now; true where there was none.

    Args:
        view: The ledger.
        space: As measured now.
    """
    known = _measured_evictions(view)
    if not known:
        return True
    _, last = known[-1]
    free = max(space.free, last.free_after or 0)
    return came_back(space, last.total_bytes, last.free_before or 0, free)


def _measured_evictions(view: LedgerView) -> list[tuple[int, Told]]:
    return [(line, each) for line, each in _evictions(view) if each.free_before is not None]


def _evictions(view: LedgerView) -> list[tuple[int, Told]]:
    """The evictions the ledger knows, in the order of its lines, each with the number of the first that tells of it.

    One that was broken off, and of which the study's latest record says nothing any more, was none: the copy was put
    back. One that was finished stays one, whatever became of the study since.
    """
    found: dict[tuple[str, datetime], tuple[int, Told]] = {}
    for number, (_, record) in enumerate(view.events):
        if each := told(record):
            first, _ = found.get((each.backup_name, each.at), (number, each))
            found[each.backup_name, each.at] = (first, each)  # the last record of an eviction knows most of it
    standing = {name: each.at for name, record in view.records.items() if (each := told(record))}
    return sorted(
        (
            (first, each)
            for first, each in found.values()
            if each.free_after is not None or standing.get(each.backup_name) == each.at
        ),
        key=lambda pair: pair[0],
    )


def _copied_since(view: LedgerView, line: int) -> int:
    """The bytes of the copies that were written to the NAS after a line: without them, so much more would be free.

    What lay there already and was adopted took nothing. How much of a copy that was begun before was written after, the
    ledger does not say: none of it counts, or every such copy would let one more eviction through.
    """
    begun_at: dict[str, int | None] = {}
    finished_copies: set[str] = set()
    for number, (_, record) in enumerate(view.events):
        name = record.backup_name
        if told(record):
            begun_at.pop(name, None)
            finished_copies.discard(name)
            continue
        if record.truenas_verified_at or record.extra.keys() & {COPY_BEGUN_FIELD, ADOPTED_FIELD}:
            begun_at.setdefault(name, None if ADOPTED_FIELD in record.extra else number)
        if record.truenas_verified_at:
            finished_copies.add(name)
    return sum(view.records[name].total_bytes for name in finished_copies if (begun_at[name] or 0) > line)


def evictions_of(view: LedgerView, total: int) -> tuple[Eviction, ...]:
    """All evictions the ledger knows, with what they really gave back, for the forecast.

    Args:
        view: The ledger.
        total: The size of the NAS, bytes.
    """
    told_of = sorted((each for _, each in _evictions(view)), key=lambda each: each.at)
    return tuple(Eviction(each.at, _returned(each, total)) for each in told_of)


def _returned(found: Told, total: int) -> int:
    if found.free_before is None or found.free_after is None:
        return found.total_bytes
    if came_back(Space(total, 0), found.total_bytes, found.free_before, found.free_after):
        return found.total_bytes
    return max(0, found.free_after - found.free_before)


def _time(value: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(str(value)) if value else None
    except ValueError:
        return None
    return time if time is None or time.tzinfo else time.replace(tzinfo=UTC)


def _number(extra: Mapping[str, Any], name: str) -> int | None:
    value = extra.get(name)
    return value if type(value) is int else None
