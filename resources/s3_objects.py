"""What S3 says of objects, as plain data, and the headers it says it in.

Pure. What belongs here: the data types of `s3` and the reading and writing of object headers. What does not: requests.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from resources.errors import ChecksumError, ResourceError

METADATA_PREFIX = "x-amz-meta-"
MAX_KEY_BYTES = 1024
CHECKSUM_HEADER = "x-amz-checksum-sha256"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What HEAD says of an object.

    Attributes:
        key: Relative to the bucket's prefix.
        size: Bytes.
        sha256: 32 bytes: the whole object's SHA-256 as the server states it (an object of one PUT), else None.
        composite: ``base64-N`` of a multipart object exactly as the server states it, else None.
        metadata: The user metadata, names in lower case.
        etag: As the server states it, quotes included.
        version_id: None where the bucket keeps no versions.
        storage_class: ``STANDARD`` where the server names none.
    """

    key: str
    size: int
    sha256: bytes | None
    composite: str | None
    metadata: Mapping[str, str]
    etag: str
    version_id: str | None
    storage_class: str


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One object in a listing; the key is relative to the bucket's prefix."""

    key: str
    size: int
    etag: str
    modified: datetime


@dataclass(frozen=True, slots=True)
class PutResult:
    """What the server answered to a finished upload.

    Attributes:
        etag: As the server states it, quotes included.
        version_id: None where the bucket keeps no versions.
        checksum: The SHA-256 (base64; ``-N`` for multipart) the server states, already compared with ours; None
            where it states none.
    """

    etag: str
    version_id: str | None
    checksum: str | None


def object_info(key: str, headers: Mapping[str, str]) -> ObjectInfo:
    """Read the answer to a HEAD.

    Args:
        key: As the caller named it.
        headers: Lower-case names.
    """
    stated = headers.get(CHECKSUM_HEADER)
    is_composite = stated is not None and "-" in stated  # base64 has no "-": this is the number of parts
    return ObjectInfo(
        key=key,
        size=int(headers.get("content-length", -1)),
        sha256=b64decode(stated) if stated and not is_composite else None,
        composite=stated if is_composite else None,
        metadata={
            name.removeprefix(METADATA_PREFIX): text
            for name, text in headers.items()
            if name.startswith(METADATA_PREFIX)
        },
        etag=headers.get("etag", ""),
        version_id=headers.get("x-amz-version-id"),
        storage_class=headers.get("x-amz-storage-class", "STANDARD"),
    )


def put_result(uri: str, headers: Mapping[str, str], ours: str) -> PutResult:
    """Read the answer to an upload.

    Args:
        uri: The object's, for messages.
        headers: Lower-case names.
        ours: The checksum sent, as S3 writes it.

    Raises:
        ChecksumError: The server states another checksum.
        ResourceError: The answer lacks what every S3 server answers.
    """
    etag, stated = headers.get("etag", ""), headers.get(CHECKSUM_HEADER)
    if not etag:
        raise ResourceError(f"{uri}: the server's answer to the upload has no ETag", path=uri)
    if stated is not None and stated != ours:
        raise ChecksumError(
            f"{uri}: the server states SHA-256 {stated}, ours is {ours}: other bytes were stored", path=uri
        )
    return PutResult(etag, headers.get("x-amz-version-id"), stated)


def metadata_headers(metadata: Mapping[str, str]) -> dict[str, str]:
    """User metadata as request headers.

    Raises:
        ValueError: It cannot be sent as it is, or would not come back as it was sent.
    """
    for name, text in metadata.items():
        if not re.fullmatch("[a-z0-9_.-]+", name) or not re.fullmatch("[!-~]([ -~]*[!-~])?|", text):
            raise ValueError(f"S3 metadata must be printable ASCII with lower-case names: {name!r} = {text!r}")
    return {METADATA_PREFIX + name: text for name, text in metadata.items()}


def base64_of(digest: bytes) -> str:
    """A digest as S3 writes it."""
    return b64encode(digest).decode()
