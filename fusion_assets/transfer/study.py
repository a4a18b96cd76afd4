"""A study copied to the NAS, archived in S3, or both in one pass: the doors of this room.

What belongs here: the order of the steps that concern a whole study: look, refuse, plan, clean up, work, commit. What
does not: the work itself (`stages`), and judging finished copies and archives (`check`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from fusion_assets.standard.listing import SIDECAR_NAME
from fusion_assets.transfer.errors import ArchiveError, CorruptCopyError, SourceChangedError, name_some
from fusion_assets.transfer.held import list_held, read_records, remove_files
from fusion_assets.transfer.options import TransferOptions
from fusion_assets.transfer.outcome import ArchiveOutcome, CopyOutcome
from fusion_assets.transfer.plan import (
    CORRUPT_SUFFIX,
    CopyPlan,
    check_finished,
    check_nothing_lost,
    extra_files,
    known_proofs,
    plan_batches,
    plan_copy,
    plan_kept,
)
from fusion_assets.transfer.preflight import check_names, check_space
from fusion_assets.transfer.progress import ProgressSink
from fusion_assets.transfer.proof import FileProof
from fusion_assets.transfer.session import Places, Session, Study, open_session
from fusion_assets.transfer.sidecar import format_sidecar, write_sidecar
from fusion_assets.transfer.stages import run_stages
from fusion_assets.transfer.upload import Uploads
from resources.storage import Storage

if TYPE_CHECKING:
    from resources.s3 import S3Bucket


def copy_study(
    source: Storage,
    nas: Storage,
    study: Study,
    *,
    options: TransferOptions | None = None,
    progress: ProgressSink | None = None,
    announce: Callable[[str], None] = lambda _: None,
) -> CopyOutcome:
    """Copy a study to the NAS and read every file back; what an earlier run has proven is kept.

    Args:
        source: Where the study is.
        nas: Where the copy goes.
        study: The study as it was listed.
        options: Sizes and limits.
        progress: Is told how far it is.
        announce: Is told the SHA-256 of a new sidecar before it is written: whoever keeps what was proven must know
            both, until it is told that all is done.

    Returns:
        What was done. The copy holds the files of the listing, those a former listing had, and the sidecar.

    Raises:
        SourceChangedError: Files changed meanwhile; the others are copied, the sidecar is not written.
        RottenSourceError: A file is not what was `expected`.
        ReadBackError: The NAS gave back other bytes than were written.
        CorruptCopyError: A file that was proven once is gone.
        ResourceError: A place failed, is too full (`StorageFullError`) or cannot keep a name (`UnsafeNameError`).
    """
    return _copy(Places(source, nas, None), study, options or TransferOptions(), progress, announce)[0]


def copy_and_archive(
    source: Storage,
    nas: Storage,
    bucket: S3Bucket,
    study: Study,
    *,
    options: TransferOptions | None = None,
    progress: ProgressSink | None = None,
    announce: Callable[[str], None] = lambda _: None,
) -> tuple[CopyOutcome, ArchiveOutcome]:
    """Copy a study to the NAS and archive it in S3 in one pass: one source read, one NAS write, one NAS read.

    Arguments and errors are those of `copy_study`, and `bucket` is where the objects go. When S3 fails, the copy goes
    on to its end, and ``error`` of the second outcome says why there is no archive.
    """
    copied, archived = _copy(Places(source, nas, bucket), study, options or TransferOptions(), progress, announce)
    assert archived is not None
    return copied, archived


def archive_copy(
    nas: Storage,
    bucket: S3Bucket,
    *,
    backup_name: str,
    expected: Mapping[str, str] | None = None,
    options: TransferOptions | None = None,
    progress: ProgressSink | None = None,
) -> ArchiveOutcome:
    """Archive a finished NAS copy in S3: each file is read once, and verified against the sidecar while it is uploaded.

    Args:
        nas: Where the copy is.
        bucket: Where the objects go.
        backup_name: The copy's directory on the NAS, and what the keys begin with.
        expected: SHA-256 in hex by path of all that was proven last; None to believe the sidecar.
        options: Sizes and limits; the bandwidth limit holds for reading the NAS.
        progress: Is told how far it is.

    Raises:
        ArchiveError: There is no finished copy, or not of what was proven; or an object could not be proven.
        CorruptCopyError: Files of the copy are gone or no longer what was proven; these were set aside, so that the
            next copy takes them from the source again.
        ResourceError: The NAS or S3 failed.
    """
    nas.check_mounted()
    held = list_held(nas, backup_name)
    records, sidecar = read_records(nas, backup_name, held)
    if sidecar is None:
        raise ArchiveError(f"{nas.location(backup_name)} holds no finished copy (no {SIDECAR_NAME}): copy it first")
    if expected is not None and records.sidecar != dict(expected):
        raise ArchiveError(f"the sidecar of {nas.location(backup_name)} is not what was proven; copy the study again")
    known = known_proofs(held, records)
    check_finished(records, known)
    check_nothing_lost(records, known, {})
    proofs = {path: known[path] for path in records.sidecar}
    places, study = Places(None, nas, bucket), Study("", backup_name, entries=(), expected=expected)
    with open_session(places, study, options or TransferOptions(), progress) as session:
        session.proofs.update(proofs)
        size = _total(proofs)
        session.meter.expect(files=len(proofs), total_bytes=size, to_copy=0, to_read_back=size)
        run_stages(session, plan_kept(list(proofs.values()), session.options), records.sidecar)
        _raise_corrupt(session)
        assert session.archive is not None
        outcome = _archived(session, session.archive, sidecar, extra_files(held, proofs))
    if outcome.error:
        raise outcome.error
    return outcome


def _copy(
    places: Places,
    study: Study,
    options: TransferOptions,
    progress: ProgressSink | None,
    announce: Callable[[str], None],
) -> tuple[CopyOutcome, ArchiveOutcome | None]:
    nas, backup_name = places.nas, study.backup_name
    nas.check_mounted()
    held = list_held(nas, backup_name)
    check_names(nas, backup_name, study.entries, held)
    records, present_sidecar = read_records(nas, backup_name, held, study.expected)
    # What a run read back that was broken off, and is not what was proven, is nothing to keep.
    other = [path for path, proof in records.journal.items() if study.expects(path) not in (None, proof.sha256)]
    distrusted = {*study.distrusted, *other}
    plan = plan_copy(study.entries, held, records, accepted=study.accepted, distrusted=distrusted)
    remove_files(nas, backup_name, plan.leftovers)
    check_space(nas, plan.copy, options.space_reserve)
    with open_session(places, study, options, progress) as session:
        for directory in plan.directories:
            nas.make_directory(session.nas_path(directory).rstrip("/"))
        session.proofs.update((proof.path, proof) for proof in plan.keep)
        session.unread = plan.unread
        to_read = [proof for proof in plan.keep if session.archive or proof.path in plan.unread]
        _expect(session, plan, to_read)
        batches = [*plan_batches(plan.copy, options), *plan_kept(to_read, options)]
        run_stages(session, batches, records.sidecar)
        _raise_changed(session)
        _raise_corrupt(session)
        sidecar = format_sidecar({path: proof.sha256 for path, proof in session.proofs.items()})
        if sidecar != present_sidecar:
            announce(hashlib.sha256(sidecar).hexdigest())
        _commit_copy(session, plan, sidecar, present_sidecar)
        copied = _copied(session, plan, sidecar)
        return copied, _archived(session, session.archive, sidecar, plan.extra) if session.archive else None


def _expect(session: Session, plan: CopyPlan, to_read: Sequence[FileProof]) -> None:
    to_copy = sum(entry.size for entry in plan.copy)
    session.meter.expect(
        files=len(plan.copy) + len(plan.keep),
        total_bytes=to_copy + sum(proof.size for proof in plan.keep),
        to_copy=to_copy,
        to_read_back=to_copy + sum(proof.size for proof in to_read),
    )
    session.meter.done(len(plan.keep) - len(to_read))


def _raise_changed(session: Session) -> None:
    if session.changed:
        raise SourceChangedError(
            f"{session.study.run_name}: {len(session.changed)} files changed or went away while they were copied: "
            f"{name_some(session.changed)}; nothing of them was recorded. Is the acquisition still running? Run it "
            "again when it has ended",
            paths=sorted(session.changed),
        )


def _raise_corrupt(session: Session) -> None:
    if session.corrupt:
        raise CorruptCopyError(
            f"{session.nas.location(session.study.backup_name)}: {len(session.corrupt)} files are no longer what was "
            f"proven when they were copied: {name_some(session.corrupt)}; they were set aside (*{CORRUPT_SUFFIX}) and "
            "not archived. Copy the study again from the source, or restore them from S3; and check the NAS's disks",
            paths=sorted(session.corrupt),
        )


def _commit_copy(session: Session, plan: CopyPlan, sidecar: bytes, present: bytes | None) -> None:
    """Every file is proven: write the sidecar, then remove what is no longer needed."""
    with session.meter.timing("finish"):
        if sidecar != present:
            # One file of each directory, for the names of all: their bytes were made durable before.
            by_directory = {path.rpartition("/")[0]: path for path in session.proofs}
            session.nas.flush(tuple(session.nas_path(path) for path in by_directory.values()))
            write_sidecar(session.nas, session.study.backup_name, sidecar)
        replaced = [path for path in plan.set_aside if path.removesuffix(CORRUPT_SUFFIX) in session.proofs]
        remove_files(session.nas, session.study.backup_name, replaced)
        session.journal.remove()


def _copied(session: Session, plan: CopyPlan, sidecar: bytes) -> CopyOutcome:
    meter = session.meter
    return CopyOutcome(
        proofs=_sorted(session),
        copied_files=len(plan.copy),
        copied_bytes=sum(entry.size for entry in plan.copy),
        skipped=tuple((entry.path, entry.kind) for entry in plan.skipped),
        extra=plan.extra,
        sidecar_sha256=hashlib.sha256(sidecar).hexdigest(),
        read_whole=all(proof.path in plan.unread for proof in plan.keep),
        read_back_claim=session.nas.read_back_claim,
        source_read=meter.source_read,
        nas_written=meter.written,
        nas_read=meter.read_back,
        seconds=meter.seconds,
        stage_seconds=dict(meter.seconds_of),
    )


def _archived(session: Session, archive: Uploads, sidecar: bytes, extra: tuple[str, ...]) -> ArchiveOutcome:
    """Upload the commit mark if every object is proven, and say what was done."""
    if archive.is_open:
        archive.commit(sidecar, session.proofs.values())
    meter = session.meter
    return ArchiveOutcome(
        proofs=_sorted(session),
        uploaded_files=archive.uploaded_files,
        uploaded_bytes=meter.uploaded,
        present_files=archive.present_files,
        proved_by_download=archive.proved_by_download,
        extra=extra,
        sidecar_sha256=hashlib.sha256(sidecar).hexdigest(),
        nas_read=meter.read_back,
        seconds=meter.seconds,
        stage_seconds=dict(meter.seconds_of),
        error=archive.error,
    )


def _sorted(session: Session) -> tuple[FileProof, ...]:
    return tuple(session.proofs[path] for path in sorted(session.proofs))


def _total(proofs: Mapping[str, FileProof]) -> int:
    return sum(proof.size for proof in proofs.values())
