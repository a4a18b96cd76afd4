"""A lab that mails, on a mail server of its own, and a clock that a test turns."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fusion_assets.config import Config, Event, parse_config
from fusion_assets.notify.letter import Message
from fusion_assets.notify.mailbox import Mailbox

AT = datetime(2026, 3, 1, 2, tzinfo=UTC)


@dataclass
class Clock:
    now: datetime = AT

    def __call__(self) -> datetime:
        return self.now

    def turn(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass
class MailLab:
    """A folder with config, recipients and credentials for a server on 127.0.0.1."""

    folder: Path
    port: int
    notify: dict[str, Any] = field(default_factory=dict)
    recipients: str = "ops@lab.example\n"
    login: str = ""
    security: str = "none"
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        (self.folder / "recipients").mkdir(exist_ok=True)
        write(self.folder / "recipients" / "default.txt", self.recipients)
        write(
            self.smtp_env,
            f"FUSION_SMTP_HOST=127.0.0.1\nFUSION_SMTP_PORT={self.port}\nFUSION_SMTP_SECURITY={self.security}\n"
            f"FUSION_SMTP_SENDER=fusion@lab.example\n{self.login}",
        )

    @property
    def smtp_env(self) -> Path:
        return self.folder / "smtp.env"

    @property
    def config(self) -> Config:
        data = {
            "source": {"root": "/s"},
            "truenas": {"root": "/n"},
            "s3": {"bucket": "lab-archive"},
            "notify": {"enabled": True, **self.notify},
        }
        return parse_config(data, path=self.folder / "config.toml")

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def mailbox(self) -> Mailbox:
        """As another process would have it: nothing is kept between two of them but what is on disk."""
        return Mailbox(self.config, smtp_env=self.smtp_env, folder=self.state, clock=self.clock)

    def post(self, *causes: str, fingerprint: str = "1", event: Event = Event.CHECK_FAILED, **options: Any) -> Any:
        return self.mailbox.post(event, dict.fromkeys(causes, fingerprint), say, **options)


def write(file: Path, content: str) -> None:
    """Only what is new: another process may be reading."""
    if not file.exists() or file.read_text() != content:
        file.write_text(content)


def say(causes: Any) -> Message:
    return Message(f"[fusion-toolkit] {', '.join(causes)}", f"About {', '.join(causes)}.\n", None)
