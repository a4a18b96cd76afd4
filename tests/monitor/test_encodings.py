"""Bytes to lines: encodings are recognised, and every offset is exact."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.monitor.encodings import cut, decoder, detect, mark_length
from tests.monitor.synthetic import info

LINE = info("Müller 20 µm")


@pytest.mark.parametrize(
    ("raw", "codec", "mark"),
    [
        (LINE.encode(), "utf-8", 0),
        (codecs.BOM_UTF8 + LINE.encode(), "utf-8", 3),
        (LINE.encode("utf-16-le"), "utf-16-le", 0),
        (codecs.BOM_UTF16_LE + LINE.encode("utf-16-le"), "utf-16-le", 2),
        (LINE.encode("utf-16-be"), "utf-16-be", 0),
        (codecs.BOM_UTF16_BE + LINE.encode("utf-16-be"), "utf-16-be", 2),
        (LINE.encode("cp1252"), "cp1252", 0),
        (LINE.encode()[: LINE.encode().index(b"\xc3") + 1], "utf-8", 0),
        (b"", "utf-8", 0),
        (b"\0" * 4096, "utf-8", 0),
    ],
)
def test_an_encoding_is_recognised_by_the_beginning_of_the_log(raw: bytes, codec: str, mark: int) -> None:
    assert detect(raw) == codec
    assert mark_length(raw, codec) == mark


def test_a_log_of_two_programs_shows_the_umlauts_of_both() -> None:
    decode = decoder(detect(LINE.encode()))
    assert decode(LINE.encode()) == decode(LINE.encode("cp1252")) == LINE


def test_half_a_line_is_left_for_the_next_look() -> None:
    piece = cut(b"one\r\ntwo\r\nthr", 100, "utf-8")
    assert piece is not None
    assert (piece.data, piece.start, piece.end) == (b"one\r\ntwo\r\n", 100, 110)
    assert cut(b"thr", 110, "utf-8") is None


def test_a_carriage_return_at_the_end_may_be_half_a_line_end() -> None:
    assert cut(b"one\r", 0, "utf-8") is None
    piece = cut(b"one\rtwo\r", 0, "utf-8")
    assert piece is not None
    assert piece.data == b"one\r"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_a_last_line_that_is_taken_without_its_end_is_not_cut_inside_a_character(encoding: str) -> None:
    raw = "fünf€𝄞".encode(encoding)
    for length in range(1, len(raw) + 1):
        piece = cut(raw[:length], 0, encoding, all_of_it=True)
        if piece is not None and "𝄞" not in (text := raw[: piece.end].decode(encoding, "surrogatepass")):
            assert "fünf€𝄞".encode(encoding)[: piece.end] == text.encode(encoding, "surrogatepass")


@given(
    st.text(st.characters(codec="utf-16-le"), max_size=60).map(lambda text: text + "\n"),
    st.sampled_from(["utf-16-le", "utf-16-be", "utf-8"]),
    st.integers(0, 10**12).map(lambda number: number * 2),
)
def test_every_line_of_utf_16_is_where_its_offset_says(text: str, encoding: str, start: int) -> None:
    raw = text.encode(encoding)
    piece = cut(raw + "half".encode(encoding), start, encoding)
    assert piece is not None
    assert piece.end == start + len(raw)
    at = 0
    for line in piece.data.splitlines(keepends=True):
        offset = piece.offset(at) - start
        assert raw[offset:].decode(encoding).startswith(line.decode())
        at += len(line)


@given(st.binary(max_size=200), st.sampled_from(["utf-16-le", "utf-16-be", "utf-8", "cp1252"]))
def test_any_bytes_can_be_cut_and_decoded(raw: bytes, encoding: str) -> None:
    for all_of_it in (False, True):
        piece = cut(raw, 0, encoding, all_of_it=all_of_it)
        if piece is not None:
            assert 0 < piece.end <= len(raw)
            assert decoder(encoding)(piece.data).encode()
    assert mark_length(raw, detect(raw)) <= len(raw)
