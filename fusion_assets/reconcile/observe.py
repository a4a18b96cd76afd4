"""Look at a lab's studies in every place, and report what is there. Observing changes nothing anywhere.

Truth is the world, not an event log: directory listings, sidecars, the ledger and S3 listings. A failed listing is not
an empty one: what cannot be seen is `Unseen`, becomes an Unknown condition, and stops what would have depended on it.
"""

from __future__ import annotations

import fnmatch
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from fusion_assets.manifest.fold import LedgerView
from fusion_assets.manifest.record import Status
from fusion_assets.reconcile.conditions import Unseen
from fusion_assets.reconcile.facts import ArchiveFacts, CopyFacts, LockFacts, Present, SourceFacts, StudyFacts
from fusion_assets.reconcile.idle import Memory, Observation, judge_idle, remember
from fusion_assets.reconcile.judge import judge_study
from fusion_assets.reconcile.lab import Lab, check_places
from fusion_assets.reconcile.locks import find_backup_lock, find_study_lock
from fusion_assets.reconcile.overwrite import recorded_elsewhere
from fusion_assets.reconcile.plan import ObservedStudy
from fusion_assets.reconcile.surroundings import OBSERVERS, Surroundings, attempt, known_studies, look_around
from fusion_assets.standard.listing import SIDECAR_NAME, Listing, read_listing
from fusion_assets.standard.rules import validate_listing
from fusion_assets.standard.validate import with_clash
from fusion_assets.transfer.sidecar import SidecarError, parse_sidecar
from resources.errors import NotFoundError, ResourceError
from resources.s3_errors import ArchivedObjectError

# Between two looks at the clock: with 5 ms to the NAS a study takes some 50 ms of one observer.
_BATCH = 32
_TRIED_ALONE = 4
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
class PartialObservation:
    """What a look at some of a lab's studies gave.

    Attributes:
        seen: Those that were looked at, and all that is to be remembered.
        at_source: The names of all studies at the source.
        reached: The last study that was looked at, for the next look; empty when none is left.
    """

    seen: LabObservation
    at_source: tuple[str, ...]
    reached: str


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
    around = look_around(lab, check_places(lab), now)
    names = [pair for pair in known_studies(lab, around) if limit is None or _matches(limit, pair)]
    looks, observers = _try_alone(lab, around, memory, names)
    for look in _look_at_all(lab, around, memory, names[len(looks) :], observers):
        looks.append(look)
        if seen:
            seen(len(looks), len(names))
    return _observation(around, memory, looks)


def observe_next(
    lab: Lab, memory: Memory, *, after: str, until: float, now: datetime | None = None
) -> PartialObservation:
    """Observe as many studies as there is time for, in the order of their names, going on where the last look ended.

    Args:
        lab: The lab.
        memory: What was remembered after the previous observation.
        after: The last study that was looked at; empty to begin with the first.
        until: When to stop, on the clock of `time.monotonic`; some studies are looked at in any case, so that even a
            slow place is seen whole in the end.
        now: The time of this observation, UTC; the clock's by default.

    Raises:
        NotMountedError: A root is missing, or empty where it must not be.
        NotFoundError: The bucket does not exist.
        ResourceError: The source or the ledger cannot be listed at all.
    """
    now = now or datetime.now(UTC)
    around = look_around(lab, check_places(lab), now)
    names = [pair for pair in known_studies(lab, around) if pair[0] > after]
    looks, observers = _try_alone(lab, around, memory, names)
    while len(looks) < len(names) and time.monotonic() < until:
        looks.extend(_look_at_all(lab, around, memory, names[len(looks) : len(looks) + _BATCH], observers))
    reached = names[len(looks) - 1][0] if len(looks) < len(names) else ""
    return PartialObservation(_observation(around, memory, looks), tuple(sorted(around.at_source)), reached)


