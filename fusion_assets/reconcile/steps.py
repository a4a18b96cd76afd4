"""Carry out one step of a plan on one study, and have the ledger say how far it came (`entries`).

No Dagster here: `studies` calls these and reports what they return. Each step looks at the world again before it acts,
so that it can be run alone, twice, or after a crash. Each returns plain data, or raises: `InvalidStudyError` for what
only a person can cure, a transfer error or `ResourceError` for the rest. The last step, which deletes, is `releasing`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from fusion_assets.integrity.health import HealthWarning, scan_health_check
from fusion_assets.integrity.structure import StructureReport, check_structure
from fusion_assets.manifest.record import Record, Status
from fusion_assets.manifest.table import check_table, of_backup
from fusion_assets.reconcile.copies import (
    Proven,
    check_ledger,
    find_proven,
    put_back_sidecar,
    read_copy_again,
    refuse_half,
)
from fusion_assets.reconcile.entries import (
    adopted,
    announced,
    append,
    append_failure,
    append_once,
    begin,
    begun,
    completed,
    go_on,
    says_complete,
    vouches_for_copy,
    with_copy_read,
    with_proofs,
)
from fusion_assets.reconcile.errors import InconsistentLedgerError, InvalidStudyError, LedgerError
from fusion_assets.reconcile.invalidity import (
    REASON_FIELD,
    found_good,
    judge_names,
    known_invalid,
    refuse_known_invalid,
)
from fusion_assets.reconcile.lab import (
    Lab,
    check_truenas,
    is_at_source,
    trashed_studies,
)
from fusion_assets.reconcile.overwrite import is_proven
from fusion_assets.reconcile.proven import SIDECAR_FIELD
from fusion_assets.reconcile.refusals import find_twins, refuse_changed_trash, refuse_overwriting, refuse_unlike
from fusion_assets.reconcile.replaceable import replaceable, taken_back
from fusion_assets.standard.listing import SIDECAR_NAME, Listing, read_listing
from fusion_assets.standard.report import StudyReport
from fusion_assets.standard.validate import with_clash
from fusion_assets.transfer.errors import CorruptCopyError, TransferError
from fusion_assets.transfer.options import TransferOptions
from fusion_assets.transfer.outcome import ArchiveOutcome, CopyOutcome
from fusion_assets.transfer.progress import ProgressSink
from fusion_assets.transfer.session import Study
from fusion_assets.transfer.study import archive_copy, copy_and_archive, copy_study
from resources.errors import NotFoundError, ResourceError


@dataclass(frozen=True, slots=True)
class Validation:
    """What the validation of a study found."""

    listing: Listing
    report: StudyReport
    structure: StructureReport
    health: tuple[HealthWarning, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that stops the study, one sentence each."""
        return tuple(str(found) for found in (*self.report.violations, *self.structure.blocking))


def validate(lab: Lab, run_name: str) -> Validation:
    """Judge a study's names and the structure of its files.

    Args:
        lab: The lab.
        run_name: The study.

    Returns:
        What was found; whether that stops the study is for the caller to report, then `refuse_invalid`.

    Raises:
        ResourceError: The source could not be read: unknown, not invalid.
    """
    listing = read_listing(lab.source, run_name)
    report = judge_names(lab, run_name, listing)
    if twins := find_twins(lab, run_name):
        report = with_clash(report, twins)
    structure = check_structure(lab.source, run_name, listing.entries)
    return Validation(listing, report, structure, tuple(scan_health_check(listing.entries)))


def refuse_invalid(lab: Lab, run_name: str, validation: Validation) -> None:
    """Write an invalid study into the ledger, once, and raise; of a valid one take back that it was invalid.

    Args:
        lab: The lab.
        run_name: The study.
        validation: What `validate` found.

    Raises:
        InvalidStudyError: There is any problem; the message names the first and counts the others.
    """
    if not validation.problems:
        _take_back_invalid(lab, run_name, validation.listing)
        return
    first, *more = validation.problems
    reason = f"{first} (and {len(more)} more)" if more else first
    check_truenas(lab)
    draft = begin(lab, run_name, validation.listing)
    append_once(lab, replace(draft, status=Status.FAILED_VALIDATION, extra={**draft.extra, REASON_FIELD: reason}))
    raise InvalidStudyError(reason)


