"""Keep-alive HTTP/1.1 connections to one server: as much of HTTP as talking to S3 needs.

Why not http.client: its email parser takes 25 microseconds for an S3 answer's headers where this takes 6 (medians of 7
runs); the difference is a quarter of the CPU a small object costs here, and 20,000 files make 40,000 requests.

What belongs here: sockets, TLS, proxies, framing. What does not: S3, signatures, retries.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import SplitResult, unquote, urlsplit

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
_LAST_WORDS_SECONDS = 2.0
_JOIN_UP_TO = 128 * 1024  # copying this much costs less than a second system call and a second packet
_MAX_LINE = 64 * 1024
_MAX_HEADERS = 200
_READ_AHEAD = 64 * 1024
_BODILESS = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)

Body = bytes | memoryview | Callable[[], Iterable[memoryview]]


class HttpError(OSError):
    """The server's answer is not HTTP, or ended too early."""


class ShortBodyError(Exception):
    """A streamed body did not deliver the length it promised."""


class BodyError(Exception):
    """Reading a streamed body failed, which is not the connection's fault; `cause` is what the reader raised."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Server:
    """Where to connect to.

    Attributes:
        url: Scheme, host and port, e.g. ``https://bucket.s3.eu-central-1.amazonaws.com``.
        tls: For ``https``.
        proxy: The URL of an HTTP proxy, with user and password if it wants them.
    """

    url: SplitResult
    tls: ssl.SSLContext | None = None
    proxy: str | None = None

    @property
    def host(self) -> str:
        """The ``Host`` header: the port only where it is not the scheme's own."""
        name = self.url.hostname or ""
        name = f"[{name}]" if ":" in name else name
        return name if self.url.port in (None, self._default_port) else f"{name}:{self.url.port}"

    @property
    def _default_port(self) -> int:
        return 443 if self.url.scheme == "https" else 80

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the server itself."""
        return self.url.hostname or "", self.url.port or self._default_port

    @property
    def proxy_headers(self) -> dict[str, str]:
        """What the proxy itself wants to be told: user and password, where its URL has them."""
        proxy = urlsplit(self.proxy or "")
        if not proxy.username:
            return {}
        user = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        return {"proxy-authorization": f"Basic {b64encode(user.encode()).decode()}"}

    def target(self, path_and_query: str) -> str:
        """What stands in the request line: a proxy for plain HTTP wants the whole URL."""
        if self.proxy and self.url.scheme == "http":
            return f"http://{self.host}{path_and_query}"
        return path_and_query


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: `headers` have lower-case names; `body` is empty when it was streamed."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class Connection:
    """One connection; used by one thread at a time."""

    def __init__(self, server: Server) -> None:
        self._socket = _connect(server)
        self._reader = self._socket.makefile("rb", _READ_AHEAD)
        self.reusable = True

    def send(self, head: bytes, body: Body | None, length: int) -> None:
        """Send a request.

        Raises:
            ShortBodyError: A streamed body had fewer or more bytes than `length`.
            BodyError: A streamed body could not be read.
            OSError: The connection broke; the server may still have said why (`last_words`).
        """
        self.reusable = False  # until the whole answer has been read
        if body is None:
            self._socket.sendall(head)
        elif callable(body):
            self._socket.sendall(head)
            with contextlib.closing(_read_apart(body())) as chunks:
                self._send_stream(chunks, length)
        elif length <= _JOIN_UP_TO:
            self._socket.sendall(b"".join((head, body)))
        else:
            self._socket.sendall(head)
            self._socket.sendall(body)

    def _send_stream(self, chunks: Iterable[memoryview], length: int) -> None:
        sent = 0
        for chunk in chunks:
            sent += len(chunk)
            if sent > length:
                break
            self._socket.sendall(chunk)
        if sent != length:
            raise ShortBodyError(f"{length} bytes were promised, {sent} came")

    def receive(self, *, bodiless: bool) -> Answer:
        """Read a whole answer."""
        answer = self.receive_head()
        content = b"" if bodiless else b"".join(self.receive_body(answer))
        self._judge_reuse(answer, bodiless=bodiless)
        return Answer(answer.status, answer.headers, content)

    def receive_head(self) -> Answer:
        """Read status and headers; interim answers (100 Continue) are skipped."""
        while True:
            status, headers = self._read_head()
            if status >= HTTPStatus.OK:
                return Answer(status, headers)

    def receive_body(self, answer: Answer, chunk: int = 1024 * 1024) -> Iterator[bytes]:
        """Read the body that follows `answer`, in pieces of up to `chunk` bytes."""
        if answer.status in _BODILESS:
            return
        if "chunked" in answer.headers.get("transfer-encoding", "").lower():
            yield from self._read_chunked()
        elif (stated := answer.headers.get("content-length")) is not None:
            yield from self._read_exactly(_number(stated, 10), chunk)
        else:
            while data := self._reader.read(chunk):
                yield data

    def finish(self, answer: Answer) -> None:
        """A streamed body has been read to its end: the connection can be used again if the server agrees."""
        self._judge_reuse(answer, bodiless=False)

    def last_words(self, *, bodiless: bool) -> Answer | None:
        """What the server said before it broke the connection off, if anything: a refusal in the middle of a body."""
        with contextlib.suppress(OSError, ValueError):
            self._socket.settimeout(_LAST_WORDS_SECONDS)
            answer = self.receive(bodiless=bodiless)
            self.reusable = False
            return answer
        return None

    def close(self) -> None:
        """Close it."""
        with contextlib.suppress(OSError):
            self._reader.close()
        with contextlib.suppress(OSError):
            self._socket.close()

    def _judge_reuse(self, answer: Answer, *, bodiless: bool) -> None:
        framed = (
            bodiless
            or answer.status in _BODILESS
            or "content-length" in answer.headers
            or "transfer-encoding" in answer.headers
        )
        self.reusable = framed and answer.headers.get("connection", "").lower() != "close"

    def _read_head(self) -> tuple[int, dict[str, str]]:
        line = self._read_line()
        if not line:
            raise HttpError("the server closed the connection without an answer")
        version, _, rest = line.partition(b" ")
        if not version.startswith(b"HTTP/1."):
            raise HttpError(f"not an HTTP answer: {line[:80]!r}")
        headers: dict[str, str] = {} if version == b"HTTP/1.1" else {"connection": "close"}
        for _ in range(_MAX_HEADERS):
            line = self._read_line()
            if line in (b"\r\n", b"\n"):
                return _number(rest[:3].decode("latin-1"), 10), headers
            name, colon, value = line.partition(b":")
            if not colon:
                raise HttpError(f"not an HTTP header: {line[:80]!r}")
            headers[name.decode("latin-1").lower()] = value.strip().decode("latin-1")
        raise HttpError("too many headers")

    def _read_line(self) -> bytes:
        line = self._reader.readline(_MAX_LINE)
        if line and not line.endswith(b"\n"):
            raise HttpError("the answer broke off within a line")
        return line

    def _read_exactly(self, length: int, chunk: int) -> Iterator[bytes]:
        while length:
            data = self._reader.read(min(length, chunk))
            if not data:
                raise HttpError(f"the answer broke off {length} bytes before its end")
            length -= len(data)
            yield data

    def _read_chunked(self) -> Iterator[bytes]:
        while True:
            size = _number(self._read_line().split(b";")[0].strip().decode("latin-1"), 16)
            if size == 0:
                while self._read_line() not in (b"\r\n", b"\n", b""):
                    pass  # trailers, which S3 does not need us to read
                return
            yield from self._read_exactly(size, size)
            if self._read_line() not in (b"\r\n", b"\n"):
                raise HttpError("a chunk of the answer is not followed by a line end")


class Pool:
    """Idle connections to one server. Safe from many threads: each takes one, uses it, and gives it back."""

    def __init__(self, server: Server, *, keep: int) -> None:
        self.server = server
        self._keep = keep
        self._idle: deque[Connection] = deque()

    def take(self) -> tuple[Connection, bool]:
        """A connection, and whether it has been used before (so the server may have closed it meanwhile)."""
        try:
            return self._idle.pop(), True  # the one used last: the least likely to have timed out
        except IndexError:
            return Connection(self.server), False

    def give_back(self, connection: Connection) -> None:
        """Keep it for the next request if it can be used again, else close it."""
        if connection.reusable and len(self._idle) < self._keep:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close the idle connections; the pool can still be used."""
        while self._idle:
            with contextlib.suppress(IndexError):
                self._idle.pop().close()


