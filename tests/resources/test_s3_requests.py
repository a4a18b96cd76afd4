"""Faults on the wire, by a server that does as it is told: what is asked again, what is not, and what is said of it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate

import boto3
import pytest
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st

from resources.errors import (
    AccessDeniedError,
    ChecksumError,
    NotFoundError,
    ResourceError,
    UnavailableError,
)
from resources.s3 import Part, S3Bucket, WrongRegionError, composite_sha256
from resources.s3_requests import pause_seconds
from tests.real.s3 import no_aws, s3_credentials
from tests.resources.scripted_server import BREAK_OFF, Early, Last, ScriptedServer, Seen, Step, answer, refusal

__all__ = ["no_aws", "s3_credentials"]

pytestmark = pytest.mark.usefixtures("s3_credentials")

BODY = b"forty bytes of a small file, more or less"
SHA = hashlib.sha256(BODY).digest()
OK = answer(200, etag='"e"')

real_sleep = time.sleep  # the one that `pauses` does not replace


def bucket_at(server: ScriptedServer, *, max_attempts: int = 3) -> S3Bucket:
    return S3Bucket("lab-archive", prefix="p", endpoint_url=server.url, max_attempts=max_attempts)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were wished, not slept."""
    slept: list[float] = []
    monkeypatch.setattr("resources.s3_requests.time.sleep", slept.append)
    return slept


