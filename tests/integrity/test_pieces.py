"""The piece reader gives the right bytes, in bounded requests, whatever it is asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.integrity.pieces import MAX_PIECE, MIN_PIECE, BudgetSpentError, PastEndError, PieceReader
from tests.integrity.readers_in_memory import MemoryReader

CONTENT = bytes(number * 31 % 251 for number in range(300_000))
SPANS = st.lists(
    st.tuples(st.integers(0, len(CONTENT) + 10), st.integers(0, 150_000)),
    min_size=1,
    max_size=20,
)


@given(SPANS)
def test_any_bytes_in_any_order_are_the_file_s_own(spans):
    reader = MemoryReader(CONTENT)
    pieces = PieceReader(reader, len(CONTENT), budget=10**9)
    for offset, length in spans:
        if offset + length > len(CONTENT):
            with pytest.raises(PastEndError):
                pieces.read(offset, length)
        else:
            assert pieces.read(offset, length) == CONTENT[offset : offset + length]
    assert (pieces.bytes_read, pieces.requests) == (reader.bytes_read, reader.requests)
    assert reader.longest <= MAX_PIECE


def test_reading_on_costs_fewer_and_larger_requests():
    pieces = PieceReader(MemoryReader(CONTENT), len(CONTENT), budget=10**9)
    for offset in range(0, len(CONTENT) - 100, 100):
        pieces.read(offset, 100)
    assert pieces.requests <= len(CONTENT) // MAX_PIECE + 6
    assert pieces.bytes_read <= len(CONTENT) + MAX_PIECE


def test_reading_here_and_there_does_not_fetch_what_lies_between():
    pieces = PieceReader(MemoryReader(CONTENT), len(CONTENT), budget=10**9)
    for offset in range(0, len(CONTENT), 50_000):
        pieces.read(offset, 8)
    assert pieces.bytes_read == pieces.requests * MIN_PIECE


def test_a_file_that_asks_for_endless_reading_is_given_up():
    pieces = PieceReader(MemoryReader(CONTENT), len(CONTENT), budget=10 * MIN_PIECE)
    for offset in range(0, 200_000, 20_000):
        pieces.read(offset, 1)
    with pytest.raises(BudgetSpentError):
        pieces.read(200_000, 1)
    assert pieces.requests == 10


def test_a_file_that_shrinks_while_it_is_read_is_past_its_end_and_not_an_endless_loop():
    pieces = PieceReader(MemoryReader(CONTENT[:1000]), len(CONTENT), budget=10**9)
    assert pieces.read(0, 1000) == CONTENT[:1000]
    with pytest.raises(PastEndError):
        pieces.read(900, 200)