def _take_back_invalid(lab: Lab, run_name: str, listing: Listing) -> None:
    """That the study was found invalid no longer stands: unless the ledger says so, everybody believes it."""
    view, backup_name, fingerprint = lab.ledger.read(), lab.config.backup_name(run_name), listing.fingerprint()
    history = view.history(backup_name)
    stood = fingerprint in known_invalid(history).get(backup_name, {})
    if not stood and not any(record.status is Status.FAILED_VALIDATION for record in history[-1:]):
        return
    check_truenas(lab)
    stands = view.records[backup_name]
    now = begin(lab, run_name, listing) if stands.status is Status.FAILED_VALIDATION else stands
    append(lab, replace(now, extra={**now.extra, **found_good(history, fingerprint)}))


@dataclass(frozen=True, slots=True)
class Transferred:
    """What came of copying, archiving, or both in one pass; None for what was not asked for.

    Attributes:
        copy_read_again: Whether a copy that nothing vouched for was read again, whole; what was not good of it was
            copied again.
    """

    copy: CopyOutcome | None
    archive: ArchiveOutcome | None
    copy_read_again: bool = False


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
        What was moved and proven. With both, a failed archive beside a finished copy is in ``archive.error``, and the
        ledger says ``failed_s3``; the caller reports the copy, then raises it.

    Raises:
        InvalidStudyError: It is invalid, or would be written over something else.
        TransferError: The copy failed; the ledger says ``failed_truenas``.
        ResourceError: A place failed; the ledger says which.
    """
    backup_name = lab.config.backup_name(run_name)
    ask_s3 = check_ledger(lab, backup_name, copying=copying)
    origin = _origin(lab, run_name) if copying else None
    listing = read_listing(lab.source, origin) if origin else None
    _refuse(lab, run_name, origin, listing)
    vouched = vouches_for_copy(lab, backup_name)
    if listing and origin == run_name:
        draft = begin(lab, run_name, listing)
    else:
        draft = go_on(lab, run_name, copy_proven=vouched and not copying)
    try:
        proven = find_proven(lab, backup_name, ask_s3=ask_s3, origin=origin)
        refuse_half(lab, draft, origin, listing, proven)
        may_differ = replaceable(lab, draft, listing, proven)
        refuse_unlike(lab, run_name, proven, may_differ)
        if listing and not proven.is_known:
            put_back_sidecar(lab, backup_name, proven)
            draft = adopted(draft, proven.sha256)
        draft = begun(draft)
        if not says_complete(lab, draft):
            append_once(lab, draft)
        read_again = not vouched and bool(proven.checksums)
        distrusted = frozenset[str]()
        if read_again and not proven.copy_was_read:
            distrusted = read_copy_again(lab, backup_name, proven, listing, may_differ)
        if read_again and not copying:
            put_back_sidecar(lab, backup_name, proven)
            draft = with_copy_read(draft, proven.sha256)
        study = None
        if origin and listing:
            back = taken_back(lab, backup_name, listing, may_differ)
            expected, free = {**proven.checksums, **back}, may_differ - back.keys()
            study = Study(origin, backup_name, listing.entries, expected, free, distrusted | back.keys())
        moved = _move(lab, draft, study, proven, archiving=archiving, options=options, progress=progress)
        done = Transferred(*moved, read_again)
    except (TransferError, ResourceError) as error:
        on_truenas = copying or isinstance(error, CorruptCopyError)
        append_failure(lab, draft, Status.FAILED_TRUENAS if on_truenas else Status.FAILED_S3, error)
        raise
    after = with_proofs(draft, done.copy, done.archive, copy_read=done.copy_read_again)
    if done.archive and done.archive.error:
        append_failure(lab, after, Status.FAILED_S3, done.archive.error)
    elif not says_complete(lab, after):
        append_once(lab, after)
    return done


def _refuse(lab: Lab, run_name: str, origin: str | None, listing: Listing | None) -> None:
    """Raise `InvalidStudyError` for what must not be copied, or archived, as far as names and looks tell."""
    if listing and origin == run_name:
        refuse_overwriting(lab, run_name, listing)
    elif listing:
        refuse_changed_trash(lab, run_name, listing)
    if origin in (run_name, None):
        refuse_known_invalid(lab, run_name, listing)


def _origin(lab: Lab, run_name: str) -> str:
    """The directory at the source to copy a study from: its own, or the trash of a release that was broken off."""
    return run_name if is_at_source(lab, run_name) else trashed_studies(lab).get(run_name, run_name)


def _move(
    lab: Lab,
    draft: Record,
    study: Study | None,
    proven: Proven,
    *,
    archiving: bool,
    options: TransferOptions,
    progress: ProgressSink,
) -> tuple[CopyOutcome | None, ArchiveOutcome | None]:
    if study is None:
        expected = proven.checksums or None  # else the copy itself says what is wrong with it
        return None, archive_copy(
            lab.truenas,
            lab.bucket,
            backup_name=draft.backup_name,
            expected=expected,
            options=options,
            progress=progress,
        )

    def announce(sidecar_sha256: str) -> None:
        if proven.sidecar and proven.sha256 != sidecar_sha256:
            append(lab, announced(draft, sidecar_sha256))

    if not archiving:
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
    if done.archive and done.archive.error:
        raise done.archive.error


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the ledger says of a study now.

    Attributes:
        record: Its latest record.
        appended: Whether this step wrote it.
        failures: Rows of the folded table that break its schema, none of them this study's.
        bad_lines: Lines that cannot be read.
        studies: How many studies the ledger knows.
        location: Where the ledger is.
        mirror: Where its mirror is.
    """

    record: Record
    appended: bool
    failures: tuple[Mapping[str, str], ...]
    bad_lines: tuple[str, ...]
    studies: int
    location: str
    mirror: str


