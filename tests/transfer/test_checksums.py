"""Files cut into pieces and parts: nothing left out, nothing twice, and the checksums S3 computes."""

from __future__ import annotations

import hashlib
import mmap
from base64 import b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_assets.transfer.checksums import composite_of, cut, cut_part, hash_file, part_count, part_length, read_piece
from fusion_assets.transfer.options import TransferOptions
from resources.local import LocalStorage


@settings(deadline=None)
@given(size=st.integers(1, 500), part_size=st.integers(1, 120), buffer_size=st.integers(1, 70))
def test_the_pieces_tile_the_file_and_no_piece_crosses_a_part(size, part_size, buffer_size):
    pieces = list(cut(size, part_size, buffer_size))
    assert [piece.offset for piece in pieces] == [
        sum(before.length for before in pieces[:n]) for n in range(len(pieces))
    ]
    assert sum(piece.length for piece in pieces) == size
    for piece in pieces:
        assert 0 < piece.length <= buffer_size
        assert piece.offset // part_size == piece.part == (piece.offset + piece.length - 1) // part_size
    assert [piece.ends_file for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert part_count(size, part_size) == pieces[-1].part + 1
    for part in range(part_count(size, part_size)):
        mine = [piece for piece in pieces if piece.part == part]
        assert list(cut_part(part, size, part_size, buffer_size)) == mine
        assert part_length(part, size, part_size) == sum(piece.length for piece in mine)


@given(st.integers(0, 5 << 40), st.integers(5 << 20, 5 << 30))
def test_no_file_has_more_parts_than_s3_allows_nor_parts_too_small(size, wished):
    options = TransferOptions(part_size=wished)
    part_size = options.part_size_of(size)
    if size <= wished:
        assert part_count(size, max(part_size, 1)) <= 1
    else:
        assert 2 <= part_count(size, part_size) <= 10_000
        assert 5 << 20 <= part_size <= 5 << 30


@given(st.binary(min_size=1, max_size=3000), st.integers(1, 999))
def test_the_composite_is_the_digest_of_the_parts_digests(data, part_size):
    digests = [hashlib.sha256(data[n : n + part_size]).digest() for n in range(0, len(data), part_size)]
    expected = b64encode(hashlib.sha256(b"".join(digests)).digest()).decode() + f"-{len(digests)}"
    assert composite_of(digests, len(data), part_size) == expected


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 8191, 8192, 8193, 20_000])
@pytest.mark.parametrize("uncached", [True, False])
def test_a_file_read_in_pieces_has_the_digests_of_its_bytes(tmp_path, size, uncached):
    data = bytes(n * 7 % 251 for n in range(size))
    (tmp_path / "file").write_bytes(data)
    buffer = memoryview(mmap.mmap(-1, 8192))
    seen: list[int] = []
    with LocalStorage(tmp_path).open_reader("file", uncached=uncached) as reader:
        whole, parts = hash_file(reader, size, 5000, buffer, seen.append)
    assert whole == hashlib.sha256(data).hexdigest()
    assert parts == [hashlib.sha256(data[n : n + 5000]).digest() for n in range(0, size, 5000)]
    assert sum(seen) == size


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 9000), listed=st.integers(1, 9000))
def test_a_file_of_another_length_than_listed_is_noticed(tmp_path_factory, size, listed):
    directory = tmp_path_factory.mktemp("any")
    (directory / "file").write_bytes(bytes(size))
    buffer = memoryview(mmap.mmap(-1, 12288))
    with LocalStorage(directory).open_reader("file") as reader:
        pieces = [read_piece(reader, buffer, piece) for piece in cut(listed, 4000, 4000)]
        assert (hash_file(reader, listed, 4000, buffer, lambda _: None) is None) == (size != listed)
    assert any(piece is None for piece in pieces) == (size != listed)
