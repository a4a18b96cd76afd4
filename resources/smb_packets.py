"""The SMB 2/3 messages we send and read, as bytes: MS-SMB2 section 2.2 and MS-FSCC sections 2.4 and 2.5.

What belongs here: layouts and numbers, as pure functions. What does not: sockets, keys, and what a status means.

`smbprotocol` logs in; the packets after that are ours because building them with its structures costs 1.3 ms of CPU per
small file and 4 s per GB written, five to ten times what a ``struct.pack`` into one packet costs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

Buffer = bytes | bytearray | memoryview

TREE_DISCONNECT, LOGOFF = 4, 2
CREATE, CLOSE, FLUSH, READ, WRITE, ECHO, QUERY_DIRECTORY, QUERY_INFO, SET_INFO = 5, 6, 7, 8, 9, 13, 14, 16, 17

HEADER_SIZE = 64
FLAG_RESPONSE, FLAG_ASYNC, FLAG_RELATED, FLAG_SIGNED = 0x1, 0x2, 0x4, 0x8
_HEADER = struct.Struct("<4sHHIHHIIQIIQ16s")
_MAGIC = b"\xfeSMB"
_CREDIT = 65536  # bytes of payload one credit pays for

RELATED: Final = b"\xff" * 16
"""The file id that means "what the CREATE before me in this compound opened"."""

# Access, sharing, dispositions, options (MS-SMB2 2.2.13).
READ_DATA, WRITE_DATA, APPEND_DATA = 0x1, 0x2, 0x4
READ_ATTRIBUTES, WRITE_ATTRIBUTES, DELETE, SYNCHRONIZE = 0x80, 0x100, 0x10000, 0x100000
SHARE_NONE, SHARE_READ, SHARE_ALL = 0, 1, 7
OPEN, CREATE_NEW, OPEN_IF, OVERWRITE_IF = 1, 2, 3, 5
DIRECTORY, FILE, REPARSE_POINT = 0x1, 0x40, 0x200000

ATTRIBUTE_DIRECTORY, ATTRIBUTE_REPARSE_POINT, ATTRIBUTE_NORMAL = 0x10, 0x400, 0x80
NAME_SURROGATE = 0x20000000  # the bit in a reparse tag that says "this name stands for another one"

# Information classes (MS-FSCC), with the type of information they belong to.
OF_FILE, OF_FILESYSTEM = 1, 2
BASIC, INTERNAL, RENAME, DISPOSITION, NETWORK_OPEN, ATTRIBUTE_TAG, ID_FULL_DIRECTORY = 4, 6, 10, 13, 34, 35, 38
FULL_SIZE = 7

_EPOCH = 116_444_736_000_000_000  # 1970 in Windows' 100 ns since 1601


@dataclass(slots=True)
class Request:
    """One request, without its header.

    Attributes:
        command: The command's number.
        body: Everything after the header but `data`.
        data: What a WRITE writes; not copied.
        payload: Bytes the request or its response carries: they are paid for in credits.
        into: Where the data of a READ belongs.
    """

    command: int
    body: bytes
    data: Buffer = b""
    payload: int = 1
    into: memoryview | None = None

    @property
    def charge(self) -> int:
        """How many credits it costs."""
        return max(0, self.payload - 1) // _CREDIT + 1


@dataclass(frozen=True, slots=True)
class ResponseHeader:
    """What a response's header says."""

    charge: int
    status: int
    command: int
    credits: int
    flags: int
    next: int
    message_id: int


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a CREATE, a QUERY_INFO or a listing tells about one file.

    Attributes:
        flags: Windows file attributes.
        size: Bytes.
        mtime_ns: Nanoseconds since 1970 UTC.
    """

    flags: int
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Listed:
    """One name in a listing; `tag` is its reparse tag, where it has one."""

    name: str
    attributes: Attributes
    file_id: int
    tag: int


def header(
    request: Request, *, message_id: int, credits_wanted: int, flags: int, following: int, tree: int, session: int
) -> bytearray:
    """The header of `request`; `following` is the distance to the next one in a compound, 0 for the last."""
    return bytearray(
        _HEADER.pack(
            _MAGIC, 64, request.charge, 0, request.command, credits_wanted, flags, following,
            message_id, 0, tree, session, bytes(16),
        )
    )  # fmt: skip


def parse_header(message: memoryview) -> ResponseHeader:
    """Read the header of a response; ``ValueError`` if it is none."""
    magic, size, charge, status, command, granted, flags, following, message_id, *_ = _HEADER.unpack_from(message)
    if magic != _MAGIC or size != HEADER_SIZE or not flags & FLAG_RESPONSE:
        raise ValueError("not an SMB response")
    return ResponseHeader(charge, status, command, granted, flags, following, message_id)


def create(name: str, access: int, disposition: int, options: int, *, share: int = SHARE_ALL) -> Request:
    r"""Open or create `name` (``a\b``, relative to the share; ``""`` is the share itself)."""
    encoded = name.encode("utf-16-le")
    fixed = struct.pack(
        "<HBBIQQIIIIIHHII", 57, 0, 0, 2, 0, 0, access, ATTRIBUTE_NORMAL if disposition != OPEN else 0, share,
        disposition, options, HEADER_SIZE + 56, len(encoded), 0, 0,
    )  # fmt: skip
    return Request(CREATE, fixed + (encoded or b"\0\0"))


def close(file_id: bytes = RELATED) -> Request:
    """Close a handle."""
    return Request(CLOSE, struct.pack("<HHI16s", 24, 0, 0, file_id))


def flush(file_id: bytes = RELATED) -> Request:
    """Bring a file to stable storage."""
    return Request(FLUSH, struct.pack("<HHI16s", 24, 0, 0, file_id))


def read(into: memoryview, offset: int, file_id: bytes = RELATED, *, unbuffered: bool = False) -> Request:
    """Read from `offset` as much as `into` takes."""
    body = struct.pack("<HBBIQ16sIIIHHB", 49, 80, int(unbuffered), len(into), offset, file_id, 0, 0, 0, 0, 0, 0)
    return Request(READ, body, payload=len(into), into=into)


def write(data: Buffer, offset: int, file_id: bytes = RELATED) -> Request:
    """Write `data` at `offset`."""
    body = struct.pack("<HHIQ16sIIHHI", 49, HEADER_SIZE + 48, len(data), offset, file_id, 0, 0, 0, 0, 0)
    return Request(WRITE, body, data=data, payload=len(data))


def query_directory(length: int, pattern: str = "*", file_id: bytes = RELATED) -> Request:
    """The next names of a directory, as many as fit into `length` bytes."""
    encoded = pattern.encode("utf-16-le")
    fixed = struct.pack("<HBBI16sHHI", 33, ID_FULL_DIRECTORY, 0, 0, file_id, HEADER_SIZE + 32, len(encoded), length)
    return Request(QUERY_DIRECTORY, fixed + encoded, payload=length)


def query_info(kind: int, what: int, length: int, file_id: bytes = RELATED) -> Request:
    """Ask for one class of information."""
    return Request(QUERY_INFO, struct.pack("<HBBIHHIII16s", 41, kind, what, length, 0, 0, 0, 0, 0, file_id))


def set_info(what: int, content: bytes, file_id: bytes = RELATED) -> Request:
    """Set one class of information of a file."""
    fixed = struct.pack("<HBBIHHI16s", 33, OF_FILE, what, len(content), HEADER_SIZE + 32, 0, 0, file_id)
    return Request(SET_INFO, fixed + content)


def clear_attributes(file_id: bytes = RELATED) -> Request:
    """Take every attribute away, read-only among them, and leave the times."""
    return set_info(BASIC, struct.pack("<QQQQII", 0, 0, 0, 0, ATTRIBUTE_NORMAL, 0), file_id)


def set_mtime(mtime_ns: int, file_id: bytes = RELATED) -> Request:
    """Set the time of the last write, and leave the others."""
    return set_info(BASIC, struct.pack("<QQQQII", 0, 0, mtime_ns // 100 + _EPOCH, 0, 0, 0), file_id)


def rename(target: str, *, overwrite: bool) -> Request:
    r"""Rename what is open to `target` (``a\b``, relative to the share)."""
    encoded = target.encode("utf-16-le")
    return set_info(RENAME, struct.pack("<B7xQI", int(overwrite), 0, len(encoded)) + encoded)


def remove() -> Request:
    """Mark what is open to be deleted when it is closed."""
    return set_info(DISPOSITION, b"\x01")


def plain(command: int) -> Request:
    """A request without content: ECHO, LOGOFF, TREE_DISCONNECT."""
    return Request(command, struct.pack("<HH", 4, 0))


def _mtime_ns(filetime: int) -> int:
    return (filetime - _EPOCH) * 100


def parse_created(body: Buffer) -> tuple[bytes, Attributes]:
    """The handle and the attributes a CREATE's response holds."""
    mtime, _, _, size, flags, _, file_id = struct.unpack_from("<QQQQII16s", body, 24)
    return file_id, Attributes(flags, size, _mtime_ns(mtime))


