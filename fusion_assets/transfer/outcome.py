"""What a transfer has done: what was proven, what was moved, and how long it took.

Plain data for checks, metadata and the ledger. What does not belong here: deciding whether it is good enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fusion_assets.transfer.progress import Stage
from fusion_assets.transfer.proof import FileProof


@dataclass(frozen=True, slots=True)
class CopyOutcome:
    """A finished copy on the NAS.

    Attributes:
        proofs: Every file of the copy, sorted by path; each was read back, in this run or when it was copied.
        copied_files: Files copied in this run.
        copied_bytes: Bytes of these.
        skipped: Entries of the source that were not copied, with their kind: links, special files, ``*.partial``.
        extra: Files on the NAS that are neither at the source nor in the sidecar: left alone, not archived.
        sidecar_sha256: SHA-256 in hex of the sidecar's bytes.
        read_whole: Whether every file was read in this run; else some were read when they were copied, and not again.
        read_back_claim: What reading back proved, in the storage's own words.
        source_read: Bytes read from the source.
        nas_written: Bytes written to the NAS.
        nas_read: Bytes read from the NAS, for proofs and uploads together.
        seconds: Wall time of the whole pass.
        stage_seconds: Wall time by stage; stages overlap.
    """

    proofs: tuple[FileProof, ...]
    copied_files: int
    copied_bytes: int
    skipped: tuple[tuple[str, str], ...]
    extra: tuple[str, ...]
    sidecar_sha256: str
    read_whole: bool
    read_back_claim: str
    source_read: int
    nas_written: int
    nas_read: int
    seconds: float
    stage_seconds: Mapping[Stage, float]

    @property
    def read_back(self) -> str:
        """What of the copy was read back in this run, and what that proved."""
        if self.nas_read >= self.total_bytes:
            return self.read_back_claim
        if not self.nas_read:
            return "nothing was read this time: earlier runs read all of it back"
        part = f"{self.nas_read:,} of {self.total_bytes:,} bytes this time, the others by earlier runs"
        return f"{part}: {self.read_back_claim}"

    @property
    def files(self) -> int:
        """How many files the copy has."""
        return len(self.proofs)

    @property
    def total_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(proof.size for proof in self.proofs)

    @property
    def mb_per_second(self) -> float:
        """Megabytes (10^6) copied and proven per second of the pass."""
        return self.copied_bytes / self.seconds / 1e6 if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class ArchiveOutcome:
    """What came of archiving a copy in S3.

    Attributes:
        proofs: Every file of the archive, with the composites of multipart objects; sorted by path.
        uploaded_files: Objects uploaded in this run.
        uploaded_bytes: Bytes of these.
        present_files: Objects that were there already, and proven.
        proved_by_download: Objects that were downloaded and hashed, since S3 did not state the checksum expected.
        extra: Files on the NAS that are not archived.
        sidecar_sha256: SHA-256 in hex of the sidecar object; the commit mark.
        nas_read: Bytes read from the NAS, for proofs and uploads together.
        seconds: Wall time of the whole pass.
        stage_seconds: Wall time by stage; stages overlap.
        error: Why there is no complete archive; None when there is one: every object proven, the sidecar uploaded last.
    """

    proofs: tuple[FileProof, ...]
    uploaded_files: int
    uploaded_bytes: int
    present_files: int
    proved_by_download: int
    extra: tuple[str, ...]
    sidecar_sha256: str
    nas_read: int
    seconds: float
    stage_seconds: Mapping[Stage, float]
    error: Exception | None = None

    @property
    def files(self) -> int:
        """How many files the archive has."""
        return len(self.proofs)

    @property
    def total_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(proof.size for proof in self.proofs)

    @property
    def mb_per_second(self) -> float:
        """Megabytes (10^6) uploaded per second of the pass."""
        return self.uploaded_bytes / self.seconds / 1e6 if self.seconds else 0.0