@pytest.mark.parametrize(
    "fault",
    [
        BREAK_OFF,
        Last(b"HTTP/1.1 200 OK\r\nconte"),
        Last(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"),
        Last(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel"),
        Last(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloX\r\n"),
        b"HTTP/1.1 200 OK\r\nno header at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"more: headers\r\n" * 300 + b"\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: ten\r\n\r\n",
        b"220 smtp.lab.example ESMTP\r\n",
        answer(500),
        answer(502, b"<html>bad gateway</html>"),
        refusal(503, "SlowDown"),
        refusal(400, "RequestTimeout"),
        answer(429),
    ],
)
def test_what_a_second_attempt_can_cure_is_cured(fault: Step) -> None:
    with ScriptedServer(fault, fault, OK) as server:
        assert bucket_at(server).put("a", BODY, sha256=SHA).etag == '"e"'

    assert [seen.body for seen in server.seen] == [BODY] * 3


def test_a_server_that_stays_broken_is_named_after_the_last_attempt() -> None:
    with (
        ScriptedServer(refusal(503, "SlowDown", message="Please reduce your request rate.")) as server,
        pytest.raises(UnavailableError, match=r"reduce your request rate") as caught,
    ):
        bucket_at(server).put("a", BODY, sha256=SHA)

    assert server.url in str(caught.value)
    assert caught.value.path == "s3://lab-archive/p/a"
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (refusal(403, "AccessDenied"), AccessDeniedError),
        (refusal(400, "BadDigest"), ChecksumError),
        (refusal(404, "NoSuchBucket"), NotFoundError),
        (refusal(400, "InvalidStorageClass"), ResourceError),
        (refusal(307, "TemporaryRedirect", location="http://elsewhere.example/"), WrongRegionError),
        (refusal(301, "PermanentRedirect", x_amz_bucket_region="eu-central-1"), WrongRegionError),
    ],
)
def test_what_no_second_attempt_can_cure_is_asked_once(fault: bytes, kind: type[ResourceError]) -> None:
    with ScriptedServer(fault) as server, pytest.raises(kind):
        bucket_at(server).put("a", BODY, sha256=SHA)

    assert len(server.seen) == 1


def test_a_server_that_asks_for_a_pause_gets_it(pauses: list[float]) -> None:
    with ScriptedServer(refusal(503, "SlowDown", retry_after="7"), OK) as server:
        bucket_at(server).put("a", BODY, sha256=SHA)

    assert pauses == [7.0]


def test_a_server_that_says_nothing_is_not_waited_for_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resources.s3_http.ANSWER_SECONDS", 0.05)

    def silent(seen: Seen) -> bytes:
        real_sleep(1)
        return OK

    with ScriptedServer(silent) as server, pytest.raises(UnavailableError, match="timed out"):
        bucket_at(server, max_attempts=2).head("a")


def test_nobody_there_is_an_error_that_names_the_endpoint() -> None:
    with ScriptedServer(OK) as server:
        pass

    with pytest.raises(UnavailableError, match="does not answer") as caught:
        bucket_at(server).head("a")
    assert server.url in str(caught.value)


def test_connections_are_used_again_also_after_errors() -> None:
    with ScriptedServer(OK, refusal(404, "NoSuchKey"), answer(200, b"data", etag='"e"'), OK) as server:
        bucket = bucket_at(server)
        bucket._bucket_seen = True
        bucket.put("a", BODY, sha256=SHA)
        assert bucket.get_bytes("gone") is None
        assert bucket.get_bytes("a") == b"data"
        bucket.put("b", BODY, sha256=SHA)

    assert {seen.connection for seen in server.seen} == {1}


def test_a_connection_the_server_closed_while_it_was_idle_costs_no_attempt(pauses: list[float]) -> None:
    with ScriptedServer(OK) as server:
        bucket = bucket_at(server, max_attempts=1)
        bucket.put("a", BODY, sha256=SHA)
        server.drop_connections()
        bucket.put("b", BODY, sha256=SHA)

    assert pauses == []


def test_a_connection_the_server_announces_to_close_is_not_used_again() -> None:
    with ScriptedServer(answer(200, etag='"e"', connection="Close")) as server:
        bucket = bucket_at(server)
        bucket.put("a", BODY, sha256=SHA)
        bucket.put("b", BODY, sha256=SHA)

    assert [seen.connection for seen in server.seen] == [1, 2]


def test_threads_never_share_a_connection() -> None:
    def slow(seen: Seen) -> bytes:
        real_sleep(0.01)
        return answer(200, seen.target.encode(), etag='"e"')

    with ScriptedServer(slow) as server, ThreadPoolExecutor(8) as threads:
        bucket = bucket_at(server)
        answers = list(threads.map(bucket.get_bytes, [f"key{number}" for number in range(64)]))

    assert answers == [f"/lab-archive/p/key{number}".encode() for number in range(64)]
    assert len({seen.connection for seen in server.seen}) <= 8


def test_a_refusal_in_the_middle_of_a_large_body_is_heard_and_not_asked_again() -> None:
    part = bytes(32 * 1024 * 1024)
    with (
        ScriptedServer(Early(refusal(403, "AccessDenied"))) as server,
        pytest.raises(AccessDeniedError),
    ):
        bucket_at(server).put_part("a", "id", 1, part, length=len(part), sha256=hashlib.sha256(part).digest())

    assert len(server.seen) == 1


def test_a_streamed_part_is_read_anew_for_each_attempt() -> None:
    reads: list[int] = []

    def chunks() -> Iterator[memoryview]:
        reads.append(1)
        yield memoryview(BODY)[:10]
        yield memoryview(BODY)[10:]

    with ScriptedServer(answer(500), BREAK_OFF, OK) as server:
        part = bucket_at(server).put_part("a", "id", 3, chunks, length=len(BODY), sha256=SHA)

    assert [seen.body for seen in server.seen] == [BODY] * 3
    assert len(reads) == 3
    assert (part.number, part.size, part.sha256) == (3, len(BODY), SHA)
    assert server.seen[0].target == "/lab-archive/p/a?partNumber=3&uploadId=id"


@pytest.mark.parametrize("delivered", [len(BODY) - 1, len(BODY) + 1])
def test_a_file_that_shrinks_or_grows_while_it_is_sent_is_not_stored(delivered: int) -> None:
    def chunks() -> Iterator[memoryview]:
        yield memoryview(BODY + b"x")[:delivered]

    with (
        ScriptedServer(OK) as server,
        pytest.raises(ChecksumError, match=f"{len(BODY)} bytes were promised, {delivered} came"),
    ):
        bucket_at(server).put_part("a", "id", 1, chunks, length=len(BODY), sha256=SHA)

    assert server.seen == []


def test_what_the_reader_of_a_part_raises_passes_through_and_nothing_is_stored() -> None:
    def chunks() -> Iterator[memoryview]:
        yield memoryview(BODY)[:10]
        raise ChecksumError("the read-back differs")

    with ScriptedServer(OK) as server:
        bucket = bucket_at(server)
        with pytest.raises(ChecksumError, match="the read-back differs"):
            bucket.put_part("a", "id", 1, chunks, length=len(BODY), sha256=SHA)
        bucket.put("b", BODY, sha256=SHA)

    assert [seen.body for seen in server.seen] == [BODY]


def test_an_error_of_the_reader_that_looks_like_a_network_error_is_not_taken_for_one() -> None:
    def chunks() -> Iterator[memoryview]:
        yield memoryview(BODY)[:10]
        raise TimeoutError("the NAS is gone")

    with ScriptedServer(OK) as server, pytest.raises(TimeoutError, match="the NAS is gone"):
        bucket_at(server).put_part("a", "id", 1, chunks, length=len(BODY), sha256=SHA)


def test_a_server_that_states_another_checksum_has_stored_other_bytes() -> None:
    with (
        ScriptedServer(answer(200, etag='"e"', x_amz_checksum_sha256="AAAA")) as server,
        pytest.raises(ChecksumError, match="other bytes were stored"),
    ):
        bucket_at(server).put("a", BODY, sha256=SHA)


def test_an_answer_without_etag_proves_no_upload() -> None:
    with ScriptedServer(answer(200)) as server, pytest.raises(ResourceError, match="no ETag"):
        bucket_at(server).put("a", BODY, sha256=SHA)


def test_a_read_that_breaks_off_goes_on_where_it_stopped() -> None:
    data = bytes(range(256)) * 16

    def rest(seen: Seen) -> bytes:
        assert seen.headers["if-match"] == '"e"'
        offset = int(seen.headers["range"].removeprefix("bytes=").removesuffix("-"))
        return answer(206, data[offset:], etag='"e"')

    with ScriptedServer(Last(answer(200, data, etag='"e"')[:-1000]), rest) as server:
        assert b"".join(bucket_at(server).read("a", chunk=100)) == data


def test_an_object_replaced_while_it_is_read_is_not_patched_together() -> None:
    broken = answer(200, bytes(4096), etag='"e"')[:-1000]
    with (
        ScriptedServer(Last(broken), refusal(412, "PreconditionFailed")) as server,
        pytest.raises(ResourceError, match="PreconditionFailed"),
    ):
        list(bucket_at(server).read("a", chunk=100))


def test_a_server_without_ranges_does_not_deliver_the_beginning_twice() -> None:
    whole = answer(200, bytes(4096), etag='"e"')
    with (
        ScriptedServer(Last(whole[:-1000]), whole) as server,
        pytest.raises(UnavailableError, match="ranges are not supported"),
    ):
        list(bucket_at(server).read("a", chunk=100))


def test_a_chunked_answer_is_read_whole() -> None:
    chunked = (
        b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\netag: "e"\r\n\r\n5;x=y\r\nhello\r\n6\r\n world\r\n0\r\n\r\n'
    )
    with ScriptedServer(b"HTTP/1.1 100 Continue\r\n\r\n" + chunked, chunked) as server:
        bucket = bucket_at(server)
        assert bucket.get_bytes("a") == b"hello world"
        assert bucket.get_bytes("a") == b"hello world"

    assert {seen.connection for seen in server.seen} == {1}


def test_a_missing_bucket_is_not_taken_for_a_missing_object() -> None:
    with ScriptedServer(answer(404)) as server, pytest.raises(NotFoundError, match=r"no S3 bucket 'lab-archive'"):
        bucket_at(server).head("a")


def test_a_listing_that_fails_on_its_second_page_does_not_end_early() -> None:
    first = (
        b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken><Contents>"
        b"<Key>p/a</Key><Size>1</Size><LastModified>2026-01-05T10:00:00Z</LastModified></Contents></ListBucketResult>"
    )
    with ScriptedServer(answer(200, first), refusal(500, "InternalError")) as server:
        listing = bucket_at(server).list("")
        assert next(listing).key == "a"
        with pytest.raises(UnavailableError):
            next(listing)

    assert "continuation-token=t" in server.seen[1].target


def test_a_listing_that_goes_in_circles_ends_with_an_error() -> None:
    page = (
        b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
        b"</ListBucketResult>"
    )
    with ScriptedServer(answer(200, page)) as server, pytest.raises(ResourceError, match="goes in circles"):
        list(bucket_at(server).list(""))


def test_a_login_page_is_not_an_empty_bucket() -> None:
    page = answer(200, b"<html>Please log in</html>")
    with ScriptedServer(page) as server, pytest.raises(ResourceError, match="not a listing"):
        list(bucket_at(server).list(""))


def test_a_server_that_ignores_the_prefix_does_not_make_us_abort_the_uploads_of_others() -> None:
    uploads = "".join(f"<Upload><Key>{key}</Key><UploadId>{key}</UploadId></Upload>" for key in ("p/run1/a", "x/b"))
    page = f"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>{uploads}</ListMultipartUploadsResult>"
    with ScriptedServer(answer(200, page.encode()), answer(204)) as server:
        assert bucket_at(server).abort_abandoned("run1") == 1

    assert [seen.target for seen in server.seen[1:]] == ["/lab-archive/p/run1/a?uploadId=p%2Frun1%2Fa"]


def test_a_completion_whose_answer_was_lost_is_recognised_by_the_object_it_made() -> None:
    part = Part(1, '"e"', SHA, len(BODY))
    made = answer(200, etag='"e-1"', x_amz_checksum_sha256=composite_sha256([part])).replace(
        b"content-length: 0", b"content-length: %d" % len(BODY)
    )
    with ScriptedServer(Last(b""), refusal(404, "NoSuchUpload"), made) as server:
        result = bucket_at(server).complete_multipart("a", "id", [part])

    assert [seen.method for seen in server.seen] == ["POST", "POST", "HEAD"]
    assert (result.etag, result.checksum) == ('"e-1"', composite_sha256([part]))


def test_a_bucket_boto3_finds_in_another_region_is_an_error_and_not_a_detour() -> None:
    client = boto3.client("s3", region_name="us-east-1")
    with Stubber(client) as amazon:
        amazon.add_response("head_bucket", {"BucketRegion": "ap-south-1"}, {"Bucket": "lab-archive"})
        with pytest.raises(WrongRegionError, match="region = 'ap-south-1'"):
            S3Bucket("lab-archive", client=client).check_reachable()


@pytest.mark.parametrize("metadata", [{"a": "line\nbreak"}, {"Name": "x"}, {"a": "µm"}, {"a": " x"}, {"a\r\nb": "x"}])
def test_metadata_that_would_not_come_back_as_it_was_sent_is_refused(metadata: dict[str, str]) -> None:
    with ScriptedServer(OK) as server, pytest.raises(ValueError, match="printable ASCII"):
        bucket_at(server).put("a", BODY, sha256=SHA, metadata=metadata)

    assert server.seen == []


def test_storage_class_and_encryption_go_with_every_upload() -> None:
    with ScriptedServer(OK) as server:
        S3Bucket(
            "lab-archive",
            endpoint_url=server.url,
            storage_class="DEEP_ARCHIVE",
            sse="aws:kms",
            sse_kms_key_id="alias/lab",
        ).put("a", BODY, sha256=SHA)

    headers = server.seen[0].headers
    assert headers["x-amz-storage-class"] == "DEEP_ARCHIVE"
    assert headers["x-amz-server-side-encryption"] == "aws:kms"
    assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == "alias/lab"
    assert "x-amz-storage-class" in headers["authorization"]


@given(attempt=st.integers(1, 40))
def test_pauses_grow_are_spread_and_stay_bearable(attempt: int) -> None:
    assert 0 <= pause_seconds(attempt, None) <= min(20, 0.2 * 2**attempt)


def test_a_wished_pause_is_read_as_seconds_or_as_a_date_and_is_bounded() -> None:
    assert pause_seconds(1, "3") == 3
    assert pause_seconds(1, formatdate(1_000_005, usegmt=True), now=1_000_000.0) == 5
    assert pause_seconds(1, "86400") == 60
    for nonsense in ("-5", "soon", "nan", "inf", formatdate(1, usegmt=True)):
        assert 0 <= pause_seconds(1, nonsense) <= 60
