"""The ledger as a table: what a complete backup must have, and in which order things happen."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandera.errors import SchemaError

from fusion_assets.manifest.fold import LedgerView, fold
from fusion_assets.manifest.record import TIME_FIELDS, Record, Status
from fusion_assets.manifest.table import check_table, ledger_schema, ledger_table
from tests.manifest.records import START, record, records


def view_of(*rows: Record) -> LedgerView:
    return fold((("2026-01.jsonl", b"".join(row.to_line() for row in rows)),)).view


def failures(*rows: Record) -> list[tuple[str, str]]:
    return [(failure["field"], failure["rule"]) for failure in check_table(view_of(*rows))]


def test_a_ledger_of_proper_records_has_no_failures():
    released = record(backup_name="released", source_deleted_at=START + timedelta(days=1))
    begun = record(
        backup_name="begun", status=Status.IN_PROGRESS, truenas_verified_at=None, s3_verified_at=None,
        completed_at=None, truenas_path="", s3_uri="",
    )  # fmt: skip
    never = replace(begun, backup_name="never", status=Status.FAILED_VALIDATION, started_at=None, file_count=0)
    assert check_table(view_of(record(), released, begun, never)) == []
    assert check_table(LedgerView()) == []


def test_a_failure_names_the_backup_the_field_the_rule_and_the_value():
    assert check_table(view_of(record(), record(backup_name="bad", total_bytes=-1))) == [
        {"backup_name": "bad", "field": "total_bytes", "rule": "must not be negative", "value": "-1"}
    ]


@pytest.mark.parametrize("name", ["file_count", "total_bytes"])
def test_sizes_beyond_64_bits_are_judged_too(name):
    assert failures(record(**{name: 10**30})) == []
    assert (name, "must not be negative") in failures(record(**{name: -(10**30)}))


@pytest.mark.parametrize(
    ("name", "nothing"),
    [*((name, None) for name in TIME_FIELDS[:-1]), ("truenas_path", ""), ("s3_uri", ""), ("file_count", 0)],
)
def test_a_complete_backup_lacks_nothing(name, nothing):
    assert failures(record(**{name: nothing})) == [(name, "is needed by a complete backup")]
    assert failures(record(**{name: nothing}, status=Status.FAILED_S3)) == []


@pytest.mark.parametrize("index", range(1, len(TIME_FIELDS)))
def test_nothing_happens_before_what_it_follows(index):
    name, earlier = TIME_FIELDS[index], TIME_FIELDS[:index]
    times = {field: START + timedelta(hours=hour) for hour, field in enumerate(TIME_FIELDS)}
    times[name] = START - timedelta(seconds=1)
    assert failures(record(**times)) == [(name, f"must not be before {', '.join(earlier)}")]


def test_a_time_that_is_missing_does_not_hide_a_wrong_order_around_it():
    rows = record(status=Status.FAILED_S3, truenas_verified_at=None, s3_verified_at=START - timedelta(days=1))
    assert ("s3_verified_at", "must not be before started_at, truenas_verified_at") in failures(rows)


def test_times_of_the_last_year_python_knows_are_compared_too():
    assert failures(record(completed_at=datetime(9999, 12, 31, tzinfo=UTC))) == []


def test_names_that_windows_cannot_tell_apart_are_reported_both():
    rule = ("backup_name", "must be unique, and not only by upper and lower case")
    assert failures(record(backup_name="Study"), record(backup_name="study"), record(backup_name="other")) == [rule] * 2


def test_a_study_that_was_invalid_because_of_its_twin_and_was_renamed_does_not_fail_the_check_of_the_twin():
    invalid = record(backup_name="RUN1", status=Status.FAILED_VALIDATION)
    assert failures(record(backup_name="run1"), invalid) == []
    assert failures(record(backup_name="run1"), invalid, record(backup_name="Run1")) != []


def test_a_source_is_not_deleted_without_a_complete_backup():
    rule = ("source_deleted_at", "must not be there unless the backup is complete")
    assert failures(record(status=Status.FAILED_S3, source_deleted_at=START + timedelta(days=1))) == [rule]


def test_a_table_with_an_unknown_status_breaks_the_schema():
    table = ledger_table(view_of(record()))
    ledger_schema().validate(table)
    with pytest.raises(SchemaError, match="must be a known status"):
        ledger_schema().validate(table.assign(status="done"))


@settings(max_examples=30, deadline=None)  # 20 ms each, where the machine is not busy
@given(st.lists(records(), max_size=5))
def test_any_ledger_can_be_checked(rows):
    view = view_of(*rows)
    found = check_table(view)
    assert all(failure["backup_name"] in view.records for failure in found)
    assert len(ledger_table(view)) == len(view.records)


def test_pandas_is_not_paid_for_by_who_only_imports_the_ledger():
    script = (
        "import sys, fusion_assets.manifest.table, fusion_assets.manifest.ledger;"
        "sys.exit(any(name in sys.modules for name in ('pandas', 'pandera', 'boto3', 'dagster')))"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])
