"""One connection of the loopback S3 server: HTTP requests come out of it, answers go in.

What belongs here: heads, bodies, aws-chunked framing. What does not: checksums (`s3_checks`) and what S3 answers
(`s3_sink`). Bodies pass through one 256 KiB buffer per thread, which stays in the processor's cache between
`recv` and the hash.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote

from benchmarks.s3_checks import CHECKSUM, Checks, Content
from benchmarks.s3_errors import S3Error

BUFFER = 256 << 10
LARGEST_HEAD = 64 << 10
KEPT_HEADERS = ("content-type", "x-amz-storage-class", "x-amz-server-side-encryption", "cache-control")
REASONS = {200: "OK", 204: "No Content"}


class Wire:
    """One connection: heads, bodies and lines come out of it, answers go in."""

    def __init__(self, connection: socket.socket, buffer: bytearray) -> None:
        self.connection = connection
        self.buffer = memoryview(buffer)
        self.begin = 0
        self.end = 0

    def fill(self) -> None:
        """Receive more behind what is buffered; EOFError when the client has gone."""
        if self.begin == self.end:
            self.begin = self.end = 0
        elif self.end == BUFFER:
            waiting = bytes(self.buffer[self.begin : self.end])
            self.buffer[: len(waiting)] = waiting
            self.begin, self.end = 0, len(waiting)
        received = self.connection.recv_into(self.buffer[self.end :])
        if not received:
            raise EOFError
        self.end += received

    def until(self, mark: bytes) -> bytes:
        """Everything up to `mark`, which is consumed too."""
        while True:
            waiting = bytes(self.buffer[self.begin : min(self.end, self.begin + LARGEST_HEAD)])
            found = waiting.find(mark)
            if found >= 0:
                self.begin += found + len(mark)
                return waiting[:found]
            if len(waiting) == LARGEST_HEAD:
                raise S3Error(400, "MetadataTooLarge", "a head or line is longer than 64 KiB")
            self.fill()

    def body(self, length: int) -> Iterator[memoryview]:
        """The next `length` bytes, piece by piece; a piece is valid until the next one is taken."""
        while length:
            if self.begin == self.end:
                self.fill()
            piece = self.buffer[self.begin : min(self.end, self.begin + length)]
            self.begin += len(piece)
            length -= len(piece)
            yield piece

    def send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """One answer."""
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Error')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)


class Request:
    """One request: its head, and its body when it is asked for."""

    def __init__(self, wire: Wire, head: bytes) -> None:
        self.wire = wire
        first, *lines = head.decode("latin-1").split("\r\n")
        self.method, target, _ = first.split(" ", 2)
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        path, _, query = target.partition("?")
        self.bucket, _, self.key = unquote(path[1:]).partition("/")
        self.query = dict(parse_qsl(query, keep_blank_values=True)) if query else {}
        self.body_taken = self.headers.get("content-length", "0") == "0"

    def content(self, checks: Checks, kept: bytearray | None = None) -> Content:
        """Take the body and check it; `kept` takes its bytes, which are gone otherwise."""
        for piece in self._body(checks):
            checks.update(piece)
            if kept is not None:
                kept += piece
        return checks.verify(self.length)

    def text(self, *, checksum_of_object: bool = False) -> bytes:
        """The body of a small request, checked like any other.

        Args:
            checksum_of_object: The checksum header speaks of the object this request makes, not of its body.
        """
        headers = self.headers
        if checksum_of_object:
            headers = {name: value for name, value in headers.items() if not name.startswith(CHECKSUM)}
        text = bytearray()
        self.content(Checks(headers), text)
        return bytes(text)

    @property
    def length(self) -> int:
        """The bytes of the body without its framing, as announced."""
        return int(self.headers.get("x-amz-decoded-content-length") or self.headers.get("content-length", "0"))

    def _body(self, checks: Checks) -> Iterator[memoryview]:
        if self.headers.get("expect", "").lower() == "100-continue":
            self.wire.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if checks.chunked:
            yield from self._chunks(checks)
        else:
            yield from self.wire.body(int(self.headers.get("content-length", "0")))
        self.body_taken = True

    def _chunks(self, checks: Checks) -> Iterator[memoryview]:
        """aws-chunked: ``size[;chunk-signature=…]``, the bytes, … a chunk of 0, then trailers and an empty line."""
        while size := int(self.wire.until(b"\r\n").partition(b";")[0], 16):
            yield from self.wire.body(size)
            if self.wire.until(b"\r\n"):
                raise S3Error(400, "IncompleteBody", "a chunk is longer than it said")
        while line := self.wire.until(b"\r\n"):
            name, _, value = line.decode("latin-1").partition(":")
            checks.claim_trailer(name.strip().lower(), value.strip())

    @property
    def only_new(self) -> bool:
        """Whether the client wants 412 when the key exists."""
        return self.headers.get("if-none-match") == "*"

    def kept_headers(self) -> dict[str, str]:
        """What S3 remembers with an object: its metadata and the like."""
        return {
            name: value
            for name, value in self.headers.items()
            if name.startswith("x-amz-meta-") or name in KEPT_HEADERS
        }
