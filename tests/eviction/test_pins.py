"""What is pinned: folded from lines, and never guessed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.eviction.pins import Pin, parse_pins

NOW = datetime(2026, 3, 1, tzinfo=UTC)
text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive
pins = st.builds(Pin, text, st.booleans(), text, text, times, st.none() | times)


@given(st.lists(pins))
def test_what_was_said_last_of_a_study_counts(said: list[Pin]) -> None:
    found = parse_pins(b"".join(pin.to_line() for pin in said))
    assert found.latest == {pin.backup_name: pin for pin in said}
    assert not found.unknown


@given(pins)
def test_a_study_is_pinned_exactly_while_its_pin_holds(pin: Pin) -> None:
    found = parse_pins(pin.to_line())
    assert bool(found.why(pin.backup_name, NOW)) == (pin.pinned and (pin.expires is None or pin.expires > NOW))
    assert found.why(pin.backup_name + "0", NOW) == ""


@given(st.lists(pins), st.binary(min_size=1))
def test_no_bytes_whatever_are_read_as_nothing_is_pinned(said: list[Pin], noise: bytes) -> None:
    known = b"".join(pin.to_line() for pin in said)
    found = parse_pins(known + noise)
    if not noise.strip(b"\n \t\r\x0b\x0c"):
        return
    assert found.unknown
    assert found.why("any study", NOW)


@pytest.mark.parametrize(
    ("field", "value"),
    [("backup_name", ""), ("backup_name", None), ("pinned", "yes"), ("at", "yesterday"), ("expires", "soon")],
)
def test_a_line_that_makes_no_sense_pins_every_study_and_says_where_it_is(field: str, value: object) -> None:
    good = Pin("run1", True, "why", "ada", NOW).to_line()
    bad = json.dumps(json.loads(good) | {field: value}).encode() + b"\n"
    found = parse_pins(good + bad)
    assert "line 2" in found.unknown
    assert field in found.unknown


def test_an_unpinned_study_is_free_again() -> None:
    pinned, free = Pin("run1", True, "why", "ada", NOW), Pin("run1", False, "", "bob", NOW + timedelta(days=1))
    found = parse_pins(pinned.to_line() + free.to_line())
    assert found.why("run1", NOW) == ""
    assert found.standing(NOW) == ()
