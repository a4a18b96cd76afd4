"""Signed requests to one bucket, asked again where a pause can cure what went wrong.

What belongs here: signing, sending, retries with backoff, and the translation of every failure at this border. What
does not: what the requests mean (`s3`).
"""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from resources.errors import ChecksumError, ResourceError, UnavailableError, described
from resources.s3_errors import refusal_of, tls_error, to_error, unreachable
from resources.s3_http import Answer, Body, BodyError, Connection, HttpError, Pool, ShortBodyError, format_head
from resources.s3_session import Session
from resources.s3_signing import EMPTY_SHA256, encode_key, encode_query, sign

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 20.0
_LONGEST_WISH = 60.0
# An untrusted certificate, or plain HTTP where TLS was expected: no pause cures these.
_LASTING_TLS_REASONS = frozenset({"CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER", "HTTP_REQUEST"})

Read = Callable[[Connection], Answer]


@dataclass(frozen=True, slots=True)
class Request:
    """One request about one key.

    Attributes:
        method: ``PUT``, ``HEAD`` or ``GET``.
        key: The object's whole key in the bucket; empty for the bucket itself.
        action: For messages: ``upload``, …
        query: Query parameters.
        headers: Lower-case names; signed as they are.
        body: Bytes, or a callable that gives the chunks anew for each attempt.
        length: Bytes of the body.
        sha256: Of the body, 64 hex digits.
    """

    method: str
    key: str
    action: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    length: int = 0
    sha256: str = EMPTY_SHA256


