"""What the steps returned, as Dagster metadata, materializations and check results. No effects.

Data versions: the fingerprint of the listing for `validated`, which reads no bytes; for all others the SHA-256 of the
sidecar, which stands for every byte of the study. The entry in the ledger and the release speak of those same bytes, so
they have the same version: two assets of a study that differ in it are not about the same data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

import dagster as dg

from fusion_assets.manifest.extra_fields import SIDECAR_FIELD
from fusion_assets.reconcile.deletion import GateError, Released
from fusion_assets.reconcile.errors import InconsistentLedgerError
from fusion_assets.reconcile.lab import Lab
from fusion_assets.reconcile.steps import Recorded, Validation
from fusion_assets.reconcile.transferring import Transferred
from fusion_assets.standard.table import RULES
from fusion_assets.studies.checks import (
    HEALTH,
    LEDGER_CONSISTENT,
    MANIFEST_ENTRY,
    READ_BACK,
    S3_ARCHIVE,
    S3_COMPLETE,
    SOURCE_RELEASED,
    SOURCE_UNCHANGED,
    STRUCTURE,
    TRUENAS_COPY,
    VALIDATED,
    check_result,
    rule_check,
    table,
)
from fusion_assets.transfer.errors import ArchiveError, CorruptCopyError, ReadBackError, TransferError
from fusion_assets.transfer.outcome import ArchiveOutcome, CopyOutcome
from resources.errors import described

# Metadata of every materialization: whether the step changed anything, or found all as it should be.
CHANGED = "changed"


def validation_checks(found: Validation) -> Iterator[dg.AssetCheckResult]:
    """One result a rule, one for the structure of the files, one for the study's health."""
    for rule in RULES:
        broken = [violation for violation in found.report.violations if violation.rule == rule.id]
        rows = [{"path": v.path, "message": v.message, "hint": v.hint} for v in broken]
        yield check_result(VALIDATED, rule_check(rule.id), passed=not broken, metadata={"violations": table(rows)})
    blocking = [
        {"rule": f.rule, "path": f.path, "message": f.message, "hint": f.hint} for f in found.structure.blocking
    ]
    yield check_result(VALIDATED, STRUCTURE, passed=not blocking, metadata={"broken": table(blocking)})
    advice = [
        *({"what": w.check, "path": "", "message": w.message} for w in found.health),
        *({"what": f.rule, "path": f.path, "message": f.message} for f in found.structure.warnings),
        *({"what": w.rule, "path": w.path, "message": w.message} for w in found.report.warnings),
    ]
    yield check_result(VALIDATED, HEALTH, passed=not advice, warn=True, metadata={"warnings": table(advice)})


def validation_metadata(found: Validation) -> dict[str, Any]:
    """What a study consists of, for the UI."""
    by_top: Counter[str] = Counter()
    bytes_by_top: Counter[str] = Counter()
    for entry in found.listing.files:
        top = entry.path.split("/", 1)[0]
        by_top[top] += 1
        bytes_by_top[top] += entry.size
    rows = [{"entry": top, "files": by_top[top], "bytes": bytes_by_top[top]} for top in sorted(by_top)]
    return {
        "files": found.listing.file_count,
        "bytes": found.listing.total_bytes,
        "path": dg.MetadataValue.path(found.report.path),
        "contents": table(rows),
        "fingerprint": found.listing.fingerprint(),
        "warnings": len(found.report.warnings) + len(found.structure.warnings) + len(found.health),
    }


def transfer_results(lab: Lab, run_name: str, done: Transferred) -> Iterator[Any]:
    """A materialization and a passed check for each part of a transfer that succeeded; a failed one of the archive."""
    if done.copy:
        yield dg.MaterializeResult(
            asset_key=TRUENAS_COPY,
            metadata=_copy_metadata(lab, run_name, done.copy),
            data_version=dg.DataVersion(done.copy.sidecar_sha256),
            check_results=[
                check_result(
                    TRUENAS_COPY,
                    READ_BACK,
                    passed=True,
                    metadata={"files": done.copy.files, "how": done.copy.read_back},
                )
            ],
        )
    if done.archive and isinstance(done.archive.error, ArchiveError):
        yield _failed_proof(S3_ARCHIVE, S3_COMPLETE, done.archive.error)
    if done.archive and not done.archive.error:
        yield dg.MaterializeResult(
            asset_key=S3_ARCHIVE,
            metadata=_archive_metadata(lab, run_name, done.archive),
            data_version=dg.DataVersion(done.archive.sidecar_sha256),
            check_results=[
                check_result(
                    S3_ARCHIVE,
                    S3_COMPLETE,
                    passed=True,
                    metadata={
                        "objects": done.archive.files,
                        "proved_by_download": done.archive.proved_by_download,
                    },
                )
            ],
        )


