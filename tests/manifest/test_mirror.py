"""What the two sides of a month become when they are compared and joined; S3 itself is in tests/real."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.manifest.mirror import compare, join

lines = st.lists(st.sampled_from([b"1", b"22", b"333", b"4"]), max_size=5, unique=True)


def file_of(written: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in written)


@given(lines, lines, st.sampled_from([b"", b"torn"]))
def test_joining_two_halves_of_a_month_loses_no_line_of_either(mirrored, content, torn):
    joined = join(file_of(mirrored), file_of(content) + torn)
    assert joined.startswith(file_of(mirrored)), "or the mirror would refuse it"
    assert set(joined.split(b"\n")) == {*mirrored, *content, torn, b""} - ({b""} if joined.endswith(b"torn") else set())
    assert join(joined, file_of(content) + torn).rstrip() == joined.rstrip(), "and joining again changes nothing"


@pytest.mark.parametrize("content", [b"", b"1\n", b"1\n2", b"1\n22"])
def test_a_file_that_was_cut_becomes_the_mirror_again(content):
    assert join(b"1\n22\n333\n", content) == b"1\n22\n333\n"


def test_a_month_that_one_side_lacks_or_has_in_another_size_is_not_the_same():
    states = compare({"2026-01": 5, "2026-02": 7, "2026-03": 9}, {"2026-01": 5, "2026-02": 8, "2026-04": 1})
    assert [(state.month, state.size, state.mirrored_size, state.same) for state in states] == [
        ("2026-01", 5, 5, True),
        ("2026-02", 7, 8, False),
        ("2026-03", 9, None, False),
        ("2026-04", None, 1, False),
    ]
