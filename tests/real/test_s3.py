"""The archive against a server that verifies what it is sent: checksums, composites, signatures, permissions."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from resources.errors import (
    AccessDeniedError,
    ChecksumError,
    NotFoundError,
    ResourceError,
    UnavailableError,
    UnsafeNameError,
)
from resources.s3 import MIN_PART_SIZE, ArchivedObjectError, S3Bucket, composite_sha256
from tests.real.s3 import S3Server, make_ministack, open_bucket, running, use_keys

pytestmark = pytest.mark.real

PARTS = (os.urandom(MIN_PART_SIZE), os.urandom(MIN_PART_SIZE), b"the last part may be short")


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def upload_in_parts(bucket: S3Bucket, key: str, *parts: bytes) -> str:
    upload_id = bucket.start_multipart(key, metadata={"sha256": sha(b"".join(parts)).hex()})
    done = [
        bucket.put_part(key, upload_id, number, _in_pieces(part), length=len(part), sha256=sha(part))
        for number, part in enumerate(parts, 1)
    ]
    bucket.complete_multipart(key, upload_id, done)
    return composite_sha256(done)


def _in_pieces(data: bytes):
    def pieces() -> Iterator[memoryview]:
        for offset in range(0, len(data), 1024 * 1024):
            yield memoryview(data)[offset : offset + 1024 * 1024]

    return pieces


@pytest.mark.parametrize("data", [b"", b"x", os.urandom(40_000), os.urandom(300_000)], ids=len)
def test_what_is_put_is_there_with_its_sha256_and_its_metadata(s3_bucket: S3Bucket, data: bytes) -> None:
    result = s3_bucket.put("study/a.xpd", memoryview(data), sha256=sha(data), metadata={"mtime": "2026-01-05"})

    info = s3_bucket.head("study/a.xpd")
    assert info is not None
    assert (info.key, info.size, info.sha256, info.composite) == ("study/a.xpd", len(data), sha(data), None)
    assert info.metadata == {"mtime": "2026-01-05"}
    assert info.etag == result.etag
    assert s3_bucket.get_bytes("study/a.xpd") == data


def test_bytes_that_are_not_the_verified_ones_are_refused_and_leave_no_object(s3_bucket: S3Bucket) -> None:
    with pytest.raises(ChecksumError):
        s3_bucket.put("study/a.xpd", b"flipped", sha256=sha(b"verified"))

    assert s3_bucket.head("study/a.xpd") is None
    assert list(s3_bucket.list()) == []


def test_a_part_that_is_not_the_verified_one_is_refused_and_the_object_never_appears(s3_bucket: S3Bucket) -> None:
    upload_id = s3_bucket.start_multipart("big.qptiff", metadata={})

    with pytest.raises(ChecksumError):
        s3_bucket.put_part("big.qptiff", upload_id, 1, b"flipped", length=7, sha256=sha(b"verified"))

    assert s3_bucket.head("big.qptiff") is None
    assert s3_bucket.abort_abandoned("") == 1


def test_a_multipart_object_states_the_composite_computed_here(s3_bucket: S3Bucket) -> None:
    composite = upload_in_parts(s3_bucket, "study/big.qptiff", *PARTS)

    info = s3_bucket.head("study/big.qptiff")
    assert info is not None
    assert (info.composite, info.sha256, info.size) == (composite, None, sum(map(len, PARTS)))
    assert info.metadata["sha256"] == sha(b"".join(PARTS)).hex()
    assert b"".join(s3_bucket.read("study/big.qptiff", chunk=123_456)) == b"".join(PARTS)


def test_parts_joined_in_another_way_than_they_were_proven_are_refused(s3_bucket: S3Bucket) -> None:
    upload_id = s3_bucket.start_multipart("big.qptiff", metadata={})
    first, second = (
        s3_bucket.put_part("big.qptiff", upload_id, number, part, length=len(part), sha256=sha(part))
        for number, part in enumerate(PARTS[:2], 1)
    )
    mixed = [first, replace(second, sha256=sha(b"something else"))]

    with pytest.raises(ChecksumError, match="as they were proven"):
        s3_bucket.complete_multipart("big.qptiff", upload_id, mixed)
    assert s3_bucket.head("big.qptiff") is None


def test_completing_twice_is_completing_once(s3_bucket: S3Bucket) -> None:
    # What a retry does when the first answer was lost on the way.
    upload_id = s3_bucket.start_multipart("big.qptiff", metadata={})
    part = s3_bucket.put_part("big.qptiff", upload_id, 1, b"data", length=4, sha256=sha(b"data"))
    first = s3_bucket.complete_multipart("big.qptiff", upload_id, [part])

    assert s3_bucket.complete_multipart("big.qptiff", upload_id, [part]) == first


def test_an_upload_somebody_aborted_is_not_reported_as_complete(s3_bucket: S3Bucket) -> None:
    s3_bucket.put("big.qptiff", b"older", sha256=sha(b"older"))
    upload_id = s3_bucket.start_multipart("big.qptiff", metadata={})
    part = s3_bucket.put_part("big.qptiff", upload_id, 1, b"data", length=4, sha256=sha(b"data"))
    s3_bucket.abort_multipart("big.qptiff", upload_id)

    with pytest.raises(NotFoundError, match="uploaded again"):
        s3_bucket.complete_multipart("big.qptiff", upload_id, [part])
    s3_bucket.abort_multipart("big.qptiff", upload_id)  # aborting what is gone is fine


def test_abandoned_uploads_of_one_study_are_aborted_and_no_other_study_is_touched(s3_bucket: S3Bucket) -> None:
    for key in ("run1/a", "run1/sub/b", "run10/c", "run", "other/run1/d"):
        s3_bucket.start_multipart(key, metadata={})
    s3_bucket.start_multipart("run1/a", metadata={})

    assert s3_bucket.abort_abandoned("run1") == 3
    assert s3_bucket.abort_abandoned("run1/") == 0
    assert s3_bucket.abort_abandoned("") == 3


def test_abandoned_uploads_outside_our_prefix_belong_to_somebody_else(s3_bucket: S3Bucket, s3_server: S3Server) -> None:
    s3_server.client().create_multipart_upload(Bucket=s3_bucket.bucket, Key="archive2/theirs")

    assert s3_bucket.abort_abandoned("") == 0


def test_more_abandoned_uploads_than_one_page_holds_are_all_aborted(moto_bucket: S3Bucket) -> None:
    for number in range(1005):
        moto_bucket.start_multipart(f"run1/f{number:04d}", metadata={})

    assert moto_bucket.abort_abandoned("run1") == 1005


def test_a_listing_longer_than_one_page_is_whole_and_relative_to_the_prefix(s3_bucket: S3Bucket) -> None:
    keys = [f"run1/f{number:04d}.xpd" for number in range(1005)]
    for key in [*keys, "run10/x"]:
        s3_bucket.put(key, b"", sha256=sha(b""))

    assert [listed.key for listed in s3_bucket.list("run1/")] == keys
    assert len(list(s3_bucket.list())) == 1006
    assert list(s3_bucket.list("nothing/")) == []


def test_directories_are_listed_without_what_is_in_them(s3_bucket: S3Bucket) -> None:
    for key in ("run1/Scan1/a", "run1/Scan2/b", "run1/c", "run2/d", "_manifest/2026-01.jsonl"):
        s3_bucket.put(key, b"", sha256=sha(b""))

    assert list(s3_bucket.list_directories()) == ["_manifest", "run1", "run2"]
    assert list(s3_bucket.list_directories("run1")) == ["run1/Scan1", "run1/Scan2"]


def test_an_old_object_without_checksum_is_reported_as_it_is(s3_bucket: S3Bucket, s3_server: S3Server) -> None:
    s3_server.client().put_object(Bucket=s3_bucket.bucket, Key="archive/old", Body=b"data", ChecksumAlgorithm="CRC32")

    info = s3_bucket.head("old")
    assert info is not None
    assert (info.sha256, info.composite, info.size) == (None, None, 4)


def test_a_versioned_bucket_names_the_version_it_stored(s3_bucket: S3Bucket, s3_server: S3Server) -> None:
    s3_server.client().put_bucket_versioning(Bucket=s3_bucket.bucket, VersioningConfiguration={"Status": "Enabled"})
    first = s3_bucket.put("a", b"1", sha256=sha(b"1"))
    second = s3_bucket.put("a", b"2", sha256=sha(b"2"))
    info = s3_bucket.head("a")

    assert first.version_id
    assert info is not None
    assert second.version_id == info.version_id != first.version_id


def test_storage_class_and_encryption_are_stored_for_single_puts_and_for_multipart(
    s3_server: S3Server, s3_bucket: S3Bucket
) -> None:
    bucket = open_bucket(s3_server, s3_bucket.bucket, storage_class="DEEP_ARCHIVE", sse="AES256")
    bucket.put("small", b"1", sha256=sha(b"1"))
    upload_in_parts(bucket, "big", b"parts")

    for key in ("small", "big"):
        info = bucket.head(key)
        assert info is not None
        assert info.storage_class == "DEEP_ARCHIVE"
        stored = s3_server.client().head_object(Bucket=bucket.bucket, Key=f"archive/{key}")
        assert stored["ServerSideEncryption"] == "AES256"
        with pytest.raises(ArchivedObjectError):
            bucket.get_bytes(key)


odd_keys = st.text(
    st.one_of(
        st.sampled_from("aA0 +%#?&=/.~\\:;,@!$'()*[]{}<>|^`\"-_äß漢字🔬\u0301\t"),
        st.characters(exclude_categories=["Cs", "Cc", "Cn"]),
    ),
    min_size=1,
    max_size=30,
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(odd_keys)
@example("a b+c%20d#e?f&g=h")
@example(".temp/..hidden/ space ")
@example("name%2Fwith%25percent")
@example("double//slash")
@example("a/../b")
@example("../up")
@example("./here")
@example("/leading")
@example("control\x01")
@example("line\nbreak")
@example("ends/")
@example("a" * 900)
def test_a_key_of_any_characters_is_the_same_key_to_every_other_program(
    s3_server: S3Server, s3_bucket: S3Bucket, key: str
) -> None:
    theirs = s3_server.client()
    data = key.encode()
    s3_bucket.put(key, data, sha256=sha(data))

    assert theirs.get_object(Bucket=s3_bucket.bucket, Key=f"archive/{key}")["Body"].read() == data
    assert key in {listed.key for listed in s3_bucket.list()}
    info = s3_bucket.head(key)
    assert info is not None
    assert info.sha256 == sha(data)
    assert s3_bucket.get_bytes(key) == data
    theirs.delete_object(Bucket=s3_bucket.bucket, Key=f"archive/{key}")
    assert s3_bucket.head(key) is None


def test_a_key_that_is_too_long_is_named_before_anything_is_sent(s3_bucket: S3Bucket) -> None:
    longest = "ä" * ((1024 - len("archive/")) // 2)
    s3_bucket.put(longest, b"", sha256=sha(b""))

    with pytest.raises(UnsafeNameError, match="1024 bytes"):
        s3_bucket.put(longest + "x", b"", sha256=sha(b""))
    with pytest.raises(UnsafeNameError, match="1024 bytes"):
        s3_bucket.start_multipart(longest + "x")


def test_a_wrong_secret_is_refused_by_every_operation(
    s3_server: S3Server, s3_bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_keys(monkeypatch, s3_server.access_key, s3_server.secret_key + "x")
    bucket = open_bucket(s3_server, s3_bucket.bucket)

    for attempt in (
        bucket.check_reachable,
        lambda: bucket.head("a"),
        lambda: bucket.put("a", b"", sha256=sha(b"")),
        lambda: list(bucket.list()),
        lambda: bucket.get_bytes("a"),
        lambda: bucket.start_multipart("a", metadata={}),
        lambda: bucket.abort_abandoned(""),
    ):
        with pytest.raises(AccessDeniedError, match="hint: "):
            attempt()


def test_who_may_read_but_not_write_learns_which_right_is_missing(
    s3_server: S3Server, s3_bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_root(s3_server)
    use_keys(monkeypatch, *root.add_user("s3:GetObject", "s3:ListBucket"))
    bucket = open_bucket(s3_server, s3_bucket.bucket)

    assert bucket.head("a") is None
    with pytest.raises(AccessDeniedError, match="s3:PutObject"):
        bucket.put("a", b"", sha256=sha(b""))


def test_credentials_that_are_replaced_while_we_run_are_used_at_once(
    s3_server: S3Server, s3_bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # As with an instance role: keys are valid for minutes, and the next ones must be fetched in time.
    root = make_root(s3_server)
    answer, script = tmp_path / "answer.json", tmp_path / "credentials.sh"
    script.write_text(f"cat {answer}\n")
    (tmp_path / "config").write_text(f"[profile lab]\ncredential_process = /bin/sh {script}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)

    bucket = open_bucket(s3_server, s3_bucket.bucket, profile="lab")
    for key in ("a", "b"):
        access_key, secret_key = root.add_user("s3:*")
        answer.write_text(_process_answer(access_key, secret_key, minutes=5))  # botocore renews at 15 minutes left
        bucket.put(key, b"1", sha256=sha(b"1"))
        root.remove_key(access_key)

    answer.write_text(_process_answer(access_key, secret_key, minutes=-5))
    with pytest.raises(AccessDeniedError, match="still expired"):
        bucket.put("c", b"1", sha256=sha(b"1"))


def _process_answer(access_key: str, secret_key: str, *, minutes: int) -> str:
    expiry = (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()
    return json.dumps({"Version": 1, "AccessKeyId": access_key, "SecretAccessKey": secret_key, "Expiration": expiry})


def make_root(server: S3Server) -> S3Server:
    """The same server, seen by who may make users."""
    return S3Server(server.argv, server.port, server.environment, server.log)


def test_a_bucket_that_does_not_exist_is_named_with_the_key_to_correct(
    s3_server: S3Server, s3_bucket: S3Bucket
) -> None:
    bucket = open_bucket(s3_server, "no-such-bucket-here")

    for attempt in (
        bucket.check_reachable,
        lambda: bucket.head("a"),
        lambda: bucket.put("a", b"", sha256=sha(b"")),
        lambda: list(bucket.list()),
        lambda: bucket.get_bytes("a"),
        lambda: bucket.start_multipart("a", metadata={}),
        lambda: bucket.abort_abandoned(""),
    ):
        with pytest.raises(NotFoundError, match=r"no S3 bucket 'no-such-bucket-here'.*bucket in \[s3\]"):
            attempt()


def test_a_server_that_stops_in_the_middle_is_unavailable_and_the_upload_goes_on_when_it_is_back(
    tmp_path: Path, s3_credentials: None
) -> None:
    with running(make_ministack(tmp_path, persist=True)) as server:
        bucket = open_bucket(server)
        composite = upload_in_parts(bucket, "big.qptiff", *PARTS)
        bucket.put("small", b"1", sha256=sha(b"1"))

        server.kill()
        for attempt in (
            lambda: bucket.put("b", b"2", sha256=sha(b"2")),
            lambda: bucket.head("small"),
            lambda: list(bucket.list()),
            lambda: bucket.start_multipart("c", metadata={}),
            bucket.check_reachable,
        ):
            with pytest.raises(UnavailableError, match=server.url):
                attempt()

        server.start()
        bucket.put("b", b"2", sha256=sha(b"2"))
        info = bucket.head("big.qptiff")
        assert info is not None
        assert info.composite == composite


def test_https_asked_of_a_server_that_speaks_http_is_said_at_once(s3_server: S3Server, s3_bucket: S3Bucket) -> None:
    bucket = open_bucket(s3_server, s3_bucket.bucket, endpoint_url=s3_server.url.replace("http:", "https:"))

    for attempt in (lambda: bucket.put("a", b"", sha256=sha(b"")), bucket.check_reachable):
        with pytest.raises(ResourceError, match="is it https") as caught:
            attempt()
        assert not isinstance(caught.value, UnavailableError)


def test_a_server_that_states_no_checksums_is_reported_as_it_is(moto_bucket: S3Bucket) -> None:
    moto_bucket.put("a", b"data", sha256=sha(b"data"))

    info = moto_bucket.head("a")
    assert info is not None
    assert info.size == 4
    assert info.sha256 in (None, sha(b"data"))
