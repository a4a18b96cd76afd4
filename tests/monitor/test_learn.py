"""What an operator is shown of a log whose format nobody knows yet; all logs here are synthetic."""

from __future__ import annotations

import tomllib
from pathlib import Path

from fusion_assets.monitor.learn import Learned, as_toml, learn
from fusion_assets.monitor.patterns import DEFAULTS, Patterns, compile_patterns
from resources.local import LocalStorage
from tests.monitor.synthetic import DEFAULT, NAME, error, info


def learned(folder: Path, lines: list[str], patterns: Patterns = DEFAULT, encoding: str = "utf-8") -> Learned:
    (folder / NAME).write_bytes(("\r\n".join(lines) + "\r\n").encode(encoding))
    with LocalStorage(str(folder)).open_reader(NAME) as reader:
        return learn(reader, patterns)


def test_a_log_the_defaults_understand_needs_no_proposal(tmp_path: Path) -> None:
    lines = [info("Sample: A, cycle 1"), error("stuck"), "  at A()", info("Sample: B"), error("stuck"), "  at A()"]
    found = learned(tmp_path, lines, encoding="utf-16-le")
    assert (found.encoding, found.lines, found.with_timestamp) == ("utf-16-le", 6, 4)
    assert (found.blocks, found.different) == (2, 1)
    assert found.errors[0][1] == 2
    assert (found.samples, found.cycles) == (("B", "A"), ("1",))
    assert (found.missed, found.proposals) == ((), {})


def test_lines_that_look_like_errors_and_are_none_are_shown_once_each(tmp_path: Path) -> None:
    lines = [info(f"Failed to focus tile {number}") for number in range(100)] + [info("fine")]
    found = learned(tmp_path, lines)
    assert found.missed == ((info("Failed to focus tile 0"), 100),)
    patterns = compile_patterns(found.proposals)
    assert learned(tmp_path, lines, patterns).blocks == 100


def test_a_stack_trace_of_a_known_error_is_not_shown_as_missed(tmp_path: Path) -> None:
    found = learned(tmp_path, [error("stuck"), "  IOException: failed", info("x")])
    assert found.missed == ()


def test_an_unknown_form_of_timestamp_is_proposed(tmp_path: Path) -> None:
    lines = [f"[26.01.05/12-00-{n % 60:02}] {'ERROR stuck' if n % 3 == 0 else 'INFO x'}" for n in range(60)]
    found = learned(tmp_path, lines)
    assert found.share_with_timestamp == 0
    assert set(found.proposals) == {"timestamp"}
    again = learned(tmp_path, lines, compile_patterns(found.proposals))
    assert again.share_with_timestamp == 1
    assert again.blocks == 20


def test_what_is_to_be_pasted_is_what_was_proposed() -> None:
    patterns = {**DEFAULTS, "error": "it's|'ERR'", "encoding": "cp1252"}
    assert tomllib.loads(as_toml(patterns))["monitor"]["patterns"] == patterns


def test_an_empty_log_can_be_learned_from(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"")
    with LocalStorage(str(tmp_path)).open_reader(NAME) as reader:
        found = learn(reader, DEFAULT)
    assert (found.lines, found.blocks, found.share_with_timestamp) == (0, 0, 1.0)
