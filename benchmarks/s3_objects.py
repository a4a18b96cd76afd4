"""What the loopback S3 server remembers: objects without their bytes, open uploads, and what was checked.

What belongs here: the rules of S3 that concern objects (listing, assembling parts, composite checksums, preconditions).
What does not: sockets, HTTP, and checking bytes as they arrive (`s3_sink`).
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
import time
from bisect import bisect_left, insort
from collections import Counter
from dataclasses import dataclass, field

from benchmarks.s3_checks import Content, new_hasher
from benchmarks.s3_errors import S3Error

SMALLEST_PART = 5 << 20


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object; its bytes only where somebody must be able to read them (`s3_sink`)."""

    size: int
    etag: str
    checksums: dict[str, str]
    checksum_type: str
    headers: dict[str, str]
    body: bytes | None = None
    modified: float = field(default_factory=time.time)


@dataclass(slots=True)
class Upload:
    """A multipart upload under way."""

    bucket: str
    key: str
    algorithm: str | None
    headers: dict[str, str]
    parts: dict[int, Content] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClaimedPart:
    """One part as CompleteMultipartUpload names it; `checksums` by algorithm, base64."""

    number: int
    etag: str
    checksums: dict[str, str]


class Bucket:
    """Keys and objects, the keys kept sorted for listings."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.objects: dict[str, StoredObject] = {}

    def put(self, key: str, stored: StoredObject, *, only_new: bool) -> None:
        """Keep an object; 412 when it exists and must not."""
        if key not in self.objects:
            insort(self.keys, key)
        elif only_new:
            raise S3Error(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
        self.objects[key] = stored

    def get(self, key: str) -> StoredObject:
        """The object; 404 when there is none."""
        if key not in self.objects:
            raise S3Error(404, "NoSuchKey", "The specified key does not exist.")
        return self.objects[key]

    def remove(self, key: str) -> None:
        """Forget an object; one that is not there is fine."""
        if self.objects.pop(key, None):
            del self.keys[bisect_left(self.keys, key)]

    def page(self, prefix: str, delimiter: str, after: str, limit: int) -> tuple[list[str], list[str], str]:
        """One page of a listing.

        Args:
            prefix: Only keys that begin with it.
            delimiter: Fold what follows its first occurrence after the prefix; empty for none.
            after: Begin behind this key or folded prefix.
            limit: At the most so many keys and folded prefixes.

        Returns:
            Keys, folded prefixes, and what to pass as `after` for the next page (empty when this is the last).
        """
        keys: list[str] = []
        folded: list[str] = []
        last = ""
        for position in range(bisect_left(self.keys, max(prefix, after)), len(self.keys)):
            key = self.keys[position]
            if not key.startswith(prefix):
                break
            if key == after or (delimiter and after.endswith(delimiter) and key.startswith(after)):
                continue
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            name = key if cut < 0 else key[: cut + len(delimiter)]
            if name == last:
                continue
            if len(keys) + len(folded) == limit:
                return keys, folded, last
            (keys if cut < 0 else folded).append(name)
            last = name
        return keys, folded, ""


class Shelf:
    """Everything the server remembers. Safe to use from several threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.buckets: dict[str, Bucket] = {}
        self.uploads: dict[str, Upload] = {}
        self.requests: Counter[str] = Counter()
        self.checked: Counter[str] = Counter()
        self.believed: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()

    def count(self, counter: Counter[str], names: list[str]) -> None:
        """Count each of `names` once."""
        with self.lock:
            counter.update(names)

    def bucket(self, name: str) -> Bucket:
        """The bucket; 404 when there is none."""
        if name not in self.buckets:
            raise S3Error(404, "NoSuchBucket", "The specified bucket does not exist")
        return self.buckets[name]

    def create_bucket(self, name: str) -> None:
        """Create a bucket; one that exists is fine."""
        with self.lock:
            self.buckets.setdefault(name, Bucket())

    def put(
        self,
        bucket: str,
        key: str,
        content: Content,
        headers: dict[str, str],
        *,
        body: bytes | None = None,
        only_new: bool = False,
    ) -> StoredObject:
        """Keep an object that was sent in one request."""
        checksums = {name: base64.b64encode(digest).decode() for name, digest in content.checksums.items()}
        checksums.pop("md5", None)
        stored = StoredObject(content.size, content.etag, checksums, "FULL_OBJECT", headers, body)
        with self.lock:
            self.bucket(bucket).put(key, stored, only_new=only_new)
        return stored

    def create_upload(self, bucket: str, key: str, algorithm: str | None, headers: dict[str, str]) -> str:
        """Begin a multipart upload; returns its id."""
        upload_id = secrets.token_hex(16)
        with self.lock:
            self.bucket(bucket)
            self.uploads[upload_id] = Upload(bucket, key, algorithm, headers)
        return upload_id

    def upload(self, upload_id: str) -> Upload:
        """The multipart upload; 404 when there is none."""
        if upload_id not in self.uploads:
            raise S3Error(404, "NoSuchUpload", "The specified multipart upload does not exist.")
        return self.uploads[upload_id]

    def put_part(self, upload_id: str, number: int, content: Content) -> str:
        """Keep a part; returns its ETag. An upload with a checksum algorithm takes no part without it."""
        with self.lock:
            upload = self.upload(upload_id)
            if not 1 <= number <= 10_000:
                raise S3Error(400, "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
            if upload.algorithm and upload.algorithm not in content.checksums:
                raise S3Error(400, "InvalidRequest", f"Checksum Type mismatch: this upload needs {upload.algorithm}")
            upload.parts[number] = content
            return content.etag

    def complete(
        self,
        upload_id: str,
        claimed: list[ClaimedPart],
        composite: str | None,
        *,
        size: int | None = None,
        only_new: bool = False,
    ) -> StoredObject:
        """Make one object of the parts.

        Args:
            upload_id: Which upload.
            claimed: The parts in order, as the client names them.
            composite: The checksum of checksums the client computed, with or without ``-N``; None if it sent none.
            size: The bytes of the whole object as the client counts them; None if it does not say.
            only_new: Refuse with 412 when the key exists.
        """
        with self.lock:
            upload = self.upload(upload_id)
            parts = [check_part(upload, part) for part in claimed]
            if not parts:
                raise S3Error(400, "MalformedXML", "You must specify at least one part")
            if [part.number for part in claimed] != sorted({part.number for part in claimed}):
                raise S3Error(400, "InvalidPartOrder", "The list of parts was not in ascending order.")
            if any(part.size < SMALLEST_PART for part in parts[:-1]):
                raise S3Error(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
            checksums = composite_checksum(upload.algorithm, parts)
            ours = next(iter(checksums.values()), "")
            if composite is not None and composite.partition("-")[0] != ours.partition("-")[0]:
                raise S3Error(
                    400, "BadDigest", "The composite checksum you specified did not match what we calculated."
                )
            whole = sum(part.size for part in parts)
            if size not in (None, whole):
                raise S3Error(400, "InvalidRequest", f"the object is {whole} bytes, not {size}")
            stored = StoredObject(whole, composite_etag(parts), checksums, "COMPOSITE", upload.headers)
            self.bucket(upload.bucket).put(upload.key, stored, only_new=only_new)
            del self.uploads[upload_id]
            return stored

    def abort(self, upload_id: str) -> None:
        """Forget a multipart upload."""
        with self.lock:
            self.upload(upload_id)
            del self.uploads[upload_id]

    def report(self) -> dict[str, object]:
        """What is stored and what was checked, for the benchmark's own verification."""
        with self.lock:
            return {
                "objects": {
                    f"{b}/{k}": s.size for b, bucket in self.buckets.items() for k, s in bucket.objects.items()
                },
                "open_uploads": len(self.uploads),
                "requests": dict(self.requests),
                "checked": dict(self.checked),
                "believed": dict(self.believed),
                "rejected": dict(self.rejected),
            }


def check_part(upload: Upload, claimed: ClaimedPart) -> Content:
    """The stored part a client names; 400 when its ETag or checksum is another."""
    part = upload.parts.get(claimed.number)
    if part is None or part.etag != claimed.etag:
        raise S3Error(400, "InvalidPart", f"Part {claimed.number} could not be found or has another ETag.")
    for algorithm, value in claimed.checksums.items():
        if base64.b64encode(part.checksums.get(algorithm, b"")).decode() != value:
            raise S3Error(400, "InvalidPart", f"Part {claimed.number} has another {algorithm}.")
    return part


def composite_checksum(algorithm: str | None, parts: list[Content]) -> dict[str, str]:
    """S3's checksum of checksums: base64 of the digest over the parts' digests, then ``-`` and their number."""
    if algorithm is None:
        return {}
    hasher = new_hasher(algorithm)
    for part in parts:
        hasher.update(part.checksums[algorithm])
    return {algorithm: f"{base64.b64encode(hasher.digest()).decode()}-{len(parts)}"}


def composite_etag(parts: list[Content]) -> str:
    """MD5 of the parts' MD5s and their number, as AWS has it, where every part came with its MD5."""
    md5s = [part.checksums.get("md5", b"") for part in parts]
    name = hashlib.md5(b"".join(md5s), usedforsecurity=False).hexdigest() if all(md5s) else secrets.token_hex(16)
    return f"{name}-{len(parts)}"
