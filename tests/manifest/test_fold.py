"""Which record counts, and what is made of lines that are none."""

from __future__ import annotations

import codecs
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_assets.manifest.extra_fields import RELEASED_FIELD
from fusion_assets.manifest.fold import BadLine, Folded, fold, latest, read_lines
from fusion_assets.manifest.record import Record, Status
from tests.manifest.records import record, records

histories = st.lists(
    st.builds(
        lambda name, status, count: record(backup_name=name, status=status, file_count=count),
        st.sampled_from("abc"), st.sampled_from(Status), st.integers(0, 10**6),
    ),
    max_size=12,
)  # fmt: skip


def counted_by_hand(history: list[Record], name: str) -> Record | None:
    """The rule, said the other way round: walk back over failed validations; a complete record under them counts."""
    own = [event for event in history if event.backup_name == name]
    for event in reversed(own):
        if event.status is Status.FAILED_VALIDATION:
            continue
        return event if event.status is Status.COMPLETE else own[-1]
    return own[-1] if own else None


@settings(deadline=None)
@given(histories)
def test_the_fold_agrees_with_the_rule_said_the_other_way_round(history):
    assert latest(history) == {
        name: counted for name in "abc" if (counted := counted_by_hand(history, name)) is not None
    }


def test_a_half_deleted_source_that_fails_validation_does_not_hide_its_complete_backup():
    complete, failed = record(), record(status=Status.FAILED_VALIDATION)
    assert latest([complete, failed, failed])[complete.backup_name] is complete


@pytest.mark.parametrize("said", [None, 7, "garbage"])
def test_a_repair_does_not_move_the_time_of_a_release(said):
    repaired_at, released_at = datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC)
    known = record(source_deleted_at=repaired_at, extra={RELEASED_FIELD: released_at.isoformat()})
    assert known.released_at == released_at
    assert record(source_deleted_at=repaired_at, extra={RELEASED_FIELD: said}).released_at == repaired_at
    assert record(source_deleted_at=None).released_at is None


def test_a_failed_validation_does_not_hide_that_the_source_of_a_backup_under_repair_was_released():
    repaired = record(status=Status.FAILED_TRUENAS, extra={RELEASED_FIELD: "2026-05-01T00:00:00+00:00"})
    failed = record(status=Status.FAILED_VALIDATION)
    assert latest([record(), repaired, failed])[repaired.backup_name] is repaired


@pytest.mark.parametrize("status", [Status.IN_PROGRESS, Status.FAILED_TRUENAS, Status.FAILED_S3])
def test_whatever_touched_a_copy_again_does_hide_the_complete_backup(status):
    again, failed = record(status=status), record(status=Status.FAILED_VALIDATION)
    assert latest([record(), again])[again.backup_name] is again
    assert latest([record(), again, failed])[again.backup_name] is failed


@settings(deadline=None)
@given(st.lists(records(), max_size=6), st.integers(0, 6))
def test_where_a_month_ends_makes_no_difference(history, cut):
    lines = [event.to_line() for event in history]
    view = fold((("2026-01.jsonl", b"".join(lines[:cut])), ("2026-02.jsonl", b"".join(lines[cut:])))).view
    assert view.records == latest(history)
    assert [event for _, event in view.events] == history
    assert view.months == ("2026-01", "2026-02")
    assert not view.bad_lines


def test_the_history_of_a_backup_and_its_months_are_kept():
    first, second, other = record(status=Status.IN_PROGRESS), record(), record(backup_name="other")
    view = fold((("2026-01.jsonl", first.to_line() + other.to_line()), ("2026-02.jsonl", second.to_line()))).view
    assert view.history(first.backup_name) == (first, second)
    assert view.months_of(first.backup_name) == {"2026-01", "2026-02"}
    assert view.history("unknown") == ()


def test_a_file_edited_with_notepad_is_read():
    lines = record(file_count=1).to_line() + b"\n" + record(file_count=2).to_line()
    view = fold((("2026-01.jsonl", codecs.BOM_UTF8 + lines.replace(b"\n", b"\r\n") + b"\r\n  \r\n"),)).view
    assert [event.file_count for _, event in view.events] == [1, 2]
    assert not view.bad_lines


def test_bad_lines_are_reported_with_file_number_and_reason_and_hide_no_good_one():
    good = record().to_line()
    unknown = good.replace(b'"complete"', b'"finished"')
    found = list(read_lines("2026-01.jsonl", b"\n" + b"rubbish\n" + good + unknown + good[:30]))
    assert found[1] == record()
    bad = [item for item in found if isinstance(item, BadLine)]
    assert [(item.file, item.line) for item in bad] == [("2026-01.jsonl", n) for n in (2, 4, 5)]
    assert "not JSON" in bad[0].reason
    assert "finished" in bad[1].reason
    assert bad[2].reason.startswith("cut short")
    assert str(bad[0]) == f"2026-01.jsonl line 2: {bad[0].reason}"


