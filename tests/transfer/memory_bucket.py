"""A bucket in memory that is as strict as S3: wrong checksums are refused, and what is asked of it is counted.

The environment of the tests here, not what they test; `tests/real` does the same against real servers.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from resources.errors import ChecksumError, NotFoundError, UnavailableError
from resources.s3_objects import ListedObject, ObjectInfo, PutResult, base64_of
from resources.s3_parts import Part, composite_sha256


@dataclass(frozen=True)
class Stored:
    data: bytes
    metadata: Mapping[str, str]
    composite: str | None = None


def etag_of(stored: Stored) -> str:
    """What S3 gives: the MD5 of one PUT; for multipart something with the number of parts at its end."""
    digest = hashlib.md5(stored.data, usedforsecurity=False).hexdigest()
    parts = f"-{stored.composite.rpartition('-')[2]}" if stored.composite else ""
    return f'"{digest}{parts}"'


class MemoryBucket:
    uri = "s3://memory"

    def __init__(self) -> None:
        self.objects: dict[str, Stored] = {}
        self.uploads: dict[str, tuple[str, Mapping[str, str], dict[int, bytes]]] = {}
        self.requests: Counter[str] = Counter()
        self.received = 0
        self.states_checksums = True
        self.before: Callable[[str, str], None] = lambda method, key: None  # may raise, as a broken network does
        self._lock = threading.RLock()
        self._uploads_begun = 0

    def break_down(self) -> None:
        """From now on nothing answers."""

        def refuse(method: str, key: str) -> None:
            raise UnavailableError(f"cannot {method} {key}: the server is gone")

        self.before = refuse

    def alter(self, key: str, data: bytes) -> None:
        """Somebody else overwrites an object."""
        self.objects[key] = Stored(data, {})

    def _asked(self, method: str, key: str) -> None:
        with self._lock:
            self.requests[method] += 1
        self.before(method, key)

    def object_uri(self, key: str) -> str:
        return f"{self.uri}/{key}"

    def list(self, prefix: str = "") -> Iterator[ListedObject]:
        self._asked("list", prefix)
        for key, stored in sorted(self.objects.items()):
            if key.startswith(prefix):
                yield ListedObject(key, len(stored.data), etag_of(stored), datetime.now(UTC))

    def head(self, key: str) -> ObjectInfo | None:
        self._asked("head", key)
        stored = self.objects.get(key)
        if stored is None:
            return None
        sha256 = hashlib.sha256(stored.data).digest() if stored.composite is None else None
        info = ObjectInfo(
            key, len(stored.data), sha256, stored.composite, stored.metadata, etag_of(stored), None, "STANDARD"
        )
        return info if self.states_checksums else replace(info, sha256=None, composite=None)

    def put(self, key, body, *, sha256: bytes, length: int | None = None, metadata=None) -> PutResult:
        self._asked("put", key)
        data = self._receive(body, length, sha256)
        stored = Stored(data, dict(metadata or {}))
        with self._lock:
            self.objects[key] = stored
        return PutResult(etag_of(stored), None, base64_of(sha256) if self.states_checksums else None)

    def start_multipart(self, key: str, *, metadata: Mapping[str, str] | None = None) -> str:
        self._asked("start", key)
        with self._lock:
            self._uploads_begun += 1
            upload_id = f"upload-{self._uploads_begun}"
            self.uploads[upload_id] = (key, dict(metadata or {}), {})
        return upload_id

    def put_part(self, key: str, upload_id: str, number: int, body, *, length: int, sha256: bytes) -> Part:
        self._asked("put_part", key)
        data = self._receive(body, length, sha256)
        assert self.uploads[upload_id][0] == key
        with self._lock:
            self.uploads[upload_id][2][number] = data
        return Part(number, '"e"', sha256, length)

    def complete_multipart(self, key: str, upload_id: str, parts) -> PutResult:
        self._asked("complete", key)
        held_key, metadata, held = self.uploads[upload_id]
        assert held_key == key
        assert [part.number for part in parts] == sorted(held)
        data = b"".join(held[number] for number in sorted(held))
        with self._lock:
            self.objects[key] = Stored(data, metadata, composite_sha256(parts))
            del self.uploads[upload_id]
        return PutResult('"e"', None, None)

    def abort_multipart(self, key: str, upload_id: str) -> None:
        self._asked("abort", key)
        self.uploads.pop(upload_id, None)

    def abort_abandoned(self, prefix: str) -> int:
        self._asked("abort_abandoned", prefix)
        found = [upload for upload, (key, _, _) in self.uploads.items() if key.startswith(prefix + "/")]
        for upload in found:
            del self.uploads[upload]
        return len(found)

    def read(self, key: str, *, chunk: int = 1 << 20) -> Iterator[bytes]:
        self._asked("read", key)
        if key not in self.objects:
            raise NotFoundError(f"there is no {key}")
        yield self.objects[key].data

    def get_bytes(self, key: str) -> bytes | None:
        self._asked("get", key)
        return self.objects[key].data if key in self.objects else None

    def _receive(self, body, length: int | None, sha256: bytes) -> bytes:
        data = b"".join(bytes(chunk) for chunk in body()) if callable(body) else bytes(body)
        with self._lock:
            self.received += len(data)
        if hashlib.sha256(data).digest() != sha256 or (length is not None and len(data) != length):
            raise ChecksumError("BadDigest: the bytes that arrived are others")
        return data