def record_entry(lab: Lab, run_name: str) -> Recorded:
    """Write ``complete`` into the ledger, if both copies were proven, and bring its mirror up to date.

    Args:
        lab: The lab.
        run_name: The study.

    Raises:
        InvalidStudyError: The last validation of this very study failed.
        InconsistentLedgerError: With this entry the ledger would break its schema; nothing was written.
        LedgerError: The ledger does not say that what is on the NAS now was proven in both places.
        ResourceError: The NAS or S3 failed.
    """
    check_truenas(lab)
    backup_name = lab.config.backup_name(run_name)
    view = lab.ledger.read()
    record = view.records.get(backup_name)
    if record is None or not is_proven(record):
        raise LedgerError(
            f"the ledger does not say that {run_name} was proven in both places | hint: run truenas_copy and "
            "s3_archive first; they move nothing that is there already"
        )
    refuse_known_invalid(lab, run_name, None)
    _check_still_proven(lab, record)
    appended = record.status is not Status.COMPLETE
    entry = completed(record) if appended else record
    failures = check_table(view, entry)
    if ours := of_backup(failures, backup_name):
        raise InconsistentLedgerError(run_name, ours)
    if appended:
        lab.ledger.append(entry)
    for month in lab.ledger.stale_mirrors():
        lab.ledger.mirror(month)
    view = lab.ledger.read()
    return Recorded(
        record=view.records[backup_name],
        appended=appended,
        failures=tuple(failures),
        bad_lines=tuple(f"{bad.file}:{bad.line}: {bad.reason}" for bad in view.bad_lines),
        studies=len(view.records),
        location=lab.ledger.location,
        mirror=lab.bucket.object_uri("_manifest/"),
    )


def _check_still_proven(lab: Lab, record: Record) -> None:
    """What was proven must be what is on the NAS now; a copy evicted after completion has nothing to compare."""
    try:
        sidecar = lab.truenas.read_file(f"{record.backup_name}/{SIDECAR_NAME}")
    except NotFoundError:
        if record.status is Status.COMPLETE:
            return
        raise
    if hashlib.sha256(sidecar).hexdigest() != record.extra.get(SIDECAR_FIELD):
        raise LedgerError(
            f"the sidecar of {record.backup_name} is not the one the ledger knows | hint: run truenas_copy and "
            "s3_archive again; they move nothing that is proven already"
        )
