"""What the steps of a study write into the ledger: how a record begins, goes on, and says that something failed.

What belongs here: building records and appending them, once. What does not: the ledger's files (`manifest`), and when a
step has something to say (`steps`).
"""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from fusion_assets.manifest.mirror import MirrorError
from fusion_assets.manifest.record import Record, Status
from fusion_assets.reconcile.judge import REASON_FIELD, SIDECAR_FIELD
from fusion_assets.reconcile.lab import Lab, create_ledger
from fusion_assets.reconcile.overwrite import FINGERPRINT_FIELD, accepted
from fusion_assets.standard.listing import Listing
from fusion_assets.transfer.outcome import ArchiveOutcome, CopyOutcome
from resources.errors import ResourceError, described

# A field the ledger carries beyond the fixed ones: the machine that did the work.
HOST_FIELD = "host"


def draft_record(lab: Lab, run_name: str, listing: Listing | None) -> Record:
    """The record of a backup that begins now, or that goes on from what the ledger knows of the same state of it.

    Args:
        lab: The lab.
        run_name: The study.
        listing: Its directory at the source; None when it is not worked on from there.
    """
    backup_name = lab.config.backup_name(run_name)
    latest = lab.ledger.read().records.get(backup_name)
    fingerprint = listing.fingerprint() if listing else None
    if latest and (fingerprint is None or latest.extra.get(FINGERPRINT_FIELD) == fingerprint):
        extra = {name: value for name, value in latest.extra.items() if name != REASON_FIELD}
        return replace(
            latest,
            run_name=run_name,
            source_path=lab.source.location(run_name),
            status=Status.IN_PROGRESS,
            completed_at=None,
            source_deleted_at=None,
            extra=extra,
        )
    return Record(
        backup_name=backup_name,
        run_name=run_name,
        source_path=lab.source.location(run_name),
        truenas_path=lab.truenas.location(backup_name),
        s3_uri=lab.bucket.object_uri(backup_name),
        file_count=listing.file_count if listing else 0,
        total_bytes=listing.total_bytes if listing else 0,
        started_at=datetime.now(UTC),
        truenas_verified_at=None,
        s3_verified_at=None,
        completed_at=None,
        source_deleted_at=None,
        status=Status.IN_PROGRESS,
        extra={FINGERPRINT_FIELD: fingerprint, HOST_FIELD: socket.gethostname(), **accepted(latest, fingerprint)}
        if fingerprint
        else {},
    )


def says_complete(lab: Lab, record: Record) -> bool:
    """Whether the ledger says ``complete`` of this very state of the study: then there is nothing to add."""
    latest = lab.ledger.read().records.get(record.backup_name)
    if latest is None or latest.status is not Status.COMPLETE:
        return False
    same = (FINGERPRINT_FIELD, SIDECAR_FIELD)
    return all(latest.extra.get(name) == record.extra.get(name) for name in same)


def with_proofs(
    draft: Record, copy: CopyOutcome | None, archive: ArchiveOutcome | None, *, copy_read_again: bool
) -> Record:
    """What the ledger is to say after a transfer: what was proven, when, and of which bytes.

    Args:
        draft: What it said before.
        copy: What came of copying; None when it was not asked for.
        archive: What came of archiving, which may have failed; None when it was not asked for.
        copy_read_again: Whether a copy that nothing vouched for was read again, whole, and found good.
    """
    now = datetime.now(UTC)
    archived = archive is not None and archive.error is None
    outcome = copy or archive
    if outcome is None:
        return draft
    return replace(
        draft,
        file_count=outcome.files,
        total_bytes=outcome.total_bytes,
        truenas_verified_at=now if copy or copy_read_again else draft.truenas_verified_at,
        s3_verified_at=now if archived else None,
        extra={**draft.extra, SIDECAR_FIELD: outcome.sidecar_sha256},
    )


def append(lab: Lab, record: Record) -> None:
    """Append; a mirror that is behind is seen by the next plan, and must not stop what is at hand."""
    if not lab.ledger.exists():
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
    """Write down that a step failed; when even that fails, the step's own error matters more."""
    with suppress(ResourceError):
        append_once(lab, replace(draft, status=status, extra={**draft.extra, REASON_FIELD: described(error)}))
