"""Whole images pass, every kind of damage is named, and no file can hurt the checker."""

import struct
from io import BytesIO

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_assets.integrity.pieces import MAX_PIECE, MIN_PIECE
from fusion_assets.integrity.tiff import BUDGET, DESCRIPTION_LIMIT, MAX_PAGES, MAX_PROBLEMS, check_tiff
from resources.errors import HeldOpenError, UnavailableError
from tests.integrity.readers_in_memory import HugeReader, MemoryReader

PLACEMENTS = ("start", "end", "spread")
MARKERS = ("DAPI", "CD45", "CD3e", "CD8", "PanCK", "Ki67")
XML = "<PerkinElmer-QPI-ImageDescription><ImageType>FullResolution</ImageType></PerkinElmer-QPI-ImageDescription>"


def check(content):
    return check_tiff(MemoryReader(content), len(content))


def messages(content):
    return [str(problem) for problem in check(content).problems]


def first_directory(content):
    return struct.unpack_from("<Q", content, 8)[0]


def with_bytes(content, offset, patch):
    return content[:offset] + patch + content[offset + len(patch) :]


def tag_at(content, directory, code):
    """The offset of the tag's entry in a directory of a BigTIFF."""
    count = struct.unpack_from("<Q", content, directory)[0]
    entries = (directory + 8 + 20 * index for index in range(count))
    return next(entry for entry in entries if struct.unpack_from("<H", content, entry)[0] == code)


def next_pointer_at(content, directory):
    return directory + 8 + 20 * struct.unpack_from("<Q", content, directory)[0]


# ---------------------------------------------------------------- whole files


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_whole_image_passes_and_its_channels_are_known(images, placement):
    report = check(images[placement])
    assert report.problems == ()
    assert report.biomarkers == MARKERS


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_its_pages_are_those_a_tiff_library_sees(images, placement):
    with tifffile.TiffFile(BytesIO(images[placement])) as file:
        expected = [(page.offset, page.imagewidth, page.imagelength, len(page.dataoffsets)) for page in file.pages]
        assert [(series.name, series.shape, len(series.levels)) for series in file.series] == [
            ("Baseline", (6, 250, 300), 3),
            ("Thumbnail", (261, 131, 3), 1),
            ("Macro", (192, 342, 3), 1),
            ("Label", (120, 160, 3), 1),
        ]
    pages = check(images[placement]).pages
    assert [(p.offset, p.geometry.width, p.geometry.height, p.geometry.segments) for p in pages] == expected


