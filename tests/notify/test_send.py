"""From an event to a mail in a real inbox; and every way in which none goes out, as a sentence."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fusion_assets.config import Config, parse_config
from fusion_assets.notify.backup import BackupFailure, FailedStudy, backup_failure_message
from fusion_assets.notify.letter import Message
from fusion_assets.notify.origin import Origin
from fusion_assets.notify.recipients import Event
from fusion_assets.notify.send import NotSent, Reason, Sent, notify
from resources.smtp_settings import VARIABLES
from tests.notify.mail_servers import PASSWORD, USER, Inbox, free_port, make_authority, server, starttls_server

MESSAGE = backup_failure_message(
    BackupFailure((FailedStudy("s1", "the NAS broke off"),)), Origin("fusion-pc", datetime(2026, 3, 1, tzinfo=UTC))
)


@pytest.fixture(autouse=True)
def _no_credentials_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))


def lab(folder: Path, *, enabled: bool = True, recipients: str = "ops@lab.example\n") -> Config:
    (folder / "recipients").mkdir()
    (folder / "recipients" / "backup_failure.txt").write_text(recipients)
    data = {
        "source": {"root": "/s"},
        "truenas": {"root": "/n"},
        "s3": {"bucket": "lab-archive"},
        "notify": {"enabled": enabled},
    }
    return parse_config(data, path=folder / "config.toml")


def smtp_env(folder: Path, port: int, security: str = "none", login: str = "") -> Path:
    file = folder / "smtp.env"
    file.write_text(
        f"FUSION_SMTP_HOST=127.0.0.1\nFUSION_SMTP_PORT={port}\nFUSION_SMTP_SECURITY={security}\n"
        f"FUSION_SMTP_SENDER=fusion@lab.example\n{login}"
    )
    return file


def test_the_subscribers_get_the_mail_over_starttls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = make_authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    login = f"FUSION_SMTP_USER={USER}\nFUSION_SMTP_APP_PASSWORD={PASSWORD}\n"
    with starttls_server(authority) as inbox:
        env = smtp_env(tmp_path, inbox.port, "starttls", login)
        result = notify(lab(tmp_path), Event.BACKUP_FAILURE, MESSAGE, smtp_env=env)
    assert result == Sent(("ops@lab.example",))
    (mail,) = inbox.mails
    assert mail["Subject"] == "[fusion-toolkit] backup: 1 study failed on fusion-pc"
    text = mail.get_body(("plain",))
    assert text is not None
    assert "s1: the NAS broke off" in text.get_content()
    assert str(result) == "mail sent to ops@lab.example"


def test_bad_lines_and_refused_recipients_are_told_beside_the_success(tmp_path: Path) -> None:
    config = lab(tmp_path, recipients="ops@lab.example\nops at lab\ngone@lab.example\n")
    with server(Inbox(refuse={"gone@lab.example": "550 no such user"})) as inbox:
        result = notify(config, Event.BACKUP_FAILURE, MESSAGE, smtp_env=smtp_env(tmp_path, inbox.port))
    assert isinstance(result, Sent)
    assert result.recipients == ("ops@lab.example",)
    assert len(result.problems) == 2
    assert "line 2: 'ops at lab' is not a mail address" in result.problems[0]
    assert result.problems[1] == "gone@lab.example was refused: 550 no such user"


def not_sent(result: Sent | NotSent) -> NotSent:
    assert isinstance(result, NotSent)
    return result


def test_switched_off_means_not_even_a_connection(tmp_path: Path) -> None:
    with server() as inbox:
        config = lab(tmp_path, enabled=False)
        result = not_sent(notify(config, Event.BACKUP_FAILURE, MESSAGE, smtp_env=smtp_env(tmp_path, inbox.port)))
    assert result.reason is Reason.DISABLED
    assert inbox.mails == []
    assert str(result) == "no mail sent: [notify] enabled is false"


def test_nobody_subscribed_says_where_to_subscribe(tmp_path: Path) -> None:
    result = not_sent(notify(lab(tmp_path, recipients="# nobody\n"), Event.BACKUP_FAILURE, MESSAGE))
    assert result.reason is Reason.NOBODY
    assert str(tmp_path / "recipients" / "backup_failure.txt") in result.sentence


def test_no_credentials_says_where_to_put_them(tmp_path: Path) -> None:
    result = not_sent(notify(lab(tmp_path), Event.BACKUP_FAILURE, MESSAGE))
    assert result.reason is Reason.NO_CREDENTIALS
    assert "FUSION_SMTP_APP_PASSWORD" in result.sentence


def test_a_missing_smtp_env_does_not_fail_the_backup(tmp_path: Path) -> None:
    result = not_sent(notify(lab(tmp_path), Event.BACKUP_FAILURE, MESSAGE, smtp_env=tmp_path / "nowhere.env"))
    assert result.reason is Reason.SETTINGS
    assert "nowhere.env" in result.sentence


def test_a_server_that_is_down_does_not_fail_the_backup(tmp_path: Path) -> None:
    env = smtp_env(tmp_path, free_port())
    result = not_sent(notify(lab(tmp_path), Event.BACKUP_FAILURE, MESSAGE, smtp_env=env))
    assert result.reason is Reason.UNAVAILABLE
    assert "cannot be reached" in result.sentence


def test_a_refused_login_does_not_fail_the_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = make_authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    login = f"FUSION_SMTP_USER={USER}\nFUSION_SMTP_APP_PASSWORD=S3CRET\n"
    with starttls_server(authority) as inbox:
        env = smtp_env(tmp_path, inbox.port, "starttls", login)
        result = not_sent(notify(lab(tmp_path), Event.BACKUP_FAILURE, MESSAGE, smtp_env=env))
    assert result.reason is Reason.REFUSED
    assert str(env) in result.sentence
    assert "S3CRET" not in repr(result)


def test_even_a_mistake_of_ours_does_not_fail_the_backup(tmp_path: Path) -> None:
    impossible = Message("subject", None)  # type: ignore[arg-type]  # the mistake
    with server() as inbox:
        env = smtp_env(tmp_path, inbox.port)
        result = not_sent(notify(lab(tmp_path), Event.BACKUP_FAILURE, impossible, smtp_env=env))
    assert result.reason is Reason.UNEXPECTED
    assert inbox.mails == []
