"""One line of the ledger: its fields, how it is written, and the one named error for a line that makes no sense.

What belongs here: the record itself. What does not: files, and which of several records counts (`fold`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from fusion_assets.manifest.extra_fields import RELEASED_FIELD


class Status(StrEnum):
    """How far a backup came."""

    IN_PROGRESS = "in_progress"
    COMPLETE = "complete"
    FAILED_VALIDATION = "failed_validation"
    FAILED_TRUENAS = "failed_truenas"
    FAILED_S3 = "failed_s3"


class RecordError(ValueError):
    """A line, or a value for one, that is no ledger record; the message names the field and the rule."""


@dataclass(frozen=True, slots=True)
class Record:
    """One event in the backup of a study. Times are aware, UTC, and None for what has not happened.

    Attributes:
        backup_name: The study's name at the destinations; what the ledger is folded by.
        run_name: Its name at the source.
        source_path: Where it was read.
        truenas_path: Its directory on the NAS.
        s3_uri: Its place in S3.
        file_count: Files archived.
        total_bytes: Their bytes.
        started_at: When this backup began.
        truenas_verified_at: When every file was read back from the NAS and found equal.
        s3_verified_at: When every object in S3 was found proven and complete.
        completed_at: When the backup was complete.
        source_deleted_at: When the source was released; after a repair, when that was complete (see `released_at`).
        status: How far it came.
        extra: Fields beyond these, kept as they are.
    """

    backup_name: str
    run_name: str
    source_path: str
    truenas_path: str
    s3_uri: str
    file_count: int
    total_bytes: int
    started_at: datetime | None
    truenas_verified_at: datetime | None
    s3_verified_at: datetime | None
    completed_at: datetime | None
    source_deleted_at: datetime | None
    status: Status
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def was_released(self) -> bool:
        """Whether the source was released, be the backup complete now or not: its copies are the only ones."""
        return self.source_deleted_at is not None or bool(self.extra.get(RELEASED_FIELD))

    @property
    def released_at(self) -> datetime | None:
        """When the source was released, whatever was repaired since; None if it was not, or nobody knows when."""
        try:
            return datetime.fromisoformat(self.extra[RELEASED_FIELD])
        except (KeyError, TypeError, ValueError):
            return self.source_deleted_at

    def to_fields(self) -> dict[str, Any]:
        """The record as it stands in the ledger: plain JSON values, the fixed fields first.

        Raises:
            RecordError: A time has no time zone, or an extra field bears the name of a fixed one.
        """
        written: dict[str, Any] = {name: getattr(self, name) for name in FIELDS}
        for name in TIME_FIELDS:
            written[name] = _written_time(name, written[name])
        written["status"] = self.status.value
        if taken := FIELD_SET & self.extra.keys():
            raise RecordError(f"extra fields must not be called {', '.join(sorted(taken))}")
        return {**written, **self.extra}

    def to_line(self) -> bytes:
        """The record as a line of the ledger, its LF included.

        Raises:
            RecordError: It cannot be written as JSON.
        """
        try:
            # ASCII only: Windows' own tools guess a code page for what is not, and odd file names survive as escapes.
            return json.dumps(self.to_fields(), allow_nan=False).encode("ascii") + b"\n"
        except RecordError:
            raise
        except (TypeError, ValueError, RecursionError) as error:
            raise RecordError(f"the record of {self.backup_name} cannot be written as JSON: {error}") from error


FIELDS = tuple(item.name for item in fields(Record) if item.name != "extra")
"""The fixed fields of a record, in the order they are written."""

FIELD_SET = frozenset(FIELDS)

TIME_FIELDS = ("started_at", "truenas_verified_at", "s3_verified_at", "completed_at", "source_deleted_at")
"""The times of a record, in the order in which they happen."""

_STATUSES = {status.value: status for status in Status}


def parse_line(line: bytes | str) -> Record:
    """Read one line of the ledger.

    Args:
        line: UTF-8 JSON; whitespace around it does not matter.

    Raises:
        RecordError: It is no record.
    """
    try:
        text = line.decode("utf-8") if isinstance(line, bytes) else line
    except UnicodeDecodeError as error:
        raise RecordError(f"not UTF-8: {error.reason} at byte {error.start}") from error
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise RecordError(f"not JSON: {error.msg} at character {error.pos + 1}") from error
    except (ValueError, RecursionError) as error:
        raise RecordError(f"not usable JSON: {error}") from error
    return parse_record(data)


def parse_record(data: object) -> Record:
    """Check what a line says.

    Args:
        data: Parsed JSON.

    Raises:
        RecordError: It is not an object, a fixed field is missing or has the wrong type, or the status is unknown.
    """
    if not isinstance(data, dict):
        raise RecordError(f"not a JSON object but {type(data).__name__}")
    if missing := [name for name in FIELDS if name not in data]:
        raise RecordError(f"missing: {', '.join(missing)}")
    return Record(
        backup_name=_text(data, "backup_name", required=True),
        run_name=_text(data, "run_name"),
        source_path=_text(data, "source_path"),
        truenas_path=_text(data, "truenas_path"),
        s3_uri=_text(data, "s3_uri"),
        file_count=_number(data, "file_count"),
        total_bytes=_number(data, "total_bytes"),
        started_at=_time(data, "started_at"),
        truenas_verified_at=_time(data, "truenas_verified_at"),
        s3_verified_at=_time(data, "s3_verified_at"),
        completed_at=_time(data, "completed_at"),
        source_deleted_at=_time(data, "source_deleted_at"),
        status=_status(data["status"]),
        extra={name: value for name, value in data.items() if name not in FIELD_SET},
    )


def _text(data: dict[str, Any], name: str, *, required: bool = False) -> str:
    value = data[name]
    if not isinstance(value, str):
        raise RecordError(f"{name} must be text, not {value!r}")
    if required and not value:
        raise RecordError(f"{name} is empty")
    return value


def _number(data: dict[str, Any], name: str) -> int:
    value = data[name]
    if type(value) is not int:  # to isinstance, True is an int
        raise RecordError(f"{name} must be a whole number, not {value!r}")
    return value


def _time(data: dict[str, Any], name: str) -> datetime | None:
    value = data[name]
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value)
        # The ledger's times are UTC: one that does not say so is meant so.
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, TypeError, OverflowError):
        raise RecordError(f"{name} must be an ISO-8601 time or null, not {value!r}") from None


def _status(value: object) -> Status:
    if isinstance(value, str) and value in _STATUSES:
        return _STATUSES[value]
    raise RecordError(f"status must be one of {', '.join(_STATUSES)}, not {value!r}")


def _written_time(name: str, value: datetime | None) -> str | None:
    if value is None:
        return None
    if value.tzinfo is None:
        raise RecordError(f"{name} has no time zone: {value}")
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
