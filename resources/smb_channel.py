"""One connection to a share: requests out, responses in, from several threads at once.

What belongs here: message ids, credits, compounds, who reads the socket, and when a connection counts as broken. What
does not: what the messages mean (`smb_packets`), and files (`smb_files`, `smb_storage`).

There is no reading thread: of the threads that wait for a response, one reads and hands the others theirs. A request
and its response then cost no change of threads when only one is at work.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from resources import smb_packets as packets
from resources.errors import described
from resources.smb_errors import PENDING, SESSION_LOST, SUCCESS, BrokenChannelError, StatusError
from resources.smb_login import Login
from resources.smb_packets import HEADER_SIZE, Buffer, Request
from resources.smb_protection import ProtectionError, Sealer, sign, verify

_SILENCE_SECONDS = 60  # a NAS whose disks spin up answers after half a minute
_LENGTH = 4  # bytes before each packet (MS-SMB2 2.1)
_CREDITS_WANTED = 512
_TRUSTED_SECONDS = 30  # servers drop idle connections (Windows after 15 minutes); an answer this fresh needs no proof
_JOINED = 1 << 16  # shorter packets are sent in one piece


@dataclass(slots=True, eq=False)
class Ticket:
    """A request that was sent, and its response once it is there.

    Attributes:
        request: What was asked.
        status: The server's status; None while it has not answered.
        body: The response without its header; empty for a READ with `Request.into`.
        count: How many bytes a READ put into `Request.into`.
    """

    request: Request
    status: int | None = None
    body: bytes = b""
    count: int = 0

    def checked(self, *also: int) -> Ticket:
        """Itself; raises `StatusError` unless the status is success or one of `also`."""
        if self.status != SUCCESS and self.status not in also:
            raise StatusError(self.status or 0)
        return self


class Channel:
    """A logged-in connection. Broken once, it stays broken: every call raises `BrokenChannelError`."""

    def __init__(self, login: Login) -> None:
        self._login, self._socket = login, login.socket
        self._socket.settimeout(_SILENCE_SECONDS)
        self._sealer = Sealer(login.keys) if login.encrypt else None
        self._sending = threading.Lock()
        self._state = threading.Condition()
        self._receiving = False
        self._waiting: dict[int, Ticket] = {}
        self._message_id, self._credits = login.message_id, login.credits
        self._buffer = memoryview(bytearray(1 << 16))
        self._broken: str | None = None
        self._last_heard = time.monotonic()
        self.max_request = login.max_request
        self.knows_unbuffered = login.unbuffered

    @property
    def is_broken(self) -> bool:
        """Whether it can no longer be used."""
        return self._broken is not None

    def is_alive(self) -> bool:
        """Whether it can be used; after a silence of half a minute, the server is asked."""
        if self._broken is None and time.monotonic() - self._last_heard > _TRUSTED_SECONDS:
            with suppress(BrokenChannelError):
                self.ask(packets.plain(packets.ECHO))
        return self._broken is None

    def ask(self, *requests: Request) -> list[Ticket]:
        """Send `requests` as one packet, each related to the first, and wait for all the responses."""
        return self.wait(self.send(*requests))

    def send(self, *requests: Request) -> list[Ticket]:
        """Send `requests` as one packet; `wait` for the tickets later."""
        tickets = [Ticket(request) for request in requests]
        with self._sending:
            first = self._number(tickets)
            parts = [part for message in self._messages(requests, first) for part in message]
            self._put(self._sealer.seal(parts) if self._sealer else parts)
        return tickets

    def wait(self, tickets: list[Ticket]) -> list[Ticket]:
        """Return `tickets` when all are answered."""
        with self._state:
            for ticket in tickets:
                while ticket.status is None:
                    self._progress()
        for ticket in tickets:
            if ticket.status in SESSION_LOST:
                self._break(f"the server ended the session ({ticket.status:#x})")
                raise BrokenChannelError(self._broken)
        return tickets

    def close(self) -> None:
        """Log off, if the server still listens, and close the connection."""
        with suppress(BrokenChannelError, OSError):
            self._socket.settimeout(2)
            self.ask(packets.plain(packets.TREE_DISCONNECT))
            self.ask(packets.plain(packets.LOGOFF))
        self._break("closed")

    def _number(self, tickets: Sequence[Ticket]) -> int:
        """Take message ids and credits for a packet, waiting for credits if need be; returns the first id."""
        charge = sum(ticket.request.charge for ticket in tickets)
        with self._state:
            while self._credits < charge:
                if not self._waiting:
                    self._fail("the server grants no more requests")
                self._progress()
            self._check()
            first = self._message_id
            for ticket in tickets:
                self._waiting[self._message_id] = ticket
                self._message_id += ticket.request.charge
            self._credits -= charge
        return first

    def _messages(self, requests: Sequence[Request], message_id: int) -> Iterator[list[Buffer]]:
        """The parts of each message; all but the last padded to eight bytes, all but the first related to it."""
        for index, request in enumerate(requests):
            is_last = index == len(requests) - 1
            length = HEADER_SIZE + len(request.body) + len(request.data)
            padding = b"" if is_last else bytes(-length % 8)
            header = packets.header(
                request,
                message_id=message_id,
                credits_wanted=max(request.charge, _CREDITS_WANTED - self._credits),
                flags=(packets.FLAG_RELATED if index else 0) | (0 if self._sealer else packets.FLAG_SIGNED),
                following=0 if is_last else length + len(padding),
                tree=self._login.tree,
                session=self._login.session,
            )
            rest: list[Buffer] = [part for part in (request.body, request.data, padding) if len(part)]
            if not self._sealer:
                sign(self._login.keys, header, rest, message_id)
            message_id += request.charge
            yield [header, *rest]

    def _put(self, parts: list[Buffer]) -> None:
        length = sum(map(len, parts))
        parts = [length.to_bytes(_LENGTH, "big"), *parts]
        if length < _JOINED:
            parts = [b"".join(parts)]
        try:
            for part in parts:
                self._socket.sendall(part)
        except OSError as error:
            self._fail(f"sending failed: {described(error)}")
        except BaseException:
            self._break("interrupted while sending")  # half a packet is out: nothing can follow it
            raise

    def _progress(self) -> None:
        """Let one thread read a packet and the others wait for it. Called with the state held."""
        self._check()
        if self._receiving:
            self._state.wait()
            return
        self._receiving = True
        self._state.release()
        try:
            self._receive()
        finally:
            self._state.acquire()
            self._receiving = False
            self._state.notify_all()

    def _receive(self) -> None:
        try:
            packet = self._packet()
            message = self._sealer.unseal(packet) if self._sealer else packet
            while len(message):
                header = packets.parse_header(message)
                end = header.next or len(message)
                self._deliver(header, message[:end])
                message = message[end:] if header.next else message[:0]
        except (OSError, ValueError, struct.error, ProtectionError) as error:
            self._fail(f"receiving failed: {described(error)}")
        except BaseException:
            self._break("interrupted while receiving")  # half a packet is in: nothing can follow it
            raise

    def _packet(self) -> memoryview:
        self._fill(self._buffer[:_LENGTH])
        length = int.from_bytes(self._buffer[1:_LENGTH], "big")
        if length > len(self._buffer):
            self._buffer = memoryview(bytearray(length))
        self._fill(self._buffer[:length])
        return self._buffer[:length]

    def _fill(self, view: memoryview) -> None:
        while len(view):
            count = self._socket.recv_into(view)
            if not count:
                raise ConnectionResetError("the server closed the connection")
            view = view[count:]

    def _deliver(self, header: packets.ResponseHeader, message: memoryview) -> None:
        """Give a response to whoever waits for it; what nobody waits for (an oplock break) is dropped."""
        is_interim = header.status == PENDING and bool(header.flags & packets.FLAG_ASYNC)
        if not self._sealer and not is_interim:
            verify(self._login.keys, message, header.message_id)
        with self._state:
            self._credits += header.credits
            ticket = None if is_interim else self._waiting.pop(header.message_id, None)
        self._last_heard = time.monotonic()
        if ticket is None:
            return
        body = message[HEADER_SIZE:]
        if ticket.request.into is not None and header.status == SUCCESS:
            start, ticket.count = packets.data_range(body)
            ticket.request.into[: ticket.count] = body[start : start + ticket.count]
        else:
            ticket.body = bytes(body)
        ticket.status = header.status

    def _check(self) -> None:
        if self._broken is not None:
            raise BrokenChannelError(self._broken)

    def _fail(self, reason: str) -> None:
        self._break(reason)
        raise BrokenChannelError(self._broken)

    def _break(self, reason: str) -> None:
        with self._state:
            self._broken = self._broken or reason
            self._state.notify_all()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
