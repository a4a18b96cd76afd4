"""The steps ``truenas_copy`` and ``s3_archive``: one pass over a study, held to what was proven of it before.

What belongs here: the order of looking, refusing, reading again, moving, and telling the ledger. What does not: what
was proven (`copies`), what may be written over (`overwrite`, `replaceable`), and moving bytes (`transfer`).
"""

from __future__ import annotations

from dataclasses import dataclass

from fusion_assets.manifest.record import Record, Status
from fusion_assets.reconcile.copies import (
    Proven,
    check_ledger,
    find_proven,
    put_back_sidecar,
    read_copy_again,
)
from fusion_assets.reconcile.entries import (
    adopted,
    announced,
    append,
    append_failure,
    append_once,
    begin,
    begun,
    go_on,
    says_complete,
    vouches_for_copy,
    with_copy_read,
    with_proofs,
)
from fusion_assets.reconcile.invalidity import refuse_known_invalid
from fusion_assets.reconcile.lab import Lab, is_at_source, trashed_studies
from fusion_assets.reconcile.refusals import (
    refuse_changed_trash,
    refuse_disputed,
    refuse_half,
    refuse_overwriting,
    refuse_stranger,
    refuse_unlike,
)
from fusion_assets.reconcile.replaceable import replaceable, taken_back
from fusion_assets.standard.listing import Listing, read_listing
from fusion_assets.transfer.errors import CorruptCopyError, TransferError
from fusion_assets.transfer.options import TransferOptions
from fusion_assets.transfer.outcome import ArchiveOutcome, CopyOutcome
from fusion_assets.transfer.progress import ProgressSink
from fusion_assets.transfer.session import Study
from fusion_assets.transfer.study import archive_copy, copy_and_archive, copy_study
from resources.errors import ResourceError


@dataclass(frozen=True, slots=True)
class Transferred:
    """What came of copying, archiving, or both in one pass; None for what was not asked for.

    Attributes:
        copy_read_again: Whether a copy that nothing vouched for was read again, whole; what was not good of it was
            copied again.
        unarchived: Why there is no complete archive, though one was asked for.
    """

    copy: CopyOutcome | None
    archive: ArchiveOutcome | None
    copy_read_again: bool = False
    unarchived: Exception | None = None


@dataclass(frozen=True, slots=True)
class _AtHand:
    """What there is to copy from: the study at the source, or the trash of a release that was broken off."""

    directory: str
    listing: Listing


def transfer(
    lab: Lab, run_name: str, *, copying: bool, archiving: bool, options: TransferOptions, progress: ProgressSink
) -> Transferred:
    """Copy a study to the NAS, archive it in S3, or both in one pass (one source read, one NAS write, one NAS read).

    A study whose release was broken off is copied from the trash, where its bytes lie that are not deleted yet: so a
    copy that was damaged meanwhile is whole again before the release goes on. What the trash no longer holds is kept in
    the copy as the sidecar has it.

    Args:
        lab: The lab.
        run_name: The study.
        copying: Whether to copy it from the source.
        archiving: Whether to archive it from the copy.
        options: Part size, workers, bandwidth.
        progress: Told how far it is.

    Returns:
        What was moved and proven. With both, why there is no archive beside a finished copy is in ``unarchived``, and
        the ledger says ``failed_s3``; the caller reports the copy, then raises it.

    Raises:
        InvalidStudyError: It is invalid, or would be written over something else.
        TransferError: The copy failed; the ledger says ``failed_truenas``.
        ResourceError: A place failed; the ledger says which.
    """
    backup_name = lab.config.backup_name(run_name)
    away = check_ledger(lab, backup_name, copying=copying)
    archiving_now = archiving and away is None  # were S3 to come back meanwhile, nobody had looked at what is there
    at_hand = _find(lab, run_name) if copying else None
    _refuse(lab, run_name, at_hand)
    vouched = vouches_for_copy(lab, backup_name)
    if at_hand and at_hand.directory == run_name:
        draft = begin(lab, run_name, at_hand.listing)
    else:
        draft = go_on(lab, run_name, copy_proven=vouched and not copying)
    try:  # `draft` grows by what became known, so that the record of a failure takes none of it back
        proven = find_proven(lab, backup_name, ask_s3=away is None, origin=at_hand.directory if at_hand else None)
        may_differ = _replaceable(lab, draft, at_hand, proven)
        if at_hand or proven.is_known:
            draft = _begin(lab, draft, proven, copying=copying, archiving=archiving_now)
        read_again = bool(proven.checksums) and not (vouched and proven.is_known)
        distrusted = frozenset[str]()
        if read_again and not proven.copy_was_read:
            distrusted = read_copy_again(lab, backup_name, proven, at_hand.listing if at_hand else None, may_differ)
        if at_hand is None and not proven.is_known:  # now that the copy was found to be just that
            draft = _begin(lab, draft, proven, copying=copying, archiving=archiving_now)
        if at_hand is None and read_again:
            put_back_sidecar(lab, backup_name, proven)
            draft = with_copy_read(draft, proven.sha256)
        copy: CopyOutcome | None = None
        archive: ArchiveOutcome | None
        if at_hand:
            study = _to_copy(lab, backup_name, at_hand, proven, may_differ=may_differ, distrusted=distrusted)
            copy, archive = _copy(
                lab, draft, study, proven, archiving=archiving_now, options=options, progress=progress
            )
        else:
            archive = _archive(lab, backup_name, proven, options, progress)
    except (TransferError, ResourceError) as error:
        on_truenas = copying or isinstance(error, CorruptCopyError)
        append_failure(lab, draft, Status.FAILED_TRUENAS if on_truenas else Status.FAILED_S3, error)
        raise
    after = with_proofs(draft, copy, archive, copy_read=read_again)
    unarchived = archive.error if archive else away if archiving else None
    if unarchived:
        append_failure(lab, after, Status.FAILED_S3, unarchived)
    elif not says_complete(lab, after):
        append_once(lab, after)
    return Transferred(copy, archive, read_again, unarchived)


