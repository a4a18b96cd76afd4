"""Look at a lab's studies in every place, and report what is there. Observing changes nothing anywhere.

Truth is the world, not an event log: directory listings, sidecars, the ledger and S3 listings. A failed listing is not
an empty one: what cannot be seen is `Unseen`, becomes an Unknown condition, and stops what would have depended on it.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from fusion_assets.manifest.fold import LedgerView
from fusion_assets.manifest.record import Record, Status
from fusion_assets.reconcile.conditions import Unseen
from fusion_assets.reconcile.facts import ArchiveFacts, CopyFacts, LockFacts, Present, SourceFacts, StudyFacts
from fusion_assets.reconcile.idle import Memory, Observation, remember
from fusion_assets.reconcile.judge import judge_study
from fusion_assets.reconcile.lab import Lab, check_places, is_directory, source_studies, trashed_studies
from fusion_assets.reconcile.locks import find_backup_lock, find_study_lock, locked_backups
from fusion_assets.reconcile.overwrite import is_proven, recorded_elsewhere
from fusion_assets.reconcile.plan import ObservedStudy
from fusion_assets.standard.listing import SIDECAR_NAME, Listing, read_listing
from fusion_assets.standard.rules import validate_listing
from fusion_assets.standard.validate import is_study_candidate, with_clash
from fusion_assets.transfer.sidecar import SidecarError, parse_sidecar
from resources.errors import NotFoundError, ResourceError, described
from resources.s3_errors import ArchivedObjectError

T = TypeVar("T")

# Listing is waiting: for the NAS, for S3. More than this only queues at the server.
_OBSERVERS = 8
# The acquisition software holds its image open while it writes; the newest files are where it would be.
_PROBED_FILES = 32


@dataclass(frozen=True, slots=True)
class LabObservation:
    """What a look at the lab gave.

    Attributes:
        studies: Every study at the source, in its trash, in the ledger, or on the NAS and in S3.
        memory: What to remember for the next observation.
        ledger: The ledger as it was read.
    """

    studies: tuple[ObservedStudy, ...]
    memory: Mapping[str, Observation]
    ledger: LedgerView


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What is seen once for all studies."""

    view: LedgerView
    last_events: Mapping[str, Record]
    last_proven: Mapping[str, Record]
    by_run_name: Mapping[str, list[Record]]
    at_source: frozenset[str]
    twins: Mapping[str, list[str]]
    trashed: Mapping[str, str]
    on_truenas: frozenset[str] | Unseen
    on_s3: frozenset[str] | Unseen
    locked_backups: frozenset[str] | Unseen
    stale_months: frozenset[str] | Unseen
    now: datetime


def observe_lab(
    lab: Lab,
    memory: Memory,
    *,
    now: datetime | None = None,
    limit: str | None = None,
    seen: Callable[[int, int], None] | None = None,
) -> LabObservation:
    """Observe all studies of a lab.

    Args:
        lab: The lab.
        memory: What was remembered after the previous observation.
        now: The time of this one, UTC; the clock's by default.
        limit: A glob; only studies whose run name or backup name matches are looked at.
        seen: Called with (studies looked at so far, studies in all).

    Raises:
        NotMountedError: A root is missing, or empty where it must not be.
        NotFoundError: The bucket does not exist.
        ResourceError: The source or the ledger cannot be listed at all.
    """
    now = now or datetime.now(UTC)
    around = _look_around(lab, now)
    names = [pair for pair in _known_studies(lab, around) if limit is None or _matches(limit, pair)]
    facts: list[StudyFacts] = []
    with ThreadPoolExecutor(_OBSERVERS, thread_name_prefix="observe") as pool:
        for found in pool.map(lambda pair: _gather(lab, around, memory, *pair), names):
            facts.append(found)
            if seen:
                seen(len(facts), len(names))
    studies = tuple(judge_study(found, lab.config.backup, now) for found in facts)
    observations = {
        found.run_name: found.source.observation for found in facts if isinstance(found.source, SourceFacts)
    }
    kept = {name: seen for name, seen in memory.items() if name in around.at_source}
    return LabObservation(studies, {**kept, **observations}, around.view)


