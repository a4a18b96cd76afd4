"""What the monitor remembers between two looks, and the file it is kept in.

What belongs here: the plain data, its JSON, and the lock under which one look at a time is taken. What does not: how
the data changes (`tail`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fusion_assets.config import ConfigError
from fusion_assets.monitor.blocks import NOTHING, Context
from fusion_assets.state import replace_text

STATE_FILE = "monitor.json"
LOCK_FILE = "monitor.lock"
VERSION = 1

# 200 characters each; the oldest are forgotten first. Nobody reads mails about more different errors than that.
MAX_SENT = 20_000
_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Position:
    """How far a log was read, and how the file is recognised.

    Attributes:
        name: The file's name when it was last seen; the log's own, or that which a rotation gave it.
        file_id: Its inode or file index; 0 where the storage gives none.
        offset: Up to where it is done, in bytes; at a line's end.
        head_bytes: How many of its first bytes were there when it was last looked at, 1,024 at the most.
        head: SHA-256 of these.
        mark: SHA-256 of the last 1,024 bytes before `offset`.
        codec: Its encoding; empty while nothing of it is done.
        context: The sample and cycle named last.
        size: Its length when it was last looked at.
        since: Since when it has had that length.
    """

    name: str
    file_id: int = 0
    offset: int = 0
    head_bytes: int = 0
    head: str = ""
    mark: str = ""
    codec: str = ""
    context: Context = NOTHING
    size: int = 0
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the log cannot be read.

    Attributes:
        sentence: For a person.
        since: Since when.
        told: Whether somebody was told.
    """

    sentence: str
    since: datetime
    told: bool = False


@dataclass(frozen=True, slots=True)
class MonitorState:
    """What is remembered.

    Attributes:
        log: Which log this is about, as config.toml names it.
        position: How far it was read; None before the first look.
        sent: When an error was last reported, by key.
        trouble: Why the log cannot be read now; None if it can.
    """

    log: str = ""
    position: Position | None = None
    sent: Mapping[str, datetime] = field(default_factory=dict)
    trouble: Trouble | None = None

    def remembering(self, keys: Mapping[str, datetime], now: datetime, keep: timedelta) -> MonitorState:
        """The same with errors that were reported, and without those that are too old to be kept."""
        kept = {key: at for key, at in {**self.sent, **keys}.items() if now - at < keep}
        newest = sorted(kept.items(), key=lambda item: item[1])[-MAX_SENT:]
        return replace(self, sent=dict(newest))

    def as_of(self, now: datetime) -> MonitorState:
        """The same, seen by a clock that may have been set back: what it reported in times to come counts from now."""
        if all(at <= now for at in self.sent.values()):
            return self
        return replace(self, sent={key: min(at, now) for key, at in self.sent.items()})


def load_state(folder: Path) -> MonitorState:
    """What was remembered; an empty state before the first look.

    Args:
        folder: The lab's state folder.

    Raises:
        ConfigError: The file cannot be understood. Beginning anew would miss errors or repeat them: a person decides.
    """
    file = folder / STATE_FILE
    try:
        return state_from_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return MonitorState()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{file} cannot be understood ({type(error).__name__}: {error}), so it is not known how far the log "
            "was read | hint: run fusion monitor tail --once --from-start to read all of it, or remove the file to "
            "begin at the log's end"
        ) from error


def save_state(folder: Path, state: MonitorState) -> None:
    """Replace what was remembered, atomically.

    Args:
        folder: The lab's state folder; made if it is not there.
        state: What to remember.
    """
    replace_text(folder / STATE_FILE, state_to_json(state))


@contextmanager
def only_one_look(folder: Path) -> Iterator[None]:
    """Hold the monitor's lock on this host: the command line and the sensor never read the same lines at once.

    The system releases it when a process dies. Whoever holds it takes a bounded look: waiting is short.

    Args:
        folder: The lab's state folder; made if it is not there.

    Raises:
        filelock.Timeout: Another look took longer than ten seconds.
    """
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK_FILE, timeout=_PATIENCE_SECONDS):
        yield


def state_to_json(state: MonitorState) -> str:
    """As text, one line."""
    return json.dumps({"version": VERSION, **asdict(state)}, default=datetime.isoformat) + "\n"


def state_from_json(text: str) -> MonitorState:
    """From text; ``ValueError``, ``KeyError`` or ``TypeError`` if it is not what `state_to_json` wrote."""
    said = json.loads(text)
    if said["version"] != VERSION:
        raise ValueError(f"version {said['version']!r}")
    position, trouble = said["position"], said["trouble"]
    return MonitorState(
        str(said["log"]),
        _position(position) if position else None,
        {str(key): _moment(at) for key, at in said["sent"].items()},
        Trouble(str(trouble["sentence"]), _moment(trouble["since"]), bool(trouble["told"])) if trouble else None,
    )


def _position(said: Mapping[str, Any]) -> Position:
    since = said["since"]
    position = Position(**{**said, "context": Context(**said["context"]), "since": _moment(since) if since else None})
    numbers = (position.offset, position.size, position.head_bytes, position.file_id)
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError(f"offset, size, head_bytes and file_id are {numbers}")
    return position


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