class Requester:
    """Sends requests to one bucket. Safe from many threads."""

    def __init__(self, session: Session, *, max_attempts: int, connections: int) -> None:
        self._session = session
        self._max_attempts = max_attempts
        self._pool = Pool(session.server, keep=connections)
        self._host = session.server.host
        # Not signed: the proxy takes them away. Behind TLS they went with the request for the tunnel.
        self._proxy_headers = session.server.proxy_headers if session.server.tls is None else {}

    def send(self, request: Request, *, accept: tuple[int, ...] = ()) -> Answer:
        """Send a request until it is answered.

        Args:
            request: What to ask.
            accept: Statuses above 299 that are an answer here, not an error (404 for "is it there?").

        Raises:
            ResourceError: Of the kind that fits; `UnavailableError` when all attempts failed.
        """
        bodiless = request.method == "HEAD"
        connection, answer = self._perform(request, lambda open_: open_.receive(bodiless=bodiless), accept)
        self._pool.give_back(connection)
        return answer

    def stream(self, request: Request, chunk: int) -> Iterator[bytes]:
        """Send a GET and yield the object; after a break it goes on where it stopped, if the object is still the same.

        Args:
            request: A GET without body.
            chunk: Bytes to yield at a time, at the most.

        Raises:
            ResourceError: Of the kind that fits; `UnavailableError` when it breaks off again and again.
        """
        done, etag, breaks = 0, "", 0
        while True:
            connection, answer = self._perform(_from_offset(request, done, etag), _receive_head_of_success, ())
            if done and answer.status != HTTPStatus.PARTIAL_CONTENT:
                connection.close()
                raise self._broken(request, HttpError(f"broke off after {done} bytes, and ranges are not supported"))
            etag = answer.headers.get("etag", "")
            try:
                for data in connection.receive_body(answer, chunk):
                    done += len(data)
                    breaks = 0
                    yield data
                connection.finish(answer)
            except OSError as error:
                breaks += 1
                self._pause_or_raise(breaks, self._broken(request, error), None)
            else:
                return
            finally:
                self._pool.give_back(connection)

    def uri(self, key: str) -> str:
        """``s3://bucket/key``, for messages."""
        return f"s3://{self._session.place.bucket}/{key}"

    def close(self) -> None:
        """Close idle connections."""
        self._pool.close()

    def _perform(self, request: Request, read: Read, accept: tuple[int, ...]) -> tuple[Connection, Answer]:
        for attempt in range(1, self._max_attempts + 1):
            try:
                connection, answer = self._exchange(request, read)
            except BodyError as error:
                raise error.cause from None
            except OSError as error:
                self._pause_or_raise(attempt, self._broken(request, error), None)
                continue
            if answer.status < HTTPStatus.MULTIPLE_CHOICES or answer.status in accept:
                return connection, answer
            self._pool.give_back(connection)
            refusal = refusal_of(answer.status, answer.headers, answer.body)
            refused = to_error(refusal, self._session.place, action=request.action, path=self.uri(request.key))
            self._pause_or_raise(attempt, refused, answer.headers.get("retry-after"))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _exchange(self, request: Request, read: Read) -> tuple[Connection, Answer]:
        connection, used_before = self._pool.take()
        try:
            return connection, self._exchange_on(connection, request, read)
        except OSError as error:
            if not used_before or isinstance(error, TimeoutError):
                raise
        # The server had closed a connection that was idle: nothing is wrong, so this is not counted as an attempt.
        connection = Connection(self._session.server)
        return connection, self._exchange_on(connection, request, read)

    def _exchange_on(self, connection: Connection, request: Request, read: Read) -> Answer:
        try:
            try:
                connection.send(self._head(request), request.body, request.length)
            except OSError:
                if (said := connection.last_words(bodiless=request.method == "HEAD")) is None:
                    raise
                return said
            return read(connection)
        except ShortBodyError as error:
            connection.close()
            raise ChecksumError(f"{self._tried(request)}: {error}", path=self.uri(request.key)) from error
        except BaseException:
            connection.close()
            raise

    def _head(self, request: Request) -> bytes:
        session = self._session
        path = f"{session.base_path}/{encode_key(request.key)}"
        query = encode_query(request.query) if request.query else ""
        headers = sign(
            request.method,
            path,
            query,
            {"host": self._host, **request.headers},
            credentials=session.credentials(),
            region=session.region,
            timestamp=time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()),
            payload_sha256=request.sha256,
        )
        if request.method == "PUT":
            headers["content-length"] = str(request.length)
        target = session.server.target(f"{path}?{query}" if query else path)
        return format_head(request.method, target, headers | self._proxy_headers)

    def _pause_or_raise(self, attempt: int, error: ResourceError, wish: str | None) -> None:
        if attempt >= self._max_attempts or not isinstance(error, UnavailableError):
            raise error
        time.sleep(pause_seconds(attempt, wish))

    def _tried(self, request: Request) -> str:
        return f"cannot {request.action} {self.uri(request.key)}"

    def _broken(self, request: Request, error: OSError) -> ResourceError:
        tried, place, uri = self._tried(request), self._session.place, self.uri(request.key)
        raised: ResourceError
        if isinstance(error, ssl.SSLError) and error.reason in _LASTING_TLS_REASONS:
            raised = tls_error(tried, place, uri, str(error))
        else:
            detail = f"{described(error)}; {self._max_attempts} attempts"
            raised = unreachable(tried, place, uri, detail)
        raised.__cause__ = error
        return raised


def _receive_head_of_success(connection: Connection) -> Answer:
    head = connection.receive_head()
    if head.status < HTTPStatus.MULTIPLE_CHOICES:
        return head
    body = b"".join(connection.receive_body(head))
    connection.finish(head)
    return Answer(head.status, head.headers, body)


def _from_offset(request: Request, offset: int, etag: str) -> Request:
    if not offset:
        return request
    return replace(request, headers={**request.headers, "range": f"bytes={offset}-", "if-match": etag})


def pause_seconds(attempt: int, retry_after: str | None, *, now: float | None = None) -> float:
    """How long to wait before asking again: what the server wishes, else "full jitter" doubling from 0.2 s to 20 s.

    Args:
        attempt: Attempts made so far, from 1.
        retry_after: The server's ``Retry-After``: seconds or a date.
        now: Seconds since 1970; for tests.
    """
    if retry_after:
        try:
            wish = float(retry_after)
        except ValueError:
            try:
                wish = parsedate_to_datetime(retry_after).timestamp() - (time.time() if now is None else now)
            except ValueError:
                wish = 0.0
        if wish > 0:
            return min(wish, _LONGEST_WISH)
    return random.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt))  # noqa: S311 - jitter, not a secret
