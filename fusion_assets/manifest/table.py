"""The folded ledger as a table, and the schema it must obey wherever it is read as one.

What belongs here: the table and its rules. What does not: single lines (`record` judges those). pandas and pandera
are imported by the functions: together they cost more than a second at the start of whoever does not need them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, Final

from fusion_assets.manifest.fold import LedgerView
from fusion_assets.manifest.record import FIELDS, TIME_FIELDS, Record, Status

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pa

# Microseconds, as records keep them; nanoseconds would end in the year 2262, and a typing error need not.
_TIME_TYPE: Final = "datetime64[us, UTC]"


@dataclass(frozen=True, slots=True)
class _Rule:
    """What must hold for one field of a row, given the whole table."""

    field: str
    text: str
    holds: Callable[[pd.DataFrame], pd.Series[bool]]

    @property
    def name(self) -> str:
        return f"{self.field} {self.text}"


def ledger_table(view: LedgerView) -> pd.DataFrame:
    """The record that counts of each backup as a row, with the fixed fields as columns.

    Args:
        view: The folded ledger.
    """
    import pandas as pd

    records = view.records.values()
    columns: dict[str, Any] = {name: [getattr(record, name) for record in records] for name in FIELDS}
    columns["status"] = [record.status.value for record in records]
    return pd.DataFrame(columns | {name: pd.Series(columns[name], dtype=_TIME_TYPE) for name in TIME_FIELDS})


def check_table(view: LedgerView, entry: Record | None = None) -> list[dict[str, str]]:
    """Hold the folded ledger against its schema.

    Args:
        view: The folded ledger.
        entry: A record that is not in it yet: the ledger is judged as it would be with it.

    Returns:
        One row for each failure, with ``backup_name``, ``field``, ``rule`` and ``value``; empty when all is well.
    """
    from pandera.errors import SchemaErrors

    table = ledger_table(replace(view, records={**view.records, entry.backup_name: entry}) if entry else view)
    try:
        ledger_schema().validate(table, lazy=True)
    except SchemaErrors as errors:
        return _failures(table, errors.failure_cases)
    return []


def of_backup(failures: Iterable[dict[str, str]], backup_name: str) -> list[dict[str, str]]:
    """The failures of one backup.

    Args:
        failures: From `check_table`.
        backup_name: The backup.
    """
    return [failure for failure in failures if failure["backup_name"] == backup_name]


def ledger_schema() -> pa.DataFrameSchema:
    """The rules of the folded ledger, for a table as `ledger_table` makes it."""
    import pandera.pandas as pa

    not_negative = pa.Check.ge(0, error="must not be negative")
    known = pa.Check.isin([status.value for status in Status], error="must be a known status")
    return pa.DataFrameSchema(
        {
            "backup_name": pa.Column(),
            "file_count": pa.Column(checks=not_negative),
            "total_bytes": pa.Column(checks=not_negative),
            **{name: pa.Column(_TIME_TYPE, nullable=True) for name in TIME_FIELDS},
            "status": pa.Column(checks=known),
        },
        checks=[pa.Check(rule.holds, error=rule.name, ignore_na=False) for rule in _RULES],
    )


def _unique_whatever_the_case(table: pd.DataFrame) -> pd.Series[bool]:
    # Of an invalid study nothing was ever written: renamed, as its hint says, it leaves such a record behind.
    written = table["status"] != Status.FAILED_VALIDATION.value
    names = table["backup_name"].astype(str).str.casefold()
    return ~(written & names.where(written).duplicated(keep=False))


def _deleted_only_when_complete(table: pd.DataFrame) -> pd.Series[bool]:
    return table["source_deleted_at"].isna() | (table["status"] == Status.COMPLETE.value)


def _in_order(name: str) -> _Rule:
    earlier = list(TIME_FIELDS[: TIME_FIELDS.index(name)])

    def holds(table: pd.DataFrame) -> pd.Series[bool]:
        before = [table[name] < table[other] for other in earlier]  # never so where either time is missing
        return ~reduce(or_, before)

    return _Rule(name, f"must not be before {', '.join(earlier)}", holds)


def _needed(name: str) -> _Rule:
    def holds(table: pd.DataFrame) -> pd.Series[bool]:
        given = table[name].notna()
        if name not in TIME_FIELDS:
            given &= ~table[name].astype(object).isin(["", 0])
        return given | (table["status"] != Status.COMPLETE.value)

    return _Rule(name, "is needed by a complete backup", holds)


_NEEDED = ("truenas_path", "s3_uri", "file_count", *TIME_FIELDS[:-1])
_RULES = (
    # Windows and SMB do not tell them apart: restored there, one would overwrite the other.
    _Rule("backup_name", "must be unique, and not only by upper and lower case", _unique_whatever_the_case),
    _Rule("source_deleted_at", "must not be there unless the backup is complete", _deleted_only_when_complete),
    *(_in_order(name) for name in TIME_FIELDS[1:]),
    *(_needed(name) for name in _NEEDED),
)


def _failures(table: pd.DataFrame, cases: pd.DataFrame) -> list[dict[str, str]]:
    """The failure cases as plain rows. Of a rule over the whole table pandera repeats every column; we keep its own."""
    import pandas as pd

    ours = {rule.name: rule for rule in _RULES}
    found = []
    for case in cases.to_dict("records"):
        rule = ours.get(str(case["check"]))
        if rule and case["column"] != rule.field:
            continue
        value = case["failure_case"]
        found.append(
            {
                "backup_name": str(table["backup_name"].iloc[case["index"]]),
                "field": str(case["column"]),
                "rule": rule.text if rule else str(case["check"]),
                "value": "" if pd.isna(value) else str(value),
            }
        )
    return sorted(found, key=lambda failure: (failure["backup_name"], failure["field"], failure["rule"]))
