"""Copying large files: in pieces, several pieces of one file at a time.

A file is read once from the source: each piece goes to the NAS and into two digests, that of the whole file and that of
its part. Only when all of it is copied, durable, and the source still what it was, is it handed to `readback`.

Why no part is uploaded while others are still copied: a multipart object must bear the whole file's SHA-256 from its
creation, and a file that turns out to have changed would have been uploaded in vain. The next file is copied meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from fusion_assets.transfer.checksums import Piece, cut, part_count, read_piece
from fusion_assets.transfer.crew import Turns
from fusion_assets.transfer.plan import same_file
from fusion_assets.transfer.proof import FileProof, multipart_proof
from fusion_assets.transfer.session import Session
from resources.errors import NotFoundError
from resources.storage import Entry, Reader, Writer


@dataclass(frozen=True, slots=True)
class LargeFile:
    """A large file on the NAS under its partial name, unproven, with the digests of its parts."""

    proof: FileProof
    part_size: int
    digests: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class CopiedLarge:
    """A batch of large files."""

    files: Sequence[LargeFile]


@dataclass(slots=True)
class _Copying:
    """A large file that is being copied."""

    entry: Entry
    part_size: int
    reader: Reader
    writer: Writer
    whole: Any  # hashlib's hash objects have no public type
    parts: list[Any]
    changed: bool = False


def copy_large(session: Session, files: Sequence[Entry]) -> CopiedLarge:
    """Copy a batch; files that changed meanwhile are noted and left out."""
    with ExitStack() as stack:
        with session.meter.timing("copy"):
            jobs = [job for entry in files if (job := _open(session, stack, entry))]
            _copy_pieces(session, jobs)
        for job in jobs:
            job.changed = job.changed or _differs(session, job.entry)
        unchanged = [job for job in jobs if not job.changed]
        with session.meter.timing("flush"):
            for job in unchanged:
                job.writer.flush()
    for job in jobs:
        if job.changed:
            session.nas.remove_file(session.partial_path(job.entry.path))
            session.note_changed(job.entry.path)
    copied = [_copied(job) for job in unchanged]
    for file in copied:
        session.check_expected(file.proof.path, file.proof.sha256)
    return CopiedLarge(copied)


def _open(session: Session, stack: ExitStack, entry: Entry) -> _Copying | None:
    """Open both ends of a file; None if it is gone."""
    try:
        reader = stack.enter_context(session.source.open_reader(session.source_path(entry.path), uncached=True))
    except NotFoundError:
        session.note_changed(entry.path)
        return None
    writer = stack.enter_context(session.nas.open_writer(session.partial_path(entry.path), size=entry.size))
    part_size = session.options.part_size_of(entry.size)
    parts = [hashlib.sha256() for _ in range(part_count(entry.size, part_size))]
    return _Copying(entry, part_size, reader, writer, hashlib.sha256(), parts)


def _copy_pieces(session: Session, jobs: Iterable[_Copying]) -> None:
    """Copy the pieces of all files side by side; only the digests are taken in the order of the bytes."""
    buffer_size = session.options.buffer_size
    pieces = ((job, piece) for job in jobs for piece in cut(job.entry.size, job.part_size, buffer_size))
    whole_turns, part_turns = Turns(session.stop), Turns(session.stop)

    def copy(numbered: tuple[int, tuple[_Copying, Piece]], buffer: memoryview) -> None:
        number, (job, piece) = numbered
        data = None if job.changed else _copy_piece(session, job, piece, buffer)
        # Two turns, not one: so that two threads hash at the same time.
        with whole_turns.turn(number):
            if data is not None:
                job.whole.update(data)
        with part_turns.turn(number):
            if data is not None:
                job.parts[piece.part].update(data)

    session.copiers.run(enumerate(pieces), copy, buffer_size=buffer_size)


def _copy_piece(session: Session, job: _Copying, piece: Piece, buffer: memoryview) -> memoryview | None:
    session.bandwidth.take(piece.length)
    data = read_piece(job.reader, buffer, piece)
    if data is None:
        job.changed = True
        return None
    job.writer.write(data, piece.offset)
    session.meter.copied(job.entry.path, piece.length)
    return data


def _differs(session: Session, entry: Entry) -> bool:
    """Whether the source is no longer the file that was listed, now that it has been read."""
    try:
        return not same_file(session.source.stat(session.source_path(entry.path)), entry)
    except NotFoundError:
        return True


def _copied(job: _Copying) -> LargeFile:
    entry, digests = job.entry, [part.digest() for part in job.parts]
    proof = FileProof(entry.path, entry.size, entry.mtime_ns, job.whole.hexdigest())
    return LargeFile(multipart_proof(proof, job.part_size, digests), job.part_size, digests)
