"""The first and the fourth step of a study, ``validated`` and ``manifest_entry``, and what the ledger says of them.

No Dagster here: `studies` calls these and reports what they return. Each step, here, in `transferring` and in
`releasing`, looks at the world again before it acts, so that it can be run alone, twice, or after a crash. Each returns
plain data, or raises: `InvalidStudyError` for what only a person can cure, a transfer error or `ResourceError` for the
rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from fusion_assets.integrity.health import HealthWarning, scan_health_check
from fusion_assets.integrity.structure import StructureReport, check_structure
from fusion_assets.manifest.extra_fields import REASON_FIELD, SIDECAR_FIELD
from fusion_assets.manifest.record import Record, Status
from fusion_assets.manifest.table import check_table, of_backup
from fusion_assets.reconcile.entries import (
    append,
    append_failure,
    append_once,
    begin,
    completed,
)
from fusion_assets.reconcile.errors import InconsistentLedgerError, InvalidStudyError, LedgerError, OvertakenError
from fusion_assets.reconcile.invalidity import found_good, judge_names, known_invalid, refuse_known_invalid
from fusion_assets.reconcile.lab import Lab, check_truenas, copy_place, is_at_source
from fusion_assets.reconcile.overwrite import is_proven
from fusion_assets.reconcile.refusals import find_twins, refuse_stranger
from fusion_assets.reconcile.study_ledger import study_ledger
from fusion_assets.standard.listing import SIDECAR_NAME, Listing, read_listing
from fusion_assets.standard.report import StudyReport, summarized
from fusion_assets.standard.validate import with_clash
from resources.errors import NotFoundError


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
        OvertakenError: It is not there, since somebody else archived and released it.
        ResourceError: The source could not be read: unknown, not invalid.
    """
    listing = _listed(lab, run_name)
    report = judge_names(lab, run_name, listing)
    if twins := find_twins(lab, run_name):
        report = with_clash(report, twins)
    structure = check_structure(lab.source, run_name, listing.entries)
    return Validation(listing, report, structure, tuple(scan_health_check(listing.entries)))


def _listed(lab: Lab, run_name: str) -> Listing:
    try:
        return read_listing(lab.source, run_name)
    except NotFoundError as error:
        record = lab.ledger.read().records.get(lab.config.backup_name(run_name))
        if record and record.run_name == run_name and record.was_released:
            why = f"{run_name} was archived and released by another run since this one was asked for: nothing is to do"
            raise OvertakenError(why) from error
        raise


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
    reason = summarized(validation.problems)
    check_truenas(lab)
    latest = lab.ledger.read().records.get(lab.config.backup_name(run_name))
    draft = begin(lab, run_name, validation.listing, latest)
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
    now = begin(lab, run_name, listing, stands) if stands.status is Status.FAILED_VALIDATION else stands
    append(lab, replace(now, extra={**now.extra, **found_good(history, fingerprint)}))


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
        InvalidStudyError: The last validation of this very study failed, or the copies are of another one.
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
    refuse_stranger(lab, run_name, record)
    refuse_known_invalid(lab, run_name, study_ledger(lab, view, backup_name))
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
    place = copy_place(lab, record.backup_name)
    if record.status is not Status.COMPLETE and record.truenas_path != place:
        moved = LedgerError(
            f"{record.backup_name} was proven in {record.truenas_path}, and nobody has read the copy in {place} | "
            "hint: `fusion apply` reads it"
        )
        append_failure(lab, record, Status.FAILED_TRUENAS, moved)
        raise moved
    try:
        sidecar = lab.truenas.read_file(f"{record.backup_name}/{SIDECAR_NAME}")
    except NotFoundError:
        if record.status is Status.COMPLETE:
            return
        raise
    known = record.extra.get(SIDECAR_FIELD)
    if known is None and record.status is Status.COMPLETE:
        return  # of another program, or an earlier version: nothing here says which sidecar it was
    if hashlib.sha256(sidecar).hexdigest() != known:
        steps = "truenas_copy and s3_archive" if is_at_source(lab, record.run_name) else "s3_archive and manifest_entry"
        raise LedgerError(
            f"the sidecar of {record.backup_name} is not the one the ledger knows | hint: run {steps} again in "
            "Dagster's UI; they move nothing that is proven already"
        )
