"""Whether a study is in S3: its objects against the copy on the NAS, or else against what the ledger says of them.

Pure, as all of `judge`, which judges the other conditions.
"""

from __future__ import annotations

import hashlib

from fusion_assets.manifest.extra_fields import SIDECAR_FIELD
from fusion_assets.manifest.record import Record, Status
from fusion_assets.reconcile.conditions import Condition, Unseen, false, true, unknown
from fusion_assets.reconcile.facts import ArchiveFacts, CopyFacts, Present
from fusion_assets.reconcile.plan import COPY_NOT_COMPARED
from fusion_assets.standard.listing import Listing
from fusion_assets.transfer.errors import name_some


def judge_archive(
    archive: ArchiveFacts | Present | Unseen | None,
    copy: CopyFacts | Present | Unseen | None,
    record: Record | None,
    at_hand: Listing | None,
    *,
    at_source: bool,
    behind: str = "",
) -> Condition:
    """Whether a study is in S3, whole.

    Args:
        archive: What S3 has of it.
        copy: What the NAS has.
        record: What the ledger says.
        at_hand: Its files at the source or in the trash.
        at_source: Whether they are at the source.
        behind: What an unfinished archive is of which nothing is at hand any more.
    """
    if isinstance(archive, Unseen):
        return unknown("S3Unseen", archive.why)
    if isinstance(archive, Present):
        return true("Present", "objects are there; they were not looked at")
    if archive is None or (archive.sidecar_sha256 is None and not archive.sizes):
        return false("NotArchived", _lost(record, "nothing of it"))
    if archive.sidecar_sha256 is None:
        why = _lost(record, "no sidecar of it") or behind or "the archive has no sidecar yet"
        return false("ArchiveUnfinished", why)
    if isinstance(copy, CopyFacts) and copy.checksums is not None:
        return _archive_matches(archive, copy)
    return _not_comparable(archive, copy, record, at_hand, at_source=at_source)


def _not_comparable(
    archive: ArchiveFacts,
    copy: CopyFacts | Present | Unseen | None,
    record: Record | None,
    at_hand: Listing | None,
    *,
    at_source: bool,
) -> Condition:
    """What of an archive can be told without a copy that lists what it must be."""
    if record and record.status is Status.COMPLETE:
        total = sum(archive.sizes.values())
        complete = len(archive.sizes) >= record.file_count and total >= record.total_bytes
        counts = f"{len(archive.sizes)} objects, {total} bytes; recorded {record.file_count}, {record.total_bytes}"
        return true("Archived") if complete else false("ObjectsMissing", counts)
    # Without a record they may be those of another study of that name: of the source every byte is compared first.
    if at_source or (record and (at_hand or (isinstance(copy, CopyFacts) and SIDECAR_FIELD in record.extra))):
        return false("NotCompared", "the copy to compare the objects with is not there, but it can be made")
    if isinstance(copy, CopyFacts) and copy.files and at_hand is None:
        return false(
            COPY_NOT_COMPARED, "nothing but this archive says what the copy must be; `fusion apply` compares them"
        )
    why = "neither a copy on the NAS nor a ledger record to compare the objects with"
    return unknown("NothingToCompare", f"{why} | hint: bring the copy back from S3, then `fusion apply`")


def _lost(record: Record | None, what: str) -> str:
    """What S3 has not got of an archive that was proven there once; empty if none was. It may be the only copy."""
    if record is None or record.s3_verified_at is None:
        return ""
    return (
        f"it was archived in {record.s3_uri}, but S3 has {what} where config.toml says | hint: correct [s3] in "
        "config.toml, or bring its objects back from their versions"
    )


def _archive_matches(archive: ArchiveFacts, copy: CopyFacts) -> Condition:
    checksums = copy.checksums or {}
    if archive.sidecar_sha256 != hashlib.sha256(copy.sidecar).hexdigest():
        return false("SidecarDiffers", "the sidecar in S3 is not the one on the NAS")
    if missing := sorted(checksums.keys() - archive.sizes.keys()):
        return false("ObjectsMissing", f"not in S3: {name_some(missing)}")
    differing = sorted(path for path in checksums if _size_differs(path, archive, copy))
    if differing:
        return false("ObjectsDiffer", f"another size in S3: {name_some(differing)}")
    return true("Archived")


def _size_differs(path: str, archive: ArchiveFacts, copy: CopyFacts) -> bool:
    return path in copy.files and archive.sizes[path] != copy.files[path].size