@pytest.mark.parametrize("big", [False, True], ids=["classic", "big"])
@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big-endian"])
@pytest.mark.parametrize(
    "layout",
    [
        {"tile": (32, 48)},
        {"rowsperstrip": 7},
        {"tile": (32, 32), "planarconfig": "separate", "photometric": "rgb"},
        {"rowsperstrip": 16, "planarconfig": "separate", "photometric": "rgb"},
        {"tile": (32, 32), "compression": "zlib", "photometric": "rgb"},
    ],
    ids=["tiles", "strips", "tiles in planes", "strips in planes", "deflate"],
)
def test_every_dialect_passes_whole_and_fails_cut(big, order, layout):
    shape = {"separate": (3, 100, 90), "contig": (100, 90, 3)}.get(
        layout.get("planarconfig", "contig" if "photometric" in layout else ""), (100, 90)
    )
    content = BytesIO()
    data = np.random.default_rng(1).integers(1, 255, size=shape, dtype=np.uint8)
    with tifffile.TiffWriter(content, bigtiff=big, byteorder=order) as writer:
        writer.write(data, description=XML, metadata=None, **layout)
        writer.write(data, description="another program's note", metadata=None, **layout)
    content = content.getvalue()
    assert messages(content) == []
    assert len(check(content).pages) == 2
    assert messages(content[: len(content) // 2])
    assert messages(content[:-200])


def test_sub_images_are_visited_too():
    content = BytesIO()
    data = np.full((64, 64), 7, dtype=np.uint8)
    with tifffile.TiffWriter(content) as writer:
        writer.write(data, subifds=2, description=XML, metadata=None)
        writer.write(data[::2, ::2], subfiletype=1)
        writer.write(data[::4, ::4], subfiletype=1)
        writer.write(data, metadata=None)
    content = content.getvalue()
    assert messages(content) == []
    with tifffile.TiffFile(BytesIO(content)) as file:
        sub = file.pages[0].pages[1]
        bytes_tag = sub.tags["StripByteCounts"].offset
    # A classic tag's value lies 8 bytes into its entry.
    assert any("strips" in message for message in messages(with_bytes(content, bytes_tag + 8, b"\xff\xff\xff\x7f")))


def test_tiles_left_out_where_nothing_was_scanned_are_allowed_but_not_a_page_without_any(images):
    content = images["end"]
    with tifffile.TiffFile(BytesIO(content)) as file:
        tags = file.pages[0].tags
        offsets, lengths = tags["TileOffsets"], tags["TileByteCounts"]
    some = with_bytes(content, offsets.valueoffset, bytes(16))
    some = with_bytes(some, lengths.valueoffset, bytes(8))
    assert messages(some) == []
    none = with_bytes(content, offsets.valueoffset, bytes(8 * offsets.count))
    none = with_bytes(none, lengths.valueoffset, bytes(4 * lengths.count))
    assert messages(none) == ["page 1: none of its 20 tiles has any data"]


# ---------------------------------------------------------------- damage


def zero_tail(content):
    keep = len(content) * 7 // 10
    return content[:keep] + bytes(len(content) - keep)


def hole(content):
    start, end = len(content) * 4 // 10, len(content) * 5 // 10
    return with_bytes(content, start, bytes(end - start))


DAMAGES = {
    "cut at 50 %": lambda content: content[: len(content) // 2],
    "last 1 MiB cut": lambda content: content[: -(1 << 20)],
    "last 4 KiB cut": lambda content: content[:-4096],
    "last byte cut": lambda content: content[:-1],
    "last 30 % zeros": zero_tail,
    "a hole of zeros at 40-50 %": hole,
    "number of tags flipped": lambda content: with_bytes(content, first_directory(content) + 1, b"\x80"),
    "number of tags zero": lambda content: with_bytes(content, first_directory(content), bytes(8)),
    "the chain runs in a circle": lambda content: with_bytes(
        content, next_pointer_at(content, first_directory(content)), struct.pack("<Q", first_directory(content))
    ),
    "the first page inside the header": lambda content: with_bytes(content, 8, struct.pack("<Q", 3)),
    "no first page": lambda content: with_bytes(content, 8, bytes(8)),
    "only zeros": lambda content: bytes(len(content)),
    "empty": lambda _content: b"",
    "eleven bytes": lambda content: content[:11],
    "another format": lambda content: b"\x89PNG\r\n\x1a\n" + content[8:],
}


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_wherever_the_index_is(images, placement, damage):
    problems = check(DAMAGES[damage](images[placement])).problems
    assert problems
    assert len(problems) <= MAX_PROBLEMS + 1


def test_opening_a_cut_file_with_a_library_proves_nothing(images):
    """Why this room exists: half a file opens without a word, with the shape of the whole one."""
    half = DAMAGES["cut at 50 %"](images["start"])
    with tifffile.TiffFile(BytesIO(half)) as file:
        assert file.series[0].shape == (6, 250, 300)
    assert any("outside the file" in message for message in messages(half))


def test_a_cut_file_says_which_page_is_lost_and_how_long_the_file_is(images):
    half = DAMAGES["cut at 50 %"](images["spread"])
    (message,) = messages(half)
    assert "page 6" in message
    assert f"{len(half):,} bytes" in message


@pytest.mark.parametrize(
    ("code", "patch", "clause"),
    [
        (256, struct.pack("<HHQI", 256, 4, 1, 60_000), "pixels need"),
        (257, struct.pack("<HHQI", 257, 4, 1, 0), "without extent"),
        (322, struct.pack("<HHQI", 322, 4, 1, 16), "pixels need"),
        (324, struct.pack("<H", 60_324), "tag 273 is missing"),
        (325, struct.pack("<H", 60_325), "tag 325 is missing"),
        (325, struct.pack("<HHQ", 325, 4, 19), "pixels need"),
        (324, struct.pack("<HH", 324, 12), "whole numbers"),
        (270, struct.pack("<HH", 270, 99), "unknown type"),
        (270, struct.pack("<HHQQ", 270, 2, 300, 2**60), "the value of tag 270 lies at"),
        (270, struct.pack("<HHQQ", 270, 2, 300, 0), "the value of tag 270 lies at"),
        (270, struct.pack("<HHQ", 270, 2, 0), "tag 270 has no value"),
        (270, struct.pack("<H", 60_270), "no ImageDescription"),
    ],
)
def test_a_tag_that_contradicts_the_file_is_named(images, code, patch, clause):
    content = images["end"]
    damaged = with_bytes(content, tag_at(content, first_directory(content), code), patch)
    assert any(clause in message for message in messages(damaged)), messages(damaged)


def test_a_description_overwritten_in_the_middle_is_named_with_its_page(images):
    content = images["spread"]
    at = content.index(b"<Biomarker>CD8")
    (message,) = messages(with_bytes(content, at, bytes(40)))
    assert "description" in message
    assert "page 4" in message


def test_one_wiped_channel_is_found_by_looking_at_its_pixels(images):
    content = images["end"]
    with tifffile.TiffFile(BytesIO(content)) as file:
        page = file.pages[3]
        start, end = page.dataoffsets[0], page.dataoffsets[-1] + page.databytecounts[-1]
    (message,) = messages(with_bytes(content, start, bytes(end - start)))
    assert message.startswith("page 4: ")
    assert "a hole in the file" in message


def test_an_uncompressed_page_may_be_black_in_places_but_not_everywhere(uncompressed):
    assert messages(uncompressed) == []
    with tifffile.TiffFile(BytesIO(uncompressed)) as file:
        page = file.pages[1]
        second, end = page.dataoffsets[1], page.dataoffsets[-1] + page.databytecounts[-1]
    assert messages(with_bytes(uncompressed, second, bytes(end - second))) == []
    first = page.dataoffsets[0]
    (message,) = messages(with_bytes(uncompressed, first, bytes(end - first)))
    assert message.startswith("page 2: ")
    assert "only zeros" in message


def test_a_small_uncompressed_page_that_is_mostly_padding_is_not_taken_for_a_hole():
    content = BytesIO()
    data = np.full((20, 60), 7, dtype=np.uint8)
    tifffile.imwrite(content, data, tile=(64, 64), description=XML, metadata=None)
    assert messages(content.getvalue()) == []


# ---------------------------------------------------------------- hostile files


def bounded(report):
    assert report.bytes_read <= BUDGET
    assert report.requests <= BUDGET // MIN_PIECE
    assert len(report.problems) <= MAX_PROBLEMS + 1
    assert len(report.pages) <= MAX_PAGES


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_no_change_of_bytes_makes_it_raise_or_run_away(images, data):
    content = bytearray(images[data.draw(st.sampled_from(PLACEMENTS))])
    index = first_directory(content)
    near_index = st.integers(0, 9000).map(lambda distance: (index + distance) % len(content))
    anywhere = st.integers(0, len(content) - 1)
    for offset in data.draw(st.lists(near_index | anywhere | st.integers(0, 16), min_size=1, max_size=12)):
        content[offset] = data.draw(st.integers(0, 255))
    kept = data.draw(st.none() | st.integers(0, len(content)))
    reader = MemoryReader(bytes(content[:kept]))
    bounded(check_tiff(reader, len(reader.content)))
    assert reader.longest <= MAX_PIECE


@settings(max_examples=200, deadline=None)
@given(
    head=st.sampled_from([b"", b"II\x2a\0", b"MM\0\x2a", b"II\x2b\0\x08\0\0\0", b"MM\0\x2b\0\x08\0\0"]),
    body=st.lists(st.integers(0, 300).map(lambda n: struct.pack("<H", n)) | st.binary(max_size=12), max_size=60),
)
def test_no_bytes_at_all_make_it_raise(head, body):
    report = check(head + b"".join(body))
    bounded(report)
    assert report.problems


def directory(next_offset, *tags):
    entries = b"".join(struct.pack("<HHQQ", *tag) for tag in tags)
    return struct.pack("<Q", len(tags)) + entries + struct.pack("<Q", next_offset)


HEADER = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16)


def huge(*tags, size=1 << 45):
    """A file of 32 TiB of zeros with one directory at its start."""
    reader = HugeReader({0: HEADER, 16: directory(0, *tags)})
    return reader, check_tiff(reader, size)


TILES = 1 << 23
WIDE = ((256, 16, 1, TILES), (257, 4, 1, 1), (322, 4, 1, 1), (323, 4, 1, 1))


def test_a_page_of_a_trillion_tiles_is_given_up_before_they_are_read():
    tiles = 1 << 40
    reader, report = huge((256, 16, 1, tiles), *WIDE[1:], (324, 1, tiles, 999), (325, 1, tiles, 999))
    assert any("more than any real image's" in str(problem) for problem in report.problems)
    assert reader.requests < 10


def test_pages_that_share_one_enormous_index_are_given_up_after_the_budget(monkeypatch):
    monkeypatch.setattr("fusion_assets.integrity.tiff.BUDGET", 8 * 1024 * 1024)
    each = len(directory(0)) + 20 * 6
    pages = [
        directory(16 + (number + 1) * each, *WIDE, (324, 16, TILES, 99_999), (325, 16, TILES, 99_999))
        for number in range(5)
    ]
    reader = HugeReader({0: HEADER, 16: b"".join(pages)})
    report = check_tiff(reader, 1 << 45)
    assert any("costs more than any real image's" in str(problem) for problem in report.problems)
    assert reader.bytes_read <= 8 * 1024 * 1024


def test_a_description_of_gigabytes_is_not_read():
    reader, report = huge((270, 2, DESCRIPTION_LIMIT + 1, 4096), size=1 << 33)
    assert any("no instrument writes that much" in str(problem) for problem in report.problems)
    assert reader.requests < 10


def test_a_million_pages_are_not_followed():
    each = len(directory(0))
    pages = b"".join(
        struct.pack("<QHHQQQ", 1, 254, 4, 1, 0, 16 + (number + 1) * (each + 20)) for number in range(MAX_PAGES + 50)
    )
    report = check(HEADER + pages)
    bounded(report)
    assert len(report.pages) == MAX_PAGES
    assert str(report.problems[-1]).endswith("problems more")


def test_sub_images_that_contain_each_other_end():
    first, second = 16, 16 + len(directory(0)) + 20
    content = HEADER + directory(0, (330, 18, 1, second)) + directory(0, (330, 18, 1, first))
    assert any("circle" in message for message in messages(content + bytes(100)))


# ---------------------------------------------------------------- unknown is not broken


@pytest.mark.parametrize("error", [UnavailableError, HeldOpenError])
def test_a_share_that_breaks_off_is_no_broken_image(images, error):
    class BreaksOff(MemoryReader):
        def readinto(self, buffer, offset):
            if self.requests == 3:
                raise error("the server went away")
            return super().readinto(buffer, offset)

    content = images["end"]
    with pytest.raises(error):
        check_tiff(BreaksOff(content), len(content))


def test_a_file_that_shrinks_while_it_is_checked_is_a_problem_and_no_exception(images):
    content = images["end"]
    report = check_tiff(MemoryReader(content[:-5000]), len(content))
    assert report.problems
