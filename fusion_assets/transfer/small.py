"""Small files: whole, in batches, many at a time.

A batch is copied, made durable by one barrier, read back and uploaded, recorded, and only then gets its final names.
What belongs here: files that fit into one buffer. What does not: files in pieces (`large`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from fusion_assets.transfer.checksums import read_small
from fusion_assets.transfer.crew import Crew
from fusion_assets.transfer.errors import ReadBackError
from fusion_assets.transfer.plan import same_file
from fusion_assets.transfer.proof import FileProof
from fusion_assets.transfer.session import Session
from resources.errors import NotFoundError
from resources.storage import Entry

SmallFile = TypeVar("SmallFile", Entry, FileProof)


@dataclass(frozen=True, slots=True)
class CopiedSmall:
    """A batch of files that lie on the NAS under their partial names, unproven."""

    files: Sequence[FileProof]


def copy_small(session: Session, files: Sequence[Entry]) -> CopiedSmall:
    """Copy a batch; files that changed meanwhile are noted and left out."""
    copied: list[FileProof] = []
    with session.meter.timing("copy"):
        run_small(session.copiers, files, partial(_copy, session, copied))
    with session.meter.timing("flush"):
        session.nas.flush(tuple(session.partial_path(proof.path) for proof in copied))
    return CopiedSmall(copied)


def run_small(crew: Crew, files: Sequence[SmallFile], work: Callable[[SmallFile, memoryview], None]) -> None:
    """Do `work(file, buffer)` for every file; each buffer is longer than any of them."""
    # No longer than needed: then the memory reaches for every thread, and over a slow network all are useful.
    longest = max((file.size for file in files), default=0)
    crew.run(files, work, buffer_size=longest + 1, mostly_python=True)


def _copy(session: Session, copied: list[FileProof], entry: Entry, buffer: memoryview) -> None:
    data = _read_source(session, entry, buffer)
    if data is None:
        session.note_changed(entry.path)
        return
    digest = hashlib.sha256(data).hexdigest()
    session.check_expected(entry.path, digest)
    session.nas.write_file(session.partial_path(entry.path), data, mtime_ns=entry.mtime_ns)
    session.meter.copied(entry.path, len(data))
    copied.append(FileProof(entry.path, entry.size, entry.mtime_ns, digest))


def _read_source(session: Session, entry: Entry, buffer: memoryview) -> memoryview | None:
    """The file as it was listed; None if it is not, or no longer, that."""
    session.bandwidth.take(entry.size)
    path = session.source_path(entry.path)
    try:
        data = read_small(session.source, path, entry.size, buffer)
        # Asked of the path, not of the open file: the file may have been replaced by another one.
        return data if same_file(session.source.stat(path), entry) else None
    except NotFoundError:
        return None


def prove_small(session: Session, batch: CopiedSmall) -> None:
    """Read a batch back, upload it if it is to be archived, record it, and give it its final names."""
    with session.meter.timing("read back"):
        run_small(session.provers, batch.files, partial(_prove, session))
    with session.meter.timing("finish"):
        session.record(batch.files)
        run_small(session.provers, batch.files, partial(_rename, session))
    session.meter.done(len(batch.files))


def _prove(session: Session, proof: FileProof, buffer: memoryview) -> None:
    data = read_small(session.nas, session.partial_path(proof.path), proof.size, buffer, uncached=True)
    session.meter.count_read_back(proof.path, proof.size)
    if data is None or hashlib.sha256(data).hexdigest() != proof.sha256:
        raise read_back_error(session, proof.path)
    archive = session.open_archive
    if archive and not archive.holds(proof) and archive.is_open:
        archive.put(proof, data)


def read_back_error(session: Session, path: str) -> ReadBackError:
    """The bytes that came back are not those that were written."""
    return ReadBackError(
        f"{session.nas.location(session.nas_path(path))}: the NAS gave back other bytes than were written to it; the "
        "file was not taken over. Run it again; if it happens again, check the NAS, its disks and the network",
        paths=[path],
    )


def _rename(session: Session, proof: FileProof, buffer: memoryview) -> None:  # noqa: ARG001 - nothing to read
    session.nas.replace(session.partial_path(proof.path), session.nas_path(proof.path))
