"""A bucket (or a prefix of one) as the permanent archive: objects put, proven and listed.

Two ways to the same server. The control plane (multipart create, complete and abort, bucket checks) is boto3. The
data plane (PUT, HEAD, GET and listings) is `s3_requests`, which sends the one digest we verified anyway as both the
signature's payload hash and the object's checksum, so that S3 checks the bytes twice and nobody hashes them again;
a 40 KB object costs 0.07 ms of CPU where boto3's ``put_object`` costs 1.1 (plain HTTP, medians of 5 interleaved runs).

What belongs here: S3's operations on objects, in plain data. What does not: studies, retries and framing
(`s3_requests`, `s3_http`), what a missing checksum means for a proof (that is decided above).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from resources.errors import AccessDeniedError, NotFoundError, UnsafeNameError
from resources.s3_errors import ArchivedObjectError, ClockSkewError, WrongRegionError, translated, wrong_region
from resources.s3_http import Body
from resources.s3_listing import list_pages
from resources.s3_objects import (
    CHECKSUM_HEADER,
    MAX_KEY_BYTES,
    ListedObject,
    ObjectInfo,
    PutResult,
    base64_of,
    metadata_headers,
    object_info,
    put_result,
)
from resources.s3_parts import MAX_PARTS, MAX_SINGLE_PUT, MIN_PART_SIZE, Part, composite_sha256, part_size_for
from resources.s3_requests import Request, Requester
from resources.s3_session import Session, Settings, open_session

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = [
    "MAX_PARTS", "MAX_SINGLE_PUT", "MIN_PART_SIZE", "ArchivedObjectError", "Body", "ClockSkewError", "ListedObject",
    "ObjectInfo", "Part", "PutResult", "S3Bucket", "WrongRegionError", "composite_sha256", "part_size_for",
]  # fmt: skip


class S3Bucket:
    """One bucket, below one prefix. Safe from many threads; constructing makes no request and imports no boto3.

    Args:
        bucket: Its name.
        prefix: What all keys here begin with, without the slash that follows it.
        region: The bucket's region; None: as the AWS environment says.
        endpoint_url: Of an S3-compatible server that is not AWS.
        profile: Of ``~/.aws``; None: the usual chain (environment, profile, instance role).
        storage_class: For all uploads; None: the bucket's default.
        sse: Server-side encryption for all uploads: ``AES256``, ``aws:kms`` or ``aws:kms:dsse``.
        sse_kms_key_id: The KMS key, for the latter two.
        ca_bundle: File with the certificate authorities to trust.
        max_attempts: Of each request, the first included.
        connections: How many idle connections to keep.
        client: A boto3 S3 client to take region, endpoint and credentials from instead.
    """

    def __init__(
        self,
        bucket: str,
        *,
        prefix: str = "",
        region: str | None = None,
        endpoint_url: str | None = None,
        profile: str | None = None,
        storage_class: str | None = None,
        sse: str | None = None,
        sse_kms_key_id: str | None = None,
        ca_bundle: str | None = None,
        max_attempts: int = 5,
        connections: int = 16,
        client: S3Client | None = None,
    ) -> None:
        self.bucket = bucket
        self.prefix = prefix.strip("/")
        self._settings = Settings(bucket, region, endpoint_url, profile, ca_bundle, max_attempts, connections)
        self._given_client = client
        self._upload_options = _given(StorageClass=storage_class, ServerSideEncryption=sse, SSEKMSKeyId=sse_kms_key_id)
        self._upload_headers = _given(
            **{
                "x-amz-storage-class": storage_class,
                "x-amz-server-side-encryption": sse,
                "x-amz-server-side-encryption-aws-kms-key-id": sse_kms_key_id,
            }
        )
        self._lock = threading.Lock()
        self._opened: tuple[Session, Requester] | None = None
        self._bucket_seen = False

    @property
    def uri(self) -> str:
        """``s3://bucket/prefix``."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def object_uri(self, key: str) -> str:
        """``s3://bucket/prefix/key``."""
        return f"s3://{self.bucket}/{self._full(key)}"

    def check_reachable(self) -> None:
        """Raise one clear error unless the bucket exists, in this region, and the credentials may look at it."""
        try:
            with self._translated("reach", self.uri):
                answer = self._session.client.head_bucket(Bucket=self.bucket)
        except AccessDeniedError:
            # The answer to HEAD has no body: only a GET says whether the key, its secret or its rights are wrong.
            with self._translated("reach", self.uri):
                self._session.client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1)
            raise
        actual, asked = answer.get("BucketRegion"), self._session.region
        if actual and actual != asked and "amazonaws." in self._session.server.host:
            raise wrong_region(f"cannot reach {self.uri}", self._session.place, self.uri, actual)
        self._bucket_seen = True

    def list(self, prefix: str = "") -> Iterator[ListedObject]:
        """All objects whose key begins with `prefix`, in S3's order (UTF-8 bytes).

        A listing that fails raises; it never ends early.

        Args:
            prefix: Of the key, literally: ``"study"`` also finds ``study2/…``; ``"study/"`` does not.
        """
        for page in list_pages(self._requester, self._full(prefix)):
            for listed in page.objects:
                yield replace(listed, key=self._relative(listed.key))

    def list_directories(self, prefix: str = "") -> Iterator[str]:
        """What keys below the directory `prefix` have before their next slash, e.g. ``study`` or ``study/sub``.

        Args:
            prefix: A directory, with or without its trailing slash; empty for the top.
        """
        for page in list_pages(self._requester, self._full(_directory(prefix)), delimiter="/"):
            for directory in page.directories:
                yield self._relative(directory).removesuffix("/")

    def head(self, key: str) -> ObjectInfo | None:
        """What the server says of an object; None if it is not there.

        Checksums are reported as the server states them, and None where it states none: several S3-compatible
        servers do not.
        """
        request = Request("HEAD", self._full(key), "look at", headers={"x-amz-checksum-mode": "ENABLED"})
        answer = self._requester.send(request, accept=(HTTPStatus.NOT_FOUND,))
        if answer.status == HTTPStatus.NOT_FOUND:
            self._check_bucket_once()
            return None
        return object_info(key, answer.headers)

    def put(
        self,
        key: str,
        body: Body,
        *,
        sha256: bytes,
        length: int | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> PutResult:
        """Upload an object in one request; the server refuses bytes that do not have this SHA-256.

        Args:
            key: Relative to the prefix.
            body: The whole object, up to 5 GiB, or a callable that gives its chunks, as for `put_part`.
            sha256: 32 bytes, of `body`. Not computed here: it is the digest that was verified.
            length: Bytes of `body`; needed for a callable.
            metadata: User metadata: ASCII.

        Raises:
            ChecksumError: The bytes that arrived are others, or the server states another checksum than ours.
        """
        headers = {**self._upload_headers, **metadata_headers(metadata or {}), CHECKSUM_HEADER: base64_of(sha256)}
        if callable(body):
            if length is None:
                raise ValueError("a body that is streamed needs its length")
        else:
            length = len(body)
        request = Request("PUT", self._upload_key(key), "upload", {}, headers, body, length, sha256.hex())
        return put_result(self.object_uri(key), self._requester.send(request).headers, base64_of(sha256))

    def start_multipart(self, key: str, *, metadata: Mapping[str, str] | None = None) -> str:
        """Begin a multipart upload with SHA-256 checksums.

        Args:
            key: Relative to the prefix.
            metadata: User metadata: ASCII.

        Returns:
            The upload's id. `complete_multipart` or `abort_multipart` must follow; until then its parts cost money.
        """
        metadata_headers(metadata or {})  # the same rules as for `put`
        with self._translated("upload", self.object_uri(key)):
            answer = self._session.client.create_multipart_upload(
                Bucket=self.bucket,
                Key=self._upload_key(key),
                Metadata=dict(metadata or {}),
                ChecksumAlgorithm="SHA256",
                **self._upload_options,  # type: ignore[arg-type]  # the stubs want literals; the server judges them
            )
        return answer["UploadId"]

    def put_part(self, key: str, upload_id: str, number: int, body: Body, *, length: int, sha256: bytes) -> Part:
        """Upload one part; the server refuses bytes that do not have this SHA-256.

        Args:
            key: Relative to the prefix.
            upload_id: From `start_multipart`.
            number: 1 to 10,000.
            body: The part's bytes, or a callable that gives their chunks: called anew for every attempt, so that a
                part can be sent while it is read and never lies in memory as a whole. What it raises passes through,
                and the part is then not stored.
            length: Bytes of the part. At least 5 MiB but for the last one.
            sha256: 32 bytes, of the part.

        Raises:
            ChecksumError: The bytes that arrived are others, or fewer or more than `length`.
        """
        query = {"partNumber": str(number), "uploadId": upload_id}
        headers = {CHECKSUM_HEADER: base64_of(sha256)}
        request = Request("PUT", self._full(key), "upload a part of", query, headers, body, length, sha256.hex())
        answer = self._requester.send(request)
        result = put_result(self.object_uri(key), answer.headers, base64_of(sha256))
        return Part(number, result.etag, sha256, length)

    def complete_multipart(self, key: str, upload_id: str, parts: Sequence[Part]) -> PutResult:
        """Join the parts to the object, giving the composite SHA-256 computed here.

        Args:
            key: Relative to the prefix.
            upload_id: From `start_multipart`.
            parts: All of them, in the order of their numbers.

        Raises:
            ChecksumError: The server's parts are not ours, or it states another composite than ours.
        """
        composite = composite_sha256(parts)
        size = sum(part.size for part in parts)
        try:
            with self._translated("complete the upload of", self.object_uri(key)):
                answer = self._session.client.complete_multipart_upload(
                    Bucket=self.bucket,
                    Key=self._full(key),
                    UploadId=upload_id,
                    ChecksumSHA256=composite,
                    MpuObjectSize=size,
                    MultipartUpload={
                        "Parts": [
                            {"PartNumber": part.number, "ETag": part.etag, "ChecksumSHA256": base64_of(part.sha256)}
                            for part in parts
                        ]
                    },
                )
        except NotFoundError:
            return self._completed_before(key, composite, size)
        headers = {
            "etag": answer.get("ETag"),
            CHECKSUM_HEADER: answer.get("ChecksumSHA256"),
            "x-amz-version-id": answer.get("VersionId"),
        }
        stated = {name: text for name, text in headers.items() if text}
        return put_result(self.object_uri(key), stated, composite)

    def abort_multipart(self, key: str, upload_id: str) -> None:
        """Give up an upload and free its parts; one that is no longer there is fine."""
        self._abort(self._full(key), upload_id)

    def abort_abandoned(self, prefix: str) -> int:
        """Abort every multipart upload in progress below the directory `prefix`.

        Only for a directory nobody is uploading to: an upload that is alive is aborted like a dead one.

        Args:
            prefix: A directory, with or without its trailing slash (``study1`` never means ``study10/…``); empty for
                everything of ours.

        Returns:
            How many.
        """
        found = tuple(self._uploads_in_progress(_directory(prefix)))
        for full_key, upload_id in found:
            self._abort(full_key, upload_id)
        return len(found)

    def read(self, key: str, *, chunk: int = 1024 * 1024) -> Iterator[bytes]:
        """The object's bytes, as they arrive.

        Args:
            key: Relative to the prefix.
            chunk: Bytes to yield at a time, at the most.

        Raises:
            NotFoundError: It is not there.
            ArchivedObjectError: It must be restored first.
        """
        return self._requester.stream(Request("GET", self._full(key), "read"), chunk)

    def get_bytes(self, key: str) -> bytes | None:
        """The whole of a small object; None if it is not there."""
        try:
            return b"".join(self.read(key))
        except NotFoundError:
            self._check_bucket_once()
            return None

    def close(self) -> None:
        """Close idle connections. The bucket can still be used."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened:
            session, requester = opened
            requester.close()
            if self._given_client is None:
                session.client.close()

    @property
    def _session(self) -> Session:
        return self._open()[0]

    @property
    def _requester(self) -> Requester:
        return self._open()[1]

    def _open(self) -> tuple[Session, Requester]:
        if opened := self._opened:
            return opened
        with self._lock:
            if self._opened is None:
                session = open_session(self._settings, self._given_client)
                settings = self._settings
                requester = Requester(session, max_attempts=settings.max_attempts, connections=settings.connections)
                self._opened = session, requester
            return self._opened

    def _full(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def _upload_key(self, key: str) -> str:
        full_key = self._full(key)
        if len(full_key.encode()) > MAX_KEY_BYTES:
            uri = self.object_uri(key)
            raise UnsafeNameError(f"{uri}: S3 allows keys of {MAX_KEY_BYTES} bytes at the most", path=uri)
        return full_key

    def _relative(self, full_key: str) -> str:
        return full_key[len(self.prefix) + 1 :] if self.prefix else full_key

    def _uploads_in_progress(self, prefix: str) -> Iterator[tuple[str, str]]:
        below = self._full(prefix)
        with self._translated("list the uploads in progress of", self.object_uri(prefix)):
            paginator = self._session.client.get_paginator("list_multipart_uploads")
            for page in paginator.paginate(Bucket=self.bucket, Prefix=below):
                for item in page.get("Uploads", []):
                    if item["Key"].startswith(below):  # some servers ignore the prefix they are given
                        yield item["Key"], item["UploadId"]

    def _abort(self, full_key: str, upload_id: str) -> None:
        try:
            with self._translated("abort the upload of", f"s3://{self.bucket}/{full_key}"):
                self._session.client.abort_multipart_upload(Bucket=self.bucket, Key=full_key, UploadId=upload_id)
        except NotFoundError:
            self._check_bucket_once()

    def _completed_before(self, key: str, composite: str, size: int) -> PutResult:
        # The first attempt may have succeeded and only its answer been lost; the retry then finds no such upload.
        info = self.head(key)
        if info is None or info.composite != composite or info.size != size:
            raise NotFoundError(
                f"cannot complete the upload of {self.object_uri(key)}: the upload is gone (aborted by someone else, "
                "or by a lifecycle rule); it must be uploaded again",
                path=self.object_uri(key),
            )
        return PutResult(info.etag, info.version_id, info.composite)

    def _check_bucket_once(self) -> None:
        # To HEAD, a missing bucket looks like a missing object; "absent" may only be said of a bucket that is there.
        if not self._bucket_seen:
            self.check_reachable()

    def _translated(self, action: str, path: str) -> AbstractContextManager[None]:
        return translated(self._session.place, action=action, path=path)


def _directory(prefix: str) -> str:
    return f"{prefix.rstrip('/')}/" if prefix else ""


def _given(**options: str | None) -> dict[str, str]:
    return {name: value for name, value in options.items() if value}
