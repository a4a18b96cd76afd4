"""Find the sidecar that was proven last, when the NAS does not have it any more, by its SHA-256.

A sidecar follows from the bytes of its files and from nothing else, and the ledger keeps its SHA-256. So whatever gives
a sidecar of that SHA-256 gives the very one that was proven: the object in S3; the checksums S3 states of the study's
objects, which it does in cold storage, too, where reading takes hours; or the files of the copy, read whole.

What belongs here: these three ways. What does not: whether they are asked, and what is done with the answer
(`reconcile`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from fusion_assets.standard.listing import SIDECAR_NAME, is_own_file
from fusion_assets.transfer.checksums import hash_stored
from fusion_assets.transfer.crew import read_side_by_side
from fusion_assets.transfer.held import list_held
from fusion_assets.transfer.objects import list_objects, object_key
from fusion_assets.transfer.proof import METADATA_SHA256
from fusion_assets.transfer.sidecar import format_sidecar
from resources.s3_errors import ArchivedObjectError
from resources.storage import Entry, Storage

if TYPE_CHECKING:
    from resources.s3 import S3Bucket


def is_sidecar(data: bytes, sha256: str) -> bool:
    """Whether these bytes are the sidecar of this SHA-256 (hex)."""
    return hashlib.sha256(data).hexdigest() == sha256


def archived_sidecar(bucket: S3Bucket, backup_name: str, sha256: str) -> bytes | None:
    """The sidecar object of a study, if it is this one.

    Args:
        bucket: Where the objects are.
        backup_name: What their keys begin with.
        sha256: Of the sidecar, in hex.

    Returns:
        Its bytes; None also where it is in cold storage, and cannot be read.

    Raises:
        ResourceError: S3 cannot be asked: unknown, not missing.
    """
    key = object_key(backup_name, SIDECAR_NAME)
    info = bucket.head(key)
    if info is None or (info.sha256 is not None and info.sha256.hex() != sha256):
        return None
    try:
        data = bucket.get_bytes(key)
    except ArchivedObjectError:
        return None
    return data if data is not None and is_sidecar(data, sha256) else None


def stated_sidecar(bucket: S3Bucket, backup_name: str, sha256: str) -> bytes | None:
    """The sidecar that follows from what S3 states of the study's objects, if it is this one; asks for each object.

    What is stated of a large object is only a label that nobody checked; but no wrong label gives the right SHA-256.

    Args:
        bucket: Where the objects are.
        backup_name: What their keys begin with.
        sha256: Of the sidecar, in hex.

    Raises:
        ResourceError: S3 cannot be asked: unknown, not missing.
    """
    return _following(stated_checksums(bucket, backup_name), sha256)


def stated_checksums(bucket: S3Bucket, backup_name: str, paths: Collection[str] | None = None) -> dict[str, str]:
    """What S3 states of a study's objects: SHA-256 in hex by path; those of which it states none are left out.

    Args:
        bucket: Where the objects are.
        backup_name: What their keys begin with.
        paths: Of which to ask; None for all that are there.

    Raises:
        ResourceError: S3 cannot be asked: unknown, not missing.
    """
    stated: dict[str, str] = {}

    def ask(path: str, buffer: memoryview) -> None:  # noqa: ARG001 - nothing to read
        info = bucket.head(object_key(backup_name, path))
        sha256 = info.sha256.hex() if info and info.sha256 else info.metadata.get(METADATA_SHA256) if info else None
        if sha256:
            stated[path] = sha256

    asked = list_objects(bucket, backup_name) if paths is None else paths
    read_side_by_side("ask", (path for path in asked if path != SIDECAR_NAME), ask)
    return stated


def rebuilt_sidecar(storage: Storage, directory: str, sha256: str, archived: Collection[str]) -> bytes | None:
    """The sidecar that follows from the files of a copy, or of its source, if it is this one; reads all of them.

    Args:
        storage: Where they are.
        directory: In which directory.
        sha256: Of the sidecar, in hex.
        archived: Paths of the study's objects in S3: they tell the study's files from others that lie beside them.

    Raises:
        ResourceError: The storage failed.
    """
    checksums = read_checksums(storage, directory)
    common = {path: checksums[path] for path in checksums.keys() & set(archived)}
    return _following(checksums, sha256) or _following(common, sha256)


def read_checksums(nas: Storage, backup_name: str, paths: Collection[str] | None = None) -> dict[str, str]:
    """What the files of a copy hash to, SHA-256 in hex by path; reads them.

    Args:
        nas: Where the copy is.
        backup_name: The copy's directory.
        paths: Which to read, as far as they are there; None for all.

    Raises:
        ResourceError: The NAS failed.
    """
    held = list_held(nas, backup_name)
    files = [
        e for path, e in held.items() if e.kind == "file" and not is_own_file(path) and (paths is None or path in paths)
    ]
    checksums: dict[str, str] = {}

    def read(entry: Entry, buffer: memoryview) -> None:
        if digests := hash_stored(nas, f"{backup_name}/{entry.path}", entry.size, buffer):
            checksums[entry.path] = digests[0]

    read_side_by_side("read", files, read)
    return checksums


def _following(checksums: Mapping[str, str], sha256: str) -> bytes | None:
    sidecar = format_sidecar(checksums)
    return sidecar if is_sidecar(sidecar, sha256) else None
