"""Where a mail comes from: which host, when, and how its reader gets from the mail to the lab's config and UI."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from fusion_assets.config import Config
from fusion_assets.notify.letter import Letter, Message, Section, typed, write
from resources.process import this_host


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a mail comes from.

    Attributes:
        host: The host that noticed.
        at: When; with its time zone.
        config_path: The lab's config.toml; None when it has none.
        ui_url: Where the Dagster UI is seen from a reader's desk; empty for nowhere.
    """

    host: str
    at: datetime
    config_path: Path | None = None
    ui_url: str = ""

    def letter(self, headline: str, *sections: Section) -> Message:
        """A mail from here.

        Args:
            headline: What happened, in lower case.
            sections: See `Letter`.
        """
        return write(Letter(headline, self.host, self.at, sections))

    def command(self, line: str) -> str:
        """A command that names the lab's config.toml.

        Args:
            line: The command without it, e.g. ``fusion plan``.
        """
        return f"{line} --config {typed(str(self.config_path))}" if self.config_path else line

    def run_url(self, run_id: str) -> str:
        """Where a run is seen in the Dagster UI; empty when there is no run, or no UI.

        Args:
            run_id: The run; empty for none.
        """
        return f"{self.ui_url.rstrip('/')}/runs/{run_id}" if self.ui_url and run_id else ""

    def shown(self, moment: datetime) -> str:
        """A moment for a person, in the time zone of this mail.

        Args:
            moment: With its time zone.
        """
        return moment.astimezone(self.at.tzinfo).strftime("%Y-%m-%d %H:%M")


def here(config: Config, now: datetime) -> Origin:
    """This host, in the lab's time zone.

    Args:
        config: The lab.
        now: The time, with a time zone.
    """
    zone = config.schedules.timezone
    at = now.astimezone(ZoneInfo(zone) if zone else None)
    return Origin(this_host(), at, config.path, config.notify.ui_url)
