"""What is seen once for all studies of a lab: who is where, the ledger, the trash, the locks.

What belongs here: the listings of the places' roots and the ledger's view, and which studies there are in all of them.
What does not: looking into one study (`observe`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from fusion_assets.manifest.fold import LedgerView
from fusion_assets.manifest.record import Record, Status
from fusion_assets.reconcile.apart import refuse_one_place
from fusion_assets.reconcile.conditions import Unseen
from fusion_assets.reconcile.invalidity import known_invalid
from fusion_assets.reconcile.lab import (
    Lab,
    archive_place,
    copy_place,
    is_directory,
    source_studies,
    trashed_studies,
)
from fusion_assets.reconcile.locks import locked_backups
from fusion_assets.reconcile.overwrite import counts_as_proven, is_proven
from fusion_assets.reconcile.proven import archive_was_begun, copy_was_begun
from fusion_assets.standard.listing import SIDECAR_NAME
from fusion_assets.standard.validate import is_study_candidate
from resources.errors import NotFoundError, ResourceError
from resources.storage import Entry

T = TypeVar("T")

# Listing is waiting: for the NAS, for S3. More than this only queues at the server.
OBSERVERS = 8


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is seen once for all studies."""

    view: LedgerView
    invalid: Mapping[str, Mapping[str, str]]
    last_proven: Mapping[str, Record]
    copy_begun: frozenset[str]
    archive_begun: frozenset[str]
    by_run_name: Mapping[str, list[Record]]
    at_source: frozenset[str]
    twins: Mapping[str, list[str]]
    trashed: Mapping[str, str]
    on_truenas: frozenset[str] | Unseen
    on_s3: frozenset[str] | Unseen
    locked_backups: frozenset[str] | Unseen
    stale_months: frozenset[str] | Unseen
    now: datetime


def look_around(
    lab: Lab,
    entries: tuple[Entry, ...],
    now: datetime,
    *,
    only: str | None = None,
    on_s3: frozenset[str] | Unseen | None = None,
) -> Surroundings:
    """What is seen once for all studies.

    Args:
        lab: The lab, its places seen to be there.
        entries: What is at the root of its source.
        now: The time of the observation.
        only: A backup name: the NAS and S3 are asked for this one, so that looking at each of 1,000 studies again does
            not list all of them each time.
        on_s3: What is in S3 as far as it matters, or why it cannot be asked, where that is known: it is not asked then,
            nor whether it mirrors all of the ledger.

    Raises:
        ConfigError: The NAS is on the instrument's own disk; asked only when all studies are looked at.
        ResourceError: The ledger or the trash cannot be read at all.
    """
    at_source = source_studies(entries)
    if only is None:
        attempt(lambda: refuse_one_place(lab, entries))  # a look may go without; whoever releases must not
        on_truenas = attempt(lambda: frozenset(e.name for e in lab.truenas.list() if is_study_candidate(e)))
    else:
        on_truenas = attempt(lambda: frozenset({only} if is_directory(lab.truenas, only) else ()))
    stale = frozenset[str]() if on_s3 is not None else attempt(lambda: frozenset(lab.ledger.stale_mirrors()))
    view = lab.ledger.read()
    by_run_name: defaultdict[str, list[Record]] = defaultdict(list)
    for record in view.records.values():
        by_run_name[record.run_name].append(record)
    return Surroundings(
        view=view,
        invalid=known_invalid(record for _, record in view.events),
        last_proven={record.backup_name: record for _, record in view.events if counts_as_proven(record)},
        copy_begun=frozenset(
            r.backup_name for _, r in view.events if copy_was_begun([r], copy_place(lab, r.backup_name))
        ),
        archive_begun=frozenset(
            r.backup_name for _, r in view.events if archive_was_begun([r], archive_place(lab, r.backup_name))
        ),
        by_run_name=by_run_name,
        at_source=frozenset(at_source),
        twins=twins_of(lab, at_source, view.records.values()),
        trashed=trashed_studies(lab),
        on_truenas=on_truenas,
        on_s3=attempt(lambda: _in_s3(lab, only)) if on_s3 is None else on_s3,
        locked_backups=attempt(lambda: locked_backups(lab.truenas)),
        stale_months=stale,
        now=now,
    )


def _in_s3(lab: Lab, only: str | None) -> frozenset[str]:
    if only is None:
        return frozenset(lab.bucket.list_directories(""))
    return frozenset({only} if any(lab.bucket.list(f"{only}/")) else ())


def known_studies(lab: Lab, around: Surroundings) -> list[tuple[str, str]]:
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


def _unrecorded(lab: Lab, around: Surroundings, taken: Collection[str]) -> set[tuple[str, str]]:
    """Studies in both places that the ledger does not know: it was lost with its mirror; they can be proven again.

    Only what bears our sidecar is ours: backups that are older than this program are none of its business.
    """
    if isinstance(around.on_truenas, Unseen) or isinstance(around.on_s3, Unseen):
        return set()
    run_names = {backup_name: run_name for run_name, backup_name in lab.config.alias.items()}
    found = sorted((around.on_truenas & around.on_s3) - around.view.records.keys() - set(taken))
    with ThreadPoolExecutor(OBSERVERS, thread_name_prefix="observe") as pool:
        ours = list(pool.map(lambda name: attempt(lambda: _has_sidecar(lab, name)), found))
    # One that could not be asked is listed, and becomes unknown: it may be ours.
    return {(run_names.get(name, name), name) for name, is_ours in zip(found, ours, strict=True) if is_ours}


def _has_sidecar(lab: Lab, backup_name: str) -> bool:
    path = f"{backup_name}/{SIDECAR_NAME}"
    try:
        return lab.truenas.stat(path).kind == "file"
    except NotFoundError:
        return lab.bucket.head(path) is not None


def _is_gone(around: Surroundings, backup_name: str, record: Record) -> bool:
    """Whether nothing of a study is left, and nothing of it was ever archived: it was renamed, as its hint said."""
    if is_proven(record) or record.was_released:
        return False
    places = (around.on_truenas, around.on_s3)
    return all(not isinstance(place, Unseen) and backup_name not in place for place in places)


def twins_of(lab: Lab, names: Iterable[str], recorded: Iterable[Record] = ()) -> dict[str, list[str]]:
    """Studies that would become one at the destinations, each with the others: one would overwrite the other.

    Names that differ only by case are one wherever that is not told apart: over SMB, and where a study is restored to
    Windows. Also on a NAS that tells them apart, for it may be another one tomorrow.

    Args:
        lab: The lab.
        names: The studies at the source.
        recorded: What the ledger has; of a study that failed validation nothing was ever written.
    """
    archived = {r.backup_name for r in recorded if r.status is not Status.FAILED_VALIDATION}
    here: defaultdict[str, list[str]] = defaultdict(list)
    there: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        here[lab.config.backup_name(name).casefold()].append(name)
    for backup_name in archived:
        there[backup_name.casefold()].append(backup_name)
    return {
        name: sorted(twins)
        for key, group in here.items()
        for name in group
        if (twins := {*group} - {name} | {*there[key]} - {lab.config.backup_name(name)})
    }


def attempt(look: Callable[[], T]) -> T | Unseen:
    """What a look gives, or why it gave nothing: a failed listing is never an empty one."""
    try:
        return look()
    except ResourceError as error:
        return Unseen(error)
