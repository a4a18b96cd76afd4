r"""What can be done to one name on a share, each in as few round trips as SMB allows.

What belongs here: sequences of requests on a channel, by the server's names (``a\b``). What does not: roots, errors in
our words and trying again after a broken connection (`smb_storage` does that), and looking (`smb_entries`).

FLUSH stands last in its packet: only the last request of a compound may be carried out in the background (MS-SMB2
3.3.4.2), and a flush that takes long has to be.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable

from resources import smb_packets as packets
from resources.smb_channel import Channel, Ticket
from resources.smb_entries import check_spelling
from resources.smb_errors import (
    ACCESS_DENIED,
    CANNOT_DELETE,
    DISK_FULL,
    END_OF_FILE,
    IS_A_DIRECTORY,
    NAME_COLLISION,
    SHARING_VIOLATION,
    SUCCESS,
    StatusError,
)
from resources.smb_packets import Request
from resources.storage import Space

_FLUSHES = 32  # in flight: a barrier should wait for the server's disk, not for round trips
_PATIENCE = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # seconds between tries while a program has a file for a moment
_ASK_SPACE = packets.query_info(packets.OF_FILESYSTEM, packets.FULL_SIZE, 32)
_REMOVE_OPENED = b"\x01"


def checked(tickets: Iterable[Ticket]) -> None:
    """Raise `StatusError` for the first that was refused."""
    for ticket in tickets:
        ticket.checked()


def exists(channel: Channel, name: str) -> None:
    """Raise `StatusError` unless `name` is a directory that this account may list."""
    checked(channel.ask(packets.create(name, packets.READ_DATA, packets.OPEN, packets.DIRECTORY), packets.close()))


def create_file(channel: Channel, name: str, access: int, *then: Request) -> list[Ticket]:
    """Create a file, or empty one that exists in that very spelling; sends `then` along, returns all tickets."""
    tickets = channel.ask(packets.create(name, access, packets.CREATE_NEW, packets.FILE), *then)
    if tickets[0].status == NAME_COLLISION:
        check_spelling(channel, name)
        tickets = channel.ask(packets.create(name, access, packets.OVERWRITE_IF, packets.FILE), *then)
    tickets[0].checked()
    return tickets


def open_for_writing(channel: Channel, name: str, size: int) -> bytes:
    """Create or empty a file and return its handle, if the volume has room for `size` bytes.

    Asking to reserve room (FileAllocationInformation) would be the proper way, but Samba says yes to everything unless
    it is told ``strict allocate = yes``. So we look at what is free, in the same round trip.
    """
    access = packets.WRITE_DATA | packets.WRITE_ATTRIBUTES | packets.READ_ATTRIBUTES | packets.DELETE
    opened, volume = create_file(channel, name, access, _ASK_SPACE)
    file_id, _ = packets.parse_created(opened.body)
    if size and volume.status == SUCCESS and packets.parse_volume(packets.content_of(volume.body))[1] < size:
        _remove_opened(channel, file_id)
        raise StatusError(DISK_FULL)
    return file_id


def write_whole(channel: Channel, name: str, data: bytes | memoryview, mtime_ns: int | None) -> None:
    """Create or overwrite a small file; nothing is left of it when that fails half-way."""
    then = [packets.write(data, 0)] if len(data) else []
    then += [packets.set_mtime(mtime_ns)] if mtime_ns is not None else []
    access = packets.WRITE_DATA | packets.WRITE_ATTRIBUTES
    _, *tickets = create_file(channel, name, access, *then, packets.close())
    try:
        checked(tickets)
        _check_count(tickets[0], data)
    except StatusError:
        remove(channel, name, packets.FILE)
        raise


def _check_count(written: Ticket, data: bytes | memoryview) -> None:
    """A write that was cut short has nowhere to put the rest."""
    if len(data) and packets.count_written(written.body) < len(data):
        raise StatusError(DISK_FULL)


def read_whole(channel: Channel, name: str, buffer: memoryview, *, unbuffered: bool) -> int | None:
    """Read a small file into `buffer` and return its length; None if there is more of it than was read."""
    opened, read, closed = channel.ask(
        packets.create(name, packets.READ_DATA, packets.OPEN, packets.FILE),
        packets.read(buffer, 0, unbuffered=unbuffered and channel.knows_unbuffered),
        packets.close(),
    )
    _, attributes = packets.parse_created(opened.checked().body)
    checked([read, closed]) if read.status != END_OF_FILE else closed.checked()
    return read.count if read.count == attributes.size else None


def create_exclusive(channel: Channel, name: str, data: bytes) -> None:
    """Create a file that must not exist yet, and flush it; nothing is left of it when that fails half-way."""
    opened, *written = channel.ask(
        packets.create(name, packets.WRITE_DATA | packets.DELETE, packets.CREATE_NEW, packets.FILE),
        *([packets.write(data, 0)] if data else []),
        packets.flush(),
    )
    file_id, _ = packets.parse_created(opened.checked().body)
    if all(ticket.status == SUCCESS for ticket in written):
        channel.ask(packets.close(file_id))
    else:
        _remove_opened(channel, file_id)
    checked(written)


def append(channel: Channel, name: str, data: bytes) -> None:
    """Add to the end of a file, alone with it: whoever else wants to write waits, or is waited for."""
    request = packets.create(
        name, packets.WRITE_DATA | packets.APPEND_DATA, packets.OPEN_IF, packets.FILE, share=packets.SHARE_READ
    )
    for pause in (*_PATIENCE, None):
        [opened] = channel.ask(request)
        if opened.status != SHARING_VIOLATION or pause is None:
            break
        time.sleep(pause)
    file_id, attributes = packets.parse_created(opened.checked().body)
    try:
        written, flushed = channel.ask(packets.write(data, attributes.size, file_id), packets.flush())
        checked([written, flushed])
        _check_count(written, data)
    finally:
        channel.ask(packets.close(file_id))


def rename(channel: Channel, source: str, target: str) -> None:
    """Rename a file or directory, never over anything."""
    checked(_rename(channel, source, target, overwrite=False))


def replace(channel: Channel, source: str, target: str) -> None:
    """Rename a file over whatever file of that very spelling is at `target`.

    Windows refuses that while somebody reads the target, so it is tried for three seconds; Samba allows it.
    """
    for pause in _PATIENCE:
        tickets = _replace_once(channel, source, target)
        if not {ticket.status for ticket in tickets} & {ACCESS_DENIED, SHARING_VIOLATION}:
            return checked(tickets)
        if _share_alone(channel, target) != SHARING_VIOLATION:
            # Not allowed; or let go between the two questions, so that it works now.
            return checked(_replace_once(channel, source, target))
        time.sleep(pause)
    raise StatusError(SHARING_VIOLATION)


def _replace_once(channel: Channel, source: str, target: str) -> list[Ticket]:
    tickets = _rename(channel, source, target, overwrite=False)
    if tickets[1].status == NAME_COLLISION:
        check_spelling(channel, target)
        tickets = _rename(channel, source, target, overwrite=True)
    return tickets


def _rename(channel: Channel, source: str, target: str, *, overwrite: bool) -> list[Ticket]:
    access = packets.DELETE | packets.READ_ATTRIBUTES
    tickets = channel.ask(
        packets.create(source, access, packets.OPEN, packets.REPARSE_POINT),
        packets.rename(target, overwrite=overwrite),
        packets.close(),
    )
    tickets[0].checked()
    return tickets


def make_directory(channel: Channel, name: str) -> None:
    """Create one directory; one that exists in that very spelling is fine."""
    access = packets.READ_ATTRIBUTES
    opened, _ = channel.ask(packets.create(name, access, packets.CREATE_NEW, packets.DIRECTORY), packets.close())
    if opened.status != NAME_COLLISION:
        opened.checked()
        return
    found, _ = channel.ask(packets.create(name, access, packets.OPEN, packets.DIRECTORY), packets.close())
    if found.status != SUCCESS:  # a file is in its place
        opened.checked()
    check_spelling(channel, name)


def remove_file(channel: Channel, name: str) -> None:
    """Remove a file or a link."""
    try:
        remove(channel, name, packets.FILE)
    except StatusError as error:
        # A link to a directory counts as a directory.
        if error.status != IS_A_DIRECTORY or not _is_link(channel, name):
            raise
        remove(channel, name, packets.DIRECTORY)


def remove(channel: Channel, name: str, what: int) -> None:
    """Remove a file (`packets.FILE`) or an empty directory (`packets.DIRECTORY`), never what a link points to.

    One that bears the read-only attribute, as an instrument's software or a copy from a CD may leave it, goes, too.
    """
    try:
        _remove(channel, name, what)
    except StatusError as error:
        if error.status != CANNOT_DELETE:
            raise
        _clear_attributes(channel, name)
        _remove(channel, name, what)


def _remove(channel: Channel, name: str, what: int) -> None:
    opened, *rest = channel.ask(
        packets.create(name, packets.DELETE, packets.OPEN, what | packets.REPARSE_POINT),
        packets.set_info(packets.DISPOSITION, _REMOVE_OPENED),
        packets.close(),
    )
    opened.checked()
    checked(rest)


def _remove_opened(channel: Channel, file_id: bytes) -> None:
    channel.ask(packets.set_info(packets.DISPOSITION, _REMOVE_OPENED, file_id), packets.close(file_id))


def _clear_attributes(channel: Channel, name: str) -> None:
    checked(
        channel.ask(
            packets.create(name, packets.WRITE_ATTRIBUTES, packets.OPEN, packets.REPARSE_POINT),
            packets.clear_attributes(),
            packets.close(),
        )
    )


def _is_link(channel: Channel, name: str) -> bool:
    options = packets.REPARSE_POINT
    opened, _ = channel.ask(packets.create(name, packets.READ_ATTRIBUTES, packets.OPEN, options), packets.close())
    return bool(packets.parse_created(opened.checked().body)[1].flags & packets.ATTRIBUTE_REPARSE_POINT)


def set_mtime(channel: Channel, name: str, mtime_ns: int) -> None:
    """Set the time of the last write."""
    checked(
        channel.ask(
            packets.create(name, packets.WRITE_ATTRIBUTES, packets.OPEN, packets.REPARSE_POINT),
            packets.set_mtime(mtime_ns),
            packets.close(),
        )
    )


def flush(channel: Channel, names: Iterable[str]) -> None:
    """Bring files, or the names in directories, to the server's stable storage; many are under way at once."""
    sent: deque[list[Ticket]] = deque()
    try:
        for name in names:
            sent.append(channel.send(packets.create(name, packets.WRITE_DATA, packets.OPEN, 0), packets.flush()))
            if len(sent) >= _FLUSHES:
                _finish_flush(channel, sent.popleft())
    finally:
        while sent:
            _finish_flush(channel, sent.popleft())


