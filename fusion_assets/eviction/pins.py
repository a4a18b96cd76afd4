"""Pins: "never evict this study", with who said so, why, and until when.

What belongs here: a line of the pins, what all lines together say, and adding one. What does not: where the file is and
how it is written (the ledger, beside whose months it lies as ``pins.jsonl`` and is mirrored with them).

What is pinned is never guessed: where the file cannot be read, lacks what S3 mirrors of it, or has a line that makes no
sense, every study counts as pinned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fusion_assets.manifest.ledger import PINS, Ledger
from resources.errors import ResourceError, described


class PinError(ValueError):
    """A line, or a value for one, that is no pin; the message names the field and the rule."""


@dataclass(frozen=True, slots=True)
class Pin:
    """What one line says of one study.

    Attributes:
        backup_name: The study's name at the destinations.
        pinned: False where a pin was taken away.
        reason: Why, for whoever wonders.
        author: Who said so.
        at: When, UTC.
        expires: When it ends by itself, UTC; None for never.
    """

    backup_name: str
    pinned: bool
    reason: str
    author: str
    at: datetime
    expires: datetime | None = None

    def holds(self, now: datetime) -> bool:
        """Whether the study is pinned at a moment."""
        return self.pinned and (self.expires is None or now < self.expires)

    def __str__(self) -> str:
        until = f" until {self.expires:%Y-%m-%d %H:%M} UTC" if self.expires else ""
        return f"pinned by {self.author} on {self.at:%Y-%m-%d}{until}: {self.reason}"

    def to_line(self) -> bytes:
        """The pin as a line of the file, its LF included."""
        return json.dumps(self.to_fields()).encode("ascii") + b"\n"

    def to_fields(self) -> dict[str, object]:
        """The pin as plain JSON values."""
        return {
            "backup_name": self.backup_name,
            "pinned": self.pinned,
            "reason": self.reason,
            "author": self.author,
            "at": self.at.isoformat(),
            "expires": self.expires.isoformat() if self.expires else None,
        }


@dataclass(frozen=True, slots=True)
class Pins:
    """What is pinned at one moment.

    Attributes:
        latest: What was said last of each study, by backup name.
        unknown: Why it is not known what is pinned; empty when it is.
    """

    latest: Mapping[str, Pin] = field(default_factory=dict)
    unknown: str = ""

    def why(self, backup_name: str, now: datetime) -> str:
        """Why a study is pinned; empty when it is not.

        Args:
            backup_name: The study's name at the destinations.
            now: The time, UTC.
        """
        if self.unknown:
            return f"whether it is pinned is not known: {self.unknown}"
        pin = self.latest.get(backup_name)
        return str(pin) if pin and pin.holds(now) else ""

    def standing(self, now: datetime) -> tuple[Pin, ...]:
        """The pins that hold at a moment, by name."""
        return tuple(pin for _, pin in sorted(self.latest.items()) if pin.holds(now))


def parse_pins(content: bytes) -> Pins:
    """Fold the lines of the file to what was said last of each study. Pure.

    Args:
        content: All of the file.
    """
    latest: dict[str, Pin] = {}
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            pin = _parse_line(line)
        except PinError as error:
            return Pins(latest, f"{PINS}.jsonl line {number}: {error} | hint: correct that line, and its mirror in S3")
        latest[pin.backup_name] = pin
    if content and not content.endswith(b"\n"):
        return Pins(latest, f"{PINS}.jsonl ends in the middle of a line | hint: pin the study once more")
    return Pins(latest)


def read_pins(ledger: Ledger) -> Pins:
    """What is pinned. Never raises: what cannot be read is unknown, and what is unknown counts as pinned.

    Args:
        ledger: The ledger whose pins they are.
    """
    try:
        return parse_pins(ledger.read_pins())
    except ResourceError as error:
        return Pins(unknown=described(error))


def add_pin(ledger: Ledger, pin: Pin) -> None:
    """Say of a study that it is pinned, or not any more.

    Args:
        ledger: The ledger beside which it is kept.
        pin: What is said.

    Raises:
        ResourceError: It could not be written, or not be mirrored to S3.
    """
    ledger.append_pin(pin.to_line())


def _parse_line(line: bytes) -> Pin:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise PinError(f"not JSON: {error}") from error
    if not isinstance(data, dict):
        raise PinError(f"not a JSON object but {type(data).__name__}")
    name, pinned, expires = data.get("backup_name"), data.get("pinned"), data.get("expires")
    if not (isinstance(name, str) and name):
        raise PinError(f"backup_name must be text, not {name!r}")
    if not isinstance(pinned, bool):
        raise PinError(f"pinned must be true or false, not {pinned!r}")
    reason, author = str(data.get("reason", "")), str(data.get("author", ""))
    return Pin(
        name, pinned, reason, author, _time("at", data.get("at")), _time("expires", expires) if expires else None
    )


def _time(name: str, value: object) -> datetime:
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError:
        raise PinError(f"{name} must be an ISO-8601 time, not {value!r}") from None
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
