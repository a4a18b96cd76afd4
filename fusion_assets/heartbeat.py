"""The sign of life of a lab's daemon: a file that stays fresh and a URL that is fetched, so that its death is noticed.

What belongs here: giving the sign, and judging its age. What does not: who looks, and whom they tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from fusion_assets.config import Config
from fusion_assets.state import replace_text, state_folder

_FILE = "heartbeat"
_PING_SECONDS = 10.0
# The clocks of two hosts differ by less, and no sign of life takes longer to be written.
_CLOCKS_DIFFER = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What is known of the daemon's life.

    Attributes:
        file: Where its sign of life is.
        at: The last one, UTC; None when there never was one.
        fresh: Whether it is recent enough.
        is_ahead: Whether it is of a time to come: the clock was set back since, and Dagster waits for that time.
    """

    file: Path
    at: datetime | None
    fresh: bool
    is_ahead: bool = False


def heartbeat_file(config: Config) -> Path:
    """Where the sign of life is: as configured, else ``heartbeat`` in the state folder.

    Args:
        config: The lab; a relative path counts from the folder of its config.toml.
    """
    if config.heartbeat.file is None:
        return state_folder(config) / _FILE
    beside = config.path.parent if config.path else Path.cwd()
    return beside / Path(config.heartbeat.file).expanduser()


def beat(config: Config, now: datetime) -> str | None:
    """Give a sign of life.

    Args:
        config: The lab.
        now: The time, UTC.

    Returns:
        What went wrong, for the log; None when all went well.
    """
    problems = []
    try:
        replace_text(heartbeat_file(config), f"{now.astimezone(UTC).isoformat(timespec='seconds')}\n")
    except OSError as error:
        problems.append(f"the heartbeat's file cannot be written: {error}")
    if config.heartbeat.url:
        try:
            with urlopen(config.heartbeat.url, timeout=_PING_SECONDS):  # noqa: S310 - its scheme was checked with the config
                pass
        except (URLError, OSError, ValueError) as error:
            # The path of such a URL is often its password.
            problems.append(f"the heartbeat's URL at {urlsplit(config.heartbeat.url).hostname} did not answer: {error}")
    return "; ".join(problems) or None


def read_heartbeat(config: Config, now: datetime) -> Heartbeat:
    """Judge the last sign of life.

    Args:
        config: The lab.
        now: The time, UTC.
    """
    file = heartbeat_file(config)
    try:
        at = datetime.fromisoformat(file.read_text(encoding="utf-8").strip())
    except (OSError, ValueError):
        return Heartbeat(file, None, fresh=False)
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    is_ahead = at - now > _CLOCKS_DIFFER
    fresh = not is_ahead and now - at <= timedelta(minutes=config.heartbeat.max_age_minutes)
    return Heartbeat(file, at, fresh, is_ahead)
