"""What an S3 server's refusals mean, in the words of `resources.errors`: one table for both of our ways to ask.

What belongs here: error codes, statuses and botocore's exceptions, and the sentence a maintainer reads for each. What
does not: deciding to ask again after a pause (`s3_requests`), beyond saying which refusals a pause can cure.
"""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from resources.errors import (
    AccessDeniedError,
    ChecksumError,
    NotFoundError,
    ResourceError,
    StorageFullError,
    UnavailableError,
)

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

MAX_SKEW_SECONDS = 15 * 60  # S3 refuses signatures older or newer than this

CREDENTIALS_HINT = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or profile in [s3] of config.toml to a profile of ~/.aws"
)

_ORIGIN_HINT = (
    "correct them where they come from: profile in [s3] of config.toml if it is set, else AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, else ~/.aws or this machine's role"
)


class WrongRegionError(ResourceError):
    """The bucket is in another region than we ask; the message names the right one where S3 told."""


class ClockSkewError(ResourceError):
    """This machine's clock is too wrong for S3 to accept its signatures."""


class ArchivedObjectError(ResourceError):
    """The object is in an archive storage class and must be restored before it can be read."""


@dataclass(frozen=True, slots=True)
class Place:
    """What messages call the place: the bucket, and the server it is asked at."""

    bucket: str
    endpoint: str
    region: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """An S3 server's answer that is not a success.

    Attributes:
        status: HTTP status.
        code: S3's error code; empty where the answer had no body (HEAD never has).
        message: S3's own sentence.
        region: The bucket's region, where the answer names it.
        skew: Seconds this machine's clock is ahead of the server's; None where the answer has no date.
    """

    status: int
    code: str = ""
    message: str = ""
    region: str | None = None
    skew: float | None = None


_RETRYABLE_CODES = frozenset(
    {
        "InternalError", "OperationAborted", "RequestTimeout", "RequestTimeoutException", "ServiceUnavailable",
        "SlowDown", "Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded",
    }
)  # fmt: skip
_RETRYABLE_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_NOT_AS_SENT = (ChecksumError, "the bytes that arrived do not have the checksum sent with them")
_MEANINGS: dict[str, tuple[type[ResourceError], str]] = {
    "BadDigest": _NOT_AS_SENT,
    "InvalidDigest": _NOT_AS_SENT,
    "XAmzContentSHA256Mismatch": _NOT_AS_SENT,
    "XAmzContentChecksumMismatch": _NOT_AS_SENT,
    "InvalidPart": (ChecksumError, "the server does not hold the parts as they were proven"),
    "InvalidObjectState": (ArchivedObjectError, "it is in an archive storage class and must be restored first"),
}
_UNKNOWN_KEY = "the credentials are refused: the access key id is not known there"
_WRONG_PAIR = "the credentials are refused: the secret access key is not the one of this access key id"
_EXPIRED = "the credentials are refused: the session token is not valid, or no longer"
_BAD_CREDENTIALS = {
    "InvalidAccessKeyId": _UNKNOWN_KEY,
    "InvalidClientTokenId": _UNKNOWN_KEY,
    "UnrecognizedClientException": _UNKNOWN_KEY,
    "SignatureDoesNotMatch": _WRONG_PAIR,
    "InvalidToken": _EXPIRED,
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
}
_WRONG_REGION_CODES = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)


def refusal_of(status: int, headers: Mapping[str, str], body: bytes) -> Refusal:
    """Read an S3 error answer.

    Args:
        status: HTTP status.
        headers: Lower-case names.
        body: S3's XML, or whatever else came.
    """
    text = body[:10_000].decode("utf-8", "replace")
    return Refusal(
        status=status,
        code=_element(text, "Code"),
        message=_element(text, "Message"),
        region=headers.get("x-amz-bucket-region") or _element(text, "Region") or None,
        skew=_skew(headers.get("date")),
    )