def test_the_reason_of_a_bad_line_is_short_even_if_the_line_is_not():
    (bad,) = read_lines("2026-01.jsonl", record().to_line().replace(b'"complete"', b'"' + b"x" * 10**6 + b'"'))
    assert isinstance(bad, BadLine)
    assert len(bad.reason) < 300


@settings(deadline=None)
@given(st.lists(records(), min_size=1, max_size=4), st.data())
def test_a_file_cut_anywhere_loses_at_most_the_line_it_was_cut_in(history, data):
    content = b"".join(event.to_line() for event in history)
    cut = data.draw(st.integers(0, len(content)))
    found = list(read_lines("2026-01.jsonl", content[:cut]))
    whole = content[:cut].count(b"\n")
    assert found[:whole] == history[:whole]
    assert len(found[whole:]) <= 1
    assert all(isinstance(item, BadLine) or item == history[whole] for item in found[whole:])


@settings(deadline=None)
@given(st.lists(st.binary(max_size=30), max_size=4), records())
def test_garbage_never_hides_a_line_of_its_own(garbage, good):
    content = b"".join(piece + b"\n" for piece in garbage) + good.to_line()
    assert list(read_lines("2026-01.jsonl", content))[-1] == good


def test_ten_thousand_records_of_a_year_are_folded_in_a_moment():
    months = [
        (
            f"2026-{month:02}.jsonl",
            b"".join(replace(record(), backup_name=f"{month}-{i}").to_line() for i in range(834)),
        )
        for month in range(1, 13)
    ]
    start = time.process_time()
    view = fold(tuple(months)).view
    spent = time.process_time() - start
    assert len(view.records) == 834 * 12
    assert spent < 10, f"{spent:.2f} s of CPU; 0.13 where it was measured, near 1 while coverage is recorded"


lines = st.one_of(
    st.builds(
        lambda name, status: record(backup_name=name, status=status).to_line(),
        st.sampled_from("abc"),
        st.sampled_from(Status),
    ),
    st.sampled_from(
        [b"rubbish\n", b"\n", codecs.BOM_UTF8 + record().to_line(), record().to_line().replace(b"\n", b"\r\n")]
    ),
)


@st.composite
def happenings(draw: st.DrawFn, files: dict[str, bytes]) -> None:
    """Something that happens to the ledger between two looks, by whoever writes there."""
    names = sorted(files) or ["2026-01.jsonl"]
    name = draw(st.sampled_from([*names, names[-1], names[-1]]))  # mostly the newest
    content = files.get(name, b"")
    match draw(st.sampled_from(["append", "append", "append", "torn", "cut", "rewrite", "lose", "older", "newer"])):
        case "append":
            files[name] = content + b"".join(draw(st.lists(lines, max_size=3)))
        case "torn":
            files[name] = content + draw(lines)[: draw(st.integers(0, 400))]
        case "cut":
            files[name] = content[: draw(st.integers(0, len(content)))]
        case "rewrite":  # of the same size
            files[name] = content.replace(b'"a"', b'"b"', 1)
        case "lose":
            files.pop(name, None)
        case "older":
            files["2025-12.jsonl"] = draw(lines)
        case "newer":
            files[f"2026-{draw(st.integers(2, 9)):02}.jsonl"] = draw(lines)


@settings(deadline=None)
@given(st.data())
def test_whatever_happened_to_the_files_a_fold_that_remembers_sees_what_a_fresh_one_sees(data):
    files: dict[str, bytes] = {}
    remembered = Folded()
    for _ in range(data.draw(st.integers(1, 8))):
        data.draw(happenings(files))
        seen = tuple(sorted(files.items()))
        remembered = fold(seen, remembered)
        fresh = fold(seen)
        assert remembered == fresh
        assert list(remembered.view.records) == list(fresh.view.records), "in the same order, too"


def test_a_ledger_that_only_grew_is_not_read_again_from_its_beginning():
    old = fold((("2026-01.jsonl", record().to_line()), ("2026-02.jsonl", record(backup_name="b").to_line())))
    grown = (*old.files[:1], ("2026-02.jsonl", old.files[1][1] + record(backup_name="c").to_line()))
    new = fold((*grown, ("2026-03.jsonl", record(backup_name="d").to_line())), old)
    assert list(new.view.records) == [record().backup_name, "b", "c", "d"]
    assert new.view.records["b"] is old.view.records["b"]
    assert fold(new.files, new) is new