def observe_study(lab: Lab, run_name: str, memory: Memory, *, now: datetime | None = None) -> ObservedStudy:
    """Observe one study, afresh: what a gate asks for right before something is deleted.

    Args:
        lab: The lab.
        run_name: The study's name at the source.
        memory: What was remembered of earlier observations.
        now: The time, UTC; the clock's by default.

    Raises:
        ResourceError: The source's root or the ledger cannot be read.
    """
    now = now or datetime.now(UTC)
    backup_name = lab.config.backup_name(run_name)
    facts = _gather(lab, _look_around(lab, now, only=backup_name), memory, run_name, backup_name)
    return judge_study(facts, lab.config.backup, now)


def _look_around(lab: Lab, now: datetime, *, only: str | None = None) -> _Surroundings:
    """What is seen once for all studies.

    Args:
        lab: The lab.
        now: The time of the observation.
        only: A backup name: the NAS and S3 are asked for this one, so that looking at each of 1,000 studies again does
            not list all of them each time.
    """
    at_source = source_studies(check_places(lab))
    if only is None:
        on_truenas = _attempt(lambda: frozenset(e.name for e in lab.truenas.list() if is_study_candidate(e)))
        on_s3 = _attempt(lambda: frozenset(lab.bucket.list_directories("")))
    else:
        on_truenas = _attempt(lambda: frozenset({only} if is_directory(lab.truenas, only) else ()))
        on_s3 = _attempt(lambda: frozenset({only} if _any(lab.bucket.list(f"{only}/")) else ()))
    stale = _attempt(lambda: frozenset(lab.ledger.stale_mirrors()))
    view = lab.ledger.read()
    by_run_name: defaultdict[str, list[Record]] = defaultdict(list)
    for record in view.records.values():
        by_run_name[record.run_name].append(record)
    return _Surroundings(
        view=view,
        last_events={record.backup_name: record for _, record in view.events},
        last_proven={r.backup_name: r for _, r in view.events if r.status is Status.COMPLETE or is_proven(r)},
        by_run_name=by_run_name,
        at_source=frozenset(at_source),
        twins=twins_of(lab, at_source),
        trashed=trashed_studies(lab),
        on_truenas=on_truenas,
        on_s3=on_s3,
        locked_backups=_attempt(lambda: locked_backups(lab.truenas)),
        stale_months=stale,
        now=now,
    )


def _any(found: Iterable[object]) -> bool:
    return next(iter(found), None) is not None


def _known_studies(lab: Lab, around: _Surroundings) -> list[tuple[str, str]]:
    """Run name and backup name of every study, each run name once: it is what a study is called by everywhere."""
    at_host = {name: lab.config.backup_name(name) for name in (*around.at_source, *around.trashed)}
    named, taken = dict(at_host), set(at_host.values())
    for name, record in sorted(around.view.records.items(), key=lambda one: not _is_named_so(lab, one[1])):
        if name in taken or record.run_name in at_host or _is_gone(around, name, record):
            continue  # of a study at hand that is recorded under another name, its own line tells
        # An alias came or went since: what was archived under the old name goes by that, where nothing else does.
        run_name = record.run_name if _is_named_so(lab, record) else name
        named.setdefault(run_name, name)
    return sorted([*named.items(), *_unrecorded(lab, around, taken)])


def _is_named_so(lab: Lab, record: Record) -> bool:
    """Whether config.toml still gives a recorded study the backup name it has."""
    return lab.config.backup_name(record.run_name) == record.backup_name