def _find(lab: Lab, run_name: str) -> _AtHand:
    """A study where it can be copied from: its own directory, or the trash of a release that was broken off."""
    directory = run_name if is_at_source(lab, run_name) else trashed_studies(lab).get(run_name, run_name)
    return _AtHand(directory, read_listing(lab.source, directory))


def _refuse(lab: Lab, run_name: str, at_hand: _AtHand | None) -> None:
    """Raise `InvalidStudyError` for what must not be copied, or archived, as far as names and looks tell."""
    if at_hand is None:
        refuse_stranger(lab, run_name)
        refuse_known_invalid(lab, run_name, None)
    elif at_hand.directory == run_name:
        refuse_overwriting(lab, run_name, at_hand.listing)
        refuse_known_invalid(lab, run_name, at_hand.listing)
    else:
        refuse_changed_trash(lab, run_name, at_hand.listing)


def _replaceable(lab: Lab, draft: Record, at_hand: _AtHand | None, proven: Proven) -> frozenset[str]:
    """The proven files of which the source may have other bytes; raises for what may not be copied at all."""
    run_name, may_differ = draft.run_name, frozenset[str]()
    if at_hand:
        refuse_half(lab, draft, at_hand.directory, at_hand.listing, proven)
        may_differ = replaceable(lab, draft, at_hand.listing, proven)
    directory = at_hand.directory if at_hand else run_name if is_at_source(lab, run_name) else None
    refuse_disputed(lab, directory, proven)
    refuse_unlike(lab, run_name, directory, proven, may_differ)
    return may_differ


def _begin(lab: Lab, draft: Record, proven: Proven, *, copying: bool, archiving: bool) -> Record:
    """Tell the ledger that work begins, and what the study is held to; returns what it was told."""
    if not proven.is_known:
        put_back_sidecar(lab, draft.backup_name, proven)
        draft = adopted(draft, proven.sha256, proven.archive_sha256)
    draft = begun(lab, draft, copying=copying, archiving=archiving)
    if not says_complete(lab, draft):
        append_once(lab, draft)
    return draft


def _to_copy(
    lab: Lab,
    backup_name: str,
    at_hand: _AtHand,
    proven: Proven,
    *,
    may_differ: frozenset[str],
    distrusted: frozenset[str],
) -> Study:
    back = taken_back(lab, backup_name, at_hand.listing, may_differ, proven)
    return Study(
        at_hand.directory,
        backup_name,
        at_hand.listing.entries,
        {**proven.checksums, **back},
        may_differ - back.keys(),
        distrusted | back.keys(),
    )


def _copy(
    lab: Lab,
    draft: Record,
    study: Study,
    proven: Proven,
    *,
    archiving: bool,
    options: TransferOptions,
    progress: ProgressSink,
) -> tuple[CopyOutcome, ArchiveOutcome | None]:
    def announce(sidecar_sha256: str) -> None:
        if proven.sidecar and proven.sha256 != sidecar_sha256:
            append(lab, announced(draft, sidecar_sha256))

    if not archiving:
        return copy_study(lab.source, lab.truenas, study, options=options, progress=progress, announce=announce), None
    return copy_and_archive(
        lab.source, lab.truenas, lab.bucket, study, options=options, progress=progress, announce=announce
    )


def _archive(
    lab: Lab, backup_name: str, proven: Proven, options: TransferOptions, progress: ProgressSink
) -> ArchiveOutcome:
    expected = proven.checksums or None  # else the copy itself says what is wrong with it
    return archive_copy(
        lab.truenas, lab.bucket, backup_name=backup_name, expected=expected, options=options, progress=progress
    )


def refuse_unarchived(done: Transferred) -> None:
    """Raise what went wrong with the archive of a pass whose copy succeeded, after the copy was reported.

    Raises:
        TransferError: The archive failed.
        ResourceError: S3 failed.
    """
    if done.unarchived:
        raise done.unarchived
