"""The journal of an unfinished copy: which files are proven already, so that a crash costs only the file at hand.

It lies in the copy's directory as ``_journal.jsonl.partial``, one JSON object a line, and goes away when the sidecar
is written. A record is made durable *before* its file gets its final name: so a final name without a record never
comes from us, and a record without a file is simply not used. A torn last line is a record that was never made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import fields
from typing import Any

from fusion_assets.transfer.proof import FileProof
from resources.errors import NotFoundError
from resources.storage import PARTIAL_SUFFIX, Storage

JOURNAL_NAME = f"_journal.jsonl{PARTIAL_SUFFIX}"

_FIELDS = tuple(field.name for field in fields(FileProof))
_STRINGS = ("path", "sha256")
_INTEGERS = ("size", "mtime_ns")


class Journal:
    """The journal of one copy.

    Args:
        nas: Where the copy is.
        backup_name: The copy's directory.
    """

    def __init__(self, nas: Storage, backup_name: str) -> None:
        self._nas = nas
        self._path = f"{backup_name}/{JOURNAL_NAME}"

    def read(self) -> dict[str, FileProof]:
        """The records by path, the last one of each; empty when there is no journal."""
        try:
            data = self._nas.read_file(self._path)
        except NotFoundError:
            return {}
        return parse_journal(data)

    def append(self, proofs: Iterable[FileProof]) -> None:
        """Record proven files durably, in one write."""
        # A crash may have left half a line: the line break before keeps it from spoiling ours.
        self._nas.append(self._path, b"\n" + format_records(proofs))

    def remove(self) -> None:
        """The copy is finished."""
        with suppress(NotFoundError):
            self._nas.remove_file(self._path)


def format_records(proofs: Iterable[FileProof]) -> bytes:
    """One line for each file."""
    return "".join(json.dumps({name: getattr(proof, name) for name in _FIELDS}) + "\n" for proof in proofs).encode()


def parse_journal(data: bytes) -> dict[str, FileProof]:
    """The records of a journal by path; what is no record is left out, for that only means copying a file again."""
    records: dict[str, FileProof] = {}
    for line in data.split(b"\n"):
        if proof := _parse_record(line):
            records[proof.path] = proof
    return records


def _parse_record(line: bytes) -> FileProof | None:
    try:
        record: Any = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or set(record) != set(_FIELDS):
        return None
    if not all(isinstance(record[name], str) for name in _STRINGS):
        return None
    return FileProof(**record) if all(isinstance(record[name], int) for name in _INTEGERS) else None