def _unrecorded(lab: Lab, around: _Surroundings, taken: Collection[str]) -> set[tuple[str, str]]:
    """Studies in both places that the ledger does not know: it was lost with its mirror; they can be proven again.

    Only what bears our sidecar is ours: backups that are older than this program are none of its business.
    """
    if isinstance(around.on_truenas, Unseen) or isinstance(around.on_s3, Unseen):
        return set()
    run_names = {backup_name: run_name for run_name, backup_name in lab.config.alias.items()}
    found = sorted((around.on_truenas & around.on_s3) - around.view.records.keys() - set(taken))
    with ThreadPoolExecutor(_OBSERVERS, thread_name_prefix="observe") as pool:
        ours = list(pool.map(lambda name: _attempt(lambda: _has_sidecar(lab, name)), found))
    # One that could not be asked is listed, and becomes unknown: it may be ours.
    return {(run_names.get(name, name), name) for name, is_ours in zip(found, ours, strict=True) if is_ours}


def _has_sidecar(lab: Lab, backup_name: str) -> bool:
    path = f"{backup_name}/{SIDECAR_NAME}"
    try:
        return lab.truenas.stat(path).kind == "file"
    except NotFoundError:
        return lab.bucket.head(path) is not None


def _is_gone(around: _Surroundings, backup_name: str, record: Record) -> bool:
    """Whether nothing of a study is left, and nothing of it was ever archived: it was renamed, as its hint said."""
    if is_proven(record) or record.was_released:
        return False
    places = (around.on_truenas, around.on_s3)
    return all(not isinstance(place, Unseen) and backup_name not in place for place in places)


