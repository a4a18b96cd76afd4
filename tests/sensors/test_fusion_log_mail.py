"""Mails about the instrument's log: one for each error, none lost, none for what was told."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from fusion_assets.config import Config, Event, parse_config
from fusion_assets.monitor import MonitorState, Tailed
from fusion_assets.notify.mailbox import Mailbox
from fusion_assets.notify.posted import Fate
from resources.errors import UnavailableError
from resources.smtp_settings import VARIABLES
from sensors.fusion_log_mail import tell_of_log
from tests.monitor.synthetic import NOW, Watched, error, info


@pytest.fixture(autouse=True)
def _a_server_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FUSION_SMTP_HOST", "127.0.0.1")
    monkeypatch.setenv("FUSION_SMTP_PORT", "1")
    monkeypatch.setenv("FUSION_SMTP_SECURITY", "none")
    monkeypatch.setenv("FUSION_SMTP_FROM", "fusion@lab.example")


class Lab:
    """A lab whose mails wait in the mailbox, where they can be counted."""

    def __init__(self, folder: Path, **monitor: object) -> None:
        (folder / "recipients").mkdir()
        (folder / "recipients" / "default.txt").write_text("oncall@lab.example\n")
        self.log = Watched(folder)
        self.now = NOW
        self.config: Config = parse_config(
            {
                "source": {"root": "/s", "log": str(self.log.file)},
                "truenas": {"root": "/n"},
                "s3": {"bucket": "lab-archive"},
                "monitor": monitor,
                "notify": {"enabled": True},
            },
            path=folder / "config.toml",
        )
        self.mailbox = Mailbox(self.config, folder=folder / "state", clock=self.clock)

    def clock(self) -> datetime:
        return self.now

    def tell(self, tailed: Tailed) -> list[Fate]:
        return [posted.fate for posted in tell_of_log(self.config, self.mailbox, tailed, self.now)]

    def waiting(self) -> list[Event]:
        return [mail.event for mail in self.mailbox.waiting()]


def test_a_look_that_is_taken_again_after_a_crash_mails_nothing_twice(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.log.write(error("stuck"), info("on"))
    for _ in range(3):
        lab.tell(lab.log.look(save=False))
    lab.log.write(error("other"), info("on"))
    lab.tell(lab.log.look())
    assert lab.waiting() == [Event.FUSION_ERROR, Event.FUSION_ERROR]
    assert [mail.subject for mail in lab.mailbox.waiting()][1].count("other") == 1


def test_an_error_that_comes_again_after_its_days_is_mailed_again(tmp_path: Path) -> None:
    lab = Lab(tmp_path, sent_keep_days=30)
    for days in (0, 29, 1.001):
        lab.now += timedelta(days=days)
        lab.log.now = lab.now
        lab.log.write(error("stuck"), info("on"))
        lab.tell(lab.log.look())
    assert lab.waiting() == [Event.FUSION_ERROR] * 2


def test_with_no_days_to_keep_every_error_is_mailed_but_none_twice(tmp_path: Path) -> None:
    lab = Lab(tmp_path, sent_keep_days=0)
    for _ in range(3):
        lab.log.write(error("stuck"), info("on"))
        lab.log.state = MonitorState(lab.log.state.log, lab.log.state.position)
        lab.tell(lab.log.look(save=False))
        lab.tell(lab.log.look())
    assert lab.waiting() == [Event.FUSION_ERROR] * 3


def test_a_log_that_cannot_be_read_is_mailed_once_until_it_can_be_again(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    for _ in range(2):
        lab.log.write(info("on"))
        assert lab.tell(lab.log.look()) == []
        lab.log.file.unlink()
        for _ in range(10):
            lab.tell(lab.log.look(after=300))
    assert lab.waiting() == [Event.MONITOR_CRASH] * 2


def test_an_error_that_can_be_neither_queued_nor_sent_makes_the_look_not_count(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    (tmp_path / "file").write_text("")
    lab.mailbox = Mailbox(lab.config, folder=tmp_path / "file", clock=lab.clock)
    lab.log.write(error("stuck"), info("on"))
    with pytest.raises(UnavailableError, match="looked for again"):
        lab.tell(lab.log.look(save=False))


def test_with_mails_switched_off_errors_are_told_to_nobody_and_that_is_no_error(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.config = lab.config.model_copy(update={"notify": lab.config.notify.model_copy(update={"enabled": False})})
    lab.mailbox = Mailbox(lab.config, folder=tmp_path / "state", clock=lab.clock)
    lab.log.write(error("stuck"), info("on"))
    assert lab.tell(lab.log.look()) == [Fate.DROPPED]
