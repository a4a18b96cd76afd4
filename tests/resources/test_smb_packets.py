"""SMB's layouts, read back, and what listings and attributes are taken for."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources import smb_packets as packets
from resources.errors import UnsafeNameError
from resources.smb_entries import check_not_mangled, entry_of, is_mangled
from resources.smb_errors import StatusError, translated
from resources.storage import Kind

DIRECTORY, REPARSE = packets.ATTRIBUTE_DIRECTORY, packets.ATTRIBUTE_REPARSE_POINT
NAMES = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=40)


def listing_of(entries: list[packets.Listed]) -> bytes:
    """What a server answers: FileIdFullDirectoryInformation, each entry at a multiple of eight."""
    pieces = []
    for index, entry in enumerate(entries):
        name = entry.name.encode("utf-16-le", "surrogatepass")
        length = 80 + len(name)
        following = 0 if index == len(entries) - 1 else length + -length % 8
        filetime = entry.attributes.mtime_ns // 100 + 116_444_736_000_000_000
        fixed = struct.pack(
            "<IIQQQQQQIIIIQ", following, 0, 1, 2, filetime, 3, entry.attributes.size, 4, entry.attributes.flags,
            len(name), entry.tag, 0, entry.file_id,
        )  # fmt: skip
        pieces.append((fixed + name).ljust(following, b"\0"))
    return b"".join(pieces)


@given(
    st.lists(
        st.builds(
            packets.Listed,
            NAMES.filter(lambda name: name not in {".", ".."}),
            st.builds(
                packets.Attributes,
                st.integers(0, 2**32 - 1),
                st.integers(0, 2**63),
                st.integers(0, 2**60).map(lambda n: n * 100),
            ),
            st.integers(0, 2**64 - 1),
            st.integers(0, 2**32 - 1),
        ),
        max_size=5,
    )
)
def test_a_listing_is_read_as_it_was_written(entries: list[packets.Listed]) -> None:
    assert list(packets.parse_listing(listing_of(entries))) == entries


def test_the_directory_itself_and_its_parent_are_not_in_its_listing() -> None:
    attributes = packets.Attributes(DIRECTORY, 0, 0)
    entries = [packets.Listed(name, attributes, 1, 0) for name in (".", "..", "...", ".hidden")]
    assert [entry.name for entry in packets.parse_listing(listing_of(entries))] == ["...", ".hidden"]


@pytest.mark.parametrize(
    ("flags", "tag", "kind"),
    [
        (0x20, 0, "file"),
        (0x80, 0, "file"),
        (DIRECTORY, 0, "directory"),
        (REPARSE, 0xA000000C, "symlink"),
        (REPARSE | DIRECTORY, 0xA000000C, "symlink"),
        (REPARSE | DIRECTORY, 0xA0000003, "symlink"),  # a junction
        (REPARSE, 0x80000013, "file"),  # deduplicated by Windows Server
        (REPARSE | DIRECTORY, 0x9000001A, "directory"),  # OneDrive
        (REPARSE, 0x80000024, "other"),  # a FIFO
    ],
)
def test_links_are_told_from_deduplicated_files(flags: int, tag: int, kind: Kind) -> None:
    entry = entry_of("s/", packets.Listed("x", packets.Attributes(flags, 99, 1), 5, tag))
    assert (entry.path, entry.kind, entry.size, entry.file_id) == ("s/x", kind, 99 if kind == "file" else 0, 5)


@pytest.mark.parametrize("name", ["CSHOFG~F", "AHY9U3~9.TIF", "TZHRWN~N", "NDH6SA~M.TXT"])
def test_what_samba_makes_of_a_name_is_recognised(name: str) -> None:
    assert is_mangled(name)
    with pytest.raises(UnsafeNameError, match="not the real name"):
        check_not_mangled(f"study/{name}/x", "smb://nas/s")


@pytest.mark.parametrize("name", ["20260105_WW_HCC_run1", "a~1", "Scan~1.tif", "CSHOFG~F.tiff", "cshofg~f", "~$x.docx"])
def test_ordinary_names_with_a_tilde_are_not_taken_for_mangled_ones(name: str) -> None:
    assert not is_mangled(name)


@pytest.mark.parametrize(
    ("payload", "charge"), [(0, 1), (1, 1), (65_536, 1), (65_537, 2), (1 << 20, 16), (2 << 20, 32)]
)
def test_large_requests_pay_for_each_64_kib(payload: int, charge: int) -> None:
    assert packets.read(memoryview(bytearray(payload)), 0).charge == charge
    assert packets.write(bytes(payload), 0).charge == charge


def test_what_is_no_answer_is_not_read_as_one() -> None:
    request = packets.header(
        packets.plain(packets.ECHO), message_id=1, credits_wanted=1, flags=0, following=0, tree=0, session=0
    )
    with pytest.raises(ValueError, match="not an SMB response"):
        packets.parse_header(memoryview(request))


def test_a_status_without_a_meaning_keeps_its_number() -> None:
    error = translated(StatusError(0xC0DEC0DE), "read", "smb://nas/x")
    assert str(error) == "cannot read smb://nas/x: the server answered NTSTATUS 0xc0dec0de"
