"""A line of the ledger: what is written is what is read, and what is not a record says why."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_assets.manifest.record import FIELDS, RecordError, parse_line
from tests.manifest.records import START, record, records


@settings(deadline=None)
@given(records())
def test_whatever_is_written_is_read_again_with_its_unknown_fields(written):
    line = written.to_line()
    assert parse_line(line) == written
    assert line.isascii(), "tools that guess a code page must not garble it"
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")


def test_a_line_has_exactly_the_fixed_fields_in_their_order_and_then_the_rest():
    fields = json.loads(record(extra={"fingerprint": "ab"}).to_line())
    assert list(fields) == [*FIELDS, "fingerprint"]
    assert FIELDS == (
        "backup_name", "run_name", "source_path", "truenas_path", "s3_uri", "file_count", "total_bytes", "started_at",
        "truenas_verified_at", "s3_verified_at", "completed_at", "source_deleted_at", "status",
    )  # fmt: skip
    assert fields["status"] == "complete"
    assert fields["started_at"] == "2026-01-05T10:00:00Z"
    assert fields["source_deleted_at"] is None


def test_times_are_written_in_utc_whatever_zone_they_came_in():
    berlin = timezone(timedelta(hours=1))
    written = record(started_at=START.astimezone(berlin)).to_line()
    assert json.loads(written)["started_at"] == "2026-01-05T10:00:00Z"


@pytest.mark.parametrize(
    "text", ["2026-01-05T10:00:00Z", "2026-01-05T10:00:00+00:00", "2026-01-05T11:00:00+01:00", "2026-01-05T10:00:00",
             "2026-01-05 10:00:00.000000"]
)  # fmt: skip
def test_times_of_older_tools_are_read_as_utc(text):
    fields = record().to_fields() | {"started_at": text}
    assert parse_line(json.dumps(fields)).started_at == START


def test_a_path_that_is_no_proper_unicode_survives():
    written = record(source_path="/data/\udcff")  # how Python shows a name whose bytes are no UTF-8
    assert parse_line(written.to_line()) == written


@pytest.mark.parametrize("name", FIELDS)
def test_a_missing_field_is_named(name):
    fields = record().to_fields()
    del fields[name]
    with pytest.raises(RecordError, match=f"missing: {name}"):
        parse_line(json.dumps(fields))


@pytest.mark.parametrize(
    ("name", "value"),
    [("backup_name", 7), ("backup_name", ""), ("run_name", None), ("file_count", "3"), ("file_count", True),
     ("total_bytes", 1.0), ("total_bytes", None), ("started_at", 1767607200), ("started_at", "yesterday"),
     ("completed_at", "0001-01-01T00:00:00+23:00"), ("status", "done"), ("status", None), ("status", ["complete"])],
)  # fmt: skip
def test_a_wrong_value_is_named_with_its_field(name, value):
    fields = record().to_fields() | {name: value}
    with pytest.raises(RecordError, match=rf"^{name} "):
        parse_line(json.dumps(fields))


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"7", b"\xff\xfe{", b"\0" * 9, b"[" * 100_000, b"1" * 5000, b'{"a": 1}']
)
def test_garbage_is_a_named_error_and_nothing_else(line):
    with pytest.raises(RecordError):
        parse_line(line)


@settings(deadline=None)
@given(st.binary() | st.text() | st.binary().map(lambda garbage: record().to_line()[:-2] + garbage))
def test_no_line_whatsoever_raises_anything_but_a_record_error(line):
    try:
        parse_line(line)
    except RecordError as error:
        assert str(error)  # noqa: PT017 - it need not raise


@pytest.mark.parametrize(
    "changes",
    [
        {"started_at": datetime(2026, 1, 5)},  # noqa: DTZ001 - the mistake itself
        {"extra": {"status": "complete"}},
        {"extra": {"rate": float("nan")}},
        {"extra": {"when": datetime.now(UTC)}},
    ],
)
def test_what_could_not_be_read_again_is_not_written(changes):
    with pytest.raises(RecordError):
        record(**changes).to_line()
