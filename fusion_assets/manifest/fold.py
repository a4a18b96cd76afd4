"""From the lines of all months to the latest record of each backup. Pure.

Tolerant, and never silent: a line that makes no sense is reported with its file, number and reason, and all others
count. What belongs here: reading lines and the rule which record wins. What does not: where the files are (`ledger`).
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from fusion_assets.manifest.record import Record, RecordError, Status, parse_line

_LONGEST_REASON = 200  # characters; a bad line may be a megabyte of anything


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no record.

    Attributes:
        file: Name of the month's file.
        line: Its number, from 1.
        reason: What is wrong with it.
    """

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        """As a person reads it."""
        return f"{self.file} line {self.line}: {self.reason}"


@dataclass(frozen=True, slots=True)
class LedgerView:
    """The ledger at one moment.

    Attributes:
        records: The record that counts, by backup name.
        bad_lines: What could not be understood, in order.
        months: The months there are, in order, as ``YYYY-MM``; of another file, its name.
        exists: False when there is not even a directory: a first run, or a NAS that is not mounted.
        events: All records in the order they were appended, each with its month.
    """

    records: Mapping[str, Record] = field(default_factory=dict)
    bad_lines: tuple[BadLine, ...] = ()
    months: tuple[str, ...] = ()
    exists: bool = True
    events: tuple[tuple[str, Record], ...] = ()

    def history(self, backup_name: str) -> tuple[Record, ...]:
        """All records of one backup, oldest first."""
        return tuple(record for _, record in self.events if record.backup_name == backup_name)

    def months_of(self, backup_name: str) -> frozenset[str]:
        """The months whose files hold records of one backup."""
        return frozenset(month for month, record in self.events if record.backup_name == backup_name)


def fold(files: Iterable[tuple[str, bytes]]) -> LedgerView:
    """Fold the files of all months to the state they describe.

    Args:
        files: (name, content), oldest month first.
    """
    events: list[tuple[str, Record]] = []
    bad_lines: list[BadLine] = []
    months: list[str] = []
    for name, content in files:
        months.append(name.removesuffix(".jsonl"))
        for found in read_lines(name, content):
            if isinstance(found, BadLine):
                bad_lines.append(found)
            else:
                events.append((months[-1], found))
    return LedgerView(
        records=latest(record for _, record in events),
        bad_lines=tuple(bad_lines),
        months=tuple(months),
        events=tuple(events),
    )


def latest(records: Iterable[Record]) -> dict[str, Record]:
    """The record that counts for each backup: the last one.

    But a failed validation never hides a complete backup: it touched nothing, and a source that is half deleted, or was
    renamed, fails validation as a matter of course. Whatever began to copy anew does hide it.

    Args:
        records: In the order they were appended.
    """
    counted: dict[str, Record] = {}
    for record in records:
        before = counted.get(record.backup_name)
        if before and before.status is Status.COMPLETE and record.status is Status.FAILED_VALIDATION:
            continue
        counted[record.backup_name] = record
    return counted


def read_lines(file: str, content: bytes) -> Iterator[Record | BadLine]:
    """Read one file of the ledger, whatever has happened to it: BOM, CRLF, blank lines, garbage, a torn end.

    Args:
        file: Its name, for messages.
        content: All of it.
    """
    lines = content.removeprefix(codecs.BOM_UTF8).split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield parse_line(line)
        except RecordError as error:
            reason = str(error) if len(str(error)) <= _LONGEST_REASON else f"{str(error)[:_LONGEST_REASON]}…"
            cut = "cut short; the next append sets it aside. " if number == len(lines) else ""
            yield BadLine(file, number, cut + reason)


def torn_end(content: bytes) -> bytes:
    """What follows the last LF: empty unless an append was cut short."""
    return content[content.rfind(b"\n") + 1 :]
