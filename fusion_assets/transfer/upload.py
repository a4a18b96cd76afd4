"""The S3 side of a transfer: objects put, proven by what S3 states of them, and the sidecar as the commit mark.

A failure here is remembered, not raised: the copy to the NAS goes on without it, and the outcome tells. What belongs
here: objects of one study. What does not: reading the NAS; the objects of finished studies (`check`).

S3 answers the upload of a small file with the SHA-256 it computed of what it stored, and with an ETag. Before the
commit mark is set, one listing must show every one of these keys with this size and this ETag: so it is that object,
still. That tells what a HEAD of each would, in one request for 1,000 files; a HEAD costs nearly as much as the PUT of
a 20 KB file (90 us of CPU here and 66 at the server, against 105 and 98). Whatever the listing does not show is asked
for by HEAD, and so is every multipart object.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fusion_assets.standard.listing import SIDECAR_NAME
from fusion_assets.transfer.errors import ArchiveError
from fusion_assets.transfer.objects import (
    download_proves,
    list_objects,
    object_key,
    part_size_of,
    recognised_composites,
)
from fusion_assets.transfer.progress import Meter
from fusion_assets.transfer.proof import (
    DOWNLOAD_DECIDES,
    METADATA_COMPOSITES,
    FileProof,
    composites_digest,
    judge_object,
    object_metadata,
)
from resources.errors import ChecksumError, ResourceError
from resources.s3_errors import ArchivedObjectError

if TYPE_CHECKING:
    from resources.s3 import S3Bucket
    from resources.s3_objects import ListedObject, ObjectInfo
    from resources.s3_parts import Part

Chunks = Callable[[], Iterable[memoryview]]
"""Gives the bytes of a part, anew at every call."""


@dataclass(slots=True)
class Upload:
    """One object on its way: multipart with an id, or a single PUT without one.

    Attributes:
        proof: The file.
        upload_id: S3's id of an upload that is in progress; None for a single PUT, and once it is completed.
        parts: Those that S3 has.
    """

    proof: FileProof
    upload_id: str | None
    parts: list[Part] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Stated:
    """A file that S3 says it stored with the right checksum, and the ETag it gave to that object."""

    proof: FileProof
    etag: str


class Uploads:
    """The objects of one study. Safe from many threads.

    Args:
        bucket: Where.
        backup_name: The study; its keys begin with it.
        meter: Counts what is uploaded.
        is_new: Whether nothing was ever proven of this study: then a finished archive of its name is another's.
    """

    def __init__(self, bucket: S3Bucket, backup_name: str, meter: Meter, *, is_new: bool = False) -> None:
        self._is_new = is_new
        self._bucket = bucket
        self._name = backup_name
        self._meter = meter
        self._lock = threading.Lock()
        self._listed: dict[str, ListedObject] = {}
        self._composites: dict[str, str] = {}
        self._stated: dict[str, _Stated] = {}
        self.error: Exception | None = None
        self.uploaded_files = 0
        self.present_files = 0
        self.proved_by_download = 0

    @property
    def is_open(self) -> bool:
        """Whether uploading still makes sense: nothing has failed yet."""
        return self.error is None

    def prepare(self, recorded: Collection[str]) -> None:
        """Clean up after a run that was broken off, and look at what is there already.

        Args:
            recorded: Paths of the sidecar of the NAS copy; empty if it has none.
        """
        with self.guard():
            self._bucket.abort_abandoned(self._name)
            self._listed = list_objects(self._bucket, self._name)
            if self._is_new and SIDECAR_NAME in self._listed:
                raise ArchiveError(
                    f"{self._uri('')} holds a finished archive that nobody has compared with this study; nothing of it "
                    "is overwritten. Run it again"
                )
            self._composites = recognised_composites(self._bucket, self._name, self._listed, recorded)

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Remember what goes wrong with S3, as the reason why there is no archive."""
        try:
            yield
        except (ResourceError, ArchiveError) as error:
            with self._lock:
                if self.error is None:
                    self.error = error

    def recognised(self, proof: FileProof) -> FileProof:
        """The same proof, with the composite its object was proven to have in an earlier run, if that is known."""
        return replace(proof, composite=proof.composite or self._composites.get(proof.path))

    def part_size_to_check(self, proof: FileProof) -> int | None:
        """The part size of an object that is there and agrees with the file, but for a composite nobody computed.

        Returns:
            With it, the composite can be computed from the NAS copy; None if that would not help.
        """
        if proof.path not in self._listed:
            return None
        with self.guard():
            info = self._bucket.head(self._key(proof.path))
            if info and judge_object(info, proof) == "composite unknown":
                return part_size_of(info)
        return None

    def holds(self, proof: FileProof) -> bool:
        """Whether S3 has this very file already, proven."""
        listed = self._listed.get(proof.path)
        if listed is None or listed.size != proof.size:
            return False
        with self.guard():
            verdict = judge_object(self._bucket.head(self._key(proof.path)), proof)
            if verdict == "proven" or (verdict in DOWNLOAD_DECIDES and self._is_same(proof)):
                self._count(present=True)
                return True
        return False

    def put(self, proof: FileProof, body: memoryview | Chunks) -> None:
        """Upload a file in one PUT; the object is proven now, or by `commit` if S3 states the right checksum."""
        with self.guard():
            refusal = None
            try:
                stored = self._bucket.put(
                    self._key(proof.path),
                    body,
                    sha256=bytes.fromhex(proof.sha256),
                    length=proof.size,
                    metadata=object_metadata(proof),
                )
                self._meter.count_uploaded(proof.size)
                if stored.checksum is not None:
                    self._stated[proof.path] = _Stated(proof, stored.etag)
                    return
            except ChecksumError as error:
                refusal = error
            self._prove(proof, refusal)

    def begin(self, proof: FileProof, part_size: int) -> Upload | None:
        """Start the upload of a file, in parts if it is longer than one; None if it could not be."""
        if proof.size <= part_size:
            return Upload(proof, None)
        begun: list[Upload] = []
        with self.guard():
            metadata = object_metadata(proof, part_size)
            begun.append(Upload(proof, self._bucket.start_multipart(self._key(proof.path), metadata=metadata)))
        return begun[0] if begun else None

    def send(self, upload: Upload, part: int, body: memoryview | Chunks, *, length: int, sha256: bytes) -> None:
        """Upload part number `part` (from 0); after a failure the archive is no longer open."""
        if upload.upload_id is None:
            self.put(upload.proof, body)
            return
        with self.guard():
            key = self._key(upload.proof.path)
            sent = self._bucket.put_part(key, upload.upload_id, part + 1, body, length=length, sha256=sha256)
            self._meter.count_uploaded(length)
            with self._lock:
                upload.parts.append(sent)

    def complete(self, upload: Upload) -> None:
        """Join the parts and prove the object."""
        assert upload.upload_id is not None
        with self.guard():
            refusal = None
            try:
                parts = sorted(upload.parts, key=lambda part: part.number)
                self._bucket.complete_multipart(self._key(upload.proof.path), upload.upload_id, parts)
                upload.upload_id = None
            except ChecksumError as error:
                refusal = error
            self._prove(upload.proof, refusal)

    def abort(self, uploads: Iterable[Upload]) -> None:
        """Give up uploads that were not completed; what cannot be aborted now is at the start of the next run."""
        for upload in uploads:
            if upload.upload_id is not None:
                with suppress(ResourceError):
                    self._bucket.abort_multipart(self._key(upload.proof.path), upload.upload_id)

    def commit(self, sidecar: bytes, proofs: Iterable[FileProof]) -> None:
        """Upload the sidecar, unless it is there as it must be: the mark that every object before it was proven."""
        with self.guard():
            self._prove_stated()
            composites = composites_digest((proof.path, proof.composite) for proof in proofs if proof.composite)
            info = self._bucket.head(self._key(SIDECAR_NAME))
            if info and info.metadata.get(METADATA_COMPOSITES) == composites and self._is_sidecar(info, sidecar):
                return
            sha256 = hashlib.sha256(sidecar).digest()
            metadata = {METADATA_COMPOSITES: composites}
            self._bucket.put(self._key(SIDECAR_NAME), sidecar, sha256=sha256, metadata=metadata)
            info = self._bucket.head(self._key(SIDECAR_NAME))
            if info is None or not self._is_sidecar(info, sidecar):
                raise ArchiveError(f"{self._uri(SIDECAR_NAME)} is not what was uploaded; run it again")

    def _is_sidecar(self, info: ObjectInfo, sidecar: bytes) -> bool:
        if info.sha256 is not None:
            return info.sha256 == hashlib.sha256(sidecar).digest()
        with suppress(ArchivedObjectError):  # it cannot be read now: what is not proven is uploaded again
            return info.size == len(sidecar) and self._bucket.get_bytes(self._key(SIDECAR_NAME)) == sidecar
        return False

    def _prove_stated(self) -> None:
        """Prove the objects whose checksum S3 stated when they were uploaded."""
        if not self._stated:
            return
        listed = list_objects(self._bucket, self._name)
        for path, stated in self._stated.items():
            found = listed.get(path)
            if found and (found.size, found.etag) == (stated.proof.size, stated.etag):
                self._count(present=False)
            else:
                self._prove(stated.proof, None)
        self._stated.clear()

    def _prove(self, proof: FileProof, refusal: ChecksumError | None) -> None:
        verdict = judge_object(self._bucket.head(self._key(proof.path)), proof)
        if verdict in DOWNLOAD_DECIDES and self._is_same(proof):
            verdict = "proven"
        if verdict != "proven":
            raise ArchiveError(
                f"{self._uri(proof.path)} was uploaded but is not proven: {verdict}. {refusal or 'Run it again'}",
                paths=[proof.path],
            ) from refusal
        self._count(present=False)

    def _is_same(self, proof: FileProof) -> bool:
        """Download an object whose checksum S3 does not state as we expect it, and see."""
        with self._lock:
            self.proved_by_download += 1
        return download_proves(self._bucket, self._key(proof.path), proof.sha256)

    def _key(self, path: str) -> str:
        return object_key(self._name, path)

    def _count(self, *, present: bool) -> None:
        with self._lock:
            self.present_files += present
            self.uploaded_files += not present

    def _uri(self, path: str) -> str:
        return self._bucket.object_uri(self._key(path))