def refusal_of_client_error(error: ClientError) -> Refusal:
    """The same from botocore's exception."""
    details = error.response.get("Error", {})
    metadata = error.response.get("ResponseMetadata", {})
    headers = metadata.get("HTTPHeaders", {})
    code = details.get("Code", "")
    return Refusal(
        status=metadata.get("HTTPStatusCode", 0),
        code="" if code.isdigit() else code,  # for an answer without body botocore puts the status here
        message=details.get("Message", ""),
        region=headers.get("x-amz-bucket-region") or str(details.get("Region", "")) or None,
        skew=_skew(headers.get("date")),
    )


def is_retryable(refusal: Refusal) -> bool:
    """Whether asking again after a pause can cure it."""
    return refusal.code in _RETRYABLE_CODES or (refusal.status in _RETRYABLE_STATUSES and not _is_full(refusal))


def to_error(refusal: Refusal, place: Place, *, action: str, path: str) -> ResourceError:
    """The error to raise for a refusal.

    Args:
        refusal: What the server said.
        place: Where.
        action: What was tried, e.g. ``upload``.
        path: The object's URI, or the bucket's.
    """
    said = " ".join(filter(None, (f"HTTP {refusal.status}", refusal.code, refusal.message)))
    tried = f"cannot {action} {path}"
    if refusal.code == "NoSuchBucket":
        return missing_bucket(place)
    if refusal.code == "RequestTimeTooSkewed" or (refusal.status == HTTPStatus.FORBIDDEN and _is_skewed(refusal)):
        return _clock_error(refusal, tried, path)
    if _is_redirect(refusal) or refusal.code in _WRONG_REGION_CODES:
        return wrong_region(tried, place, path, refusal.region)
    kind, what, hint = _judge(refusal, place)
    return kind(f"{tried}: {what} ({said})" + (f" | hint: {hint}" if hint else ""), path=path)


def _judge(refusal: Refusal, place: Place) -> tuple[type[ResourceError], str, str]:
    if refusal.code in _MEANINGS:
        return *_MEANINGS[refusal.code], ""
    if refusal.code in _BAD_CREDENTIALS:
        return AccessDeniedError, _BAD_CREDENTIALS[refusal.code], _ORIGIN_HINT
    if _is_full(refusal):
        return StorageFullError, f"{place.endpoint} has no space or no quota left", ""
    if refusal.status == HTTPStatus.NOT_FOUND:
        return NotFoundError, "it is not there", ""
    if refusal.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return AccessDeniedError, "access denied", _permission_hint(place)
    if is_retryable(refusal):
        return UnavailableError, f"{place.endpoint} is not able to right now", ""
    return ResourceError, f"{place.endpoint} refused", ""


def missing_bucket(place: Place) -> NotFoundError:
    """The configured bucket does not exist."""
    return NotFoundError(
        f"there is no S3 bucket {place.bucket!r} at {place.endpoint} | hint: create it, or correct bucket in [s3] of "
        "config.toml (or region and endpoint_url, if it is elsewhere)",
        path=f"s3://{place.bucket}",
    )


