"""`fusion notify`, as an operator types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.demo.mail import mail_server
from cli.demo.servers import free_port
from cli.notify import command
from fusion_assets.config import Event, load_config
from fusion_assets.notify.letter import Message
from fusion_assets.notify.mailbox import Mailbox
from fusion_assets.notify.posted import Fate
from resources.smtp_settings import VARIABLES

CONFIG = '[source]\nroot = "/s"\n[truenas]\nroot = "/n"\n[s3]\nbucket = "lab-archive"\n[notify]\nenabled = {enabled}\n'


@pytest.fixture(autouse=True)
def _no_credentials_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    recipients = tmp_path / "recipients"
    recipients.mkdir()
    (recipients / "backup_failure.txt").write_text("ops@lab.example\nmanager@lab.example\n")
    (recipients / "default.txt").write_text("all@lab.example\nall at lab\n")
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.format(enabled="true"))
    return path


def fusion_notify(*arguments: str | Path, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], env=env)


def test_every_event_is_listed_with_its_subscribers_and_their_file(config: Path) -> None:
    result = fusion_notify("list-subscribers", "--config", config)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    own, default = config.parent / "recipients" / "backup_failure.txt", config.parent / "recipients" / "default.txt"
    assert lines[0] == f"backup_failure    ops@lab.example, manager@lab.example  ({own})"
    assert lines[4] == f"toolkit_error     all@lab.example  ({default})"
    assert len(lines) == 9
    assert result.stderr.count("'all at lab' is not a mail address") == 1


def test_the_list_can_be_read_by_programs(config: Path) -> None:
    result = fusion_notify("list-subscribers", "--event", "backup_failure", "-f", "json", "--config", config)
    assert json.loads(result.stdout) == {
        "enabled": True,
        "recipients_dir": str(config.parent / "recipients"),
        "events": [
            {
                "event": "backup_failure",
                "recipients": ["ops@lab.example", "manager@lab.example"],
                "source": str(config.parent / "recipients" / "backup_failure.txt"),
                "problems": [],
            }
        ],
    }


def test_an_unknown_event_is_refused_with_the_known_ones(config: Path) -> None:
    result = fusion_notify("test", "--event", "backup_failed", "--config", config)
    assert result.exit_code == 2
    assert "backup_failure" in result.output


def test_a_test_mail_arrives(config: Path, tmp_path: Path) -> None:
    with mail_server(tmp_path / "mail", free_port()) as env:
        result = fusion_notify("test", "--event", "backup_failure", "--config", config, env=env)
    assert result.exit_code == 0, result.output
    assert "mail sent to ops@lab.example, manager@lab.example" in result.output
    (mail,) = (tmp_path / "mail").iterdir()
    assert "Subject: [fusion-toolkit] TEST of backup_failure" in mail.read_text()


def test_a_dry_run_shows_the_mail_and_sends_nothing(config: Path, tmp_path: Path) -> None:
    with mail_server(tmp_path / "mail", free_port()) as env:
        result = fusion_notify("test", "--event", "backup_failure", "--dry-run", "--config", config, env=env)
    assert result.exit_code == 0, result.output
    assert "To:      ops@lab.example, manager@lab.example" in result.output
    assert "dry run: nothing was sent" in result.output
    assert list((tmp_path / "mail").iterdir()) == []


def test_mails_can_be_tried_before_they_are_switched_on(config: Path, tmp_path: Path) -> None:
    config.write_text(CONFIG.format(enabled="false"))
    with mail_server(tmp_path / "mail", free_port()) as env:
        result = fusion_notify("test", "--event", "cleanup_failure", "--config", config, env=env)
    assert result.exit_code == 0, result.output
    assert "mails are switched off" in result.output
    assert len(list((tmp_path / "mail").iterdir())) == 1


def test_missing_credentials_exit_as_a_wrong_configuration(config: Path) -> None:
    for dry_run in ((), ("--dry-run",)):
        result = fusion_notify("test", "--event", "backup_failure", *dry_run, "--config", config)
        assert result.exit_code == 2
        assert "no mail sent: no mail credentials" in result.stderr


def test_a_server_that_is_down_exits_as_an_error_of_the_world(config: Path) -> None:
    env = {"FUSION_SMTP_HOST": "127.0.0.1", "FUSION_SMTP_PORT": str(free_port()), "FUSION_SMTP_SECURITY": "none"}
    result = fusion_notify("test", "--event", "backup_failure", "--config", config, env=env)
    assert result.exit_code == 3
    assert "cannot be reached" in result.stderr


@pytest.fixture
def waiting(config: Path) -> Path:
    """A lab in which one mail waits for a server that is down."""
    env = config.parent / "down.env"
    env.write_text(f"FUSION_SMTP_HOST=127.0.0.1\nFUSION_SMTP_PORT={free_port()}\nFUSION_SMTP_SECURITY=none\n")
    message = Message("[fusion-toolkit] backup: 1 study failed", "It did.\n")
    posted = Mailbox(load_config(config), smtp_env=env).send(Event.BACKUP_FAILURE, message)
    assert posted.fate is Fate.WAITING
    return config


def test_what_waits_is_shown_with_why(waiting: Path) -> None:
    result = fusion_notify("waiting", "--config", waiting)
    assert result.exit_code == 0, result.output
    assert "UTC  [fusion-toolkit] backup: 1 study failed\n" in result.stdout
    assert "cannot be reached" in result.stdout


def test_what_waits_can_be_read_by_programs(waiting: Path) -> None:
    result = fusion_notify("waiting", "-f", "json", "--config", waiting)
    (mail,) = json.loads(result.stdout)["waiting"]
    assert (mail["event"], mail["subject"]) == ("backup_failure", "[fusion-toolkit] backup: 1 study failed")
    assert set(mail) == {"event", "subject", "since", "why"}


def test_where_nothing_waits_nothing_is_made(config: Path) -> None:
    for command_ in ("waiting", "flush"):
        result = fusion_notify(command_, "--config", config)
        assert (result.exit_code, result.stdout) == (0, "no mail waits\n")
    assert not (config.parent / ".fusion").exists()


def test_what_waits_is_sent_when_a_person_says_so(waiting: Path, tmp_path: Path) -> None:
    with mail_server(tmp_path / "mail", free_port()) as env:
        result = fusion_notify("flush", "--config", waiting, env=env)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("sent: [fusion-toolkit] backup: 1 study failed (mail sent to ops@lab.example")
    assert len(list((tmp_path / "mail").iterdir())) == 1


def test_nothing_is_sent_while_mails_are_switched_off(waiting: Path, tmp_path: Path) -> None:
    waiting.write_text(CONFIG.format(enabled="false"))
    with mail_server(tmp_path / "mail", free_port()) as env:
        result = fusion_notify("flush", "--config", waiting, env=env)
    assert result.exit_code == 2
    assert "mails that still wait: 1: [notify] enabled is false" in result.stderr
    assert list((tmp_path / "mail").iterdir()) == []
