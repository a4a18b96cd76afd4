"""The benchmark's S3 server must refuse what S3 refuses: a contender that sends wrong bytes must not look fast."""

from __future__ import annotations

import base64
import hashlib
import socket
import subprocess
import sys
import zlib
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

ROOT = Path(__file__).parents[2]
MIB = 1 << 20


@pytest.fixture
def endpoint() -> Iterator[str]:
    argv = [sys.executable, "-m", "benchmarks.s3_sink", "--bucket", "bench"]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@pytest.fixture
def client(endpoint: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=Config(retries={"total_max_attempts": 1}),
    )


def sha256(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def refusal(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


@pytest.mark.parametrize("header", ["ChecksumSHA256", "ContentMD5", "ChecksumCRC32"])
def test_bytes_that_are_not_what_the_checksum_says_are_refused(endpoint: str, client: Any, header: str) -> None:
    wrong = {
        "ChecksumSHA256": sha256(b"other"),
        "ContentMD5": base64.b64encode(hashlib.md5(b"other").digest()).decode(),
        "ChecksumCRC32": base64.b64encode(zlib.crc32(b"other").to_bytes(4, "big")).decode(),
    }[header]
    name = {"ChecksumSHA256": "x-amz-checksum-sha256", "ContentMD5": "content-md5"}.get(header, "x-amz-checksum-crc32")
    connection = HTTPConnection(endpoint.removeprefix("http://"))
    connection.request("PUT", "/bench/key", b"bytes", {name: wrong, "x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
    answer = connection.getresponse()
    assert (answer.status, b"BadDigest" in answer.read()) == (400, True)
    with pytest.raises(ClientError):
        client.head_object(Bucket="bench", Key="key")


def test_a_signed_payload_that_was_changed_on_the_way_is_refused(endpoint: str) -> None:
    connection = HTTPConnection(endpoint.removeprefix("http://"))
    signed = hashlib.sha256(b"signed").hexdigest()
    connection.request("PUT", "/bench/key", b"damaged", {"x-amz-content-sha256": signed})
    assert b"XAmzContentSHA256Mismatch" in connection.getresponse().read()


def test_a_checksum_it_cannot_compute_is_refused_rather_than_believed(endpoint: str) -> None:
    connection = HTTPConnection(endpoint.removeprefix("http://"))
    connection.request("PUT", "/bench/key", b"bytes", {"x-amz-checksum-crc64nvme": "AAAAAAAAAAA="})
    assert connection.getresponse().status == 501


def chunked_put(endpoint: str, trailer: str) -> bytes:
    body = b"5\r\nhello\r\n6\r\n world\r\n0\r\n" + f"x-amz-checksum-sha256:{trailer}\r\n\r\n".encode()
    head = (
        "PUT /bench/chunked HTTP/1.1\r\nHost: x\r\nContent-Encoding: aws-chunked\r\n"
        "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\nx-amz-trailer: x-amz-checksum-sha256\r\n"
        f"x-amz-decoded-content-length: 11\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    host, port = endpoint.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + body)
        return connection.recv(4096)


def test_a_checksum_behind_a_chunked_body_is_compared_with_the_bytes_without_their_framing(endpoint: str) -> None:
    assert b"200 OK" in chunked_put(endpoint, sha256(b"hello world"))
    assert b"BadDigest" in chunked_put(endpoint, sha256(b"hello there"))


def upload_parts(client: Any, parts: list[bytes]) -> tuple[str, list[dict[str, object]]]:
    upload = client.create_multipart_upload(Bucket="bench", Key="big", ChecksumAlgorithm="SHA256")["UploadId"]
    done = [
        client.upload_part(
            Bucket="bench", Key="big", UploadId=upload, PartNumber=n, Body=part, ChecksumSHA256=sha256(part)
        )
        for n, part in enumerate(parts, 1)
    ]
    claims: list[dict[str, object]] = [
        {"PartNumber": n, "ETag": answer["ETag"], "ChecksumSHA256": sha256(part)}
        for n, (part, answer) in enumerate(zip(parts, done, strict=True), 1)
    ]
    return upload, claims


def complete(client: Any, upload: str, claims: list[dict[str, object]], **more: Any) -> Any:
    return client.complete_multipart_upload(
        Bucket="bench", Key="big", UploadId=upload, MultipartUpload={"Parts": claims}, **more
    )


def test_an_object_in_parts_has_the_composite_checksum_s3_computes(client: Any) -> None:
    parts = [b"a" * (5 * MIB), b"b" * (5 * MIB), b"c" * MIB]
    upload, claims = upload_parts(client, parts)
    composite = sha256(b"".join(hashlib.sha256(part).digest() for part in parts)) + "-3"
    complete(client, upload, claims, ChecksumSHA256=composite)
    head = client.head_object(Bucket="bench", Key="big", ChecksumMode="ENABLED")
    assert (head["ContentLength"], head["ChecksumSHA256"], head["ChecksumType"]) == (11 * MIB, composite, "COMPOSITE")


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        ({"ChecksumSHA256": sha256(b"something else") + "-2"}, "BadDigest"),
        ({"MpuObjectSize": 7}, "InvalidRequest"),
    ],
)
def test_parts_that_do_not_make_the_object_the_client_means_are_refused(
    client: Any, damage: dict[str, object], code: str
) -> None:
    upload, claims = upload_parts(client, [b"a" * (5 * MIB), b"b"])
    with pytest.raises(ClientError) as error:
        complete(client, upload, claims, **damage)
    assert refusal(error) == code


def test_a_small_part_in_the_middle_is_refused(client: Any) -> None:
    upload, claims = upload_parts(client, [b"a", b"b"])
    with pytest.raises(ClientError) as error:
        complete(client, upload, claims)
    assert refusal(error) == "EntityTooSmall"


def test_an_object_that_must_be_new_does_not_replace_another(client: Any) -> None:
    client.put_object(Bucket="bench", Key="key", Body=b"first")
    with pytest.raises(ClientError) as error:
        client.put_object(Bucket="bench", Key="key", Body=b"second", IfNoneMatch="*")
    assert refusal(error) == "PreconditionFailed"


@pytest.mark.parametrize("delimiter", ["", "/"])
def test_a_listing_in_pages_names_everything_once(client: Any, delimiter: str) -> None:
    keys = [f"p/{folder}/{n}" for folder in ("a", "a+b", "ä & b") for n in range(4)] + ["p/top", "p2/other"]
    for key in keys:
        client.put_object(Bucket="bench", Key=key, Body=b"")
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket="bench", Prefix="p/", Delimiter=delimiter, PaginationConfig={"PageSize": 2}
    )
    names = [
        name
        for page in pages
        for name in [item["Key"] for item in page.get("Contents", [])]
        + [item["Prefix"] for item in page.get("CommonPrefixes", [])]
    ]
    expected = ["p/a/", "p/a+b/", "p/ä & b/", "p/top"] if delimiter else [key for key in keys if key.startswith("p/")]
    assert sorted(names) == sorted(expected)
