"""The patterns: what the defaults see in common logs, and what a wrong one tells the operator."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_assets.config import ConfigError
from fusion_assets.monitor.patterns import compile_patterns
from fusion_assets.monitor.words import words_of
from tests.monitor.synthetic import DEFAULT


@pytest.mark.parametrize(
    "moment",
    [
        "2026-01-05 12:34:56,789",
        "2026-01-05T12:34:56.789Z",
        "2026-01-05T12:34:56+01:00",
        "[2026-01-05 12:34:56]",
        "2026/01/05 12:34:56",
        "1/5/2026 12:34:56 PM",
        "05.01.2026 12:34:56",
        "05-Jan-2026 12:34:56",
        "Jan  5 12:34:56",
        "Jan 5, 2026 12:34:56 PM",
        "20260105_123456",
        "12:34:56.789",
        "INFO 2026-01-05 12:34:56",
        "ERROR: [2026-01-05 12:34:56]",
    ],
)
def test_common_timestamps_begin_an_entry(moment: str) -> None:
    assert DEFAULT.timestamp.matches(f"{moment} [7] something happened")


@pytest.mark.parametrize(
    "line",
    [
        "   at Akoya.Stage.Move() in C:\\build\\2026-01-05 12:00:00\\Stage.cs:line 12",
        "System.IO.IOException: the device is not ready since 2026-01-05 12:00:00",
        "--- End of inner exception stack trace ---",
        "12 frames dropped",
        "",
    ],
)
def test_lines_of_a_stack_trace_begin_no_entry(line: str) -> None:
    assert not DEFAULT.timestamp.matches(line)


@pytest.mark.parametrize("level", ["ERROR", "FATAL", "[ERR]", "[FTL]", "CRITICAL", "|ERROR|", "SEVERE:"])
def test_the_usual_names_of_an_error_level_are_errors(level: str) -> None:
    assert DEFAULT.error.matches(f"2026-01-05 12:00:00 {level} stuck")


@pytest.mark.parametrize("level", ["INFO no errors", "DEBUG Error count 0", "WARN TERRORS", "INTERRUPT", "FERROR"])
def test_other_levels_are_no_errors(level: str) -> None:
    assert not DEFAULT.error.matches(f"2026-01-05 12:00:00 {level}")


@pytest.mark.parametrize(
    ("line", "sample"),
    [
        ("Sample: Tonsil-7", "Tonsil-7"),
        ("SampleName=Tonsil 7, slide 2", "Tonsil 7"),
        ("sample_id = 'A1'", "A1"),
        ('started sample "A1"', "A1"),
        ('{"sampleName": "A1", "cycle": 3}', "A1"),
        ("resampled: 3", None),
        ("sample holder opened", None),
    ],
)
def test_samples_are_found_in_common_phrases(line: str, sample: str | None) -> None:
    assert DEFAULT.sample.value(line) == sample


@pytest.mark.parametrize(
    ("line", "cycle"),
    [
        ("Cycle 3 of 12", "3"),
        ("cycle: 3", "3"),
        ("CycleNumber=12", "12"),
        ('"cycle": 3', "3"),
        ("Cycle #4", "4"),
        ("recycle 3", None),
        ("cycle time 20260105", None),
    ],
)
def test_cycles_are_found_in_common_phrases(line: str, cycle: str | None) -> None:
    assert DEFAULT.cycle.value(line) == cycle


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"eror": "x"}, "did you mean error?"),
        ({"colour": "x"}, "known are timestamp, error, sample, cycle, encoding"),
        ({"error": "(ERROR"}, "monitor.patterns.error: '(ERROR' is not a regex: missing )"),
        ({"error": "E*"}, "matches every line"),
        ({"encoding": "utf8-mac-ish"}, "is no encoding"),
        ({"encoding": "cp037"}, "is no encoding"),
        ({"encoding": "base64"}, "is no encoding"),
    ],
)
def test_a_wrong_pattern_is_one_clear_error(said: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=r"monitor\.patterns") as raised:
        compile_patterns(said)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("UTF-16", "utf-16-le"), ("utf-8-sig", "utf-8"), ("GB18030", "gb18030"), ("latin1", "iso8859-1")],
)
def test_encodings_are_known_by_their_usual_names(name: str, codec: str) -> None:
    assert compile_patterns({"encoding": name}).encoding == codec


@pytest.mark.parametrize(
    ("regex", "words"),
    [
        (r"\bERROR\b", ("ERROR",)),
        (r"\b(?:ERROR|FATAL)\b|\[ERR\]", ("FATAL", "ERROR", "[ERR]")),
        (r"(?i)^level=error", ("level=error",)),
        (r"(?:ERROR)?x", ()),
        (r"(?:ERROR)+", ("ERROR",)),
        (r"E|ERROR", ()),
        (r"Störung", ("rung",)),
    ],
)
def test_the_words_that_skip_innocent_lines_are_found(regex: str, words: tuple[str, ...]) -> None:
    assert set(words_of(re.compile(regex))) == set(words)


PARTS = st.sampled_from(
    ["ERROR", "FATAL", "x?", r"\d+", "(?:abc|ERR)", "(abc)?", "[EF]AIL", "(?:FAIL){1,2}", ".*", r"\b", "|"]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PARTS, min_size=1, max_size=6), st.data())
def test_no_line_that_matches_is_skipped_for_want_of_a_word(parts: list[str], data: st.DataObject) -> None:
    regex = re.compile("".join(parts))
    line = data.draw(st.from_regex(regex))
    words = words_of(regex)
    assert not words or any(word in line for word in words)
