"""What the steps of a study write into the ledger: how a record begins, goes on, and says that something failed.

What belongs here: building records and appending them, once. What does not: the ledger's files (`manifest`), and when a
step has something to say (`steps`, `transferring`, `releasing`).
"""

from __future__ import annotations

import hashlib
import socket
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from fusion_assets.manifest.extra_fields import (
    ADOPTED_ARCHIVE_FIELD,
    ADOPTED_FIELD,
    ANNOUNCED_FIELD,
    ARCHIVE_BEGUN_FIELD,
    COPY_BEGUN_FIELD,
    COPY_FINGERPRINT_FIELD,
    COPY_OF_FIELD,
    COPY_READ_FIELD,
    EVICTED_FIELD,
    EVICTION_BEGUN_FIELD,
    FINGERPRINT_FIELD,
    HOST_FIELD,
    REASON_FIELD,
    RELEASE_BEGUN_FIELD,
    RELEASED_FIELD,
    SIDECAR_FIELD,
)
from fusion_assets.manifest.mirror import MirrorError
from fusion_assets.manifest.record import Record, Status
from fusion_assets.reconcile.lab import Lab, archive_place, check_truenas, copy_place, create_ledger
from fusion_assets.reconcile.proven import ACCEPTED_FIELDS, accepted, begun_in, carried_on
from fusion_assets.standard.listing import SIDECAR_NAME, Listing
from fusion_assets.transfer.check import Problem
from fusion_assets.transfer.outcome import ArchiveOutcome, CopyOutcome
from resources.errors import NotFoundError, ResourceError, described


def begin(lab: Lab, run_name: str, listing: Listing, latest: Record | None) -> Record:
    """The record of a backup that begins now, from the source: nothing of it counts as proven yet.

    Args:
        lab: The lab.
        run_name: The study.
        listing: Its directory at the source.
        latest: What the ledger says of it.
    """
    fingerprint = listing.fingerprint()
    if latest and latest.extra.get(FINGERPRINT_FIELD) == fingerprint:
        draft = _drafted(lab, run_name, latest)  # if it was released, it is back
        extra = {
            name: value for name, value in draft.extra.items() if name not in (RELEASED_FIELD, RELEASE_BEGUN_FIELD)
        }
        return replace(draft, truenas_verified_at=None, extra=extra)
    extra = {
        FINGERPRINT_FIELD: fingerprint,
        HOST_FIELD: socket.gethostname(),
        **carried_on(latest),
        **accepted(latest, fingerprint),
    }
    return replace(_new(lab, run_name), file_count=listing.file_count, total_bytes=listing.total_bytes, extra=extra)


def go_on(lab: Lab, run_name: str, latest: Record | None, *, copy_proven: bool) -> Record:
    """The record of a backup that goes on from its copy, or from the trash, as the ledger knows it.

    A source that was released stays released.

    Args:
        lab: The lab.
        run_name: The study.
        latest: What the ledger says of it.
        copy_proven: Whether the ledger's word that the copy was proven still stands; else it is taken back.
    """
    if latest is None:
        return _new(lab, run_name)
    draft = _drafted(lab, run_name, latest)
    return draft if copy_proven else replace(draft, truenas_verified_at=None)


def _drafted(lab: Lab, run_name: str, latest: Record) -> Record:
    """What the ledger says, as the beginning of more work: what is to be proven is not proven, and failed is over."""
    released = {RELEASED_FIELD: latest.source_deleted_at.isoformat()} if latest.source_deleted_at else {}
    now, new = datetime.now(UTC), _new(lab, run_name)
    return replace(
        latest,
        started_at=min(latest.started_at or now, now),  # of a clock that was ahead: else no time could follow in order
        run_name=run_name,
        # What is proven is proven where the copies are now, wherever they were before.
        source_path=new.source_path,
        truenas_path=new.truenas_path,
        s3_uri=new.s3_uri,
        status=Status.IN_PROGRESS,
        s3_verified_at=None,
        completed_at=None,
        source_deleted_at=None,
        extra={
            **released,
            **{name: value for name, value in latest.extra.items() if name != REASON_FIELD},
            **carried_on(latest),
        },
    )