def failed_transfer(error: TransferError, selected: Collection[str]) -> Iterator[dg.AssetCheckResult]:
    """The failed check of a transfer that found other bytes than it must; a place that failed says nothing of them.

    Args:
        error: Why there is no copy, or no archive.
        selected: The assets that were to be made; only their checks may be reported.
    """
    if isinstance(error, ReadBackError | CorruptCopyError) and TRUENAS_COPY in selected:
        yield _failed_proof(TRUENAS_COPY, READ_BACK, error)
    elif isinstance(error, ArchiveError | CorruptCopyError) and S3_ARCHIVE in selected:
        yield _failed_proof(S3_ARCHIVE, S3_COMPLETE, error)


def _failed_proof(asset: str, check: str, error: TransferError) -> dg.AssetCheckResult:
    rows = [{"path": path} for path in error.paths]
    return check_result(asset, check, passed=False, metadata={"why": described(error), "not proven": table(rows)})


def _data_version(sidecar_sha256: str) -> dg.DataVersion | None:
    return dg.DataVersion(sidecar_sha256) if sidecar_sha256 else None


def _copy_metadata(lab: Lab, run_name: str, copy: CopyOutcome) -> dict[str, Any]:
    return {
        CHANGED: copy.copied_files > 0,
        "files": copy.files,
        "bytes": copy.total_bytes,
        "copied files": copy.copied_files,
        "copied bytes": copy.copied_bytes,
        "source bytes read": copy.source_read,
        "NAS bytes written": copy.nas_written,
        "NAS bytes read": copy.nas_read,
        "MB/s": round(copy.mb_per_second, 1),
        "seconds": round(copy.seconds, 3),
        "stages": table([{"stage": s, "seconds": round(t, 3)} for s, t in copy.stage_seconds.items()]),
        "read back": copy.read_back,
        "not copied": table([{"path": path, "kind": kind} for path, kind in copy.skipped]),
        "unknown on the NAS": table([{"path": path} for path in copy.extra]),
        "copy": dg.MetadataValue.path(lab.truenas.location(lab.config.backup_name(run_name))),
        "sidecar sha256": copy.sidecar_sha256,
    }


def _archive_metadata(lab: Lab, run_name: str, archive: ArchiveOutcome) -> dict[str, Any]:
    return {
        CHANGED: archive.uploaded_files > 0,
        "objects": archive.files,
        "bytes": archive.total_bytes,
        "uploaded objects": archive.uploaded_files,
        "uploaded bytes": archive.uploaded_bytes,
        "present objects": archive.present_files,
        "proved by download": archive.proved_by_download,
        "MB/s": round(archive.mb_per_second, 1),
        "seconds": round(archive.seconds, 3),
        "archive": dg.MetadataValue.url(lab.bucket.object_uri(lab.config.backup_name(run_name))),
        "sidecar sha256": archive.sidecar_sha256,
    }


def ledger_inconsistent(error: InconsistentLedgerError) -> dg.AssetCheckResult:
    """The failed check of an entry that was not written, because the ledger would break its schema with it."""
    return check_result(MANIFEST_ENTRY, LEDGER_CONSISTENT, passed=False, metadata={"failures": table(error.rows)})


def ledger_results(done: Recorded) -> Iterator[Any]:
    """The check of the ledger, and the materialization of this study's entry."""
    yield check_result(
        MANIFEST_ENTRY,
        LEDGER_CONSISTENT,
        passed=not done.failures and not done.bad_lines,
        warn=True,  # somebody else's bad record must be seen, but it must not stop this study
        metadata={
            "failures": table(done.failures),
            "bad_lines": table([{"line": str(bad)} for bad in done.bad_lines]),
            "studies": done.studies,
        },
    )
    record = done.record
    yield dg.MaterializeResult(
        asset_key=MANIFEST_ENTRY,
        data_version=_data_version(str(record.extra.get(SIDECAR_FIELD, ""))),
        metadata={
            CHANGED: done.appended,
            "status": record.status.value,
            "ledger": dg.MetadataValue.path(done.location),
            "mirror": dg.MetadataValue.url(done.mirror),
            "record": dg.MetadataValue.json(record.to_fields()),
        },
    )


def gates_closed(error: GateError) -> dg.AssetCheckResult:
    """Which gates kept a source from being deleted, and what was observed instead."""
    rows = [{"gate": gate, "observed": observed} for gate, observed in error.gates.items()]
    return check_result(SOURCE_RELEASED, SOURCE_UNCHANGED, passed=False, metadata={"closed gates": table(rows)})


def release_results(released: Released) -> Iterator[Any]:
    """The passed check and the materialization of a release."""
    yield check_result(SOURCE_RELEASED, SOURCE_UNCHANGED, passed=True)
    yield dg.MaterializeResult(
        asset_key=SOURCE_RELEASED,
        data_version=_data_version(released.sidecar_sha256),
        metadata={
            CHANGED: True,
            "files": released.file_count,
            "bytes": released.total_bytes,
            "GiB": released.total_bytes / 1024**3,
        },
    )
