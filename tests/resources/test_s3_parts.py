from __future__ import annotations

import hashlib
from base64 import b64decode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resources.s3_parts import (
    MAX_PART_SIZE,
    MAX_PARTS,
    MIB,
    MIN_PART_SIZE,
    Part,
    composite_sha256,
    part_size_for,
)


def test_the_composite_is_the_one_amazon_states() -> None:
    # Measured on S3 in eu-west-1: parts of 5 MiB, 5 MiB and 1 MiB (github.com/floci-io/floci/issues/3083).
    digests = (
        "lcKa6Boe7a167tUCN5C4OaFygGSYD8MBnBARTrdL+1w=",
        "gHjhbUT4oo2tSCtSZJdlKi+jeNXJT+VImqdPXsXvkOc=",
        "4l9PQ3zOPZ0oGFvknFX+J4zZwE4WMzO+l3r8XrbWOeM=",
    )
    parts = [Part(number, '"e"', b64decode(digest), 5 * MIB) for number, digest in enumerate(digests, 1)]

    assert composite_sha256(parts) == "rVWtNbadtsaKXJAcgWPWjifHzJaXde/iV4jaJAOdivc=-3"


def test_an_object_of_one_part_is_not_mistaken_for_a_single_put() -> None:
    digest = hashlib.sha256(b"data").digest()

    assert composite_sha256([Part(1, '"e"', digest, 4)]).endswith("-1")


@given(
    size=st.integers(0, MAX_PARTS * MAX_PART_SIZE),
    wished=st.integers(1, MAX_PART_SIZE),
)
@example(size=MAX_PARTS * MAX_PART_SIZE, wished=1)
@example(size=MAX_PARTS * 16 * MIB, wished=16 * MIB)
@example(size=MAX_PARTS * 16 * MIB + 1, wished=16 * MIB)
def test_every_object_fits_into_parts_that_s3_accepts_and_unbuffered_reads_can_start_at(size: int, wished: int) -> None:
    chosen = part_size_for(size, wished)

    assert -(-size // chosen) <= MAX_PARTS
    assert MIN_PART_SIZE <= chosen <= MAX_PART_SIZE
    assert chosen % MIB == 0
    assert chosen >= wished


@given(size=st.integers(0, 100 * 1024 * MIB), wished=st.integers(5, 64).map(lambda mib: mib * MIB))
def test_the_configured_part_size_is_kept_while_it_can_be(size: int, wished: int) -> None:
    if size <= MAX_PARTS * wished:
        assert part_size_for(size, wished) == wished


def test_what_no_s3_object_can_hold_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        part_size_for(MAX_PARTS * MAX_PART_SIZE + 1, 16 * MIB)


def test_a_part_size_beyond_what_s3_accepts_is_cut_down() -> None:
    assert part_size_for(100, MAX_PART_SIZE + MIB) == MAX_PART_SIZE
