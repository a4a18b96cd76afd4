"""Open files on an SMB share: positional, thread-safe readers and writers with several requests in flight.

What belongs here: cutting transfers into requests, and putting short ones together. What does not: names, directories
and opening (`smb_storage`), and how requests travel (`smb_channel`).

A handle lives and dies with its connection: when that breaks, the file has to be opened again by whoever knows what was
already read or flushed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Self

from resources import smb_packets as packets
from resources.errors import ResourceError
from resources.smb_channel import Channel, Ticket
from resources.smb_errors import END_OF_FILE, SUCCESS, BrokenChannelError, StatusError
from resources.smb_packets import Request
from resources.storage import Entry

# Measured on loopback with encryption, 256 MiB, medians of nine on a busy machine, MB/s written / read: 1 MiB x 4 in
# flight 612 / 543, 2 MiB x 2 663 / 589, 2 MiB x 3 815 / 566, 4 MiB x 2 442 / 450, 4 MiB x 3 473 / 609, 8 MiB x 1 527 /
# 495. Larger requests no longer fit the processor's cache.
_REQUEST_SIZE = 2 << 20
_IN_FLIGHT = 3

Translate = Callable[[Exception, str], ResourceError]
"""Turns a channel's exception, and the verb that failed, into one of our errors."""


class _Handle:
    """A file id on a channel; closing twice is fine."""

    def __init__(self, channel: Channel, file_id: bytes, translate: Translate) -> None:
        self.channel, self.file_id = channel, file_id
        self._translate = translate
        self._is_open = True
        self.step = min(_REQUEST_SIZE, channel.max_request)

    @contextmanager
    def doing(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (BrokenChannelError, StatusError) as error:
            raise self._translate(error, verb) from error

    def close(self) -> None:
        was_open, self._is_open = self._is_open, False
        if was_open and not self.channel.is_broken:
            with self.doing("close"):
                self.channel.ask(packets.close(self.file_id))[0].checked()

    def transfer(self, requests: Iterable[Request]) -> list[Ticket]:
        """Send `requests`, a few ahead of the answers, until one is refused; gives the answered tickets in order."""
        sent: deque[list[Ticket]] = deque()
        answered: list[Ticket] = []
        try:
            for request in requests:
                sent.append(self.channel.send(request))
                if len(sent) >= _IN_FLIGHT:
                    answered += self.channel.wait(sent.popleft())
                    if answered[-1].status != SUCCESS:
                        break
        finally:
            # Whatever happened: an answer still on its way would land in the caller's buffer after we returned.
            while sent:
                answered += self.channel.wait(sent.popleft())
        return answered


class SmbReader:
    """An open file to read from.

    Args:
        channel: Where it was opened.
        file_id: Its handle there.
        entry: What it was when it was opened.
        translate: Makes our errors out of the channel's.
        uncached: Ask the server not to answer from its cache; it is free to ignore that.
    """

    def __init__(self, channel: Channel, file_id: bytes, entry: Entry, translate: Translate, *, uncached: bool) -> None:
        self._handle = _Handle(channel, file_id, translate)
        self._entry = entry
        self._unbuffered = uncached and channel.knows_unbuffered

    def readinto(self, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` from `offset`; returns the bytes read, fewer than asked for only at the end of the file."""
        step = self._handle.step
        with self._handle.doing("read"):
            tickets = self._handle.transfer(
                self._read(buffer[at : at + step], offset + at) for at in range(0, len(buffer), step)
            )
            filled = 0
            for ticket in tickets:
                filled += ticket.checked(END_OF_FILE).count
                if filled % step:
                    break
            # A short answer is the end of the file, or a server that gives less than asked: ask until nothing comes.
            while filled < len(buffer):
                [ticket] = self._handle.channel.ask(self._read(buffer[filled : filled + step], offset + filled))
                if not ticket.checked(END_OF_FILE).count:
                    break
                filled += ticket.count
        return filled

    def _read(self, into: memoryview, offset: int) -> Request:
        return packets.read(into, offset, self._handle.file_id, unbuffered=self._unbuffered)

    def stat(self) -> Entry:
        """The open file itself, as it is now: same path, current size and mtime."""
        with self._handle.doing("look at"):
            request = packets.query_info(packets.OF_FILE, packets.NETWORK_OPEN, 64, self._handle.file_id)
            [ticket] = self._handle.channel.ask(request)
            now = packets.parse_network_open(packets.content_of(ticket.checked().body))
        return Entry(self._entry.path, "file", now.size, now.mtime_ns, self._entry.file_id)

    def close(self) -> None:
        """Close it; closing twice is allowed."""
        self._handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class SmbWriter:
    """An open file to write to.

    Args:
        channel: Where it was opened.
        file_id: Its handle there.
        translate: Makes our errors out of the channel's.
    """

    def __init__(self, channel: Channel, file_id: bytes, translate: Translate) -> None:
        self._handle = _Handle(channel, file_id, translate)

    def write(self, data: memoryview, offset: int) -> None:
        """Write all of `data` at `offset`."""
        step = self._handle.step
        with self._handle.doing("write"):
            requests = (self._write(data[at : at + step], offset + at) for at in range(0, len(data), step))
            at = 0
            for ticket in self._handle.transfer(requests):
                sent = len(ticket.request.data)
                self._finish(data[at : at + sent], offset + at, ticket)
                at += sent

    def _finish(self, data: memoryview, offset: int, ticket: Ticket) -> None:
        """A server may write less than it was sent: send the rest again."""
        while (count := packets.count_written(ticket.checked().body)) < len(data):
            data, offset = data[count:], offset + count
            [ticket] = self._handle.channel.ask(self._write(data, offset))

    def _write(self, data: memoryview, offset: int) -> Request:
        return packets.write(data, offset, self._handle.file_id)

    def flush(self) -> None:
        """Return when the server says that everything written is on its stable storage."""
        with self._handle.doing("flush"):
            self._handle.channel.ask(packets.flush(self._handle.file_id))[0].checked()

    def close(self) -> None:
        """Close it; closing twice is allowed. Closing does not imply `flush`."""
        self._handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
