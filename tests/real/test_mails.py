"""Mails of the command line over a real lab and a real mail server that wants STARTTLS and a login."""

from __future__ import annotations

from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.notify.mail_lab import write
from tests.notify.mail_servers import PASSWORD, USER, Authority, Inbox, free_port, make_authority, starttls_server
from tests.real.small_lab import LOCK, STUDY, SmallLab

pytestmark = pytest.mark.real


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    made = make_authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.ca_file))
    return made


@pytest.fixture
def lab(small_lab: SmallLab) -> SmallLab:
    small_lab.add_study()
    (small_lab.folder / "recipients").mkdir()
    (small_lab.folder / "recipients" / "default.txt").write_text("ops@lab.example\n")
    small_lab.config.write_text(f"{small_lab.config.read_text()}[notify]\nenabled = true\n")
    return small_lab


def smtp_env(lab: SmallLab, port: int) -> tuple[str, str]:
    file = lab.folder / "smtp.env"
    write(
        file,
        f"FUSION_SMTP_HOST=127.0.0.1\nFUSION_SMTP_PORT={port}\nFUSION_SMTP_USER={USER}\n"
        f"FUSION_SMTP_APP_PASSWORD={PASSWORD}\n",
    )
    return "--smtp-env", str(file)


def text_of(mail: EmailMessage) -> str:
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def test_a_run_that_fails_every_month_mails_every_month(lab: SmallLab, authority: Authority) -> None:
    (lab.study / LOCK).write_text("{}")
    with starttls_server(authority) as inbox:
        for _ in range(2):
            done = lab.fusion("backup", "run", *smtp_env(lab, inbox.port))
            assert done.returncode == 1
            assert "mail sent: [fusion-toolkit] backup stopped" in done.stderr
    assert len(inbox.mails) == 2
    assert inbox.logins == [True, True]
    assert f"{STUDY} is locked" in text_of(inbox.mails[0])


def test_what_could_not_be_sent_goes_out_once_with_the_next_run_that_goes_well(
    lab: SmallLab, authority: Authority
) -> None:
    (lab.study / LOCK).write_text("{}")
    nowhere = smtp_env(lab, free_port())
    for _ in range(2):
        done = lab.fusion("backup", "run", *nowhere)
        assert done.returncode == 1
        assert "mail waits" in done.stderr
    listed = lab.fusion("notify", "waiting")
    assert listed.stdout.count("[fusion-toolkit] backup stopped") == 2
    assert "cannot be reached" in listed.stdout
    (lab.study / LOCK).unlink()
    with starttls_server(authority) as inbox:
        for _ in range(2):
            done = lab.fusion("backup", "run", *smtp_env(lab, inbox.port))
            assert done.returncode == 0, done.stderr
    subjects = [str(mail["Subject"]) for mail in inbox.mails]
    assert len(subjects) == 2  # the one that was tried may have arrived: nothing was added to it
    assert len({mail["Message-ID"] for mail in inbox.mails}) == 2
    assert "a mail that waited was sent" not in done.stderr
    assert lab.fusion("notify", "waiting").stdout == "no mail waits\n"


def test_a_person_can_send_what_waits(lab: SmallLab, authority: Authority) -> None:
    (lab.study / LOCK).write_text("{}")
    nowhere = smtp_env(lab, free_port())
    lab.fusion("backup", "run", *nowhere)
    still = lab.fusion("notify", "flush", *nowhere)
    assert (still.returncode, "mails that still wait: 1: " in still.stderr) == (3, True)
    with starttls_server(authority) as inbox:
        sent = lab.fusion("notify", "flush", *smtp_env(lab, inbox.port))
        assert (sent.returncode, "sent: [fusion-toolkit] backup stopped" in sent.stdout) == (0, True)
        again = lab.fusion("notify", "flush", *smtp_env(lab, inbox.port))
        assert (again.returncode, again.stdout) == (0, "no mail waits\n")
    assert len(inbox.mails) == 1


def test_a_mistake_of_ours_is_mailed_like_any_failure_and_with_its_traceback_to_who_maintains_us(
    lab: SmallLab, authority: Authority
) -> None:
    (lab.folder / "recipients" / "toolkit_error.txt").write_text("dev@lab.example\n")
    (lab.folder / ".fusion").mkdir()
    broken = lab.folder / "sitecustomize.py"
    broken.write_text("import cli.backup\ncli.backup.refuse_locks = lambda lab: 1 / 0\n")
    with starttls_server(authority) as inbox:
        done = lab.fusion("backup", "run", *smtp_env(lab, inbox.port), through=("env", f"PYTHONPATH={lab.folder}"))
    assert done.returncode == 3, done.stderr
    assert "unexpected ZeroDivisionError" in done.stderr
    to_ops, to_dev = _by_recipient(inbox, "ops@lab.example"), _by_recipient(inbox, "dev@lab.example")
    assert "unexpected ZeroDivisionError: division by zero" in text_of(to_ops)
    assert "| Traceback (most recent call last):" in text_of(to_dev)


def _by_recipient(inbox: Inbox, address: str) -> EmailMessage:
    (mail,) = (mail for mail in inbox.mails if mail["To"] == address)
    return mail
