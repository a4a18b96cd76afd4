"""The steps ``truenas_copy`` and ``s3_archive``: one pass over a study, held to what was proven of it before.

What belongs here: the order of looking, refusing, reading again, moving, and telling the ledger. What does not: what
was proven (`expected`), what may be written over (`overwrite`, `replaceable`), and moving bytes (`transfer`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from fusion_assets.manifest.record import Record, Status
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
from fusion_assets.reconcile.expected import (
    Expected,
    check_ledger,
    find_expected,
    put_back_sidecar,
    read_copy_again,
)
from fusion_assets.reconcile.facts import SourceFacts
from fusion_assets.reconcile.invalidity import refuse_known_invalid
from fusion_assets.reconcile.lab import TRASH, Lab, is_at_source
from fusion_assets.reconcile.observe import see_study
from fusion_assets.reconcile.refusals import (
    refuse_disputed,
    refuse_half,
    refuse_invalid_facts,
    refuse_strange_files,
    refuse_strange_objects,
    refuse_stranger,
    refuse_unlike,
)
from fusion_assets.reconcile.replaceable import replaceable, taken_back
from fusion_assets.reconcile.study_ledger import study_ledger
from fusion_assets.standard.listing import Listing
from fusion_assets.transfer.errors import CorruptCopyError, TransferError
from fusion_assets.transfer.options import TransferOptions
from fusion_assets.transfer.outcome import ArchiveOutcome, CopyOutcome
from fusion_assets.transfer.progress import ProgressSink
from fusion_assets.transfer.session import Study
from fusion_assets.transfer.study import archive_copy, copy_and_archive, copy_study
from resources.errors import NotFoundError, ResourceError


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
    away = check_ledger(lab, lab.config.backup_name(run_name), copying=copying)
    # Were S3 to come back meanwhile, nobody had looked at what is there.
    task = _Task(lab, run_name, archiving and away is None, options, progress)
    transferred, after = _from_source(task, away) if copying else _from_copy(task)
    unarchived = transferred.archive.error if transferred.archive else away if archiving else None
    if unarchived:
        append_failure(lab, after, Status.FAILED_S3, unarchived)
    elif not says_complete(lab, after):
        append_once(lab, after)
    return replace(transferred, unarchived=unarchived)


@dataclass(frozen=True, slots=True)
class _Task:
    """What is to be done, and how."""

    lab: Lab
    run_name: str
    archiving: bool
    options: TransferOptions
    progress: ProgressSink

    @property
    def backup_name(self) -> str:
        return self.lab.config.backup_name(self.run_name)


@contextmanager
def _failures_told(lab: Lab, draft: Callable[[], Record], status: Status) -> Iterator[None]:
    """Tell the ledger what goes wrong; of the draft as it is by then, so that nothing that became known is taken back.

    Args:
        lab: The lab.
        draft: What the ledger is to say of the study.
        status: What has failed, unless the copy turns out not to be good.
    """
    try:
        yield
    except (TransferError, ResourceError) as error:
        on_truenas = isinstance(error, CorruptCopyError)
        append_failure(lab, draft(), Status.FAILED_TRUENAS if on_truenas else status, error)
        raise


def _from_source(task: _Task, away: ResourceError | None) -> tuple[Transferred, Record]:
    """Copy what is at the source, or in the trash, and archive it on the way; with it what the ledger is to say."""
    lab, backup_name = task.lab, task.backup_name
    at_hand = _find(lab, task.run_name, away)
    directory, listing = at_hand.directory, at_hand.listing
    said = study_ledger(lab, lab.ledger.read(), backup_name)
    vouched = vouches_for_copy(lab, said.record)
    if directory == task.run_name:
        draft = begin(lab, task.run_name, listing, said.record)
    else:
        draft = go_on(lab, task.run_name, said.record, copy_proven=False)
    with _failures_told(lab, lambda: draft, Status.FAILED_TRUENAS):
        expected = find_expected(lab, said, ask_s3=away is None, origin=directory)
        refuse_half(lab, draft, directory, listing, expected)
        refuse_strange_files(lab, backup_name, directory, listing, expected, ask_s3=away is None)
        refuse_strange_objects(lab, backup_name, expected)
        may_differ = replaceable(lab, said, draft, listing, expected)
        refuse_disputed(lab, directory, expected)
        refuse_unlike(lab, task.run_name, said, directory, expected, may_differ=may_differ)
        draft = _begin(task, draft, expected, copying=True)
        read_again = _is_read_again(expected, vouched=vouched)
        distrusted = frozenset[str]()
        if read_again and not expected.copy_was_read:
            distrusted = read_copy_again(lab, said, expected, listing, may_differ)
        study = _to_copy(lab, backup_name, at_hand, expected, may_differ=may_differ, distrusted=distrusted)
        copy, archive = _copy(task, draft, study, expected)
    return Transferred(copy, archive, read_again), with_proofs(draft, copy, archive, copy_read=read_again)


def _from_copy(task: _Task) -> tuple[Transferred, Record]:
    """Archive what is on the NAS, once it was seen to be what was proven; with it what the ledger is to say."""
    lab, backup_name = task.lab, task.backup_name
    said = study_ledger(lab, lab.ledger.read(), backup_name)
    refuse_stranger(lab, task.run_name, said.record)
    refuse_known_invalid(lab, task.run_name, said)
    vouched = vouches_for_copy(lab, said.record)
    draft = go_on(lab, task.run_name, said.record, copy_proven=vouched)
    with _failures_told(lab, lambda: draft, Status.FAILED_S3):
        expected = find_expected(lab, said)
        refuse_strange_objects(lab, backup_name, expected)
        directory = task.run_name if is_at_source(lab, task.run_name) else None
        refuse_disputed(lab, directory, expected)
        refuse_unlike(lab, task.run_name, said, directory, expected)
        if expected.is_vouched:
            draft = _begin(task, draft, expected, copying=False)
        read_again = _is_read_again(expected, vouched=vouched)
        if read_again and not expected.copy_was_read:
            read_copy_again(lab, said, expected, None)
        if not expected.is_vouched:  # now that the copy was found to be just that
            draft = _begin(task, draft, expected, copying=False)
        if read_again:
            put_back_sidecar(lab, backup_name, expected)
            draft = with_copy_read(draft, expected.sha256)
        archive = archive_copy(
            lab.truenas,
            lab.bucket,
            backup_name=backup_name,
            expected=expected.checksums or None,  # else the copy itself says what is wrong with it
            options=task.options,
            progress=task.progress,
        )
    return Transferred(None, archive, read_again), with_proofs(draft, None, archive, copy_read=read_again)


def _is_read_again(expected: Expected, *, vouched: bool) -> bool:
    """Whether a copy must be read whole before it is believed: there is one, and nothing vouches for it."""
    return bool(expected.checksums) and not (vouched and expected.is_vouched)


def _find(lab: Lab, run_name: str, away: ResourceError | None) -> _AtHand:
    """A study where it may be copied from: its own directory, or the trash of a release that was broken off.

    Raises:
        InvalidStudyError: It must not be copied.
    """
    facts = see_study(lab, run_name, away=away)
    refuse_invalid_facts(facts)
    if isinstance(facts.source, SourceFacts):
        return _AtHand(run_name, facts.source.listing)
    if isinstance(facts.trash, Listing):
        return _AtHand(f"{TRASH}/{facts.trash.name}", facts.trash)
    raise NotFoundError(f"{lab.source.location(run_name)} is not there any more", path=run_name)


def _begin(task: _Task, draft: Record, expected: Expected, *, copying: bool) -> Record:
    """Tell the ledger that work begins, and what the study is held to; returns what it was told."""
    lab = task.lab
    if not expected.is_vouched:
        put_back_sidecar(lab, draft.backup_name, expected)
        draft = adopted(draft, expected.sha256, expected.archive_sha256)
    draft = begun(lab, draft, copying=copying, archiving=task.archiving)
    if not says_complete(lab, draft):
        append_once(lab, draft)
    return draft


def _to_copy(
    lab: Lab,
    backup_name: str,
    at_hand: _AtHand,
    expected: Expected,
    *,
    may_differ: frozenset[str],
    distrusted: frozenset[str],
) -> Study:
    back = taken_back(lab, backup_name, at_hand.listing, may_differ, expected)
    return Study(
        at_hand.directory,
        backup_name,
        at_hand.listing.entries,
        {**expected.checksums, **back},
        may_differ - back.keys(),
        distrusted | back.keys(),
    )


def _copy(task: _Task, draft: Record, study: Study, expected: Expected) -> tuple[CopyOutcome, ArchiveOutcome | None]:
    def announce(sidecar_sha256: str) -> None:
        if expected.sidecar and expected.sha256 != sidecar_sha256:
            append(lab, announced(draft, sidecar_sha256))

    lab, options, progress = task.lab, task.options, task.progress
    if not task.archiving:
        return copy_study(lab.source, lab.truenas, study, options=options, progress=progress, announce=announce), None
    return copy_and_archive(
        lab.source, lab.truenas, lab.bucket, study, options=options, progress=progress, announce=announce
    )


def refuse_unarchived(done: Transferred) -> None:
    """Raise what went wrong with the archive of a pass whose copy succeeded, after the copy was reported.

    Raises:
        TransferError: The archive failed.
        ResourceError: S3 failed.
    """
    if done.unarchived:
        raise done.unarchived