def _new(lab: Lab, run_name: str) -> Record:
    backup_name = lab.config.backup_name(run_name)
    return Record(
        backup_name=backup_name,
        run_name=run_name,
        source_path=lab.source.location(run_name),
        truenas_path=lab.truenas.location(backup_name),
        s3_uri=lab.bucket.object_uri(backup_name),
        file_count=0,
        total_bytes=0,
        started_at=datetime.now(UTC),
        truenas_verified_at=None,
        s3_verified_at=None,
        completed_at=None,
        source_deleted_at=None,
        status=Status.IN_PROGRESS,
    )


def vouches_for_copy(lab: Lab, latest: Record | None) -> bool:
    """Whether the ledger says that the copy, as its sidecar describes it now, was proven, and nothing failed since.

    A sidecar alone proves nothing: whoever damaged a file may have written it, and nobody knows when it was last read.
    Nor does what was proven in another place, from where somebody brought the copy to this one.

    Args:
        lab: The lab.
        latest: What it says.
    """
    if latest is None or latest.truenas_verified_at is None:
        return False
    if latest.truenas_path != copy_place(lab, latest.backup_name):
        return False
    return sidecar_is(lab, latest) is not None


def sidecar_is(lab: Lab, record: Record) -> bytes | None:
    """The sidecar on the NAS, if it is the one of a record; else None.

    Args:
        lab: The lab.
        record: What the ledger says, or is to say.
    """
    try:
        sidecar = lab.truenas.read_file(f"{record.backup_name}/{SIDECAR_NAME}")
    except NotFoundError:
        return None
    return sidecar if hashlib.sha256(sidecar).hexdigest() == record.extra.get(SIDECAR_FIELD) else None


def sidecar_problems(lab: Lab, record: Record) -> tuple[Problem, ...]:
    """What is wrong with the sidecar of a copy: what it lists proves nothing, if the ledger does not name it.

    Somebody may have made it anew of files that had rotted, and S3 may have been made like it.

    Args:
        lab: The lab.
        record: What the ledger says of the copy.
    """
    if SIDECAR_FIELD not in record.extra or sidecar_is(lab, record) is not None:
        return ()
    return (Problem(SIDECAR_NAME, "it is not the one that the ledger proved", on_nas=True),)


def completed(record: Record) -> Record:
    """A proven record as it is when the backup is complete.

    Of a source that was released before this backup was repaired, ``source_deleted_at`` is the time of completion: the
    times of a record are in order. When it was released really stays in an extra field.

    Args:
        record: What the ledger says.
    """
    now = datetime.now(UTC)
    deleted_at = now if record.was_released else None
    return replace(record, status=Status.COMPLETE, completed_at=now, source_deleted_at=deleted_at)


def says_complete(lab: Lab, record: Record) -> bool:
    """Whether the ledger says ``complete`` of this very state of the study: then there is nothing to add."""
    latest = lab.ledger.read().records.get(record.backup_name)
    if latest is None or latest.status is not Status.COMPLETE:
        return False
    same = (FINGERPRINT_FIELD, SIDECAR_FIELD, EVICTED_FIELD)
    moved = (latest.truenas_path, latest.s3_uri) != (record.truenas_path, record.s3_uri)
    return not moved and all(latest.extra.get(name) == record.extra.get(name) for name in same)


def with_copy_read(draft: Record, sidecar_sha256: str) -> Record:
    """What the ledger is to say after a copy was read again, whole, and every file is what was proven.

    Args:
        draft: What it was to say before.
        sidecar_sha256: Of the sidecar that says so.
    """
    extra = {name: value for name, value in draft.extra.items() if name not in (ANNOUNCED_FIELD, COPY_READ_FIELD)}
    return replace(draft, truenas_verified_at=datetime.now(UTC), extra={**extra, SIDECAR_FIELD: sidecar_sha256})


def adopted(draft: Record, sidecar_sha256: str, archive_sha256: str | None) -> Record:
    """What the ledger is to say of copies it did not know, and that were seen to be of this study: what they must be.

    Args:
        draft: What it was to say before.
        sidecar_sha256: Of the sidecar that says so.
        archive_sha256: Of the one that S3 has, empty if there are objects without; None if S3 says nothing else.
    """
    extra = {**draft.extra, SIDECAR_FIELD: sidecar_sha256, ADOPTED_FIELD: datetime.now(UTC).isoformat()}
    return replace(draft, extra=extra if archive_sha256 is None else {**extra, ADOPTED_ARCHIVE_FIELD: archive_sha256})


