"""The table must say what was measured: medians over the runs, ratios to rclone on the same set."""

from __future__ import annotations

import pytest

from benchmarks.measure import Usage
from benchmarks.results import Result, replace_between_markers, tables


def result(contender: str, wall: float, cpu: float = 1.0) -> Result:
    usage = Usage(wall, cpu, 100_000_000, 2_000_000_000, 1_000_000_000, 2_000_000_000, 1_000_000_000)
    steps, checked = {"archive": wall}, {"content-md5": 1}
    return Result("A", "one file", 1, 1_000_000_000, contender, contender, usage, steps, 0.5, 0.1, 0.2, checked)


def cells(text: str, contender: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {contender}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_one_slow_run_does_not_move_the_ratio() -> None:
    results = [result("rclone", wall) for wall in (10, 10, 90)] + [result("ours", wall) for wall in (3, 50, 2)]
    assert cells(tables(results), "ours")[1:4] == ["3.0 (2.0-50.0)", "0.30", "333"]


def test_without_rclone_there_are_no_ratios() -> None:
    assert cells(tables([result("ours", 3)]), "ours")[2] == ""


def test_the_table_replaces_only_what_is_between_its_own_markers() -> None:
    document = "{0}<!-- a:begin -->\n{1}\n<!-- a:end -->\n<!-- b:begin -->\nkept\n<!-- b:end -->\nafter\n"
    replaced = replace_between_markers(document.format("before\n", "old"), "a", "new")
    assert replaced == document.format("before\n", "new")
    with pytest.raises(ValueError, match="c:begin"):
        replace_between_markers(document, "c", "new")
