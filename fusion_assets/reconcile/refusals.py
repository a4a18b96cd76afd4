"""What a step refuses to write over, looked up at that moment, whoever asked for the step.

What belongs here: looking, and raising. What does not: the rules themselves, which are pure (`overwrite`).
"""

from __future__ import annotations

from collections.abc import Collection

from fusion_assets.manifest.fold import LedgerView
from fusion_assets.manifest.record import Record
from fusion_assets.reconcile.copies import Proven
from fusion_assets.reconcile.errors import InvalidStudyError
from fusion_assets.reconcile.lab import Lab, archive_place, copy_place, is_at_source, source_studies, trashed_studies
from fusion_assets.reconcile.observe import read_archive, read_copy
from fusion_assets.reconcile.overwrite import (
    RELEASE_BEGUN_FIELD,
    archived_elsewhere,
    as_known,
    is_another,
    is_renewed,
    last_proven,
    name_taken,
    proven_otherwise,
    recorded_elsewhere,
    release_broke_off,
    source_changed,
    trash_changed,
    went_back,
)
from fusion_assets.reconcile.proven import FINGERPRINT_FIELD, archive_was_begun, copy_of, copy_was_begun, known_sidecars
from fusion_assets.reconcile.surroundings import twins_of
from fusion_assets.reconcile.unknown import unknown_copies, unknown_differs, unlike_archive, unlike_unknown
from fusion_assets.standard.listing import SIDECAR_NAME, Listing, read_listing
from fusion_assets.transfer.check import check_source
from fusion_assets.transfer.errors import CorruptCopyError, RottenSourceError, name_some


def refuse_overwriting(lab: Lab, run_name: str, listing: Listing) -> None:
    """Never write one study over another, nor changed files over proven ones.

    Args:
        lab: The lab.
        run_name: The study.
        listing: Its directory at the source.

    Raises:
        InvalidStudyError: That would happen; the message says with what, and the way out.
        ResourceError: A place cannot be asked.
    """
    backup_name, fingerprint = lab.config.backup_name(run_name), listing.fingerprint()
    view = lab.ledger.read()
    record = view.records.get(backup_name)
    in_trash = run_name in trashed_studies(lab)
    broke_off = _release_broke_off(lab, record, listing)
    taken = name_taken(record, run_name, fingerprint, in_trash=in_trash, broke_off=broke_off)
    if taken := taken or archived_elsewhere(_elsewhere(view, run_name, backup_name), fingerprint):
        raise InvalidStudyError(taken)
    once = last_proven(view.history(backup_name))
    known = known_sidecars(record, once)
    if known.latest != known.archived and (
        back := went_back(once, record, listing, read_copy(lab, backup_name), known)
    ):
        raise InvalidStudyError(back)
    if once is None and known and (renewed := is_renewed(once, record, listing, read_copy(lab, backup_name), known)):
        raise InvalidStudyError(renewed)
    proven = proven_otherwise(once, record, fingerprint)
    if proven:
        copy = as_known(read_copy(lab, backup_name), known)
        archive = None if copy and copy.checksums else read_archive(lab, backup_name)
        if changed := is_another(proven, listing, copy) or source_changed(proven, listing, copy, archive):
            raise InvalidStudyError(changed)
    if twins := find_twins(lab, run_name):
        raise InvalidStudyError(
            f"it would become one with {', '.join(twins)} at the destinations | hint: rename it, or give it an alias"
        )


def _release_broke_off(lab: Lab, record: Record | None, listing: Listing) -> bool:
    if record is None or RELEASE_BEGUN_FIELD not in record.extra:
        return False  # as it nearly always is: no need to look at the copy
    return release_broke_off(record, listing, read_copy(lab, record.backup_name))


def refuse_unlike(
    lab: Lab, run_name: str, directory: str | None, proven: Proven, may_differ: Collection[str] = ()
) -> None:
    """Never copy or archive anything over what the ledger does not know, unless it is of this study.

    What tells is the bytes, of every file that both have: all of them are read at the source, or in the trash.

    Args:
        lab: The lab.
        run_name: The study.
        directory: Where it is at the source, to be compared; None where it is not.
        proven: What lies there.
        may_differ: Files that a person accepted.

    Raises:
        InvalidStudyError: It does not look like it.
        RottenSourceError: It has other bytes; they may be put right without a trace in size or time.
        ResourceError: A place cannot be asked.
    """
    if proven.is_known or directory is None:
        return
    backup_name = lab.config.backup_name(run_name)
    files = read_listing(lab.source, directory).files
    others = Listing(run_name, tuple(entry for entry in files if entry.path not in may_differ))
    view = lab.ledger.read()
    history = view.history(backup_name)
    known = known_sidecars(view.records.get(backup_name), last_proven(history))
    copy, archive = unknown_copies(
        known,
        read_copy(lab, backup_name),
        read_archive(lab, backup_name),
        copy_begun=copy_was_begun(history, copy_place(lab, backup_name)),
        archive_begun=archive_was_begun(history, archive_place(lab, backup_name)),
    )
    differs = unknown_differs(others, copy, archive)
    if differs and not may_differ and directory == run_name:
        raise InvalidStudyError(differs)
    shared = [entry for entry in others.files if entry.path in proven.checksums]
    if problems := check_source(lab.source, directory, shared, proven.checksums):
        paths = [problem.path for problem in problems]
        what = f"these files have other bytes: {name_some(paths)}"
        if known:
            raise RottenSourceError(unlike_archive(f"of the source {what}", proven.archive_sha256), paths=paths)
        raise RottenSourceError(unlike_unknown(what, run_name, acceptable=False), paths=paths)