@dataclass(frozen=True, slots=True)
class _Look:
    """What is kept of a look at one study: of its files, which may be thousands, nothing.

    Attributes:
        study: As judged.
        seen: How it looked, to be remembered; None where it is not at the source, or cannot be seen there.
    """

    study: ObservedStudy
    seen: Observation | None


def _try_alone(
    lab: Lab, around: Surroundings, memory: Memory, names: Sequence[tuple[str, str]]
) -> tuple[list[_Look], int]:
    """Look at the first studies in this thread: how many others could be looked at while one waits for its places?

    Threads that wait for nothing hinder one another: 8 of them took 13 s for 10,000 studies on a local disk, one 7 s.
    """
    looks: list[_Look] = []
    useful = float(OBSERVERS)
    for pair in names[:_TRIED_ALONE]:
        began, computed_before = time.perf_counter(), time.thread_time()
        looks.append(_look_at(lab, around, memory, *pair))
        computed = time.thread_time() - computed_before
        useful = min(useful, (time.perf_counter() - began) / max(computed, 1e-6))
    return looks, max(1, round(useful))


def _look_at_all(
    lab: Lab, around: Surroundings, memory: Memory, names: Iterable[tuple[str, str]], observers: int
) -> Iterator[_Look]:
    if observers == 1:
        yield from (_look_at(lab, around, memory, *pair) for pair in names)
        return
    with ThreadPoolExecutor(observers, thread_name_prefix="observe") as pool:
        yield from pool.map(lambda pair: _look_at(lab, around, memory, *pair), names)


def _look_at(lab: Lab, around: Surroundings, memory: Memory, run_name: str, backup_name: str) -> _Look:
    facts = _gather(lab, around, memory, run_name, backup_name)
    seen = facts.source.observation if isinstance(facts.source, SourceFacts) else None
    return _Look(judge_study(facts, lab.config.backup, around.now), seen)


def _observation(around: Surroundings, memory: Memory, looks: Sequence[_Look]) -> LabObservation:
    kept = {name: seen for name, seen in memory.items() if name in around.at_source}
    seen = {look.study.run_name: look.seen for look in looks if look.seen}
    return LabObservation(tuple(look.study for look in looks), {**kept, **seen}, around.view)


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
    around = look_around(lab, check_places(lab), now, only=backup_name)
    return _look_at(lab, around, memory, run_name, backup_name).study


def see_study(lab: Lab, run_name: str, *, away: ResourceError | None) -> StudyFacts:
    """What is seen of one study right before it is copied.

    Args:
        lab: The lab, its places seen to be there.
        run_name: The study's name at the source.
        away: Why S3 cannot be asked; None when it can.

    Raises:
        ResourceError: The source's root or the ledger cannot be read.
    """
    backup_name, entries = lab.config.backup_name(run_name), tuple(lab.source.list())
    on_s3 = Unseen(away) if away else frozenset({backup_name})
    around = look_around(lab, entries, datetime.now(UTC), only=backup_name, on_s3=on_s3)
    return _gather(lab, around, {}, run_name, backup_name)


def _matches(limit: str, names: tuple[str, str]) -> bool:
    return any(fnmatch.fnmatchcase(name, limit) for name in names)


