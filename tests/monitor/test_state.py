"""What the monitor remembers: kept whole, and never guessed when it is damaged."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from filelock import FileLock, Timeout
from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.config import ConfigError
from fusion_assets.monitor import state as room
from fusion_assets.monitor.blocks import Context
from fusion_assets.monitor.state import (
    MAX_SENT,
    STATE_FILE,
    MonitorState,
    Position,
    Trouble,
    load_state,
    only_one_look,
    save_state,
    state_from_json,
    state_to_json,
)
from tests.monitor.synthetic import KEEP, NOW

MOMENTS = st.datetimes(timezones=st.just(NOW.tzinfo))
POSITIONS = st.builds(
    Position,
    name=st.text(min_size=1),
    file_id=st.integers(0, 2**64),
    offset=st.integers(0, 2**63),
    head_bytes=st.integers(0, 1024),
    head=st.text(),
    mark=st.text(),
    codec=st.sampled_from(["", "utf-8", "utf-16-le"]),
    context=st.builds(Context, st.none() | st.text(), st.none() | st.text()),
    size=st.integers(0, 2**63),
    since=st.none() | MOMENTS,
)
STATES = st.builds(
    MonitorState,
    log=st.text(),
    position=st.none() | POSITIONS,
    sent=st.dictionaries(st.text(), MOMENTS, max_size=5),
    trouble=st.none() | st.builds(Trouble, st.text(), MOMENTS, st.booleans()),
)


@given(STATES)
def test_what_is_remembered_is_read_back_as_it_was(state: MonitorState) -> None:
    assert state_from_json(state_to_json(state)) == state


def test_before_the_first_look_nothing_is_remembered(tmp_path: Path) -> None:
    assert load_state(tmp_path / "new") == MonitorState()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version": 2}', state_to_json(MonitorState(position=Position("x"))).replace(" 0,", ' "0",')],
)
def test_a_damaged_state_is_an_error_and_not_a_new_beginning(tmp_path: Path, text: str) -> None:
    (tmp_path / STATE_FILE).write_text(text)
    with pytest.raises(ConfigError, match="cannot be understood") as raised:
        load_state(tmp_path)
    assert "--from-start" in str(raised.value)


def test_the_state_folder_is_made(tmp_path: Path) -> None:
    state = MonitorState("x", Position("y", since=NOW))
    save_state(tmp_path / "a" / "b", state)
    assert load_state(tmp_path / "a" / "b") == state


def test_errors_are_forgotten_after_their_days_and_the_memory_stays_small() -> None:
    sent = {f"key {number}": NOW - timedelta(hours=number) for number in range(2 * MAX_SENT)}
    state = MonitorState(sent=sent).remembering({"new": NOW}, NOW, KEEP)
    assert set(state.sent) == {"new", *(f"key {number}" for number in range(30 * 24))}
    state = MonitorState(sent=sent).remembering({}, NOW, timedelta(days=10_000))
    assert set(state.sent) == {f"key {number}" for number in range(MAX_SENT)}


def test_a_second_look_waits_for_the_first_and_then_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_PATIENCE_SECONDS", 0.05)
    with FileLock(tmp_path / room.LOCK_FILE), pytest.raises(Timeout), only_one_look(tmp_path):
        pass
    with only_one_look(tmp_path):
        pass