def twins_of(lab: Lab, names: Iterable[str]) -> dict[str, list[str]]:
    """Studies that would become one at the destinations, each with the others: one would overwrite the other."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[lab.config.backup_name(name).casefold()].append(name)
    return {
        name: [other for other in sorted(group) if other != name]
        for group in groups.values()
        if len(group) > 1
        for name in group
    }


def _matches(limit: str, names: tuple[str, str]) -> bool:
    return any(fnmatch.fnmatchcase(name, limit) for name in names)


def _attempt(look: Callable[[], T]) -> T | Unseen:
    try:
        return look()
    except ResourceError as error:
        return Unseen(described(error))


def _gather(lab: Lab, around: _Surroundings, memory: Memory, run_name: str, backup_name: str) -> StudyFacts:
    record = around.view.records.get(backup_name)
    at_source = run_name in around.at_source
    trashed = around.trashed.get(run_name)
    settled = not at_source and trashed is None and record is not None and record.status is Status.COMPLETE
    copy: CopyFacts | Present | Unseen | None
    archive: ArchiveFacts | Present | Unseen | None
    if settled:
        copy, archive = _present(around.on_truenas, backup_name), _present(around.on_s3, backup_name)
    else:
        copy = _attempt(lambda: _look_at_copy(lab, around, backup_name))
        archive = _attempt(lambda: _look_at_archive(lab, around, backup_name))
    return StudyFacts(
        run_name=run_name,
        backup_name=backup_name,
        source=_attempt(lambda: _look_at_source(lab, around, memory, run_name)) if at_source else None,
        lock=_attempt(lambda: _look_at_locks(lab, around, run_name, backup_name)),
        copy=copy,
        archive=archive,
        record=record,
        trash=_attempt(lambda: read_listing(lab.source, trashed)) if trashed is not None else None,
        last_event=around.last_events.get(backup_name),
        last_proven=around.last_proven.get(backup_name),
        elsewhere=recorded_elsewhere(around.by_run_name.get(run_name, ()), backup_name),
        mirrored=_is_mirrored(around, backup_name),
    )


def _is_mirrored(around: _Surroundings, backup_name: str) -> bool | Unseen:
    if isinstance(around.stale_months, Unseen):
        return around.stale_months
    return not around.view.months_of(backup_name) & around.stale_months


def _present(names: frozenset[str] | Unseen, name: str) -> Present | Unseen | None:
    if isinstance(names, Unseen):
        return names
    return Present() if name in names else None


def _look_at_source(lab: Lab, around: _Surroundings, memory: Memory, run_name: str) -> SourceFacts:
    listing = read_listing(lab.source, run_name)
    alias = lab.config.alias.get(run_name)
    report = validate_listing(
        listing, path=lab.source.location(run_name), name=alias, today=around.now.date(), nas_root=lab.truenas.root
    )
    if twins := around.twins.get(run_name):
        report = with_clash(report, twins)
    observation = remember(memory.get(run_name), listing.fingerprint(), around.now)
    return SourceFacts(listing, report, observation, _held_open(lab, listing))


def _held_open(lab: Lab, listing: Listing) -> str | None:
    newest = sorted(listing.files, key=lambda entry: entry.mtime_ns, reverse=True)[:_PROBED_FILES]
    for entry in newest:
        held = lab.source.is_held_open(f"{listing.name}/{entry.path}")
        if held is None:
            return None
        if held:
            return entry.path
    return None


def _look_at_locks(lab: Lab, around: _Surroundings, run_name: str, backup_name: str) -> LockFacts | None:
    """The lock at the source comes first: a crash leaves both, and that one is where a person looks."""
    if run_name in around.at_source and (found := find_study_lock(lab.source, run_name)):
        return found.facts
    if isinstance(around.locked_backups, Unseen):
        raise ResourceError(around.locked_backups.why)
    if backup_name in around.locked_backups and (found := find_backup_lock(lab.truenas, backup_name, run_name)):
        return found.facts
    return None


def _look_at_copy(lab: Lab, around: _Surroundings, backup_name: str) -> CopyFacts | None:
    if isinstance(around.on_truenas, Unseen):
        raise ResourceError(around.on_truenas.why)
    return read_copy(lab, backup_name) if backup_name in around.on_truenas else None


def read_copy(lab: Lab, backup_name: str) -> CopyFacts | None:
    """What is in a study's directory on the NAS; None when there is none. One walk, and the sidecar.

    Args:
        lab: The lab.
        backup_name: The study's name at the destinations.

    Raises:
        ResourceError: It cannot be seen.
    """
    try:
        listing = read_listing(lab.truenas, backup_name)
    except NotFoundError:
        return None
    files = {entry.path: entry for entry in listing.files}
    try:
        sidecar = lab.truenas.read_file(f"{backup_name}/{SIDECAR_NAME}")
        return CopyFacts(files, parse_sidecar(sidecar), sidecar)
    except NotFoundError:
        return CopyFacts(files, None)
    except SidecarError as error:
        return CopyFacts(files, None, damage=str(error))


def _look_at_archive(lab: Lab, around: _Surroundings, backup_name: str) -> ArchiveFacts | None:
    if isinstance(around.on_s3, Unseen):
        raise ResourceError(around.on_s3.why)
    if backup_name not in around.on_s3:
        return None
    prefix = f"{backup_name}/"
    sizes = {found.key.removeprefix(prefix): found.size for found in lab.bucket.list(prefix)}
    if sizes.pop(SIDECAR_NAME, None) is None:
        return ArchiveFacts(sizes, None)
    return ArchiveFacts(sizes, _sidecar_sha256(lab, prefix + SIDECAR_NAME))


def _sidecar_sha256(lab: Lab, key: str) -> str | None:
    """From HEAD, which works for objects in cold storage, too; by download only where the server states no SHA-256.

    None also for one in cold storage that states none: what cannot be read now is not proven, and is uploaded again.
    """
    info = lab.bucket.head(key)
    if info is None or info.sha256 is not None:
        return info.sha256.hex() if info and info.sha256 else None
    try:
        content = lab.bucket.get_bytes(key)
    except ArchivedObjectError:
        return None
    return hashlib.sha256(content).hexdigest() if content is not None else None
