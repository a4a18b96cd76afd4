"""AWS Signature Version 4 for S3, for requests whose SHA-256 is already known.

Why not botocore's signer: it takes 64 microseconds a request where this takes 5 (medians of 7 runs), as much as all the
CPU a 40 KB object costs here, and over plain HTTP it hashes the payload again, whose digest we have verified already.
Tested against AWS's published examples and against botocore's signer. Pure: no clock, no network.

Source of the rules: "Signature Calculations for the Authorization Header" in the Amazon S3 API reference.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request is signed with; `token` only for temporary credentials."""

    access_key: str
    secret_key: str
    token: str | None = None


def encode_key(key: str) -> str:
    """A key as it stands in a request's path: every byte but ``A-Za-z0-9-._~/`` percent-encoded, nothing normalised.

    S3 takes ``a//b`` and ``a/../b`` for what they are, so segments must neither be merged nor resolved.
    """
    return quote(key, safe="/~")


def encode_query(query: Mapping[str, str]) -> str:
    """A query string in canonical form: encoded, sorted by name; what is signed is what is sent."""
    return "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in sorted(query.items()))


@lru_cache(maxsize=8)
def _signing_key(secret_key: str, date: str, region: str) -> bytes:
    # Four HMACs that change once a day (and with refreshed credentials): kept, for each request needs them.
    key = f"AWS4{secret_key}".encode()
    for step in (date, region, "s3", "aws4_request"):
        key = hmac.digest(key, step.encode(), "sha256")
    return key


def sign(
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    *,
    credentials: Credentials,
    region: str,
    timestamp: str,
    payload_sha256: str,
) -> dict[str, str]:
    """Sign one request.

    Args:
        method: ``PUT``, ``HEAD``, …
        path: Encoded by `encode_key`, with its leading slash.
        query: Encoded by `encode_query`; may be empty.
        headers: Lower-case names; must have ``host``. All of them are signed.
        credentials: Whose signature.
        region: The bucket's region.
        timestamp: UTC, ``YYYYMMDDTHHMMSSZ``.
        payload_sha256: SHA-256 of the body, 64 hex digits.

    Returns:
        `headers` and those that signing adds: the complete headers to send.
    """
    complete = {**headers, "x-amz-content-sha256": payload_sha256, "x-amz-date": timestamp}
    if credentials.token:
        complete["x-amz-security-token"] = credentials.token
    names = sorted(complete)
    signed_names = ";".join(names)
    canonical_headers = "".join([f"{name}:{' '.join(complete[name].split())}\n" for name in names])
    canonical = f"{method}\n{path}\n{query}\n{canonical_headers}\n{signed_names}\n{payload_sha256}"
    scope = f"{timestamp[:8]}/{region}/s3/aws4_request"
    to_sign = f"{_ALGORITHM}\n{timestamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = _signing_key(credentials.secret_key, timestamp[:8], region)
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    complete["authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key}/{scope},SignedHeaders={signed_names},Signature={signature}"
    )
    return complete
