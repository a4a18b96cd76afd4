"""Proving large files: the parts of a copy are read back from the NAS, and uploaded while they are read.

The digests are known from copying, so a part is hashed and sent to S3 piece by piece and never lies in memory; its last
piece is only sent when the digest agrees. What belongs here: files under their partial names. What does not: files that
were proven in an earlier run (`kept`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from fusion_assets.transfer.checksums import cut_part, part_count, part_length, read_piece
from fusion_assets.transfer.large import CopiedLarge, LargeFile
from fusion_assets.transfer.session import Session
from fusion_assets.transfer.small import read_back_error
from fusion_assets.transfer.upload import Upload
from resources.errors import ResourceError
from resources.storage import Reader


class NasFailure(Exception):  # noqa: N818 - it only carries the error
    """Carries an error of the NAS through the code that handles those of S3."""

    def __init__(self, error: ResourceError) -> None:
        super().__init__(str(error))
        self.error = error


def prove_large(session: Session, batch: CopiedLarge) -> None:
    """Read a batch back, upload it if it is to be archived, record it, and give it its final names."""
    uploads: dict[str, Upload] = {}
    try:
        _begin_uploads(session, batch.files, uploads)
        with ExitStack() as stack, session.meter.timing("read back"):
            _prove_parts(session, batch, uploads, stack)
        with session.meter.timing("finish"):
            for file in batch.files:
                _make_durable(session, file)
            session.record(file.proof for file in batch.files)
            for file in batch.files:
                session.nas.replace(session.partial_path(file.proof.path), session.nas_path(file.proof.path))
        with session.meter.timing("upload"):
            _complete_uploads(session, uploads.values())
    finally:
        if session.archive:
            session.archive.abort(uploads.values())
    session.meter.done(len(batch.files))


def _begin_uploads(session: Session, files: Iterable[LargeFile], uploads: dict[str, Upload]) -> None:
    for file in files:
        archive = session.open_archive
        if archive is None or archive.holds(file.proof):
            continue
        if upload := archive.begin(file.proof, file.part_size):
            uploads[file.proof.path] = upload


def _complete_uploads(session: Session, uploads: Iterable[Upload]) -> None:
    for upload in uploads:
        if upload.upload_id is not None and (archive := session.open_archive):
            archive.complete(upload)


def _make_durable(session: Session, file: LargeFile) -> None:
    path = session.partial_path(file.proof.path)
    session.nas.set_mtime(path, file.proof.mtime_ns)
    session.nas.flush((path,))


@dataclass(frozen=True, slots=True)
class _Part:
    """A part to read back, and to upload if there is an upload."""

    file: LargeFile
    number: int
    upload: Upload | None


def _prove_parts(session: Session, batch: CopiedLarge, uploads: Mapping[str, Upload], stack: ExitStack) -> None:
    readers = {
        file.proof.path: stack.enter_context(
            session.nas.open_reader(session.partial_path(file.proof.path), uncached=True)
        )
        for file in batch.files
    }
    parts = (
        _Part(file, number, uploads.get(file.proof.path))
        for file in batch.files
        for number in range(part_count(file.proof.size, file.part_size))
    )
    session.provers.run(parts, partial(_prove_part, session, readers), buffer_size=session.options.buffer_size)


def _prove_part(session: Session, readers: Mapping[str, Reader], part: _Part, buffer: memoryview) -> None:
    reading = PartReading(session, readers[part.file.proof.path], part.file, part.number, buffer)
    archive = session.open_archive
    if archive and part.upload:
        try:
            archive.send(part.upload, part.number, reading.chunks, length=reading.length, sha256=reading.sha256)
        except NasFailure as failure:
            raise failure.error from failure
    if not reading.proven:
        for _ in reading.chunks():
            pass


class PartReading:
    """A part of a file on the NAS, given piece by piece, as often as it must be sent.

    Attributes:
        proven: Whether it was read to its end and has the digest it must have.
    """

    def __init__(self, session: Session, reader: Reader, file: LargeFile, number: int, buffer: memoryview) -> None:
        self._session, self._reader, self._file, self._number, self._buffer = session, reader, file, number, buffer
        self.sha256 = file.digests[number]
        self.length = part_length(number, file.proof.size, file.part_size)
        self.proven = False

    def chunks(self) -> Iterator[memoryview]:
        """The pieces; each is valid until the next is taken.

        Raises:
            ReadBackError: Before the last piece, if the part is not what it must be: so it is never sent whole.
            NasFailure: The NAS failed.
        """
        self.proven = False
        size, digest, done = self._file.proof.size, hashlib.sha256(), 0
        for piece in cut_part(self._number, size, self._file.part_size, len(self._buffer)):
            self._session.stop.check()
            try:
                data = read_piece(self._reader, self._buffer, piece)
            except ResourceError as error:
                raise NasFailure(error) from error
            if data is None:
                raise read_back_error(self._session, self._file.proof.path)
            self._session.meter.count_read_back(self._file.proof.path, piece.length)
            digest.update(data)
            done += piece.length
            if done == self.length:
                if digest.digest() != self.sha256:
                    raise read_back_error(self._session, self._file.proof.path)
                self.proven = True
            yield data
