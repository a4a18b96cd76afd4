"""Judging finished copies and archives: is every file still there, and are its bytes those that were proven?

For the gates before anything is deleted, for scrub and restore. What belongs here: looking, and listing every problem.
What does not: repairing anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
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
from fusion_assets.transfer.proof import DOWNLOAD_DECIDES, FileProof, is_archived_time, judge_object, multipart_proof
from resources.storage import Entry, Storage

if TYPE_CHECKING:
    from resources.s3 import S3Bucket
    from resources.s3_objects import ListedObject


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one file of a copy, or one object of an archive.

    Attributes:
        path: Relative to the study.
        problem: In words.
        on_nas: Whether it is the copy that is wrong.
    """

    path: str
    problem: str
    on_nas: bool = False

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
        missing = sorted(self.checksums.keys() - self.proofs.keys())
        return [Problem(path, "missing on the NAS", on_nas=True) for path in missing]


def _read_copy(nas: Storage, backup_name: str, expected: Mapping[str, str] | None = None) -> _Recorded:
    held = list_held(nas, backup_name)
    records, sidecar = read_records(nas, backup_name, held, expected)
    if sidecar is None and expected is None:
        raise ArchiveError(f"{nas.location(backup_name)} holds no finished copy (no {SIDECAR_NAME}): copy it first")
    known = known_proofs(held, replace(records, journal={}))
    return _Recorded(sidecar or b"", records.sidecar, known)


def check_copy(
    nas: Storage,
    backup_name: str,
    expected: Mapping[str, str] | None = None,
    *,
    read: Callable[[int], None] = lambda _: None,
) -> list[Problem]:
    """Read every file of a finished copy and compare it with the sidecar.

    Args:
        nas: Where the copy is.
        backup_name: The copy's directory.
        expected: SHA-256 in hex by path of what was proven, to compare with instead of its sidecar.
        read: Called with the bytes of each file that was read, by several threads at once.

    Returns:
        What is wrong, sorted by path; empty when the copy is good.

    Raises:
        ArchiveError: There is no finished copy.
        CorruptCopyError: The sidecar cannot be read.
        ResourceError: The NAS failed: unknown, not corrupt.
    """
    copy = _read_copy(nas, backup_name, expected)
    problems = copy.missing

    def check(proof: FileProof, buffer: memoryview) -> None:
        digests = hash_stored(nas, f"{backup_name}/{proof.path}", proof.size, buffer)
        if digests is None or digests[0] != proof.sha256:
            problems.append(_corrupt(proof.path))
        read(proof.size)

    read_side_by_side("check", copy.proofs.values(), check)
    return sorted(problems, key=lambda problem: problem.path)


def _corrupt(path: str) -> Problem:
    return Problem(path, "its bytes on the NAS are not those that were proven", on_nas=True)


def check_source(
    source: Storage, directory: str, files: Iterable[Entry], checksums: Mapping[str, str]
) -> list[Problem]:
    """Read files of a study at the source, and compare them with the sidecar of its copy.

    For a source that does not look as it did when it was hashed: then neither sizes nor times say what its bytes are.

    Args:
        source: Where they are.
        directory: Of the study, or of what is left of it in the trash.
        files: To read, paths relative to it.
        checksums: The sidecar.

    Returns:
        What is wrong, sorted by path; empty when every one of them is what was proven.

    Raises:
        ResourceError: The source failed: unknown, not changed.
    """
    problems: list[Problem] = []

    def check(entry: Entry, buffer: memoryview) -> None:
        digests = hash_stored(source, f"{directory}/{entry.path}", entry.size, buffer)
        if digests is None or digests[0] != checksums.get(entry.path):
            problems.append(Problem(entry.path, "its bytes at the source are not those that were proven"))

    read_side_by_side("check", files, check)
    return sorted(problems, key=lambda problem: problem.path)


def check_archive(nas: Storage, bucket: S3Bucket, backup_name: str, *, at: str = "") -> list[Problem]:
    """Ask S3 about every object of a study, and compare with the finished NAS copy.

    An object is good if S3 states the size and a checksum that prove it. Where it states none, or one that nobody
    computed before, the object is downloaded, or the composite computed from the NAS copy. One that cannot be
    downloaded because it is in cold storage is not proven.

    A file of the copy that has not the time its object was archived with was written since: it is read, too.

    Args:
        nas: Where the copy is.
        bucket: Where the objects are.
        backup_name: The study's name at the destinations.
        at: The copy's directory, if that is not its name: in the trash.

    Returns:
        What is wrong, sorted by path; empty when every object and the sidecar, the commit mark, are proven.

    Raises:
        ArchiveError: There is no finished copy to compare with.
        CorruptCopyError: The sidecar cannot be read.
        ResourceError: The NAS or S3 failed: unknown, not missing.
    """
    copy = _read_copy(nas, at or backup_name)
    listed = list_objects(bucket, backup_name)
    composites = recognised_composites(bucket, backup_name, listed, copy.checksums)
    problems = copy.missing
    looking = _Looking(nas, bucket, at or backup_name, backup_name, listed)

    def check(proof: FileProof, buffer: memoryview) -> None:
        if found := looking.problem_of(replace(proof, composite=composites.get(proof.path)), buffer):
            problems.append(found)

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
    directory: str
    backup_name: str
    listed: Mapping[str, ListedObject]

    def problem_of(self, proof: FileProof, buffer: memoryview) -> Problem | None:
        """What is wrong with a file of the copy that was written again, or with its object; None when it is proven."""
        key = object_key(self.backup_name, proof.path)
        info = self.bucket.head(key) if proof.path in self.listed else None
        verdict = judge_object(info, proof)
        part_size = part_size_of(info) if info and verdict == "composite unknown" else None
        if info and (part_size or not is_archived_time(info, proof.mtime_ns)):
            path = f"{self.directory}/{proof.path}"
            digests = hash_stored(self.nas, path, proof.size, buffer, part_size=part_size)
            if digests is None or digests[0] != proof.sha256:
                return _corrupt(proof.path)
            if part_size:
                verdict = judge_object(info, multipart_proof(proof, part_size, digests[1]))
        if verdict in DOWNLOAD_DECIDES:
            verdict = "proven" if download_proves(self.bucket, key, proof.sha256) else "other checksum"
        return None if verdict == "proven" else Problem(proof.path, f"the object in S3 is not proven: {verdict}")