def _of(draft: Record) -> dict[str, object]:
    """Of what a copy is that was made from the source; an archive that was made from it says nothing of that."""
    return {COPY_OF_FIELD: draft.run_name, COPY_FINGERPRINT_FIELD: draft.extra.get(FINGERPRINT_FIELD)}


def begun(lab: Lab, draft: Record, *, copying: bool, archiving: bool) -> Record:
    """What the ledger is to say before the first file is written, or uploaded, under a name in a place.

    Args:
        lab: The lab.
        draft: What it was to say before.
        copying: Whether files are to be written.
        archiving: Whether objects are to be uploaded.
    """
    now = datetime.now(UTC).isoformat()
    places = {COPY_BEGUN_FIELD: copy_place(lab, draft.backup_name)} if copying else {}
    places |= {ARCHIVE_BEGUN_FIELD: archive_place(lab, draft.backup_name)} if archiving else {}
    begins = {name: {place: now, **begun_in(draft, name)} for name, place in places.items()}
    return replace(draft, extra={**draft.extra, **begins})


def announced(draft: Record, sidecar_sha256: str) -> Record:
    """What the ledger is to say before a sidecar replaces the one that was proven last.

    Args:
        draft: What it was to say before.
        sidecar_sha256: Of the new one.
    """
    return replace(draft, extra={**draft.extra, ANNOUNCED_FIELD: sidecar_sha256})


def with_proofs(
    draft: Record, copy: CopyOutcome | None, archive: ArchiveOutcome | None, *, copy_read: bool = False
) -> Record:
    """What the ledger is to say after a transfer: what was proven, when, and of which bytes.

    Args:
        draft: What it said before.
        copy: What came of copying; None when it was not asked for.
        archive: What came of archiving, which may have failed; None when it was not asked for.
        copy_read: Whether the whole copy was read before, in the same run.
    """
    now = datetime.now(UTC)
    archived = archive is not None and archive.error is None
    outcome = copy or archive
    if outcome is None:
        return draft
    # A copy that was evicted once, and is there again, is one that may be lost; what was accepted is proven by now.
    over = {ANNOUNCED_FIELD, *((EVICTED_FIELD, EVICTION_BEGUN_FIELD) if copy else ())}
    over |= {COPY_READ_FIELD} if copy and (copy_read or copy.read_whole) else set()
    over |= set(ACCEPTED_FIELDS) if archived else set()
    extra = {name: value for name, value in draft.extra.items() if name not in over}
    return replace(
        draft,
        file_count=outcome.files,
        total_bytes=outcome.total_bytes,
        truenas_verified_at=now if copy else draft.truenas_verified_at,
        s3_verified_at=now if archived else None,
        extra={**extra, SIDECAR_FIELD: outcome.sidecar_sha256, **(_of(draft) if copy else {})},
    )


def append(lab: Lab, record: Record) -> None:
    """Append; a mirror that is behind is seen by the next plan, and must not stop what is at hand.

    Raises:
        NotMountedError: There is no ledger, and nothing shows that this is a new lab's NAS.
        ResourceError: It could not be written.
    """
    if not lab.ledger.exists():
        check_truenas(lab)
        create_ledger(lab)
    with suppress(MirrorError):
        lab.ledger.append(record)


def append_once(lab: Lab, record: Record) -> None:
    """Append, unless the ledger says just that already: a second run must change nothing."""
    latest = lab.ledger.read().history(record.backup_name)[-1:]
    if not latest or _meaning(latest[0]) != _meaning(record):
        append(lab, record)


def _meaning(record: Record) -> Record:
    return replace(record, started_at=None)


def append_failure(lab: Lab, draft: Record, status: Status, error: Exception) -> None:
    """Write down that a step failed, and take back what it disproved; its own error matters more than a second one.

    The ledger was there when the step began. If it is not there now, its share was lost, and none is made.

    Args:
        lab: The lab.
        draft: What the ledger was to say.
        status: Whether the copy failed, which leaves nothing proven, or the archive.
        error: Why.
    """
    failed = replace(
        draft,
        status=status,
        truenas_verified_at=None if status is Status.FAILED_TRUENAS else draft.truenas_verified_at,
        s3_verified_at=None,
        completed_at=None,
        extra={**draft.extra, REASON_FIELD: described(error)},
    )
    with suppress(ResourceError):
        if lab.ledger.exists():
            append_once(lab, failed)
