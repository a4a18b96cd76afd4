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


Files = tuple[tuple[str, bytes], ...]
"""(name, content) of all months, oldest first."""


@dataclass(frozen=True, slots=True)
class Folded:
    """A view, and the very bytes it was folded from: no size, time or file number that could lie about them."""

    files: Files = ()
    view: LedgerView = field(default_factory=LedgerView)


def fold(files: Files, before: Folded | None = None) -> Folded:
    """Fold the files of all months to the state they describe.

    Args:
        files: All months.
        before: An earlier fold. Where `files` only add lines to it, only those are read; whatever else happened to the
            files meanwhile, all are read, so that the result is always that of a fold without `before`.
    """
    if before and files == before.files:
        return before
    if not before or not _only_grew(before.files, files):
        before = Folded()
    view, known = before.view, len(before.files)
    events: list[tuple[str, Record]] = []
    bad_lines: list[BadLine] = []
    for index, (name, content) in enumerate(files[max(known - 1, 0) :], start=max(known - 1, 0)):
        for found in read_lines(name, content, start=len(before.files[index][1]) if index < known else 0):
            if isinstance(found, BadLine):
                bad_lines.append(found)
            else:
                events.append((_month(name), found))
    return Folded(
        files,
        LedgerView(
            records=latest((record for _, record in events), view.records),
            bad_lines=(*view.bad_lines, *bad_lines),
            months=tuple(_month(name) for name, _ in files),
            events=(*view.events, *events),
        ),
    )


def _only_grew(before: Files, files: Files) -> bool:
    """Whether there are only new lines at the end of the newest month there was, and newer months."""
    if not before:
        return True
    (*older, (name, content)), last = before, len(before) - 1
    if list(files[:last]) != older or len(files) <= last:
        return False
    # A last line without its LF may have been read as a torn one.
    return files[last][0] == name and content.endswith(b"\n") and files[last][1].startswith(content)


def _month(name: str) -> str:
    return name.removesuffix(".jsonl")


def latest(records: Iterable[Record], before: Mapping[str, Record] | None = None) -> dict[str, Record]:
    """The record that counts for each backup: the last one.

    But a failed validation never hides a complete backup: it touched nothing, and a source that is half deleted, or was
    renamed, fails validation as a matter of course. Nor does it hide that the source was released, while its backup is
    being repaired. Whatever began to copy anew does hide both.

    Args:
        records: In the order they were appended.
        before: What counted before the first of them.
    """
    counted = dict(before or {})
    for record in records:
        known = counted.get(record.backup_name)
        settled = known is not None and (known.status is Status.COMPLETE or known.was_released)
        if settled and record.status is Status.FAILED_VALIDATION:
            continue
        counted[record.backup_name] = record
    return counted


def read_lines(file: str, content: bytes, *, start: int = 0) -> Iterator[Record | BadLine]:
    """Read one file of the ledger, whatever has happened to it: BOM, CRLF, blank lines, garbage, a torn end.

    Args:
        file: Its name, for messages.
        content: All of it.
        start: Where to begin, just after a LF.
    """
    rest = content[start:] if start else content.removeprefix(codecs.BOM_UTF8)
    lines = rest.split(b"\n")
    first = 1 + content.count(b"\n", 0, start)
    for number, line in enumerate(lines, start=first):
        if not line.strip():
            continue
        try:
            yield parse_line(line)
        except RecordError as error:
            reason = str(error) if len(str(error)) <= _LONGEST_REASON else f"{str(error)[:_LONGEST_REASON]}…"
            cut = "cut short; the next append sets it aside. " if number == first + len(lines) - 1 else ""
            yield BadLine(file, number, cut + reason)


def torn_end(content: bytes) -> bytes:
    """What follows the last LF: empty unless an append was cut short."""
    return content[content.rfind(b"\n") + 1 :]