def format_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """The request line and the headers, as they go over the wire."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


def _read_apart(chunks: Iterable[memoryview]) -> Generator[memoryview]:
    # A NAS that breaks off while we read it raises what a socket raises; sending again would blame the wrong one.
    try:
        yield from chunks
    except OSError as error:
        raise BodyError(error) from error


def _number(text: str, base: int) -> int:
    try:
        number = int(text, base)
    except ValueError:
        raise HttpError(f"not a number where HTTP wants one: {text[:40]!r}") from None
    if number < 0:
        raise HttpError(f"a negative number in an HTTP answer: {text[:40]!r}")
    return number


def _connect(server: Server) -> socket.socket:
    proxy = urlsplit(server.proxy) if server.proxy else None
    address = (proxy.hostname or "", proxy.port or 80) if proxy else server.address
    raw = socket.create_connection(address, timeout=CONNECT_SECONDS)
    try:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if proxy and server.tls:
            _open_tunnel(raw, server, proxy)
        connected = server.tls.wrap_socket(raw, server_hostname=server.address[0]) if server.tls else raw
        connected.settimeout(ANSWER_SECONDS)
    except BaseException:
        raw.close()
        raise
    return connected


def _open_tunnel(raw: socket.socket, server: Server, proxy: SplitResult) -> None:
    host, port = server.address
    target = f"{host}:{port}"
    raw.sendall(format_head("CONNECT", target, {"host": target, **server.proxy_headers}))
    answer = bytearray()
    while not answer.endswith(b"\r\n\r\n"):  # byte by byte: what follows the blank line belongs to TLS
        byte = raw.recv(1)
        if not byte or len(answer) > _MAX_LINE:
            raise HttpError(f"the proxy {proxy.hostname} closed the connection")
        answer += byte
    status = bytes(answer).split(None, 2)[1:2]
    if status != [b"200"]:
        raise HttpError(f"the proxy {proxy.hostname} refused to connect: {bytes(answer[:80])!r}")
