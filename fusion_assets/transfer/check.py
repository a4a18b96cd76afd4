"""Judging finished copies and archives: is every file still there, and are its bytes those that were proven?

For the gates before anything is deleted, for scrub and restore. What belongs here: looking, and listing every problem.
What does not: repairing anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fusion_assets.standard.listing import SIDECAR_NAME
from fusion_assets.transfer.checksums import hash_stored
from fusion_assets.transfer.crew import read_side_by_side
from fusion_assets.transfer.errors import ArchiveError
from fusion_assets.transfer.held import list_held, read_records
from fusion_assets.transfer.objects import (
    download_proves,
    list_objects,
    object_key,
    part_size_of,
    recognised_composites,
)
from fusion_assets.transfer.plan import known_proofs
from fusion_assets.transfer.proof import DOWNLOAD_DECIDES, FileProof, judge_object, multipart_proof
from resources.storage import Storage

if TYPE_CHECKING:
    from resources.s3 import S3Bucket
    from resources.s3_objects import ListedObject


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one file of a copy, or one object of an archive.

    Attributes:
        path: Relative to the study.
        problem: In words.
    """

    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A finished copy: its sidecar, and the proofs of those of its files that are there."""

    sidecar: bytes
    checksums: Mapping[str, str]
    proofs: Mapping[str, FileProof]

    @property
    def missing(self) -> list[Problem]:
        return [Problem(path, "missing on the NAS") for path in sorted(self.checksums.keys() - self.proofs.keys())]


def _read_copy(nas: Storage, backup_name: str) -> _Recorded:
    held = list_held(nas, backup_name)
    records, sidecar = read_records(nas, backup_name, held)
    if sidecar is None:
        raise ArchiveError(f"{nas.location(backup_name)} holds no finished copy (no {SIDECAR_NAME}): copy it first")
    known = known_proofs(held, replace(records, journal={}))
    return _Recorded(sidecar, records.sidecar, known)


def check_copy(nas: Storage, backup_name: str) -> list[Problem]:
    """Read every file of a finished copy and compare it with the sidecar.

    Returns:
        What is wrong, sorted by path; empty when the copy is good.

    Raises:
        ArchiveError: There is no finished copy.
        CorruptCopyError: The sidecar cannot be read.
        ResourceError: The NAS failed: unknown, not corrupt.
    """
    copy = _read_copy(nas, backup_name)
    problems = copy.missing

    def check(proof: FileProof, buffer: memoryview) -> None:
        digests = hash_stored(nas, f"{backup_name}/{proof.path}", proof.size, buffer)
        if digests is None or digests[0] != proof.sha256:
            problems.append(Problem(proof.path, "its bytes on the NAS are not those that were proven"))

    read_side_by_side("check", copy.proofs.values(), check)
    return sorted(problems, key=lambda problem: problem.path)


def check_archive(nas: Storage, bucket: S3Bucket, backup_name: str) -> list[Problem]:
    """Ask S3 about every object of a study, and compare with the finished NAS copy.

    An object is good if S3 states the size and a checksum that prove it. Where it states none, or one that nobody
    computed before, the object is downloaded, or the composite computed from the NAS copy. One that cannot be
    downloaded because it is in cold storage is not proven.

    Returns:
        What is wrong, sorted by path; empty when every object and the sidecar, the commit mark, are proven.

    Raises:
        ArchiveError: There is no finished copy to compare with.
        CorruptCopyError: The sidecar cannot be read.
        ResourceError: The NAS or S3 failed: unknown, not missing.
    """
    copy = _read_copy(nas, backup_name)
    listed = list_objects(bucket, backup_name)
    composites = recognised_composites(bucket, backup_name, listed, copy.checksums)
    problems = copy.missing
    looking = _Looking(nas, bucket, backup_name, listed)

    def check(proof: FileProof, buffer: memoryview) -> None:
        if found := looking.problem_of(replace(proof, composite=composites.get(proof.path)), buffer):
            problems.append(Problem(proof.path, found))

    read_side_by_side("check", copy.proofs.values(), check)
    if not _holds(bucket, object_key(backup_name, SIDECAR_NAME), copy.sidecar):
        problems.append(Problem(SIDECAR_NAME, "the sidecar in S3 is missing, or not that of the NAS copy"))
    return sorted(problems, key=lambda problem: problem.path)


def _holds(bucket: S3Bucket, key: str, data: bytes) -> bool:
    """Whether an object is these bytes: by its checksum, which it states in cold storage, too; else by download."""
    info = bucket.head(key)
    if info is None:
        return False
    sha256 = hashlib.sha256(data)
    return info.sha256 == sha256.digest() if info.sha256 else download_proves(bucket, key, sha256.hexdigest())


@dataclass(frozen=True, slots=True)
class _Looking:
    """What is needed to look at one object after the other."""

    nas: Storage
    bucket: S3Bucket
    backup_name: str
    listed: Mapping[str, ListedObject]

    def problem_of(self, proof: FileProof, buffer: memoryview) -> str | None:
        """What is wrong with the object of a file; None when it is proven."""
        key = object_key(self.backup_name, proof.path)
        info = self.bucket.head(key) if proof.path in self.listed else None
        verdict = judge_object(info, proof)
        if info and verdict == "composite unknown" and (part_size := part_size_of(info)):
            path = f"{self.backup_name}/{proof.path}"
            digests = hash_stored(self.nas, path, proof.size, buffer, part_size=part_size)
            if digests is None or digests[0] != proof.sha256:
                return "its bytes on the NAS are not those that were proven"
            verdict = judge_object(info, multipart_proof(proof, part_size, digests[1]))
        if verdict in DOWNLOAD_DECIDES:
            verdict = "proven" if download_proves(self.bucket, key, proof.sha256) else "other checksum"
        return None if verdict == "proven" else f"the object in S3 is not proven: {verdict}"
