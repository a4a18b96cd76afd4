"""What the writer writes is a BigTIFF: a library opens it, and a plain LZW decoder gives the pixels back."""

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from cli.demo.bigtiff import LZW, UNCOMPRESSED, PageSpec, encode, encoded_bytes, lay_out, write_bigtiff


def decode_lzw(data):
    """LZW as TIFF 6.0 describes it, with codes that grow: written from the specification, not from the encoder."""
    bits = "".join(f"{byte:08b}" for byte in data)
    out, table, width, position, previous = b"", {}, 9, 0, b""
    while True:
        code = int(bits[position : position + width], 2)
        position += width
        if code == 257:
            return out
        if code == 256:
            table, width, previous = {number: bytes([number]) for number in range(256)}, 9, b""
            following = 258
            continue
        entry = table.get(code, previous + previous[:1])
        if previous:
            table[following] = previous + entry[:1]
            following += 1
            width = min(12, (following + 1).bit_length())  # TIFF changes one code early
        out += entry
        previous = entry


@given(st.binary(max_size=1500))
def test_any_decoder_reads_the_lzw(raw):
    encoded = encode(raw, LZW)
    assert len(encoded) == encoded_bytes(len(raw), LZW)
    assert decode_lzw(encoded) == raw


@pytest.mark.parametrize("length", [246, 247, 248, 254, 494, 495, 5000])
def test_the_codes_never_outgrow_nine_bits(length):
    raw = bytes(length)
    assert decode_lzw(encode(raw, LZW)) == raw


@pytest.mark.parametrize("placement", ["start", "end", "spread"])
def test_a_library_reads_the_very_pixels(tmp_path, placement):
    random = np.random.default_rng(3)
    pages = [
        PageSpec(200, 130, b"tiles", tile=64, compression=UNCOMPRESSED),
        PageSpec(50, 70, b"strips", rows=16, rgb=True, compression=UNCOMPRESSED),
    ]
    pictures = [
        random.integers(0, 60_000, size=(130, 200), dtype=np.uint16),
        random.integers(0, 255, size=(70, 50, 3), dtype=np.uint8),
    ]
    write_bigtiff(tmp_path / "a.tif", pages, pictures, placement)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.is_bigtiff
        for page, spec, picture in zip(file.pages, pages, pictures, strict=True):
            assert page.description == spec.description.decode()
            assert np.array_equal(page.asarray(), picture)


@pytest.mark.parametrize("placement", ["start", "end", "spread"])
def test_nothing_overlaps_and_nothing_is_left_over(placement):
    pages = [PageSpec(200, 130, b"tiles", tile=64), PageSpec(50, 70, b"strips", rows=16, rgb=True)]
    layout = lay_out(pages, placement)
    spans = [(offset, len(content)) for offset, content in layout.index]
    for page, offsets in zip(pages, layout.segments, strict=True):
        spans += zip(map(int, offsets), map(int, page.segment_bytes()), strict=True)
    spans.sort()
    ends = [offset + length for offset, length in spans]
    assert [offset for offset, _ in spans] == [0, 16, *ends[1:-1]]
    assert ends[0] == 16
    assert ends[-1] == layout.size
