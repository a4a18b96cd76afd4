"""The ledger's copy in S3: one object a month, never behind what it already held.

What belongs here: putting a month's file into the bucket, comparing both sides, and joining them again when one was
lost. What does not: locks and the files on the NAS (`ledger`, whose lock is held while a month is put).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from resources.errors import ChecksumError, ResourceError, UnavailableError
from resources.s3 import S3Bucket
from resources.s3_objects import ObjectInfo

MIRROR_DIRECTORY = "_manifest"

_KEY = re.compile(rf"{MIRROR_DIRECTORY}/([0-9]{{4}}-(?:0[1-9]|1[0-2]))\.jsonl")


class MirrorError(ResourceError):
    """The ledger's copy in S3 could not be brought up to date. The ledger itself is in order.

    Args:
        message: For a person.
        month: ``YYYY-MM``.
    """

    def __init__(self, message: str, *, month: str, path: str = "") -> None:
        super().__init__(message, path=path)
        self.month = month


class MirrorUnavailableError(MirrorError, UnavailableError):
    """S3 did not answer: trying again can cure it."""


class MirrorConflictError(MirrorError):
    """The copy in S3 holds something that the file on the NAS does not: it was lost, cut or edited there."""


@dataclass(frozen=True, slots=True)
class MirrorState:
    """One month on both sides.

    Attributes:
        month: ``YYYY-MM``.
        size: Bytes on the NAS; None when there is no such file.
        mirrored_size: Bytes in S3; None when there is no such object.
        same: Whether both are equal, as far as was compared.
    """

    month: str
    size: int | None
    mirrored_size: int | None
    same: bool


def mirror_key(month: str) -> str:
    """The key of a month's object."""
    return f"{MIRROR_DIRECTORY}/{month}.jsonl"


def mirrored_sizes(bucket: S3Bucket) -> dict[str, int]:
    """The months in S3 with their bytes, from one listing."""
    found = ((_KEY.fullmatch(item.key), item.size) for item in bucket.list(f"{MIRROR_DIRECTORY}/"))
    return {match[1]: size for match, size in found if match}


def compare(sizes: Mapping[str, int], mirrored: Mapping[str, int]) -> list[MirrorState]:
    """Compare both sides by size: the files only grow, so an equal size is an equal file unless somebody edited it.

    Args:
        sizes: Bytes on the NAS, by month.
        mirrored: Bytes in S3, by month.
    """
    return [
        MirrorState(month, sizes.get(month), mirrored.get(month), sizes.get(month) == mirrored.get(month))
        for month in sorted(sizes.keys() | mirrored.keys())
    ]


def put_month(bucket: S3Bucket, month: str, content: bytes, *, losing: Collection[bytes] | None = None) -> None:
    """Make a month's object in S3 equal to its file.

    A mirror that was emptied by a lost NAS would be none. So what S3 holds must be the beginning of `content`.

    Args:
        bucket: Where.
        month: ``YYYY-MM``.
        content: The whole file.
        losing: The lines, and no others, that S3 may lose by it, as after an edit by hand; None: S3 loses nothing.

    Raises:
        MirrorConflictError: S3 holds something else that is not in `content`.
        MirrorError: S3 did not take it.
    """
    key = mirror_key(month)
    digest = hashlib.sha256(content).digest()
    try:
        there = bucket.head(key)
        if there is not None and _is_beginning(bucket, there, content):
            if there.size == len(content):
                return
        elif there is not None and not _may_lose(losing, get_month(bucket, month), content):
            raise _conflict(bucket, month)
        bucket.put(key, content, sha256=digest, metadata={"sha256": digest.hex()})
    except MirrorError:
        raise
    except ResourceError as error:
        kind = MirrorUnavailableError if isinstance(error, UnavailableError) else MirrorError
        raise kind(
            f"the ledger's file of {month} was not copied to {bucket.object_uri(key)}: {error}",
            month=month,
            path=bucket.object_uri(key),
        ) from error


def _may_lose(losing: Collection[bytes] | None, mirrored: bytes, content: bytes) -> bool:
    return losing is not None and set(lost_lines(mirrored, content)) <= set(losing)


def lost_lines(mirrored: bytes, content: bytes) -> tuple[bytes, ...]:
    """The lines that S3 would lose if a month were mirrored as it is, in order. Pure.

    Args:
        mirrored: The month in S3.
        content: The month on the NAS.
    """
    kept = set(content.split(b"\n"))
    return tuple(line for line in mirrored.split(b"\n") if line.strip() and line not in kept)


def read_whole(bucket: S3Bucket, name: str, read: Callable[[], bytes]) -> bytes:
    """Read a file, and refuse one that does not begin with all that S3 mirrors of it: it was lost, cut or edited.

    S3 is asked first: what another process appends meanwhile is in the file before it is in S3.

    Args:
        bucket: Where.
        name: ``YYYY-MM``, or the name of another file beside the months.
        read: Reads the whole file; empty when it is not there.

    Raises:
        MirrorConflictError: That is so.
        ResourceError: Either side cannot be asked.
    """
    there = bucket.head(mirror_key(name))
    mirrored = bucket.get_bytes(there.key) if there and _stated_sha256(there) is None else None
    content = read()
    if there is None:
        return content
    beginning = content.startswith(mirrored) if mirrored is not None else _is_beginning(bucket, there, content)
    if not beginning:
        raise _conflict(bucket, name)
    return content


def _conflict(bucket: S3Bucket, name: str) -> MirrorConflictError:
    place = bucket.object_uri(mirror_key(name))
    return MirrorConflictError(
        f"{place} holds records that the ledger's file of {name} does not: the file was lost, cut or edited | hint: "
        "`fusion manifest restore` joins the two",
        month=name,
        path=place,
    )


def get_month(bucket: S3Bucket, month: str) -> bytes:
    """A month's file as S3 holds it.

    Raises:
        ChecksumError: What arrived is not what S3 says it holds.
        ResourceError: It cannot be read.
    """
    key = mirror_key(month)
    there, content = bucket.head(key), bucket.get_bytes(key)
    if there is None or content is None:
        return b""
    stated = _stated_sha256(there)
    if stated not in (None, hashlib.sha256(content).hexdigest()):
        raise ChecksumError(f"{bucket.object_uri(key)} arrived damaged; try again", path=bucket.object_uri(key))
    return content


def join(mirrored: bytes, content: bytes) -> bytes:
    """One file that begins with what S3 holds and loses nothing of what the NAS holds. Pure.

    Args:
        mirrored: The month in S3.
        content: The month on the NAS; empty when it was lost.

    Returns:
        Whichever begins with the other; else `mirrored` and then the lines only `content` has.
    """
    if content.startswith(mirrored):
        return content
    if mirrored.startswith(content):
        return mirrored
    known = set(mirrored.split(b"\n"))
    new = [line for line in content.split(b"\n") if line and line not in known]
    start = mirrored if mirrored.endswith(b"\n") else mirrored + b"\n"
    return start + b"".join(line + b"\n" for line in new)


def _is_beginning(bucket: S3Bucket, there: ObjectInfo, content: bytes) -> bool:
    if there.size > len(content):
        return False
    stated = _stated_sha256(there)
    if stated is None:  # a server that keeps no checksums, and an object somebody else put
        return content.startswith(bucket.get_bytes(there.key) or b"")
    return stated == hashlib.sha256(content[: there.size]).hexdigest()


def _stated_sha256(there: ObjectInfo) -> str | None:
    return there.sha256.hex() if there.sha256 else there.metadata.get("sha256")
