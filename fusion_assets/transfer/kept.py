"""Files that an earlier run has proven on the NAS: each is verified against its record while it is uploaded.

What only the journal of a run vouches for that was broken off is read once more, whether S3 has it or not: nobody knows
what a crash of the NAS left of it, and once it stands in the sidecar nobody reads it again.

A part's digest must be sent before its bytes, and here it is not known before they are read: so a part is held in
memory, or, where it is too large for that, read twice. What belongs here: files under their final names, and what
happens when one of them has rotted. What does not: files copied in this run (`small`, `readback`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial

from fusion_assets.transfer.checksums import (
    Piece,
    cut_part,
    hash_stored,
    part_count,
    part_length,
    read_piece,
    read_small,
)
from fusion_assets.transfer.crew import Turns
from fusion_assets.transfer.errors import ReadBackError
from fusion_assets.transfer.plan import CORRUPT_SUFFIX, KeptBatch
from fusion_assets.transfer.proof import FileProof, multipart_proof
from fusion_assets.transfer.readback import NasFailure
from fusion_assets.transfer.session import Session
from fusion_assets.transfer.small import run_small
from fusion_assets.transfer.upload import Upload, Uploads
from resources.errors import ResourceError
from resources.storage import Reader


def prove_kept(session: Session, batch: KeptBatch) -> None:
    """Archive a batch from the NAS, as far as S3 does not have it; files found corrupt are set aside and noted."""
    options = session.options
    with session.meter.timing("upload"):
        if all(options.is_small(proof.size) for proof in batch.files):
            run_small(session.provers, batch.files, partial(_prove_small, session))
        else:
            for proof in batch.files:
                _prove_large(session, proof)
    session.meter.done(len(batch.files))


def _prove_small(session: Session, proof: FileProof, buffer: memoryview) -> None:
    archive = session.open_archive
    if archive and (archive.holds(proof) or not archive.is_open):
        archive = None
    if archive is None and proof.path not in session.unread:
        return
    session.bandwidth.take(proof.size)
    data = read_small(session.nas, session.nas_path(proof.path), proof.size, buffer, uncached=True)
    session.meter.count_read_back(proof.path, proof.size)
    if data is None or hashlib.sha256(data).hexdigest() != proof.sha256:
        set_aside(session, proof, buffer)
    elif archive:
        archive.put(proof, data)


def _prove_large(session: Session, proof: FileProof) -> None:
    archive = session.open_archive
    was_read = _archive_large(session, archive, proof) if archive else False
    if proof.path in session.unread and not was_read and proof.path not in session.corrupt:
        session.provers.run([proof], partial(_read_again, session), buffer_size=session.options.buffer_size)


def _read_again(session: Session, proof: FileProof, buffer: memoryview) -> None:
    digests = _hash_copy(session, proof, max(proof.size, 1), buffer)
    if digests is None or digests[0] != proof.sha256:
        set_aside(session, proof, buffer)


def _archive_large(session: Session, archive: Uploads, proof: FileProof) -> bool:
    """Archive a file as far as S3 does not have it; returns whether all of it was read for that."""
    proof = archive.recognised(proof)
    if proof.composite is None and (part_size := archive.part_size_to_check(proof)):
        proof = _with_composite(session, proof, part_size)
    session.proofs[proof.path] = proof
    if proof.path in session.corrupt or archive.holds(proof) or not archive.is_open:
        return False
    with session.nas.open_reader(session.nas_path(proof.path), uncached=True) as reader:
        uploading = _Uploading(session, archive, reader, proof)
        session.proofs[proof.path] = uploading.run()
    if uploading.rotten:
        session.provers.run([proof], partial(set_aside, session), buffer_size=session.options.buffer_size)
    return archive.is_open


def _with_composite(session: Session, proof: FileProof, part_size: int) -> FileProof:
    """Read the copy for the composite its object should have; a corrupt copy is set aside."""
    found: list[FileProof] = []

    def compute(proof: FileProof, buffer: memoryview) -> None:
        digests = _hash_copy(session, proof, part_size, buffer)
        if digests is None or digests[0] != proof.sha256:
            set_aside(session, proof, buffer)
        else:
            found.append(multipart_proof(proof, part_size, digests[1]))

    session.provers.run([proof], compute, buffer_size=session.options.buffer_size)
    return found[0] if found else proof


def _hash_copy(
    session: Session, proof: FileProof, part_size: int, buffer: memoryview
) -> tuple[str, list[bytes]] | None:
    def seen(count: int) -> None:
        session.stop.check()
        session.meter.count_read_back(proof.path, count)

    return hash_stored(session.nas, session.nas_path(proof.path), proof.size, buffer, part_size=part_size, seen=seen)


def set_aside(session: Session, proof: FileProof, buffer: memoryview) -> None:
    """Take a corrupt file's name away: it never passes as a copy again; its bytes stay until a good one is there.

    Raises:
        ReadBackError: It reads well this time: what failed is the way to it.
    """
    path = session.nas_path(proof.path)
    digests = _hash_copy(session, proof, max(proof.size, 1), buffer)
    if digests and digests[0] == proof.sha256:
        raise ReadBackError(
            f"{session.nas.location(path)} was read wrongly once and rightly once; it was left as it is. Check the "
            "network and the memory of this machine, then run it again",
            paths=[proof.path],
        )
    session.nas.replace(path, path + CORRUPT_SUFFIX)
    session.note_corrupt(proof.path)


class _Uploading:
    """A large file on its way from the NAS to S3: parts side by side, but the whole digest in the order of the bytes.

    Attributes:
        rotten: Whether it is not the file of the record; then nothing of it becomes an object.
    """

    def __init__(self, session: Session, archive: Uploads, reader: Reader, proof: FileProof) -> None:
        self._session, self._archive, self._reader, self._proof = session, archive, reader, proof
        self._part_size = session.options.part_size_of(proof.size)
        self._digests: list[bytes] = []
        self._whole = hashlib.sha256()
        self._turns = Turns(session.stop)
        self.rotten = False

    def run(self) -> FileProof:
        """Do it; returns the proof with the composite."""
        upload = self._archive.begin(self._proof, self._part_size)
        if upload is None:
            return self._proof
        in_memory = self._session.provers.fits(self._part_size)
        size = self._part_size if in_memory else self._session.options.buffer_size
        work = partial(self._send_held if in_memory else self._send_streamed, upload)
        try:
            self._session.provers.run(range(self._part_count), work, buffer_size=size)
            if not self.rotten:
                upload.proof = multipart_proof(self._proof, self._part_size, self._digests)
                if upload.upload_id is not None and self._archive.is_open:
                    self._archive.complete(upload)
        finally:
            self._archive.abort([upload])
        return upload.proof

    @property
    def _part_count(self) -> int:
        return part_count(self._proof.size, self._part_size)

    def _send_held(self, upload: Upload, number: int, buffer: memoryview) -> None:
        """Send a part that fits into the buffer: one read."""
        length = part_length(number, self._proof.size, self._part_size)
        piece = Piece(number, number * self._part_size, length, ends_file=number == self._part_count - 1)
        data = self._read(piece, buffer)
        digest = hashlib.sha256(data if data is not None else b"").digest()
        with self._turns.turn(number):
            if data is not None:
                self._whole.update(data)
            self._take_digest(number, digest)
        if data is not None:
            self._send(upload, number, data, length)

    def _send_streamed(self, upload: Upload, number: int, buffer: memoryview) -> None:
        """Send a part that does not: one read for its digest, one to send it."""
        digest, length = hashlib.sha256(), part_length(number, self._proof.size, self._part_size)
        with self._turns.turn(number):
            for piece in self._pieces(number, buffer):
                if (data := self._read(piece, buffer)) is not None:
                    digest.update(data)
                    self._whole.update(data)
            self._take_digest(number, digest.digest())
        try:
            self._send(upload, number, partial(self._chunks, number, buffer), length)
        except NasFailure as failure:
            raise failure.error from failure

    def _take_digest(self, number: int, digest: bytes) -> None:
        """In turn: the last part shows whether the file is what it must be, before that part is sent."""
        self._digests.append(digest)
        is_last = number == self._part_count - 1
        # While the archive is open nothing was left out of the digest.
        if is_last and self._archive.is_open and self._whole.hexdigest() != self._proof.sha256:
            self.rotten = True

    def _send(self, upload: Upload, number: int, body: memoryview | partial[Iterator[memoryview]], length: int) -> None:
        if self._archive.is_open and not self.rotten:
            self._archive.send(upload, number, body, length=length, sha256=self._digests[number])

    def _read(self, piece: Piece, buffer: memoryview) -> memoryview | None:
        self._session.stop.check()
        if self.rotten or not self._archive.is_open:
            return None
        self._session.bandwidth.take(piece.length)
        data = read_piece(self._reader, buffer, piece)
        if data is None:
            self.rotten = True
        else:
            self._session.meter.count_read_back(self._proof.path, piece.length)
        return data

    def _pieces(self, number: int, buffer: memoryview) -> Iterator[Piece]:
        return cut_part(number, self._proof.size, self._part_size, len(buffer))

    def _chunks(self, number: int, buffer: memoryview) -> Iterator[memoryview]:
        """The pieces of a part; S3 refuses them if their digest is not the one that was verified."""
        for piece in self._pieces(number, buffer):
            self._session.stop.check()
            try:
                data = read_piece(self._reader, buffer, piece)
            except ResourceError as error:
                raise NasFailure(error) from error
            self._session.meter.count_read_back(self._proof.path, piece.length)
            yield data if data is not None else buffer[:0]
