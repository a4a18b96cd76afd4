"""What is known of a file whose bytes were proven, and whether what S3 says of an object agrees with it.

Pure. What belongs here: the proof of one file and its comparison with a HEAD. What does not: asking S3, hashing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from fusion_assets.transfer.checksums import composite_of

if TYPE_CHECKING:
    from resources.s3_objects import ObjectInfo

METADATA_SHA256 = "sha256"
"""Metadata of a multipart object: SHA-256 of the whole file in hex, a label S3 does not check."""

METADATA_PART_SIZE = "part-size"
"""Metadata of a multipart object: bytes of its parts, needed to compute its composite checksum again."""

METADATA_MTIME = "mtime"
"""Metadata of every object: seconds since 1970 with nine decimals, as rclone keeps it."""

MTIME_TOLERANCE_NS = 100
"""SMB and NTFS keep times in units of 100 ns."""

WRITTEN_BY_US = {"writer": "fusion-toolkit"}
"""Metadata of every object of ours: one that no sidecar lists is of a run that was killed, or somebody put it there."""

METADATA_COMPOSITES = "composites-sha256"
"""Metadata of the sidecar object: `composites_digest` of the study when it was proven."""

Verdict = Literal["proven", "missing", "other size", "other checksum", "no checksum", "composite unknown"]

DOWNLOAD_DECIDES: tuple[Verdict, ...] = ("no checksum", "other checksum", "composite unknown")
"""Verdicts over an object of the right size that only its bytes can settle: some servers state no or odd checksums."""


@dataclass(frozen=True, slots=True)
class FileProof:
    """A file of a study whose bytes were read back from the NAS and are those of the source.

    Attributes:
        path: Relative to the study.
        size: Bytes.
        mtime_ns: Last modification at the source, nanoseconds since 1970 UTC.
        sha256: Of the whole file, 64 hex digits.
        part_size: Bytes of the parts of its multipart object; None if it is one PUT, or where not known.
        composite: The checksum S3 must state for its multipart object (``base64-N``); None as for `part_size`.
    """

    path: str
    size: int
    mtime_ns: int
    sha256: str
    part_size: int | None = None
    composite: str | None = None


def multipart_proof(proof: FileProof, part_size: int, digests: Sequence[bytes]) -> FileProof:
    """The same proof with the composite of its multipart object; unchanged if the file has one part only.

    Args:
        proof: Of the whole file.
        part_size: Bytes of each part but the last.
        digests: SHA-256 of each part, in order.
    """
    if len(digests) == 1:
        return proof
    return replace(proof, part_size=part_size, composite=composite_of(digests, proof.size, part_size))


def judge_object(info: ObjectInfo | None, proof: FileProof) -> Verdict:
    """Whether what S3 says of an object proves that it holds this file.

    Args:
        info: What HEAD said; None if the object is not there.
        proof: The file.

    Returns:
        ``proven`` only when the size agrees and so does a checksum S3 itself keeps: the whole SHA-256 of an object of
        one PUT, or the composite of a multipart object that also bears the whole SHA-256 as metadata.
        ``composite unknown``: all agrees, but the composite was never computed here.
    """
    if info is None:
        return "missing"
    if info.size != proof.size:
        return "other size"
    if info.sha256 is not None:
        return "proven" if info.sha256.hex() == proof.sha256 else "other checksum"
    if info.composite is None:
        return "no checksum"
    if info.metadata.get(METADATA_SHA256) != proof.sha256:
        return "other checksum"
    if proof.composite is None:
        return "composite unknown"
    return "proven" if info.composite == proof.composite else "other checksum"


def object_metadata(proof: FileProof, part_size: int | None = None) -> dict[str, str]:
    """The metadata an object of this file bears.

    Args:
        proof: The file.
        part_size: Bytes of the parts of a multipart object; None for one PUT.
    """
    seconds, nanoseconds = divmod(proof.mtime_ns, 1_000_000_000)
    metadata = {**WRITTEN_BY_US, METADATA_MTIME: f"{seconds}.{nanoseconds:09d}"}
    if part_size is not None:
        metadata |= {METADATA_SHA256: proof.sha256, METADATA_PART_SIZE: str(part_size)}
    return metadata


def is_written_by_us(info: ObjectInfo) -> bool:
    """Whether a run of ours wrote an object.

    Args:
        info: What HEAD said of it.
    """
    return WRITTEN_BY_US.items() <= info.metadata.items()


def is_archived_time(info: ObjectInfo, mtime_ns: int) -> bool:
    """Whether a file has the time that its object was archived with; False where the object bears none.

    Args:
        info: What HEAD said of the object.
        mtime_ns: Of the file.
    """
    seconds, _, decimals = info.metadata.get(METADATA_MTIME, "").partition(".")
    if not (seconds.removeprefix("-").isdecimal() and decimals.isdecimal()):
        return False
    archived = int(seconds) * 1_000_000_000 + int(decimals[:9].ljust(9, "0"))
    return abs(archived - mtime_ns) <= MTIME_TOLERANCE_NS


def composites_digest(composites: Iterable[tuple[str, str]]) -> str:
    """One digest for all multipart objects of a study.

    It is kept with the sidecar object: as long as S3 states the same composites, the objects are those that were
    proven, and need not be read again.

    Args:
        composites: Path and composite of each multipart object.
    """
    lines = "".join(f"{composite}  {path}\n" for path, composite in sorted(composites))
    return hashlib.sha256(lines.encode()).hexdigest()
