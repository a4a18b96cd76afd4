"""docs/data-standard.md says what the code does, in the code's own words."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusion_assets.standard.document import main, render_document
from fusion_assets.standard.examples import EXAMPLES, judge
from fusion_assets.standard.table import RULES, WARNING_RULES

DOCUMENT = Path(__file__).parents[2] / "docs" / "data-standard.md"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.rule} {example.verdict} {example.note}")
def test_an_example_shows_exactly_the_rule_it_stands_for(example):
    report = judge(example)
    broken = [violation.rule for violation in report.violations]
    unwise = [warning.rule for warning in report.warnings]
    assert broken == ([example.rule] if example.verdict == "fails" else [])
    if example.verdict != "fails":
        assert unwise == ([example.rule] if example.verdict == "warns" else [])


def test_every_rule_has_examples_of_both_kinds_and_every_warned_rule_one():
    shown = {(example.rule, example.verdict) for example in EXAMPLES}
    assert shown >= {(rule.id, verdict) for rule in RULES for verdict in ("fails", "passes")}
    assert shown >= {(warning.rule, "warns") for warning in WARNING_RULES}


def test_the_rule_table_is_complete_and_in_order():
    assert [rule.id for rule in RULES] == [f"R{number}" for number in range(1, 9)]


def test_the_committed_document_is_what_the_code_writes_now():
    assert DOCUMENT.read_text(encoding="utf-8") == render_document(), (
        "run: python -m fusion_assets.standard.document, and commit docs/data-standard.md"
    )


def test_the_document_carries_every_message_its_examples_give():
    text = render_document()
    for example in EXAMPLES:
        shown = judge(example).violations if example.verdict == "fails" else judge(example).warnings
        assert all(str(violation) in text for violation in shown)


def test_writing_the_document_makes_its_folder(tmp_path):
    main([str(tmp_path / "docs" / "x.md")])
    assert (tmp_path / "docs" / "x.md").read_bytes() == render_document().encode()
