"""docs/faults.md says only what tests show: every test it names is there, and every test of a fault is in it."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
DOCUMENT = TESTS.parent / "docs" / "faults.md"
_SHOWS_NO_FAULT = {"test_a_second_run_over_an_archived_study_changes_nothing"}


def _tests_in(files: list[Path]) -> set[str]:
    return {name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)}


def _named_in_document() -> set[str]:
    return set(re.findall(r"`(test_\w+)`", DOCUMENT.read_text()))


def test_no_row_of_the_faults_names_a_test_that_is_gone() -> None:
    assert _named_in_document() <= _tests_in(sorted(TESTS.rglob("test_*.py")))


def test_no_fault_that_is_tested_is_missing_from_the_document() -> None:
    tested = _tests_in(sorted((TESTS / "real").glob("test_faults_*.py"))) - _SHOWS_NO_FAULT
    assert tested <= _named_in_document()
