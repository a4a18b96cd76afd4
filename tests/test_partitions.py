"""Partition keys: any directory name gets one, and it comes back unchanged."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.partitions import partition_key, run_name_of

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@given(names)
def test_every_directory_name_becomes_a_key_that_dagster_cannot_misread(name: str) -> None:
    key = partition_key(name)
    assert run_name_of(key) == name
    assert re.fullmatch(r"[A-Za-z0-9._%-]+", key)
    assert "..." not in key


@given(names, names)
def test_two_studies_never_share_a_partition(one: str, other: str) -> None:
    assert (partition_key(one) == partition_key(other)) == (one == other)


def test_a_good_name_is_its_own_key() -> None:
    assert partition_key("20260105_WW_HCC_run1") == "20260105_WW_HCC_run1"
