"""An HTTP server on a loopback port that answers what a test tells it to: the faults no real server shows on demand."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Seen:
    """A request as it came over the wire; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int


@dataclass(frozen=True)
class Early:
    """Answer before the body has been read, then close the connection on it."""

    answer: bytes


@dataclass(frozen=True)
class Last:
    """Read the request, send this, and close the connection."""

    answer: bytes


BREAK_OFF = Last(b"")


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """The bytes of a response; underscores in header names become hyphens."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join([f"HTTP/1.1 {status} Scripted", f"content-length: {len(body)}", *lines])
    return head.encode() + b"\r\n\r\n" + body


def refusal(status: int, code: str, *, message: str = "", extra: str = "", **headers: str) -> bytes:
    """S3's XML for an error."""
    return answer(status, f"<Error><Code>{code}</Code><Message>{message}</Message>{extra}</Error>".encode(), **headers)


Step = bytes | Early | Last | Callable[[Seen], bytes]


class ScriptedServer:
    """Gives `steps` in order, one for each request, over all connections; then the last one again and again.

    With `tls` it speaks HTTPS; with `tunnel` it first wants a CONNECT with that ``Proxy-Authorization``, as a proxy
    does, and then plays the server behind it itself.
    """

    def __init__(self, *steps: Step, tls: ssl.SSLContext | None = None, tunnel: str = "") -> None:
        self.tunnels: list[str] = []
        self._tls, self._tunnel = tls, tunnel
        self.steps = list(steps)
        self.seen: list[Seen] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_connections()

    def drop_connections(self) -> None:
        """Close every connection that is open, as a server does with idle ones."""
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._connections.clear()

    def _accept(self) -> None:
        number = 0
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                number += 1
                threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self._tunnel:
                self._open_tunnel(connection)
            self._talk(self._tls.wrap_socket(connection, server_side=True) if self._tls else connection, number)

    def _open_tunnel(self, connection: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        method, target, _ = head.decode().split(" ", 2)
        granted = method == "CONNECT" and f"proxy-authorization: {self._tunnel}\r\n".lower().encode() in head.lower()
        connection.sendall(b"HTTP/1.1 200 Connected\r\nvia: test\r\n\r\n" if granted else answer(407))
        self.tunnels.append(target)

    def _talk(self, connection: socket.socket, number: int) -> None:
        with connection, connection.makefile("rb") as reader:
            while line := reader.readline():
                method, target, _ = line.decode("latin-1").split(" ", 2)
                headers = {}
                while (line := reader.readline()) not in (b"\r\n", b""):
                    name, _, value = line.decode("latin-1").partition(":")
                    headers[name.lower()] = value.strip()
                with self._lock:
                    step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
                early = isinstance(step, Early)
                body = b"" if early else reader.read(int(headers.get("content-length", 0)))
                if not early and len(body) < int(headers.get("content-length", 0)):
                    return  # as a real server: a request that breaks off is no request
                seen = Seen(method, target, headers, body, number)
                with self._lock:
                    self.seen.append(seen)
                connection.sendall(_answer_of(step, seen))
                if isinstance(step, Early | Last):
                    return


def _answer_of(step: Step, seen: Seen) -> bytes:
    if isinstance(step, bytes):
        return step
    return step.answer if isinstance(step, Early | Last) else step(seen)
