"""Mails of our own warnings: once each, never about themselves, never in the way."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.config import Event
from fusion_assets.notify.log_mail import OWN_LOGGERS, LogMail, install_log_mail, normalised
from fusion_assets.notify.mailbox import Mailbox
from resources.smtp_settings import VARIABLES
from tests.notify.mail_lab import MailLab
from tests.notify.mail_servers import Inbox, free_port, server


@pytest.fixture(autouse=True)
def _no_credentials_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with server() as running:
        yield running


@pytest.fixture
def handlers() -> Iterator[list[LogMail]]:
    """Handlers a test installed; taken away after it."""
    made: list[LogMail] = []
    yield made
    for each in made:
        each.close()
    for name in OWN_LOGGERS:
        logging.getLogger(name).handlers.clear()


def install(lab: MailLab, handlers: list[LogMail], **options: bool) -> LogMail:
    handler = install_log_mail(lab.config, mailbox=lab.mailbox, **options)
    assert handler
    handler._clock = lab.clock
    handlers.append(handler)
    return handler


def texts(inbox: Inbox) -> list[str]:
    found = []
    for mail in inbox.mails:
        part = mail.get_body(("plain",))
        assert part
        found.append(part.get_content())
    return found


def test_a_warning_of_ours_is_mailed_and_one_of_a_library_is_not(
    tmp_path: Path, inbox: Inbox, handlers: list[LogMail]
) -> None:
    handler = install(MailLab(tmp_path, inbox.port), handlers)
    logging.getLogger("resources.smb_login").warning("the server offers no encryption")
    logging.getLogger("resources.smb_login").info("connected")
    logging.getLogger("botocore").error("not ours")
    handler.flush()
    (text,) = texts(inbox)
    assert str(inbox.mails[0]["Subject"]).startswith("[fusion-toolkit] warning: the server offers no encryption on ")
    assert "WARNING of resources.smb_login" in text
    assert "not ours" not in text


def test_the_same_warning_is_mailed_once_a_day_and_counted(
    tmp_path: Path, inbox: Inbox, handlers: list[LogMail]
) -> None:
    lab = MailLab(tmp_path, inbox.port)
    handler = install(lab, handlers)
    for number in range(100):
        logging.getLogger("cli.run").warning(
            "try %d of s1 failed after %.1f s at 2026-03-01 02:00:%02d", number, number / 3, number % 60
        )
        handler.flush()
        lab.clock.turn(minutes=10)
    assert len(inbox.mails) == 1
    lab.clock.turn(days=1)
    logging.getLogger("cli.run").warning("try 101 of s1 failed after 7 s at 2026-03-02 02:00:00")
    handler.flush()
    assert ", 100 times" in texts(inbox)[1]


def test_different_warnings_within_the_cooldown_are_one_mail(
    tmp_path: Path, inbox: Inbox, handlers: list[LogMail]
) -> None:
    lab = MailLab(tmp_path, inbox.port, notify={"toolkit_error_cooldown_seconds": 300})
    handler = install(lab, handlers)
    for name in ("s1", "s2", "s3", "s4"):
        logging.getLogger("sensors").error("cannot read %s", name)
        handler.flush()
        lab.clock.turn(seconds=60)
    assert len(inbox.mails) == 1
    lab.clock.turn(seconds=60)
    lab.mailbox.deliver()
    assert len(inbox.mails) == 2
    assert all(f"cannot read {name}" in texts(inbox)[1] for name in ("s2", "s3", "s4"))


def test_an_exception_brings_its_traceback(tmp_path: Path, inbox: Inbox, handlers: list[LogMail]) -> None:
    handler = install(MailLab(tmp_path, inbox.port), handlers)
    try:
        {}["sample"]
    except KeyError:
        logging.getLogger("fusion_assets.monitor").exception("the look failed")
    handler.flush()
    assert "KeyError: 'sample'" in texts(inbox)[0]


def test_mailing_never_mails_about_itself(
    tmp_path: Path, handlers: list[LogMail], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = MailLab(tmp_path, free_port())
    handler = install(lab, handlers)
    post, posts = Mailbox.post, []

    def warns(self: Mailbox, *arguments: object, **options: object) -> object:
        posts.append(arguments)
        logging.getLogger("resources.process").warning("from within mailing, in the thread that mails")
        logging.getLogger("resources.smtp").warning("from within mailing")
        other = threading.Thread(
            target=lambda: logging.getLogger("fusion_assets.notify.x").error("another thread of it")
        )
        other.start()
        other.join()
        return post(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Mailbox, "post", warns)
    logging.getLogger("cli").warning("the first")
    began = time.monotonic()
    handler.acquire()  # as `logging` does at exit
    try:
        handler.flush()
        handler.flush()
    finally:
        handler.release()
    assert time.monotonic() - began < 10
    assert len(posts) == 1
    (waiting,) = lab.mailbox.waiting()
    assert "the first" in waiting.subject


def test_who_logs_is_not_held_up_and_never_hears_of_trouble(
    tmp_path: Path, handlers: list[LogMail], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = install(MailLab(tmp_path, free_port()), handlers)
    held = threading.Event()

    def stuck(*_: object, **__: object) -> None:
        held.wait(10)
        raise RuntimeError("the mailbox broke")

    monkeypatch.setattr(Mailbox, "post", stuck)
    for number in range(1000):
        logging.getLogger("cli").warning("s%d_ is late", number)  # returns although the mailbox does not
    assert not held.is_set()
    held.set()
    handler.flush()


def test_what_cannot_be_formatted_does_not_stop_the_work(
    tmp_path: Path, inbox: Inbox, handlers: list[LogMail], capsys: pytest.CaptureFixture[str]
) -> None:
    handler = install(MailLab(tmp_path, inbox.port), handlers)
    handler.handle(logging.LogRecord("cli", logging.WARNING, "x.py", 1, "%d studies", ("three",), None))
    handler.flush()
    assert inbox.mails == []
    assert "Logging error" in capsys.readouterr().err


def test_it_is_installed_once_and_not_at_all_when_mails_are_off(tmp_path: Path, handlers: list[LogMail]) -> None:
    assert install_log_mail(MailLab(tmp_path, 25, notify={"enabled": False}).config) is None
    first = install(MailLab(tmp_path, 25), handlers)
    assert install_log_mail(MailLab(tmp_path, 25).config) is first
    other = MailLab(tmp_path, 25, notify={"toolkit_error_cooldown_seconds": 7})
    assert install(other, handlers) is not first
    assert sum(isinstance(each, LogMail) for each in logging.getLogger("cli").handlers) == 1


def test_a_command_that_ends_sends_all_of_its_warnings_and_still_prints_them(tmp_path: Path, inbox: Inbox) -> None:
    lab = MailLab(tmp_path, inbox.port)
    code = """
        import logging, sys, time
        from pathlib import Path
        from fusion_assets.notify.log_mail import install_log_mail
        from tests.notify.mail_lab import MailLab
        lab = MailLab(Path(sys.argv[1]), int(sys.argv[2]))
        handler = install_log_mail(lab.config, mailbox=lab.mailbox, all_at_exit=sys.argv[3] == "all")
        logging.getLogger("cli").warning("the first")
        handler.flush()
        logging.getLogger("cli").warning("the second")
    """
    script = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path), str(inbox.port)]
    done = subprocess.run([*script, "all"], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.splitlines() == ["the first", "the second"]
    assert ["the first" in text for text in texts(inbox)] == [True, False]
    assert lab.mailbox.waiting() == ()


def test_a_run_of_the_daemon_leaves_its_warnings_to_the_daemon(
    tmp_path: Path, inbox: Inbox, handlers: list[LogMail]
) -> None:
    lab = MailLab(tmp_path, inbox.port)
    handler = install(lab, handlers)
    logging.getLogger("cli").warning("the first")
    handler.flush()
    logging.getLogger("cli").warning("the second")
    handler.close()
    assert len(inbox.mails) == 1
    assert [waiting.event for waiting in lab.mailbox.waiting()] == [Event.TOOLKIT_ERROR]


@pytest.mark.parametrize(
    ("message", "same"),
    [
        ("s1 failed after 3.5 s", "s1 failed after 17 s"),
        ("at 2026-03-01T02:00:00.123+00:00: x", "at 2027-12-31 23:59:59Z: x"),
        ("pid 17, 3 files, 20%", "pid 4711, 12,000 files, 3%"),
        ("run 6f0b2f0e-5a0c-4c57-9d53-0e6f1f6b7c11 at 0x7f", "run 7f0b2f0e-5a0c-4c57-9d53-0e6f1f6b7c12 at 0x8a01"),
    ],
)
def test_numbers_and_moments_make_no_other_message(message: str, same: str) -> None:
    assert normalised(message) == normalised(same)


def test_another_study_is_another_message() -> None:
    assert normalised("20260105_WW_HCC_run1 is late") != normalised("20260106_WW_HCC_run2 is late")


words = st.text(st.characters(exclude_categories=["N", "Cs"]), max_size=40)


@given(words, words, st.integers(0), st.floats(0, 1e15))
def test_a_number_never_makes_another_message(before: str, after: str, one: int, other: float) -> None:
    first, second = (normalised(f"{before} {number} {after}") for number in (one, f"{other:.2f}"))
    assert first == second
    assert len(first) <= 200
