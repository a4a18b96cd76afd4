"""What S3 says that the files of a study are, wherever that is not what the ledger and the NAS say.

A finished archive says it by its sidecar. Objects under the name of a study that no run of ours ever uploaded say it,
too, each for itself: of another program, or of ours before ledger and sidecar were lost.

What belongs here: asking S3, and reading what it has. What does not: whose word counts (`expected`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusion_assets.standard.listing import SIDECAR_NAME
from fusion_assets.transfer.errors import CorruptCopyError, name_some
from fusion_assets.transfer.lost_sidecar import is_sidecar, stated_checksums
from fusion_assets.transfer.objects import hash_object, list_objects, object_key
from fusion_assets.transfer.proof import METADATA_MTIME, is_archived_time, is_written_by_us
from fusion_assets.transfer.sidecar import SidecarError, format_sidecar, parse_sidecar
from resources.s3_errors import ArchivedObjectError

if TYPE_CHECKING:
    from resources.s3 import S3Bucket
    from resources.s3_objects import ObjectInfo
    from resources.storage import Entry


@dataclass(frozen=True, slots=True)
class Archive:
    """What S3 has of a study.

    Attributes:
        sha256: Of its sidecar, in hex; empty for objects that have none.
        checksums: What they must be, SHA-256 in hex by path.
    """

    sha256: str
    checksums: Mapping[str, str]


def find_archive(bucket: S3Bucket, backup_name: str, held: bytes, *, begun: bool) -> Archive | None:
    """What S3 has of a study, unless it says just what `held` says; None then, and where it has nothing that counts.

    Args:
        bucket: Where the objects are.
        backup_name: What their keys begin with.
        held: The sidecar that was found elsewhere; empty for none.
        begun: Whether a run of ours began to upload objects of it: those of no finished archive may be half of it.

    Raises:
        CorruptCopyError: Something is there, and nobody can say what it is.
        ResourceError: S3 cannot be asked: unknown, not missing.
    """
    info = bucket.head(object_key(backup_name, SIDECAR_NAME))
    found = _finished(bucket, backup_name, held, info) if info else None
    if begun:
        return found
    listed = found.checksums if found else listed_in(held) if info else {}
    others = _unlisted(bucket, backup_name, listed)
    return Archive(found.sha256 if found else "", {**others, **listed}) if others else found


def _finished(bucket: S3Bucket, backup_name: str, held: bytes, info: ObjectInfo) -> Archive | None:
    """A finished archive, by its sidecar; where that is in cold storage, or damaged, by what S3 states of the rest."""
    stated = info.sha256.hex() if info.sha256 else None
    if stated and is_sidecar(held, stated):
        return None
    if (sidecar := _read(bucket, object_key(backup_name, SIDECAR_NAME))) and (listed := listed_in(sidecar)):
        return None if sidecar == held else Archive(hashlib.sha256(sidecar).hexdigest(), listed)
    checksums = stated_checksums(bucket, backup_name)
    if stated and is_sidecar(format_sidecar(checksums), stated):
        return Archive(stated, checksums)
    if _agree(checksums, listed_in(held), list_objects(bucket, backup_name)):
        return None
    raise CorruptCopyError(
        f"{bucket.object_uri(f'{backup_name}/{SIDECAR_NAME}')} is the mark of a finished archive that the ledger does "
        "not know, and it cannot be read; nothing is overwritten | hint: bring a good version of it back (or the "
        "ledger, by `fusion manifest restore`), or if the copy on the NAS is the right one, remove that object; then "
        "`fusion apply`"
    )


def _agree(stated: Mapping[str, str], held: Mapping[str, str], objects: Collection[str]) -> bool:
    """Whether the objects are known to be what is held, every one of them: then the sidecar alone is damaged."""
    return bool(stated) and set(objects) <= {*stated, SIDECAR_NAME} and stated.items() <= held.items()


def _unlisted(bucket: S3Bucket, backup_name: str, listed: Mapping[str, str]) -> Mapping[str, str]:
    """What the objects are that no sidecar lists."""
    paths = list_objects(bucket, backup_name)
    return _read_all(bucket, backup_name, [path for path in paths if path not in listed and path != SIDECAR_NAME])


def _read_all(bucket: S3Bucket, backup_name: str, paths: Collection[str]) -> Mapping[str, str]:
    """What these objects are; those of which S3 states nothing are read."""
    if not paths:
        return {}
    stated = stated_checksums(bucket, backup_name, paths)
    try:
        return {path: stated.get(path) or hash_object(bucket, object_key(backup_name, path)) for path in paths}
    except ArchivedObjectError as error:
        unstated = [path for path in paths if path not in stated]
        raise CorruptCopyError(
            f"{bucket.object_uri(backup_name)}: there are objects that the ledger does not know, and of some S3 states "
            f"no checksum, and they are in cold storage: {name_some(unstated)}; nothing is overwritten | hint: restore "
            "them, so that they can be read, or rename the study"
        ) from error


def strange_objects(bucket: S3Bucket, backup_name: str, paths: Collection[str]) -> Mapping[str, str]:
    """Of the objects of these paths those that no run of ours wrote, SHA-256 in hex by path.

    Args:
        bucket: Where the objects are.
        backup_name: What their keys begin with.
        paths: Of which to ask: none of them in a sidecar.

    Raises:
        CorruptCopyError: Nobody can say what one of them is.
        ResourceError: S3 cannot be asked.
    """
    asked = [path for path in list_objects(bucket, backup_name) if path in paths]
    seen = {path: bucket.head(object_key(backup_name, path)) for path in asked}
    return _read_all(bucket, backup_name, [path for path, info in seen.items() if info and not is_written_by_us(info)])


def as_stated(bucket: S3Bucket, backup_name: str, archive: Archive, proven: Mapping[str, str]) -> Archive:
    """What S3 has, where its sidecar is contradicted by what was proven: what S3 states of an object itself counts.

    A sidecar that somebody made anew of rotten files may reach S3 without them.

    Args:
        bucket: Where the objects are.
        backup_name: What their keys begin with.
        archive: What `find_archive` gave.
        proven: What was proven, SHA-256 in hex by path.
    """
    contradicted = [path for path, sha256 in archive.checksums.items() if proven.get(path, sha256) != sha256]
    stated = stated_checksums(bucket, backup_name, contradicted) if archive.sha256 else {}
    return Archive(archive.sha256, {**archive.checksums, **stated})


def is_as_archived(bucket: S3Bucket, backup_name: str, entry: Entry, *, timeless: bool = False) -> bool | None:
    """Whether a file looks as its object says that it looked: the size and the time; None where there is no object.

    Args:
        bucket: Where the objects are.
        backup_name: What their keys begin with.
        entry: The file, at the source or on the NAS, its path relative to the study.
        timeless: Whether the size will do for an object that bears no time, as another program's.
    """
    info = bucket.head(object_key(backup_name, entry.path))
    if info is None or info.size != entry.size:
        return False if info else None
    return is_archived_time(info, entry.mtime_ns) or (timeless and METADATA_MTIME not in info.metadata)


def _read(bucket: S3Bucket, key: str) -> bytes | None:
    """A small object; None where it is in cold storage, or gone."""
    try:
        return bucket.get_bytes(key)
    except ArchivedObjectError:
        return None


def listed_in(sidecar: bytes) -> Mapping[str, str]:
    """What a sidecar lists; empty for one that cannot be read.

    Args:
        sidecar: Its bytes.
    """
    try:
        return parse_sidecar(sidecar)
    except SidecarError:
        return {}