@contextmanager
def translated(place: Place, *, action: str, path: str) -> Iterator[None]:
    """Turn what boto3 raises inside into our errors.

    Args:
        place: Where.
        action: What is tried, e.g. ``list``.
        path: The object's URI, or the bucket's.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    # ValueError: an endpoint or CA file that is none. RuntimeError: a credential process that answers expired keys.
    except (BotoCoreError, ClientError, ValueError, RuntimeError) as error:
        raise from_botocore(error, place, action=action, path=path) from error


def from_botocore(error: Exception, place: Place, *, action: str, path: str) -> ResourceError:
    """The error to raise for an exception of boto3 or botocore."""
    from botocore import exceptions as boto

    tried = f"cannot {action} {path}"
    if isinstance(error, boto.ClientError):
        refusal = refusal_of_client_error(error)
        if error.operation_name == "HeadBucket" and refusal.status == HTTPStatus.NOT_FOUND:
            return missing_bucket(place)
        return to_error(refusal, place, action=action, path=path)
    if isinstance(error, boto.ProfileNotFound):
        return AccessDeniedError(f"{tried}: {error} | hint: {CREDENTIALS_HINT}", path=path)
    if isinstance(
        error,
        boto.NoCredentialsError
        | boto.PartialCredentialsError
        | boto.CredentialRetrievalError
        | boto.TokenRetrievalError
        | boto.NoAuthTokenError
        | boto.SSOError
        | boto.LoginError
        | RuntimeError,
    ):
        return missing_credentials(tried, path, str(error))
    if isinstance(error, boto.SSLError):
        return tls_error(tried, place, path, str(error))
    if isinstance(error, boto.ConnectionError | boto.HTTPClientError | boto.IncompleteReadError):
        return unreachable(tried, place, path, str(error))
    return ResourceError(f"{tried}: {error}", path=path)


def missing_credentials(tried: str, path: str, detail: str) -> AccessDeniedError:
    """No usable credentials in the whole AWS chain."""
    return AccessDeniedError(f"{tried}: no usable AWS credentials ({detail}) | hint: {CREDENTIALS_HINT}", path=path)


def tls_error(tried: str, place: Place, path: str, detail: str) -> ResourceError:
    """The server's certificate is not trusted, or it does not speak TLS: nothing that time cures."""
    return ResourceError(
        f"{tried}: no trusted connection to {place.endpoint} ({detail}) | hint: check endpoint_url (is it https?) in "
        "[s3] of config.toml, and name the file with the server's own certificate authority by AWS_CA_BUNDLE",
        path=path,
    )


def unreachable(tried: str, place: Place, path: str, detail: str) -> UnavailableError:
    """The server does not answer."""
    return UnavailableError(f"{tried}: {place.endpoint} does not answer ({detail})", path=path)


def wrong_region(tried: str, place: Place, path: str, actual: str | None) -> WrongRegionError:
    """The bucket is elsewhere; `actual` is the region S3 named, if it did."""
    asked = f"{tried}: asked in region {place.region!r}, but bucket {place.bucket!r}"
    if actual and actual != place.region:
        told = f"{asked} is in region {actual!r} | hint: set region = {actual!r} in [s3] of config.toml"
    else:
        told = f"{asked} is elsewhere | hint: correct region or endpoint_url in [s3] of config.toml"
    return WrongRegionError(told, path=path)


def _clock_error(refusal: Refusal, tried: str, path: str) -> ClockSkewError:
    by = f" by {abs(refusal.skew):.0f} s" if refusal.skew is not None and _is_skewed(refusal) else ""
    return ClockSkewError(
        f"{tried}: this machine's clock is wrong{by}, and S3 accepts no signature more than 15 minutes off | hint: "
        "set the clock (timedatectl set-ntp true; on Windows w32tm /resync)",
        path=path,
    )


def _permission_hint(place: Place) -> str:
    return (
        f"the credentials need s3:PutObject, s3:GetObject and s3:AbortMultipartUpload on {place.bucket}/*, and "
        f"s3:ListBucket and s3:ListBucketMultipartUploads on {place.bucket}"
    )


def _is_redirect(refusal: Refusal) -> bool:
    # 307 too: it comes for a new bucket asked for at another region's endpoint, for up to a day after it was made.
    return refusal.status in (301, 302, 307, 308)


def _is_full(refusal: Refusal) -> bool:
    # AWS is never full; MinIO answers 507 XMinioStorageFull, Ceph 403 QuotaExceeded.
    return refusal.status == HTTPStatus.INSUFFICIENT_STORAGE or "StorageFull" in refusal.code or "Quota" in refusal.code


def _is_skewed(refusal: Refusal) -> bool:
    return refusal.skew is not None and abs(refusal.skew) > MAX_SKEW_SECONDS


def _element(text: str, name: str) -> str:
    found = re.search(f"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return html.unescape(found.group(1)).strip() if found else ""


def _skew(date: str | None) -> float | None:
    try:
        return time.time() - parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return None