def _finish_flush(channel: Channel, tickets: list[Ticket]) -> None:
    opened, flushed = channel.wait(tickets)
    file_id, _ = packets.parse_created(opened.checked().body)
    channel.ask(packets.close(file_id))
    flushed.checked()


def space(channel: Channel, name: str) -> Space:
    """Capacity and free bytes, as they are available to the account (quotas included)."""
    opened, volume, _ = channel.ask(
        packets.create(name, packets.READ_ATTRIBUTES, packets.OPEN, packets.DIRECTORY),
        _ASK_SPACE,
        packets.close(),
    )
    opened.checked()
    total, free = packets.parse_volume(packets.content_of(volume.checked().body))
    return Space(total=total, free=free)


def is_held_open(channel: Channel, name: str) -> bool:
    """Whether anybody has the file open: asked by opening it for nobody else, for the length of one packet."""
    status = _share_alone(channel, name)
    if status not in {SUCCESS, SHARING_VIOLATION}:
        raise StatusError(status)
    return status == SHARING_VIOLATION


def _share_alone(channel: Channel, name: str) -> int:
    request = packets.create(name, packets.READ_DATA, packets.OPEN, packets.FILE, share=packets.SHARE_NONE)
    opened, _ = channel.ask(request, packets.close())
    return opened.status or SUCCESS
