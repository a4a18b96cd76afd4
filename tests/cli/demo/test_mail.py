"""The demonstration's mail server, with our own client."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cli.demo.mail import mail_server
from cli.demo.servers import ServerError, free_port
from resources.smtp import Mail, SmtpClient, credentials

MAIL = Mail("fusion@lab.example", ("ops@lab.example",), "a study failed", "why\n")


def send(env: dict[str, str]) -> None:
    settings = credentials(None, env)
    assert settings is not None
    SmtpClient(settings).send(MAIL)


def test_every_mail_becomes_a_file_and_a_second_demonstration_overwrites_none(tmp_path: Path) -> None:
    for _ in range(2):
        with mail_server(tmp_path / "mail", free_port()) as env:
            send(env)
            send(env)
    assert sorted(file.name for file in (tmp_path / "mail").iterdir()) == ["1.eml", "2.eml", "3.eml", "4.eml"]
    assert b"Subject: a study failed" in (tmp_path / "mail" / "4.eml").read_bytes()


def test_the_mail_account_of_whoever_runs_the_demonstration_is_left_alone(tmp_path: Path) -> None:
    mine = {"FUSION_SMTP_USER": "me@gmail.com", "FUSION_SMTP_APP_PASSWORD": "secret"}
    with mail_server(tmp_path / "mail", port := free_port()) as env:
        settings = credentials(None, {**mine, **env})
    assert settings is not None
    assert (settings.host, settings.port, settings.user, settings.password) == ("127.0.0.1", port, "", "")


def test_a_taken_port_is_said_to_be_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=rf"did not start on 127\.0\.0\.1:{port}"), mail_server(tmp_path, port):
            pass
