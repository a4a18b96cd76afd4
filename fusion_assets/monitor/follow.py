"""Which file holds what comes next: the log, or the file that a rotation made of it.

A log is recognised by its bytes: the first kilobyte, and the last one before the place up to which it was read. Its
inode helps to find it under another name, but decides only where those bytes are too few: some shares number their
files anew at every mount. So all rotations are one case: whatever lies at the log's name is not the file that was read.
Then that file is looked for beside it (renamed, or copied and truncated) and read to its end; then those that were
rotated since, oldest first; then the new log from its beginning.

What belongs here: recognising and finding. What does not: reading on (`tail`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from fusion_assets.monitor.place import LogPlace
from fusion_assets.monitor.state import Position
from resources.errors import NotFoundError
from resources.storage import Entry, Reader, Storage

EDGE = 1024
_FEW = 256  # fewer bytes than these may be alike in two logs: then the inode decides, too


@dataclass(frozen=True, slots=True)
class Followed:
    """The file to read on in.

    Attributes:
        reader: Open.
        entry: The file as it was when it was opened.
        position: From where; in a new file, its beginning.
        is_log: Whether it is the log itself, which grows; else a rotated one, which has an end.
        note: What a person should know about how it was found; empty when nothing happened.
    """

    reader: Reader
    entry: Entry
    position: Position
    is_log: bool
    note: str = ""


@contextmanager
def follow(place: LogPlace, position: Position) -> Iterator[Followed]:
    """Open the file in which to read on.

    Args:
        place: The log.
        position: How far it was read.

    Raises:
        NotFoundError: There is no log now.
        ResourceError: It cannot be read now.
    """
    with ExitStack() as opened:
        log = opened.enter_context(reader) if (reader := _open(place.storage, place.name)) else None
        if log and _is_same(log, position):
            yield Followed(log, log.stat(), position, is_log=True)
        elif rotated := _rotated(place, position):
            yield Followed(opened.enter_context(rotated), rotated.stat(), position, is_log=False)
        elif log:
            anew = Position(place.name, context=position.context)
            yield Followed(log, log.stat(), anew, is_log=True, note=_unseen(position) if position.offset else "")
        else:
            raise _there_is_none(place)


def following(place: LogPlace, finished: Entry) -> Position:
    """Where to go on when a rotated file was read to its end: the next one rotated since then, or the log itself.

    Args:
        place: The log.
        finished: The rotated file.

    Raises:
        NotFoundError: There is no next one yet.
    """
    log = _stat(place)  # before the listing: a log that is rotated in between is in the listing, under another name
    later = [entry for entry in _family(place) if entry.mtime_ns > finished.mtime_ns and entry.path != finished.path]
    if later:
        log = min(later, key=lambda entry: entry.mtime_ns)
    if log is None:
        raise _there_is_none(place)
    return Position(log.path, log.file_id)


def recognised(position: Position, reader: Reader) -> Position:
    """The position with what its file is recognised by.

    Args:
        position: How far the file was read.
        reader: The open file.
    """
    head = _bytes(reader, 0, EDGE).rstrip(b"\0")  # zeros are room that a logger reserved, and will be written
    return replace(position, head_bytes=len(head), head=_digest(head), mark=_digest(_before(reader, position.offset)))


def _is_same(reader: Reader, position: Position) -> bool:
    """Whether an open file is the one that was read up to `position`."""
    entry = reader.stat()
    if position.head_bytes < _FEW and entry.file_id and position.file_id:
        if entry.file_id != position.file_id:
            return False
    elif not position.head_bytes:
        return entry.path == position.name
    if entry.size < position.offset or _digest(_bytes(reader, 0, position.head_bytes)) != (position.head or _NOTHING):
        return False
    return _digest(_before(reader, position.offset)) == (position.mark or _NOTHING)


def _before(reader: Reader, offset: int) -> bytes:
    return _bytes(reader, max(0, offset - EDGE), offset)


def _bytes(reader: Reader, start: int, end: int) -> bytes:
    buffer = memoryview(bytearray(end - start))
    return bytes(buffer[: reader.readinto(buffer, start)]) if buffer else b""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


_NOTHING = _digest(b"")


def _rotated(place: LogPlace, position: Position) -> Reader | None:
    """The file that was read, under another name beside the log; not open if there is none."""
    family = {entry.path for entry in _family(place)}
    beside = [
        entry
        for entry in place.storage.list()
        if entry.kind == "file"
        and entry.path != place.name
        and entry.size >= position.offset
        and (entry.path in family or entry.file_id == position.file_id != 0)
    ]
    beside.sort(key=lambda entry: (entry.file_id != position.file_id, entry.path != position.name, -entry.size))
    for entry in beside:
        reader = _open(place.storage, entry.path)
        if reader and _is_same(reader, position):
            return reader
        if reader:
            reader.close()
    return None


def _family(place: LogPlace) -> list[Entry]:
    """The files beside the log that are named as rotations are, e.g. ``Fusion.log.1`` or ``Fusion-2026-01-05.log``."""
    stem, suffix = PurePosixPath(place.name).stem, PurePosixPath(place.name).suffix
    named = re.compile(
        rf"{re.escape(stem)}[\W\d_]*(?:old|bak|prev)?[\W\d_]*(?:{re.escape(suffix)})?[\W\d_]*(?:old|bak|prev)?[\W\d_]*",
        re.IGNORECASE,
    )
    return [
        entry
        for entry in place.storage.list()
        if entry.kind == "file" and entry.path != place.name and named.fullmatch(entry.path)
    ]


def _stat(place: LogPlace) -> Entry | None:
    try:
        return place.storage.stat(place.name)
    except NotFoundError:
        return None


def _there_is_none(place: LogPlace) -> NotFoundError:
    location = place.storage.location(place.name)
    return NotFoundError(f"there is no {location}; check source.log in config.toml", path=location)


def _open(storage: Storage, name: str) -> Reader | None:
    try:
        return storage.open_reader(name)
    except NotFoundError:
        return None


def _unseen(position: Position) -> str:
    return (
        f"{position.name} was replaced, and the file it was is not beside it: what was added to that after byte "
        f"{position.offset:,}, if anything, was not seen"
    )
