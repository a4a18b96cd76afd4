"""Checking arriving bytes against the strongest checksum the client sent with them.

S3 checks every one. A real S3 does so on its own machine; here it shares the contenders' processors, so bytes whose
SHA-256 has been verified are not hashed again for the MD5 and CRC that say the same thing more weakly: those are
believed, and counted as such. Nothing is accepted unchecked when anything checkable was sent.

What belongs here: which headers and trailers carry a checksum, the algorithms, and refusing what does not agree. What
does not: reading from sockets and remembering objects.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import zlib
from dataclasses import dataclass
from typing import Protocol

from benchmarks.s3_errors import S3Error

CHECKSUM = "x-amz-checksum-"
STRENGTH = ("sha256", "sha1", "md5", "crc32")
NOT_A_CHECKSUM = {CHECKSUM + "algorithm", CHECKSUM + "type", CHECKSUM + "mode"}


class Hasher(Protocol):
    """What `hashlib` objects and `Crc32` have in common."""

    def update(self, data: memoryview | bytes, /) -> None:
        """Take more bytes."""
        ...

    def digest(self) -> bytes:
        """The digest of everything so far."""
        ...


class Crc32:
    """CRC-32 with the interface of a hash."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def update(self, data: memoryview | bytes, /) -> None:
        """Take more bytes."""
        self.value = zlib.crc32(data, self.value)

    def digest(self) -> bytes:
        """Four bytes, most significant first."""
        return self.value.to_bytes(4, "big")


def new_hasher(algorithm: str) -> Hasher:
    """A hasher; 501 for an algorithm we cannot check (CRC32C, CRC64NVME …): accepting it unchecked would be a lie."""
    if algorithm == "crc32":
        return Crc32()
    if algorithm in {"sha256", "sha1", "md5"}:
        return hashlib.new(algorithm, usedforsecurity=False)
    raise S3Error(501, "NotImplemented", f"this server cannot check {algorithm}, so it does not accept it")


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes that arrived and agreed with the strongest thing that was claimed of them.

    Attributes:
        size: How many.
        checksums: Algorithm (``sha256``, ``md5``, ``crc32`` …) -> digest, for each one the client sent.
        etag: Their MD5 where the client sent it, else a name that cannot be taken for an MD5.
    """

    size: int
    checksums: dict[str, bytes]
    etag: str


class Checks:
    """What a client claims of a body, and the hasher that tells whether it is true.

    Args:
        headers: The request's, names in lower case.
    """

    def __init__(self, headers: dict[str, str]) -> None:
        self.size = 0
        self.claims: dict[str, list[tuple[str, bytes]]] = {}
        signed = headers.get("x-amz-content-sha256", "")
        self.chunked = signed.startswith("STREAMING-")
        if len(signed) == 64:
            self._claim("x-amz-content-sha256", "sha256", from_hex(signed))
        if "content-md5" in headers:
            self._claim("content-md5", "md5", from_base64(headers["content-md5"]))
        for name in headers.keys() - NOT_A_CHECKSUM:
            if name.startswith(CHECKSUM):
                self._claim(name, name.removeprefix(CHECKSUM), from_base64(headers[name]))
        self.trailer = headers.get("x-amz-trailer", "").lower()
        if self.trailer:
            self.claims.setdefault(self.trailer.removeprefix(CHECKSUM), [])
        self.algorithm = min(self.claims, key=strength, default=None)
        self.hasher = new_hasher(self.algorithm) if self.algorithm else None

    def _claim(self, name: str, algorithm: str, digest: bytes) -> None:
        self.claims.setdefault(algorithm, []).append((name, digest))

    def update(self, data: memoryview) -> None:
        """Take more of the body; hashing lets other threads run."""
        self.size += len(data)
        if self.hasher:
            self.hasher.update(data)

    def claim_trailer(self, name: str, value: str) -> None:
        """Take a claim that arrived behind the body."""
        if name == self.trailer:
            self._claim(name, name.removeprefix(CHECKSUM), from_base64(value))

    def verify(self, size: int) -> Content:
        """What arrived.

        Args:
            size: The length the client announced.

        Raises:
            S3Error: 400 when the length or the strongest claim is not true.
        """
        if size != self.size:
            raise S3Error(400, "IncompleteBody", f"announced {size} bytes, sent {self.size}")
        if not all(self.claims.values()):
            raise S3Error(400, "MalformedTrailerError", f"the trailer {self.trailer} is missing")
        if self.hasher and self.algorithm:
            digest = self.hasher.digest()
            for name, claimed in self.claims[self.algorithm]:
                if digest != claimed:
                    code = "XAmzContentSHA256Mismatch" if name == "x-amz-content-sha256" else "BadDigest"
                    raise S3Error(400, code, f"{name} did not match what we received")
        digests = {algorithm: claims[0][1] for algorithm, claims in self.claims.items()}
        return Content(self.size, digests, etag_of(digests))

    @property
    def compared(self) -> list[str]:
        """The headers and trailers that were compared with the bytes."""
        return sorted(name for name, _ in self.claims.get(self.algorithm or "", []))

    @property
    def believed(self) -> list[str]:
        """Those that were not, because a stronger one was."""
        return sorted(name for key, claims in self.claims.items() if key != self.algorithm for name, _ in claims)


def strength(algorithm: str) -> int:
    """Where an algorithm stands among those we can check, the strongest first; the others come last."""
    return STRENGTH.index(algorithm) if algorithm in STRENGTH else len(STRENGTH)


def etag_of(digests: dict[str, bytes]) -> str:
    """The MD5 where the client sent one.

    AWS always computes the MD5. Here the server shares the machine with the contenders, so it hashes only what a client
    asks it to check. rclone is the one contender that compares the ETag, and it sends the MD5.
    """
    return digests["md5"].hex() if "md5" in digests else f"{secrets.token_hex(8)}-0"


def from_hex(text: str) -> bytes:
    """A digest in hex; 400 when it is none."""
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise S3Error(400, "InvalidDigest", f"{text!r} is not a digest") from error


def from_base64(text: str) -> bytes:
    """A digest in base64; 400 when it is none."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise S3Error(400, "InvalidDigest", f"{text!r} is not a digest") from error
