"""Carry out one step of a plan on one study, and have the ledger say how far it came (`entries`).

No Dagster here: `studies` calls these and reports what they return. Each step looks at the world again before it acts,
so that it can be run alone, twice, or after a crash. Each returns plain data, or raises: `InvalidStudyError` for what
only a person can cure, a transfer error or `ResourceError` for the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from fusion_assets.integrity.health import HealthWarning, scan_health_check
from fusion_assets.integrity.structure import StructureReport, check_structure
from fusion_assets.manifest.fold import LedgerView
from fusion_assets.manifest.record import Record, Status
from fusion_assets.manifest.table import check_table
from fusion_assets.reconcile.entries import (
    append,
    append_failure,
    append_once,
    begin,
    completed,
    go_on,
    says_complete,
    sidecar_is,
    vouches_for_copy,
    with_copy_read,
    with_proofs,
)
from fusion_assets.reconcile.idle import Memory, Observation
from fusion_assets.reconcile.judge import REASON_FIELD, SIDECAR_FIELD
from fusion_assets.reconcile.lab import (
    Lab,
    check_copies_there,
    check_places,
    check_truenas,
    is_at_source,
    source_studies,
    trashed_studies,
)
from fusion_assets.reconcile.observe import observe_study, read_copy, twins_of
from fusion_assets.reconcile.overwrite import (
    ACCEPTED_AT_FIELD,
    ACCEPTED_FIELD,
    FINGERPRINT_FIELD,
    RELEASE_BEGUN_FIELD,
    accepted,
    archived_elsewhere,
    is_proven,
    last_proven,
    name_taken,
    proven_otherwise,
    recorded_elsewhere,
    source_changed,
    trash_changed,
)
from fusion_assets.reconcile.release import (
    SOURCE_PROVEN,
    TRASH_PROVEN,
    WAY_OUT,
    GateError,
    Released,
    finish_release,
    is_as_hashed,
    release_gates,
    release_source,
)
from fusion_assets.standard.listing import SIDECAR_NAME, Listing, read_listing
from fusion_assets.standard.report import StudyReport
from fusion_assets.standard.rules import validate_listing
from fusion_assets.standard.validate import with_clash
from fusion_assets.transfer.check import Problem, check_archive, check_copy, check_source
from fusion_assets.transfer.errors import ArchiveError, CorruptCopyError, TransferError
from fusion_assets.transfer.mend import has_readable_sidecar, mend_sidecar
from fusion_assets.transfer.options import TransferOptions
from fusion_assets.transfer.outcome import ArchiveOutcome, CopyOutcome
from fusion_assets.transfer.progress import ProgressSink
from fusion_assets.transfer.sidecar import SidecarError, parse_sidecar
from fusion_assets.transfer.study import archive_copy, copy_and_archive, copy_study
from resources.errors import NotFoundError, ResourceError, UnavailableError
from resources.storage import Entry


class InvalidStudyError(Exception):
    """The study breaks the naming standard or holds a broken file; trying again cannot help."""


class LedgerError(Exception):
    """The ledger does not say what it must say before a record is completed."""


PERMANENT_ERRORS = (InvalidStudyError, LedgerError, TransferError, SidecarError)
"""What trying again cannot cure."""


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
    report = validate_listing(
        listing,
        path=lab.source.location(run_name),
        name=lab.config.alias.get(run_name),
        nas_root=lab.truenas.root,
    )
    if twins := _twins(lab, run_name):
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
    """That the study was found invalid no longer stands: unless the ledger says so, every plan believes it."""
    view, backup_name = lab.ledger.read(), lab.config.backup_name(run_name)
    if not any(record.status is Status.FAILED_VALIDATION for record in view.history(backup_name)[-1:]):
        return
    check_truenas(lab)
    stands = view.records[backup_name]
    append(lab, begin(lab, run_name, listing) if stands.status is Status.FAILED_VALIDATION else stands)


@dataclass(frozen=True, slots=True)
class Transferred:
    """What came of copying, archiving, or both in one pass; None for what was not asked for.

    Attributes:
        copy_read_again: Whether a copy that nothing vouched for was read again, whole, and found good.
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
        TransferError: The copy failed; the ledger says ``failed_truenas``.
        ResourceError: A place failed; the ledger says which.
    """
    _check_truenas(lab, lab.config.backup_name(run_name), copying=copying)
    origin = _origin(lab, run_name) if copying else None
    listing = read_listing(lab.source, origin) if origin else None
    if listing and origin == run_name:
        _refuse_overwriting(lab, run_name, listing)
    elif listing:
        _refuse_changed_trash(lab, run_name, listing)
    backup_name = lab.config.backup_name(run_name)
    vouched = vouches_for_copy(lab, backup_name)
    if listing and origin == run_name:
        draft = begin(lab, run_name, listing)
    else:
        draft = go_on(lab, run_name, copy_proven=vouched and not copying)
    if not says_complete(lab, draft):
        append_once(lab, draft)
    try:
        whole = listing is not None and _is_whole(draft, origin, listing)
        mended = _mend(lab, backup_name, whole=whole)
        distrusted = None if vouched or mended else _read_copy_again(lab, backup_name, listing)
        read_again = mended or distrusted is not None
        if read_again and not copying:
            draft = with_copy_read(lab, draft)
        moved = _move(
            lab, draft, origin, listing, distrusted or (), archiving=archiving, options=options, progress=progress
        )
        done = Transferred(*moved, read_again)
    except (TransferError, ResourceError) as error:
        on_truenas = copying or isinstance(error, CorruptCopyError)
        append_failure(lab, draft, Status.FAILED_TRUENAS if on_truenas else Status.FAILED_S3, error)
        raise
    proven = with_proofs(draft, done.copy, done.archive)
    if done.archive and done.archive.error:
        append_failure(lab, proven, Status.FAILED_S3, done.archive.error)
    elif not says_complete(lab, proven):
        append_once(lab, proven)
    return done


def _check_truenas(lab: Lab, backup_name: str, *, copying: bool) -> None:
    """See that the NAS is there and its ledger whole; a copy may be made even while S3 cannot be asked about that.

    Data that has left the instrument's disk is worth more than waiting, and nothing proven can be written over: there
    is no finished copy, or the ledger vouches for it, and so knows this study.
    """
    try:
        check_truenas(lab)
    except UnavailableError:
        if not (copying and lab.ledger.exists()):
            raise
        check_copies_there(lab)
        is_finished = any(entry.path == f"{backup_name}/{SIDECAR_NAME}" for entry in _held(lab, backup_name))
        if is_finished and not vouches_for_copy(lab, backup_name):
            raise


def _held(lab: Lab, backup_name: str) -> list[Entry]:
    try:
        return lab.truenas.list(backup_name)
    except NotFoundError:
        return []


def _twins(lab: Lab, run_name: str) -> list[str]:
    return twins_of(lab, source_studies(tuple(lab.source.list()))).get(run_name, [])


def _refuse_overwriting(lab: Lab, run_name: str, listing: Listing) -> None:
    """Never write one study over another, nor changed files over proven ones, whoever asked for it."""
    backup_name, fingerprint = lab.config.backup_name(run_name), listing.fingerprint()
    view = lab.ledger.read()
    record = view.records.get(backup_name)
    in_trash = run_name in trashed_studies(lab)
    taken = name_taken(record, run_name, fingerprint, in_trash=in_trash)
    if taken := taken or archived_elsewhere(_elsewhere(view, run_name, backup_name), fingerprint):
        raise InvalidStudyError(taken)
    proven = proven_otherwise(last_proven(view.history(backup_name)), record, fingerprint)
    if proven and (changed := source_changed(proven, listing, read_copy(lab, backup_name))):
        raise InvalidStudyError(changed)
    if twins := _twins(lab, run_name):
        raise InvalidStudyError(
            f"it would become one with {', '.join(twins)} at the destinations | hint: rename one of them"
        )


def _refuse_changed_trash(lab: Lab, run_name: str, listing: Listing) -> None:
    """The same for a study whose release was begun."""
    view, backup_name = lab.ledger.read(), lab.config.backup_name(run_name)
    elsewhere = None if backup_name in view.records else _elsewhere(view, run_name, backup_name)
    if taken := archived_elsewhere(elsewhere):
        raise InvalidStudyError(taken)
    proven = last_proven(view.history(backup_name))
    if proven and (changed := trash_changed(proven, listing, read_copy(lab, backup_name))):
        raise InvalidStudyError(changed)


def _elsewhere(view: LedgerView, run_name: str, backup_name: str) -> Record | None:
    return recorded_elsewhere((r for r in view.records.values() if r.run_name == run_name), backup_name)


def _origin(lab: Lab, run_name: str) -> str:
    """The directory at the source to copy a study from: its own, or the trash of a release that was broken off."""
    return run_name if is_at_source(lab, run_name) else trashed_studies(lab).get(run_name, run_name)


def _is_whole(draft: Record, origin: str | None, listing: Listing) -> bool:
    """Whether a listing is the whole study: at the source it is; in the trash, while nothing of it is deleted yet."""
    return origin == draft.run_name or draft.extra.get(FINGERPRINT_FIELD) == listing.fingerprint()


def _mend(lab: Lab, backup_name: str, *, whole: bool) -> bool:
    """See to it that a copy that was finished once has its sidecar; from half a study a new one must never be made.

    Args:
        lab: The lab.
        backup_name: The copy.
        whole: Whether the whole study is at hand: then it is copied anew, and a sidecar that cannot be read may go.

    Returns:
        Whether the copy was read whole, and found to be what the ledger says was proven.
    """
    if has_readable_sidecar(lab.truenas, backup_name):
        return False
    record = lab.ledger.read().records.get(backup_name)
    recorded = record.extra.get(SIDECAR_FIELD) if record else None
    if recorded:
        archived = {found.key.removeprefix(f"{backup_name}/") for found in lab.bucket.list(f"{backup_name}/")}
        if mend_sidecar(lab.truenas, backup_name, str(recorded), archived):
            return True
    if whole:
        with suppress(NotFoundError):
            lab.truenas.remove_file(f"{backup_name}/{SIDECAR_NAME}")
        return False
    known = "its files are not all those that were proven" if recorded else "the ledger does not know what it was"
    raise CorruptCopyError(
        f"{lab.truenas.location(backup_name)}: the sidecar is gone or cannot be read, and {known} | hint: bring it "
        f"and what is missing back from {lab.bucket.object_uri(backup_name)}, then `fusion apply`"
    )


def accept_changes(lab: Lab, run_name: str, fingerprint: str) -> None:
    """Write down that a person said: what changed at the source is right, and may replace what was proven of it.

    Args:
        lab: The lab.
        run_name: The study.
        fingerprint: Of the source as that person saw it; a change after that has to be accepted anew.

    Raises:
        LedgerError: Nothing of it was ever recorded.
        ResourceError: The ledger cannot be read or written.
    """
    record = lab.ledger.read().records.get(lab.config.backup_name(run_name))
    if record is None:
        raise LedgerError(f"the ledger knows nothing of {run_name}: there is nothing that a change could replace")
    said = {ACCEPTED_FIELD: fingerprint, ACCEPTED_AT_FIELD: _now().isoformat()}
    append(lab, replace(record, extra={**record.extra, **said}))


def _move(
    lab: Lab,
    draft: Record,
    origin: str | None,
    listing: Listing | None,
    distrusted: Collection[str],
    *,
    archiving: bool,
    options: TransferOptions,
    progress: ProgressSink,
) -> tuple[CopyOutcome | None, ArchiveOutcome | None]:
    if origin is None or listing is None:
        return None, archive_copy(
            lab.truenas, lab.bucket, backup_name=draft.backup_name, options=options, progress=progress
        )
    study: dict[str, Any] = {
        "run_name": origin,
        "backup_name": draft.backup_name,
        "entries": listing.entries,
        "expected": _proven_checksums(lab, draft),
        "distrusted": distrusted,
        "options": options,
        "progress": progress,
    }
    if archiving:
        return copy_and_archive(lab.source, lab.truenas, lab.bucket, **study)
    return copy_study(lab.source, lab.truenas, **study), None


def _proven_checksums(lab: Lab, draft: Record) -> Mapping[str, str]:
    """What files must hash to that were proven of this study once, unless a person accepted that they changed.

    A draft that goes on from a proven copy is of the very same source; one of another state of the source may have more
    files or fewer, but those it shares with what was proven are the same.
    """
    sidecar = sidecar_is(lab, draft)
    if sidecar is None and not accepted(draft, str(draft.extra.get(FINGERPRINT_FIELD))):
        proven = last_proven(lab.ledger.read().history(draft.backup_name))
        sidecar = sidecar_is(lab, proven) if proven else None
    return parse_sidecar(sidecar) if sidecar else {}


def _read_copy_again(lab: Lab, backup_name: str, listing: Listing | None) -> frozenset[str] | None:
    """Read all of a copy of which the ledger does not say that it was proven, or no longer.

    Args:
        lab: The lab.
        backup_name: The copy.
        listing: What is at hand to copy from; None for nothing.

    Returns:
        Its files that are not good, all of them at hand; None when there is no finished copy to read.

    Raises:
        CorruptCopyError: Files are not good, and only S3 may have good ones.
    """
    if not has_readable_sidecar(lab.truenas, backup_name):
        return None
    problems = check_copy(lab.truenas, backup_name)
    at_hand = {entry.path for entry in listing.files} if listing else set()
    if lost := [problem for problem in problems if problem.path not in at_hand]:
        listed = "; ".join(str(problem) for problem in lost[:3])
        raise CorruptCopyError(
            f"{lab.truenas.location(backup_name)}: {len(lost)} files are not good: {listed} | hint: bring them back "
            f"from {lab.bucket.object_uri(backup_name)}, then `fusion apply`"
        )
    return frozenset(problem.path for problem in problems)


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
        failures: Rows of the folded table that break its schema.
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
    _check_still_proven(lab, record)
    appended = record.status is not Status.COMPLETE
    if appended:
        lab.ledger.append(completed(record))
    for month in lab.ledger.stale_mirrors():
        lab.ledger.mirror(month)
    view = lab.ledger.read()
    return Recorded(
        record=view.records[backup_name],
        appended=appended,
        failures=tuple(check_table(view)),
        bad_lines=tuple(f"{bad.file}:{bad.line}: {bad.reason}" for bad in view.bad_lines),
        studies=len(view.records),
        location=lab.ledger.location,
        mirror=lab.bucket.object_uri("_manifest/"),
    )


def release(lab: Lab, run_name: str, memory: Memory, log: Callable[[str], None] = lambda _: None) -> Released:
    """Delete a study's source, if every gate is open at this moment.

    Args:
        lab: The lab.
        run_name: The study.
        memory: What was remembered of earlier observations, for the settle time; the time it was hashed counts too.
        log: Told of work that takes long.

    Raises:
        GateError: A gate is closed; the source is kept.
        ResourceError: A place could not be asked, or refused.
    """
    at_source = is_at_source(lab, run_name)
    if not at_source:
        check_places(lab)  # a source that is not mounted holds no study either; one that is there is observed below
    record = lab.ledger.read().records.get(lab.config.backup_name(run_name))
    trashed = trashed_studies(lab).get(run_name)
    if trashed and not at_source:
        released = _finish(lab, run_name, record, trashed, log)
    elif record and record.status is Status.COMPLETE and RELEASE_BEGUN_FIELD in record.extra and not at_source:
        released = Released(0, 0)  # an earlier run deleted it, and was killed before it could say so
    else:
        observed = observe_study(lab, run_name, memory or _hashed_at(run_name, record))
        listing = read_listing(lab.source, run_name)
        problems = check_archive(lab.truenas, lab.bucket, lab.config.backup_name(run_name))
        objects = tuple(str(problem) for problem in problems)
        closed = release_gates(observed, record, listing, objects)
        if record and closed.keys() == {SOURCE_PROVEN}:
            closed = release_gates(observed, record, listing, objects, _read_source(lab, run_name, listing, log))
        if closed:
            _take_back(lab, record, problems)
            raise GateError(run_name, closed)
        released = _release_source(lab, run_name, record, listing)
    if record is None:  # no gate is open without a record
        return released
    extra = {name: value for name, value in record.extra.items() if name != RELEASE_BEGUN_FIELD}
    append(lab, replace(record, source_deleted_at=_now(), extra=extra))
    return replace(released, sidecar_sha256=str(record.extra.get(SIDECAR_FIELD, "")))


def _release_source(lab: Lab, run_name: str, record: Record | None, listing: Listing) -> Released:
    """Delete the source, after the ledger says that this begins: a run killed at its end leaves no other trace."""
    if record:
        append(lab, replace(record, extra={**record.extra, RELEASE_BEGUN_FIELD: _now().isoformat()}))
    try:
        return release_source(lab.source, run_name, listing)
    except GateError:
        if record:
            append(lab, record)  # it was put back
        raise


def _read_source(
    lab: Lab, run_name: str, listing: Listing, log: Callable[[str], None], at: str = ""
) -> tuple[str, ...]:
    """Read what is to be deleted and does not look as it did when it was hashed; returns what is not proven of it."""
    log(
        f"{run_name} is not as it was when it was hashed (files went, or times changed): all that is left of it, "
        f"{listing.file_count} files, {listing.total_bytes} bytes, is read again and compared with the sidecar"
    )
    checksums = parse_sidecar(lab.truenas.read_file(f"{lab.config.backup_name(run_name)}/{SIDECAR_NAME}"))
    return tuple(str(problem) for problem in check_source(lab.source, at or run_name, listing.files, checksums))


def _finish(lab: Lab, run_name: str, record: Record | None, trashed: str, log: Callable[[str], None]) -> Released:
    """A release that was killed: the same proofs again, the trash in the place of the source."""
    backup_name = lab.config.backup_name(run_name)
    if record is None or record.status is not Status.COMPLETE:
        raise GateError(run_name, {"Recorded": "the ledger does not say complete"})
    if problems := check_archive(lab.truenas, lab.bucket, backup_name):
        _take_back(lab, record, problems)
        raise GateError(run_name, {"EveryObject": "; ".join(str(problem) for problem in problems[:3])})
    listing = read_listing(lab.source, trashed)
    if not is_as_hashed(record, listing) and (unproven := _read_source(lab, run_name, listing, log, at=trashed)):
        raise GateError(run_name, {TRASH_PROVEN: f"in {trashed}: {'; '.join(unproven[:3])}{WAY_OUT}"})
    checksums = parse_sidecar(lab.truenas.read_file(f"{backup_name}/{SIDECAR_NAME}"))
    copies = {e.path: e for e in read_listing(lab.truenas, backup_name).files if e.path in checksums}
    return finish_release(lab.source, run_name, trashed, copies)


def _take_back(lab: Lab, record: Record | None, problems: Sequence[Problem]) -> None:
    """Write down that a copy is not what was recorded: by its listing alone the next plan would not repair it."""
    if record and problems:
        error = ArchiveError(f"no longer proven: {'; '.join(str(problem) for problem in problems[:3])}")
        on_nas = any(problem.on_nas for problem in problems)
        append_failure(lab, record, Status.FAILED_TRUENAS if on_nas else Status.FAILED_S3, error)


def _hashed_at(run_name: str, record: Record | None) -> Memory:
    """The moment the study was hashed is an observation of it, too."""
    if record is None or record.started_at is None or FINGERPRINT_FIELD not in record.extra:
        return {}
    return {run_name: Observation(str(record.extra[FINGERPRINT_FIELD]), record.started_at)}


def _now() -> datetime:
    return datetime.now(UTC)


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
