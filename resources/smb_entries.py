"""What an SMB server tells about files: its listings, attributes and reparse points, as entries.

What belongs here: asking about a name, and judging the answer. What does not: changing anything (`smb_operations`).
"""

from __future__ import annotations

import re

from resources import smb_packets as packets
from resources.errors import UnsafeNameError
from resources.smb_channel import Channel
from resources.smb_errors import NO_MORE_FILES, NO_SUCH_FILE, OtherSpellingError
from resources.smb_packets import Attributes, Listed
from resources.storage import Entry, Kind

_LISTING = 1 << 20  # bytes one answer may take: about 8,000 names, so that most directories take one round trip
_SPECIAL_TAGS = frozenset({0x80000014, 0x80000023, 0x80000024, 0x80000025, 0x80000026})
"""NFS special files, sockets, FIFOs and devices (MS-FSCC 2.1.2.1)."""

# Samba's hash2: six characters, a tilde, one more. A real name of that form is as good as unknown to a laboratory.
_MANGLED = re.compile(r"[A-Z0-9_]{6}~[A-Z0-9](\.[A-Z0-9_]{1,3})?")


def listing(channel: Channel, name: str, pattern: str = "*") -> list[Listed]:
    """The entries of the directory `name` whose names match `pattern`, case ignored, in the server's order."""
    opened, first, second, _ = channel.ask(
        packets.create(name, packets.READ_DATA | packets.READ_ATTRIBUTES, packets.OPEN, packets.DIRECTORY),
        packets.query_directory(_LISTING, pattern),
        packets.query_directory(_LISTING, pattern),  # says that there is no more, in the same round trip
        packets.close(),
    )
    opened.checked()
    if first.checked(NO_MORE_FILES, NO_SUCH_FILE).status in {NO_MORE_FILES, NO_SUCH_FILE}:
        return []
    if second.status != NO_MORE_FILES:
        return _long_listing(channel, name, pattern)
    return list(packets.parse_listing(packets.content_of(first.body)))


def _long_listing(channel: Channel, name: str, pattern: str) -> list[Listed]:
    """A listing that does not fit into one answer."""
    access = packets.READ_DATA | packets.READ_ATTRIBUTES
    [opened] = channel.ask(packets.create(name, access, packets.OPEN, packets.DIRECTORY))
    file_id, _ = packets.parse_created(opened.checked().body)
    found: list[Listed] = []
    try:
        while True:
            [ticket] = channel.ask(packets.query_directory(_LISTING, pattern, file_id))
            if ticket.checked(NO_MORE_FILES).status == NO_MORE_FILES:
                return found
            found += packets.parse_listing(packets.content_of(ticket.body))
    finally:
        channel.ask(packets.close(file_id))


def look_at(channel: Channel, name: str, path: str) -> Entry:
    """The entry for what is at `name`; a link is described, not followed."""
    options = packets.REPARSE_POINT if path else packets.DIRECTORY
    opened, number, closed = channel.ask(
        packets.create(name, packets.READ_ATTRIBUTES, packets.OPEN, options),
        packets.query_info(packets.OF_FILE, packets.INTERNAL, 8),
        packets.close(),
    )
    _, attributes = packets.parse_created(opened.checked().body)
    closed.checked()
    tag = 0
    if attributes.flags & packets.ATTRIBUTE_REPARSE_POINT:
        _, tagged, _ = channel.ask(
            packets.create(name, packets.READ_ATTRIBUTES, packets.OPEN, options),
            packets.query_info(packets.OF_FILE, packets.ATTRIBUTE_TAG, 8),
            packets.close(),
        )
        tag = packets.parse_tag(packets.content_of(tagged.checked().body))
    return _entry(path, attributes, packets.parse_number(packets.content_of(number.checked().body)), tag)


def entry_of(prefix: str, listed: Listed) -> Entry:
    """The entry for one name of a listing."""
    return _entry(prefix + listed.name, listed.attributes, listed.file_id, listed.tag)


def _entry(path: str, attributes: Attributes, file_id: int, tag: int) -> Entry:
    kind = _kind(attributes.flags, tag)
    return Entry(path, kind, attributes.size if kind == "file" else 0, attributes.mtime_ns, file_id)


def _kind(flags: int, tag: int) -> Kind:
    """Links and junctions are links; deduplicated and tiered files are files."""
    if flags & packets.ATTRIBUTE_REPARSE_POINT:
        if tag & packets.NAME_SURROGATE:
            return "symlink"
        if tag in _SPECIAL_TAGS:
            return "other"
    return "directory" if flags & packets.ATTRIBUTE_DIRECTORY else "file"


def check_spelling(channel: Channel, name: str) -> None:
    """Raise `OtherSpellingError` if what the server finds at `name` is spelled differently there."""
    parent, _, own = name.rpartition("\\")
    spellings = [listed.name for listed in listing(channel, parent, own)]
    if spellings and own not in spellings:
        raise OtherSpellingError(spellings[0])


def is_mangled(name: str) -> bool:
    """Whether `name` looks like what Samba makes of a name that Windows could not use."""
    return _MANGLED.fullmatch(name) is not None


def check_not_mangled(path: str, location: str) -> None:
    """Raise `UnsafeNameError` if a part of `path` is not the real name of anything."""
    for part in path.split("/"):
        if is_mangled(part):
            raise UnsafeNameError(
                f"{location}: {part!r} is not the real name but what the server makes of one that Windows cannot use "
                "(such as CON, or one that ends in a dot or a space); rename it on the server",
                path=location,
            )