def refuse_stranger(lab: Lab, run_name: str) -> None:
    """Never call another study's copies this one's: an alias may have been given to it since they were made.

    Args:
        lab: The lab.
        run_name: The study; of one that is not at the source only its copies are left, whatever it is called now.

    Raises:
        InvalidStudyError: The copies are of another one.
        ResourceError: The source cannot be asked.
    """
    record = lab.ledger.read().records.get(lab.config.backup_name(run_name))
    if record is None or copy_of(record) in {"", run_name} or not is_at_source(lab, run_name):
        return
    if taken := name_taken(record, run_name, read_listing(lab.source, run_name).fingerprint(), in_trash=False):
        raise InvalidStudyError(taken)


def refuse_changed_trash(lab: Lab, run_name: str, listing: Listing) -> None:
    """The same for a study whose release was begun.

    Args:
        lab: The lab.
        run_name: The study.
        listing: Its directory in the trash.

    Raises:
        InvalidStudyError: As for `refuse_overwriting`.
        ResourceError: A place cannot be asked.
    """
    view, backup_name = lab.ledger.read(), lab.config.backup_name(run_name)
    elsewhere = None if backup_name in view.records else _elsewhere(view, run_name, backup_name)
    if taken := archived_elsewhere(elsewhere):
        raise InvalidStudyError(taken)
    proven = last_proven(view.history(backup_name))
    if proven and (changed := trash_changed(proven, listing, read_copy(lab, backup_name))):
        raise InvalidStudyError(changed)


def _elsewhere(view: LedgerView, run_name: str, backup_name: str) -> Record | None:
    return recorded_elsewhere((r for r in view.records.values() if r.run_name == run_name), backup_name)


def find_twins(lab: Lab, run_name: str) -> list[str]:
    """The studies that would become one with this one at the destinations, by alias or by case.

    Args:
        lab: The lab.
        run_name: The study.
    """
    recorded = lab.ledger.read().records.values()
    return twins_of(lab, source_studies(tuple(lab.source.list())), recorded).get(run_name, [])


def refuse_half(lab: Lab, draft: Record, origin: str, listing: Listing, proven: Proven) -> None:
    """From half a study no sidecar is ever made.

    Args:
        lab: The lab.
        draft: What the ledger is to say of the study.
        origin: The directory at the source that was listed.
        listing: Of that directory.
        proven: What was proven last.

    Raises:
        CorruptCopyError: That would be done: nothing says what the whole study was.
    """
    if not proven.checksums and not _is_whole(draft, origin, listing):
        raise CorruptCopyError(
            f"{lab.truenas.location(draft.backup_name)}: nothing says any more what was proven of this study, and what "
            f"the trash has of it may be half of it | hint: bring {SIDECAR_NAME} back from a snapshot of the NAS or "
            f"from {lab.bucket.object_uri(draft.backup_name)}, then `fusion apply`"
        )


def refuse_disputed(lab: Lab, directory: str | None, proven: Proven) -> None:
    """Without its bytes nobody can tell whether the ledger is right of a file, or what S3, and the NAS, say since.

    Args:
        lab: The lab.
        directory: Where the study is at the source, or in the trash, to be compared; None where it is not.
        proven: What was proven last.

    Raises:
        CorruptCopyError: They do not say the same of a file that is not there.
        ResourceError: The source cannot be listed.
    """
    if not proven.disputed:
        return
    there = {entry.path for entry in read_listing(lab.source, directory).files} if directory else set()
    if gone := sorted(proven.disputed - there):
        what = f"{SIDECAR_NAME} is not the one that was proven; it differs of {name_some(gone)}"
        raise CorruptCopyError(unlike_archive(what, proven.archive_sha256), paths=gone)


def _is_whole(draft: Record, origin: str, listing: Listing) -> bool:
    """At the source it is the whole study; in the trash, while nothing of it is deleted yet."""
    return origin == draft.run_name or draft.extra.get(FINGERPRINT_FIELD) == listing.fingerprint()
