"""The objects of a study that are in S3 already: listed, recognised, downloaded where S3 states no checksum.

What belongs here: looking. What does not: uploading (`upload`), and judging what was seen (`proof`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from fusion_assets.standard.listing import SIDECAR_NAME
from fusion_assets.transfer.proof import METADATA_COMPOSITES, METADATA_PART_SIZE, composites_digest
from resources.s3_errors import ArchivedObjectError

if TYPE_CHECKING:
    from resources.s3 import S3Bucket
    from resources.s3_objects import ListedObject, ObjectInfo


def object_key(backup_name: str, path: str) -> str:
    """The key of a study's file, relative to the bucket's prefix."""
    return f"{backup_name}/{path}"


def list_objects(bucket: S3Bucket, backup_name: str) -> dict[str, ListedObject]:
    """The objects of a study by path relative to it, the sidecar among them."""
    prefix = object_key(backup_name, "")
    return {listed.key.removeprefix(prefix): listed for listed in bucket.list(prefix)}


def part_size_of(info: ObjectInfo) -> int | None:
    """The part size that a multipart object of ours bears as metadata; None if it bears none."""
    text = info.metadata.get(METADATA_PART_SIZE, "")
    return int(text) if text.isdecimal() and int(text) > 0 else None


def hash_object(bucket: S3Bucket, key: str) -> str:
    """The SHA-256 in hex of an object's bytes, as they come over the network.

    Args:
        bucket: Where.
        key: The object.

    Raises:
        ArchivedObjectError: It is in cold storage.
    """
    digest = hashlib.sha256()
    for chunk in bucket.read(key):
        digest.update(chunk)
    return digest.hexdigest()


def download_proves(bucket: S3Bucket, key: str, sha256: str) -> bool:
    """Whether an object's bytes, as they come over the network, have this SHA-256.

    Args:
        bucket: Where.
        key: The object.
        sha256: In hex.

    Returns:
        False also for one in cold storage: what cannot be read now is not proven, and is uploaded again.
    """
    try:
        return hash_object(bucket, key) == sha256
    except ArchivedObjectError:
        return False


def recognised_composites(
    bucket: S3Bucket, backup_name: str, listed: Mapping[str, ListedObject], recorded: Collection[str]
) -> dict[str, str]:
    """Composites of a finished study's multipart objects, if S3 still states all of them as when they were proven.

    S3 states a composite but not of which bytes; ours is known only while the file is read. The sidecar object bears
    one digest over all of them (`composites_digest`): while that agrees, no file needs to be read again.

    Args:
        bucket: Where.
        backup_name: The study.
        listed: From `list_objects`.
        recorded: Paths that are in the sidecar.

    Returns:
        Composite by path; empty if any object has changed, or nothing was finished.
    """
    # A multipart object's ETag ends in "-<number of parts>" on AWS and every server we know.
    multiparts = [path for path in recorded if path in listed and "-" in listed[path].etag]
    if not multiparts or SIDECAR_NAME not in listed:
        return {}
    sidecar = bucket.head(object_key(backup_name, SIDECAR_NAME))
    digest = sidecar.metadata.get(METADATA_COMPOSITES) if sidecar else None
    if digest is None:
        return {}
    infos = {path: bucket.head(object_key(backup_name, path)) for path in multiparts}
    composites = {path: info.composite for path, info in infos.items() if info and info.composite}
    return composites if composites_digest(composites.items()) == digest else {}