def _gather(lab: Lab, around: Surroundings, memory: Memory, run_name: str, backup_name: str) -> StudyFacts:
    record = around.view.records.get(backup_name)
    at_source = run_name in around.at_source
    trashed = around.trashed.get(run_name)
    settled = not at_source and trashed is None and record is not None and record.status is Status.COMPLETE
    copy: CopyFacts | Present | Unseen | None
    archive: ArchiveFacts | Present | Unseen | None
    if settled:
        copy, archive = _present(around.on_truenas, backup_name), _present(around.on_s3, backup_name)
    else:
        copy = attempt(lambda: _look_at_copy(lab, around, backup_name))
        archive = attempt(lambda: _look_at_archive(lab, around, backup_name))
    return StudyFacts(
        run_name=run_name,
        backup_name=backup_name,
        source=attempt(lambda: _look_at_source(lab, around, memory, run_name)) if at_source else None,
        lock=attempt(lambda: _look_at_locks(lab, around, run_name, backup_name)),
        copy=copy,
        archive=archive,
        record=record,
        trash=attempt(lambda: read_listing(lab.source, trashed)) if trashed is not None else None,
        invalid=around.invalid.get(backup_name, {}),
        last_proven=around.last_proven.get(backup_name),
        copy_begun=backup_name in around.copy_begun,
        archive_begun=backup_name in around.archive_begun,
        elsewhere=recorded_elsewhere(around.by_run_name.get(run_name, ()), backup_name),
        mirrored=_is_mirrored(around, backup_name),
    )


def _is_mirrored(around: Surroundings, backup_name: str) -> bool | Unseen:
    if isinstance(around.stale_months, Unseen):
        return around.stale_months
    return not around.view.months_of(backup_name) & around.stale_months


def _present(names: frozenset[str] | Unseen, name: str) -> Present | Unseen | None:
    if isinstance(names, Unseen):
        return names
    return Present() if name in names else None


def _look_at_source(lab: Lab, around: Surroundings, memory: Memory, run_name: str) -> SourceFacts:
    listing = read_listing(lab.source, run_name)
    alias = lab.config.alias.get(run_name)
    report = validate_listing(
        listing, path=lab.source.location(run_name), name=alias, today=around.now.date(), nas_root=lab.truenas.root
    )
    if twins := around.twins.get(run_name):
        report = with_clash(report, twins)
    observation = remember(memory.get(run_name), listing.fingerprint(), around.now)
    seems_idle = judge_idle(
        observation,
        now=around.now,
        newest_mtime_ns=listing.newest_mtime_ns,
        held_open=None,
        idle_days=lab.config.backup.idle_days,
        settle_minutes=lab.config.backup.settle_minutes,
    ).is_true
    return SourceFacts(listing, report, observation, _held_open(lab, listing) if seems_idle else None)


def _held_open(lab: Lab, listing: Listing) -> str | None:
    """A file that another program holds open; asking costs a round trip a file, so only the newest are asked for."""
    newest = sorted(listing.files, key=lambda entry: entry.mtime_ns, reverse=True)[:_PROBED_FILES]
    for entry in newest:
        held = lab.source.is_held_open(f"{listing.name}/{entry.path}")
        if held is None:
            return None
        if held:
            return entry.path
    return None


def _look_at_locks(lab: Lab, around: Surroundings, run_name: str, backup_name: str) -> LockFacts | None:
    """The lock at the source comes first: a crash leaves both, and that one is where a person looks."""
    if run_name in around.at_source and (found := find_study_lock(lab.source, run_name)):
        return found.facts
    if isinstance(around.locked_backups, Unseen):
        raise ResourceError(around.locked_backups.why)
    if backup_name in around.locked_backups and (found := find_backup_lock(lab.truenas, backup_name, run_name)):
        return found.facts
    return None


def _look_at_copy(lab: Lab, around: Surroundings, backup_name: str) -> CopyFacts | None:
    if isinstance(around.on_truenas, Unseen):
        raise around.on_truenas.error
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


def _look_at_archive(lab: Lab, around: Surroundings, backup_name: str) -> ArchiveFacts | None:
    if isinstance(around.on_s3, Unseen):
        raise around.on_s3.error
    found = read_archive(lab, backup_name) if backup_name in around.on_s3 else None
    return found if found and (found.sizes or found.sidecar_sha256) else None


def read_archive(lab: Lab, backup_name: str) -> ArchiveFacts:
    """What S3 has of a study: one listing, and HEAD of the sidecar.

    Args:
        lab: The lab.
        backup_name: The study's name at the destinations.

    Raises:
        ResourceError: It cannot be seen.
    """
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