def parse_network_open(content: Buffer) -> Attributes:
    """FileNetworkOpenInformation: the attributes of an open file, as they are now."""
    mtime, _, _, size, flags = struct.unpack_from("<QQQQI", content, 16)
    return Attributes(flags, size, _mtime_ns(mtime))


def parse_volume(content: Buffer) -> tuple[int, int]:
    """FileFsFullSizeInformation: bytes in total, and bytes free to this account."""
    total, free, _, sectors, sector = struct.unpack_from("<QQQII", content)
    return total * sectors * sector, free * sectors * sector


def parse_number(content: Buffer) -> int:
    """FileInternalInformation: the number that identifies a file on its volume."""
    return int.from_bytes(content[:8], "little")


def parse_tag(content: Buffer) -> int:
    """FileAttributeTagInformation: the reparse tag."""
    return int.from_bytes(content[4:8], "little")


def content_of(body: Buffer) -> Buffer:
    """The buffer in the response to a QUERY_INFO or QUERY_DIRECTORY; its offset counts from the header."""
    offset, length = struct.unpack_from("<HI", body, 2)
    return body[offset - HEADER_SIZE : offset - HEADER_SIZE + length]


def data_range(body: Buffer) -> tuple[int, int]:
    """Where in a READ's response the data lies: offset and length."""
    offset, _, length = struct.unpack_from("<BBI", body, 2)
    return offset - HEADER_SIZE, length


def count_written(body: Buffer) -> int:
    """How many bytes a WRITE's response says were written; may be fewer than sent."""
    return int.from_bytes(body[4:8], "little")


_LISTED = struct.Struct("<IIQQQQQQIIIIQ")


def parse_listing(content: Buffer) -> Iterator[Listed]:
    """The entries of FileIdFullDirectoryInformation, without ``.`` and ``..``."""
    at = 0
    while content:
        following, _, _, _, mtime, _, size, _, flags, length, tag, _, file_id = _LISTED.unpack_from(content, at)
        start = at + _LISTED.size
        name = bytes(content[start : start + length]).decode("utf-16-le", "surrogatepass")
        if name not in {".", ".."}:
            # For a reparse point the field for the size of extended attributes holds the tag (MS-FSCC 2.4.24).
            yield Listed(name, Attributes(flags, size, _mtime_ns(mtime)), file_id, tag)
        if not following:
            return
        at += following
