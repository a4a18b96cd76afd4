"""What makes two sentences one: a failure that stands the same is mailed once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.studies.failures import without_numbers
from resources.lockfile import describe, new_lock

TAKEN = datetime(2026, 1, 5, tzinfo=UTC)


@given(st.lists(st.timedeltas(timedelta(), timedelta(days=4000)), min_size=2, max_size=2))
def test_the_lock_of_a_crash_stands_the_same_however_old_it_grows(ages) -> None:
    lock = new_lock("s1/.fusion-toolkit.lock", now=TAKEN)
    first, second = (without_numbers(describe(lock, TAKEN + age).text) for age in ages)
    assert first == second


@pytest.mark.parametrize(
    ("first", "second"),
    [("383.5 KiB are missing", "1.4 MiB are missing"), ("port 51234 is closed", "port 51235 is closed")],
)
def test_sizes_and_ports_are_no_news(first: str, second: str) -> None:
    assert without_numbers(first) == without_numbers(second)


def test_another_study_than_before_is_news() -> None:
    assert without_numbers("a lock, 3 h 1 min ago") != without_numbers("a copy, 3 h 1 min ago")
