from __future__ import annotations

import re
import time
from email.utils import formatdate

import pytest

from resources.errors import (
    AccessDeniedError,
    ChecksumError,
    NotFoundError,
    ResourceError,
    StorageFullError,
    UnavailableError,
)
from resources.s3_errors import (
    ArchivedObjectError,
    ClockSkewError,
    Place,
    WrongRegionError,
    is_retryable,
    refusal_of,
    to_error,
)

PLACE = Place("lab-archive", "https://lab-archive.s3.eu-west-1.amazonaws.com", "eu-west-1")


def error_for(status: int, code: str = "", extra: str = "", headers: dict[str, str] | None = None) -> ResourceError:
    body = f"<Error><Code>{code}</Code><Message>told &amp; said</Message>{extra}</Error>".encode() if code else b""
    return to_error(refusal_of(status, headers or {}, body), PLACE, action="upload", path="s3://lab-archive/a")


@pytest.mark.parametrize(
    ("status", "code", "kind", "told"),
    [
        (403, "AccessDenied", AccessDeniedError, "s3:PutObject"),
        (403, "", AccessDeniedError, "s3:ListBucket"),
        (401, "", AccessDeniedError, "access denied"),
        (403, "InvalidAccessKeyId", AccessDeniedError, "AWS_ACCESS_KEY_ID"),
        (403, "InvalidAccessKeyId", AccessDeniedError, "the access key id is not known"),
        (403, "SignatureDoesNotMatch", AccessDeniedError, "the secret access key is not the one"),
        (403, "SignatureDoesNotMatch", AccessDeniedError, "where they come from"),
        (400, "ExpiredToken", AccessDeniedError, "the session token is not valid"),
        (403, "InvalidObjectState", ArchivedObjectError, "restored first"),
        (404, "NoSuchBucket", NotFoundError, "correct bucket in [s3] of config.toml"),
        (404, "NoSuchKey", NotFoundError, "it is not there"),
        (404, "NoSuchUpload", NotFoundError, "it is not there"),
        (400, "BadDigest", ChecksumError, "checksum"),
        (400, "XAmzContentSHA256Mismatch", ChecksumError, "checksum"),
        (400, "InvalidPart", ChecksumError, "as they were proven"),
        (503, "SlowDown", UnavailableError, "right now"),
        (500, "InternalError", UnavailableError, "right now"),
        (400, "RequestTimeout", UnavailableError, "right now"),
        (501, "NotImplemented", ResourceError, "refused"),
        (507, "XMinioStorageFull", StorageFullError, "no space"),
        (403, "QuotaExceeded", StorageFullError, "no quota"),
        (400, "InvalidStorageClass", ResourceError, "told & said"),
    ],
)
def test_every_refusal_becomes_the_error_a_maintainer_can_act_on(
    status: int, code: str, kind: type[ResourceError], told: str
) -> None:
    error = error_for(status, code)

    assert type(error) is kind
    assert told in str(error)
    assert error.path.startswith("s3://lab-archive")


@pytest.mark.parametrize(
    ("status", "code", "extra", "headers"),
    [
        (301, "PermanentRedirect", "", {"x-amz-bucket-region": "ap-south-1"}),
        (301, "", "", {"x-amz-bucket-region": "ap-south-1"}),
        (400, "AuthorizationHeaderMalformed", "<Region>ap-south-1</Region>", {}),
    ],
)
def test_a_bucket_in_another_region_is_named_with_its_region(
    status: int, code: str, extra: str, headers: dict[str, str]
) -> None:
    error = error_for(status, code, extra, headers)

    assert isinstance(error, WrongRegionError)
    assert "region = 'ap-south-1' in [s3] of config.toml" in str(error)


def test_a_redirect_that_names_no_region_still_says_what_to_correct() -> None:
    assert "correct region or endpoint_url" in str(error_for(301, "PermanentRedirect"))


def test_a_wrong_clock_is_not_mistaken_for_wrong_credentials() -> None:
    hour_ago = {"date": formatdate(time.time() - 3600, usegmt=True)}

    told = error_for(403, "RequestTimeTooSkewed", headers=hour_ago)
    silent = error_for(403, headers=hour_ago)  # the answer to a HEAD has no body

    for error in (told, silent):
        assert isinstance(error, ClockSkewError)
        assert re.search(r"by 360\d s", str(error))


def test_a_right_clock_is_not_blamed() -> None:
    assert isinstance(error_for(403, headers={"date": formatdate(usegmt=True)}), AccessDeniedError)
    assert isinstance(error_for(403, headers={"date": "nonsense"}), AccessDeniedError)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (500, "", True),
        (502, "", True),
        (503, "SlowDown", True),
        (429, "", True),
        (400, "RequestTimeout", True),
        (307, "TemporaryRedirect", False),
        (507, "XMinioStorageFull", False),
        (301, "PermanentRedirect", False),
        (400, "BadDigest", False),
        (403, "AccessDenied", False),
        (404, "NoSuchBucket", False),
        (501, "NotImplemented", False),
    ],
)
def test_only_what_a_pause_can_cure_is_asked_again(status: int, code: str, expected: bool) -> None:
    assert is_retryable(refusal_of(status, {}, f"<Error><Code>{code}</Code></Error>".encode())) is expected
