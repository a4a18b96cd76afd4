"""One mail per cause until it changes: with servers that fail, processes that die, clocks that jump, and full disks."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from fusion_assets.config import Event, NotifySection
from fusion_assets.notify.letter import Message
from fusion_assets.notify.mailbox import COOLDOWN_MINUTES, Mailbox, cooldown_seconds
from fusion_assets.notify.posted import Fate
from resources.process import this_host
from resources.smtp_settings import VARIABLES
from tests.notify.mail_lab import AT, MailLab, say
from tests.notify.mail_servers import PASSWORD, USER, Inbox, free_port, make_authority, server, starttls_server


@pytest.fixture(autouse=True)
def _no_credentials_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with server() as running:
        yield running


def subjects(inbox: Inbox) -> list[str]:
    return [str(mail["Subject"]).removeprefix("[fusion-toolkit] ") for mail in inbox.mails]


def plain(inbox: Inbox) -> str:
    """The text of the last mail."""
    text = inbox.mails[-1].get_body(("plain",))
    assert text is not None
    return "\n".join(str(text.get_content()).splitlines())


def test_a_cause_is_mailed_once_until_it_changes(tmp_path: Path, inbox: Inbox) -> None:
    lab = MailLab(tmp_path, inbox.port, notify={"cooldown_minutes": {"check_failed": 0}})
    fates = [lab.post("check:s1", fingerprint=print_).fate for print_ in ("1", "1", "2", "2", "1")]
    assert fates == [Fate.SENT, Fate.NOTHING_NEW, Fate.SENT, Fate.NOTHING_NEW, Fate.SENT]
    assert subjects(inbox) == ["check:s1"] * 3


def test_only_what_is_new_is_told_and_nothing_is_written_when_nothing_is(tmp_path: Path, inbox: Inbox) -> None:
    lab = MailLab(tmp_path, inbox.port, notify={"cooldown_minutes": {"check_failed": 0}})
    lab.post("a", "b")
    posted = lab.post("a", "b", "c")
    assert posted.new == ("c",)
    assert subjects(inbox) == ["a, b", "c"]

    def never(causes: object) -> Message:
        raise AssertionError(causes)

    assert lab.mailbox.post(Event.CHECK_FAILED, {"a": "1"}, never).fate is Fate.NOTHING_NEW
    assert lab.mailbox.post(Event.CHECK_FAILED, {}, never).fate is Fate.NOTHING_NEW
    assert len(inbox.mails) == 2


def test_a_cause_that_went_away_and_came_back_is_mailed_again(tmp_path: Path, inbox: Inbox) -> None:
    lab = MailLab(tmp_path, inbox.port, notify={"cooldown_minutes": {"check_failed": 0}})
    lab.post("lock:s1", "lock:s_1", "sensor:idle")
    lab.mailbox.settle(["lock:s1"])
    assert lab.post("lock:s1", "lock:s_1").new == ("lock:s1",)
    lab.mailbox.settle_others("lock:", {"lock:s_1"})
    assert lab.post("lock:s1", "lock:s_1", "sensor:idle").new == ("lock:s1",)
    lab.mailbox.settle_others("lock:s_", set())  # an underscore is a letter here, not SQL's wild card
    assert lab.post("lock:s1", "lock:s_1", "sensor:idle").new == ("lock:s_1",)


def test_a_cause_stands_from_when_it_was_told_until_it_is_gone(tmp_path: Path, inbox: Inbox) -> None:
    lab = MailLab(tmp_path, inbox.port)
    assert lab.mailbox.standing(["lock:s1"]) == frozenset()
    lab.post("lock:s1")
    assert lab.mailbox.standing(["lock:s1", "lock:s2"]) == {"lock:s1"}
    lab.mailbox.settle(["lock:s1"])
    assert lab.mailbox.standing(["lock:s1"]) == frozenset()


def test_an_error_that_goes_on_is_mailed_again_after_its_days(tmp_path: Path, inbox: Inbox) -> None:
    lab = MailLab(tmp_path, inbox.port)
    month = timedelta(days=30)
    assert lab.post("fusion:E7", event=Event.FUSION_ERROR, keep=month).fate is Fate.SENT
    lab.clock.turn(days=29)
    assert lab.post("fusion:E7", event=Event.FUSION_ERROR, keep=month).fate is Fate.NOTHING_NEW
    lab.clock.turn(days=1)
    assert lab.post("fusion:E7", event=Event.FUSION_ERROR, keep=month).fate is Fate.SENT
    assert len(inbox.mails) == 2


def test_mails_of_one_event_are_gathered_while_its_cooldown_lasts(tmp_path: Path, inbox: Inbox) -> None:
    lab = MailLab(tmp_path, inbox.port, notify={"cooldown_minutes": {"check_failed": 30}})
    assert lab.post("s0").fate is Fate.SENT
    for number in range(1, 26):
        lab.clock.turn(minutes=1)
        posted = lab.post(f"s{number}")
        assert posted.fate is Fate.WAITING
    assert "more are gathered until 2026-03-01 02:30 UTC" in posted.sentence
    assert lab.post("disk", event=Event.CAPACITY_WARNING).fate is Fate.SENT  # another event does not wait
    lab.clock.turn(minutes=5)
    assert len(lab.mailbox.deliver().sent) == 1
    assert subjects(inbox) == ["s0", "disk", "s1, and 24 more"]
    text = plain(inbox)
    assert all(f"{number}. s{number}\n" in text for number in range(1, 26))
    assert text.count("About s") == 20
    assert lab.mailbox.waiting() == ()


def test_a_cooldown_of_nothing_gathers_nothing(tmp_path: Path) -> None:
    lab = MailLab(tmp_path, free_port(), notify={"cooldown_minutes": {"check_failed": 0}})
    for name in ("a", "b", "c"):
        lab.post(name)
    with server() as inbox:
        lab = MailLab(tmp_path, inbox.port, notify=lab.notify)
        lab.mailbox.deliver(at_once=True)
    assert subjects(inbox) == ["a", "b", "c"]


def test_a_server_that_is_down_for_a_day_costs_nothing_but_time(tmp_path: Path) -> None:
    lab = MailLab(tmp_path, free_port())
    posted = lab.post("s1")
    assert posted.fate is Fate.WAITING
    assert "cannot be reached" in posted.sentence
    for number in range(2, 50):
        lab.clock.turn(minutes=30)
        assert lab.post("s1", f"s{number}").new == (f"s{number}",)
    assert len(lab.mailbox.waiting()) == 49
    with server(Inbox()) as inbox:
        lab = MailLab(tmp_path, inbox.port, clock=lab.clock)
        for _ in range(300):
            lab.clock.turn(minutes=1)
            lab.mailbox.deliver()
        assert subjects(inbox) == ["s1", "s2, and 47 more"]
        assert lab.post("s1", "s9").fate is Fate.NOTHING_NEW


def test_a_server_that_is_down_is_asked_less_and_less_often(tmp_path: Path) -> None:
    lab = MailLab(tmp_path, free_port())
    lab.post("s1")
    tries = []
    for minute in range(1, 240):
        lab.clock.turn(minutes=1)
        before = lab.mailbox.waiting()[0].why
        lab.mailbox.deliver()
        if lab.mailbox.waiting()[0].why != before:
            tries.append(minute)
    assert tries == [1, 3, 7, 15, 31, 63, 123, 183]


def test_a_server_that_is_down_is_asked_once_in_a_round_however_many_mails_wait(tmp_path: Path) -> None:
    lab = MailLab(tmp_path, free_port())
    for event in (Event.CHECK_FAILED, Event.DIGEST, Event.HEARTBEAT):
        lab.post("s1:" + event, event=event)
    assert "(tried 1 time;" in lab.mailbox.waiting()[0].why
    lab.mailbox.deliver(at_once=True)
    assert "(tried 2 times;" in lab.mailbox.waiting()[0].why


def test_a_mail_one_server_refuses_for_good_holds_up_no_other_and_is_tried_daily(tmp_path: Path, inbox: Inbox) -> None:
    lab = MailLab(tmp_path, inbox.port)
    inbox.data_reply = "554 looks like spam"
    posted = lab.post("s1")
    assert posted.fate is Fate.WAITING
    assert "554 looks like spam" in posted.sentence
    inbox.data_reply = "250 taken"
    assert lab.post("s2").fate is Fate.SENT
    assert [(waiting.subject, waiting.why) for waiting in lab.mailbox.waiting()] == [
        ("[fusion-toolkit] s1", f"{posted.sentence.removeprefix('mail waits: ')} (again after 2026-03-02 02:00 UTC)")
    ]
    lab.clock.turn(hours=23)
    assert lab.mailbox.deliver().sent == ()
    lab.clock.turn(hours=1)
    lab.mailbox.deliver()
    assert subjects(inbox) == ["s2", "s1"]


def test_a_recipient_whom_the_server_asks_to_wait_for_gets_it_later_and_the_others_get_it_once(
    tmp_path: Path, inbox: Inbox
) -> None:
    lab = MailLab(tmp_path, inbox.port, recipients="ops@lab.example\npi@campus.example\n")
    inbox.refuse["pi@campus.example"] = "450 4.2.0 greylisted, come again in 5 minutes"
    posted = lab.post("s1")
    assert "450 4.2.0 greylisted" in posted.sentence
    assert lab.post("c1", event=Event.CAPACITY_WARNING).fate is Fate.WAITING
    lab.clock.turn(minutes=4)
    lab.mailbox.deliver()
    inbox.refuse.clear()
    lab.mailbox.deliver()
    assert sorted(rcpt for _, rcpt in inbox.envelopes) == [["ops@lab.example"]] * 2, "asked again after 5 minutes"
    lab.clock.turn(minutes=1)
    for _ in range(3):
        lab.mailbox.deliver()
    assert sorted(rcpt for _, rcpt in inbox.envelopes) == [["ops@lab.example"]] * 2 + [["pi@campus.example"]] * 2
    assert len({str(mail["Message-ID"]) for mail in inbox.mails}) == 2, "each mail under one name"
    assert lab.mailbox.waiting() == ()


def test_a_full_mailbox_of_one_person_holds_up_the_mails_of_nobody_else(tmp_path: Path, inbox: Inbox) -> None:
    lab = MailLab(tmp_path, inbox.port)
    (tmp_path / "recipients" / "check_failed.txt").write_text("pi@campus.example\n")
    inbox.refuse["pi@campus.example"] = "452 4.2.2 mailbox full"
    assert lab.post("s1").fate is Fate.WAITING
    tries = []
    for hour in range(60):
        lab.clock.turn(hours=1)
        before = lab.mailbox.waiting()[0].why
        assert lab.post(f"disk {hour}", event=Event.CAPACITY_WARNING).fate is Fate.SENT
        if lab.mailbox.waiting()[0].why != before:
            tries.append(hour + 1)
    assert tries == [1, 2, 4, 8, 16, 32, 56], "after longer and longer pauses, a day at most"
    inbox.refuse.clear()
    lab.clock.turn(hours=24)
    lab.mailbox.deliver()
    assert subjects(inbox)[-1] == "s1"


def test_whoever_unsubscribes_while_the_mail_is_owed_only_to_them_leaves_the_others_untold_of_nothing(
    tmp_path: Path, inbox: Inbox
) -> None:
    lab = MailLab(tmp_path, inbox.port, recipients="ops@lab.example\npi@campus.example\n")
    inbox.refuse["pi@campus.example"] = "450 greylisted"
    lab.post("s1")
    (tmp_path / "recipients" / "default.txt").write_text("ops@lab.example\n")
    lab.mailbox.deliver(at_once=True)
    assert (lab.mailbox.waiting(), lab.post("s1").fate) == ((), Fate.NOTHING_NEW)


def test_an_address_that_is_refused_for_good_and_a_line_that_is_none_are_mailed_once_to_those_of_our_own_errors(
    tmp_path: Path, inbox: Inbox
) -> None:
    lab = MailLab(tmp_path, inbox.port, recipients="ops@lab.example\ngone@lab.example\nops at lab\n")
    for number in range(3):
        inbox.refuse["gone@lab.example"] = f"550 no such user, see ticket {number}x{number}"
        lab.post(f"s{number}")
        lab.mailbox.deliver(at_once=True)
    assert subjects(inbox) == ["s0", "2 warnings and errors of the toolkit on " + this_host(), "s1", "s2"]
    text = str(inbox.mails[1].get_body(("plain",)))
    assert "gone@lab.example was refused: 550 no such user" in text
    assert "line 3: 'ops at lab' is not a mail address" in text


def test_without_credentials_mails_wait_until_there_are_some(tmp_path: Path, inbox: Inbox) -> None:
    lab = MailLab(tmp_path, inbox.port)
    settings = lab.smtp_env.read_text()
    lab.smtp_env.write_text("")
    posted = lab.post("s1")
    assert posted.fate is Fate.WAITING
    assert "no mail credentials" in posted.sentence
    lab.smtp_env.write_text(settings)
    lab.clock.turn(minutes=1)
    lab.mailbox.deliver()
    assert subjects(inbox) == ["s1"]


def test_what_nobody_subscribed_to_is_told_to_whoever_subscribes_later(tmp_path: Path, inbox: Inbox) -> None:
    lab = MailLab(tmp_path, inbox.port, recipients="# nobody\n")
    posted = lab.post("s1")
    assert (posted.fate, str(posted)) == (Fate.DROPPED, "no mail: nobody subscribed to check_failed")
    (tmp_path / "recipients" / "check_failed.txt").write_text("ops@lab.example\n")
    assert lab.post("s1").fate is Fate.SENT


def test_whoever_unsubscribes_while_a_mail_waits_and_comes_back_is_told_what_still_stands(tmp_path: Path) -> None:
    lab = MailLab(tmp_path, free_port())
    lab.post("s1")
    default = tmp_path / "recipients" / "default.txt"
    default.write_text("")
    lab.clock.turn(minutes=2)
    delivered = lab.mailbox.deliver()
    assert (delivered.sent, delivered.waiting, delivered.dropped) == ((), 0, 1)
    default.write_text("ops@lab.example\n")
    assert lab.post("s1").new == ("s1",)


def test_a_file_of_typing_errors_does_not_mean_that_nobody_wants_to_know(tmp_path: Path, inbox: Inbox) -> None:
    lab = MailLab(tmp_path, inbox.port, recipients="ops at lab\n")
    posted = lab.post("s1")
    assert posted.fate is Fate.WAITING
    assert any("'ops at lab' is not a mail address" in problem for problem in posted.problems)
    for name in ("s2", "s3", "s4"):
        lab.post(name)
    (tmp_path / "recipients" / "default.txt").write_text("ops@lab.example\n")
    lab.mailbox.deliver()
    assert subjects(inbox) == ["s1"]
    lab.clock.turn(hours=1)
    lab.mailbox.deliver()
    assert subjects(inbox) == ["s1", "s2, and 2 more"]


def test_switched_off_means_no_mail_and_no_file(tmp_path: Path, inbox: Inbox) -> None:
    lab = MailLab(tmp_path, inbox.port, notify={"enabled": False})
    assert lab.post("s1").fate is Fate.DROPPED
    assert lab.mailbox.send(Event.DIGEST, say(["week"])).fate is Fate.DROPPED
    assert not lab.state.exists()
    assert MailLab(tmp_path, inbox.port).post("s1").fate is Fate.SENT


def test_a_command_mails_every_time_and_takes_along_what_waits(tmp_path: Path, inbox: Inbox) -> None:
    lab = MailLab(tmp_path, inbox.port)
    for _ in range(3):
        assert lab.mailbox.send(Event.BACKUP_FAILURE, say(["the run failed"])).fate is Fate.SENT
    lab.post("s1")
    lab.post("s2")
    assert subjects(inbox) == ["the run failed"] * 3 + ["s1"]
    lab.mailbox.send(Event.DIGEST, say(["week"]))
    assert sorted(subjects(inbox)[-2:]) == ["s2", "week"]


def test_a_mail_whose_words_cannot_be_written_is_sent_without_them(tmp_path: Path, inbox: Inbox) -> None:
    lab = MailLab(tmp_path, inbox.port)

    def broken(causes: object) -> Message:
        raise KeyError("study")

    posted = lab.mailbox.post(Event.CHECK_FAILED, {"check:s1": "1"}, broken)
    assert posted.fate is Fate.SENT
    text = plain(inbox)
    assert "check:s1" in text
    assert "KeyError: 'study'" in text


def test_names_that_are_not_utf_8_are_remembered_like_others(tmp_path: Path, inbox: Inbox) -> None:
    lab = MailLab(tmp_path, inbox.port)
    assert lab.post("study:\udcff\0\n", fingerprint="\udcfe").fate is Fate.SENT
    assert lab.post("study:\udcff\0\n", fingerprint="\udcfe").fate is Fate.NOTHING_NEW
    lab.mailbox.settle_others("study:\udcff", ())
    assert lab.post("study:\udcff\0\n", fingerprint="\udcfe").new == ("study:\udcff\0\n",)


# clocks


def test_a_clock_that_jumps_neither_floods_nor_silences(tmp_path: Path, inbox: Inbox) -> None:
    keep = timedelta(days=30)
    lab = MailLab(tmp_path, inbox.port)
    lab.clock.turn(days=3650)  # a flat battery: the host believes it is 2036
    lab.post("a", keep=keep)
    lab.post("b", keep=keep)  # waits for the cooldown
    lab.clock.now = AT
    for _ in range(10):
        assert lab.post("a", "b", keep=keep).fate is Fate.NOTHING_NEW
        lab.mailbox.deliver()
    assert subjects(inbox) == ["a"]
    lab.clock.turn(hours=1)
    lab.mailbox.deliver()
    assert subjects(inbox) == ["a", "b"]  # not in 2036
    lab.clock.turn(days=30)
    assert lab.post("a", keep=keep).fate is Fate.SENT


def test_a_clock_that_was_set_back_does_not_end_the_tries(tmp_path: Path) -> None:
    lab = MailLab(tmp_path, free_port())
    lab.clock.turn(days=3650)
    lab.post("a")
    lab.clock.now = AT
    lab.mailbox.deliver()
    with server() as inbox:
        lab = MailLab(tmp_path, inbox.port, clock=lab.clock)
        lab.clock.turn(hours=1)
        lab.mailbox.deliver()
    assert subjects(inbox) == ["a"]


# processes


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    script = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(script, stdout=subprocess.PIPE, text=True)


def test_processes_that_find_the_same_at_the_same_moment_send_one_mail(tmp_path: Path, inbox: Inbox) -> None:
    code = """
        import sys
        from pathlib import Path
        from tests.notify.mail_lab import MailLab
        lab = MailLab(Path(sys.argv[1]), int(sys.argv[2]), notify={"cooldown_minutes": {"check_failed": 0}})
        for number in range(8):
            print(lab.post(f"s{number}").fate)
    """
    lab = MailLab(tmp_path, inbox.port)
    running = [start(code, tmp_path, inbox.port) for _ in range(3)]
    fates = [line for each in running for line in each.communicate(timeout=60)[0].split()]
    assert all(each.returncode == 0 for each in running)
    assert len(fates) == 24
    assert fates.count("nothing_new") == 16
    lab.mailbox.deliver(at_once=True)
    assert sorted(subjects(inbox)) == [f"s{number}" for number in range(8)]


def test_a_process_killed_between_handing_over_and_noting_sends_the_same_mail_again(
    tmp_path: Path, inbox: Inbox
) -> None:
    code = """
        import os, sys
        from pathlib import Path
        from fusion_assets.notify.queue import Queue
        from tests.notify.mail_lab import MailLab
        Queue.note_sent = lambda *_: os.kill(os.getpid(), 9)
        MailLab(Path(sys.argv[1]), int(sys.argv[2])).post("s1")
    """
    killed = start(code, tmp_path, inbox.port)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    lab = MailLab(tmp_path, inbox.port)
    assert lab.post("s1").fate is Fate.NOTHING_NEW
    lab.post("s2")  # waits: nothing may be added to what is on its way
    lab.mailbox.deliver(at_once=True)
    assert subjects(inbox) == ["s1", "s1", "s2"]
    first, again, other = (str(mail["Message-ID"]) for mail in inbox.mails)
    assert first == again != other
    assert first.endswith("@lab.example>")


@pytest.mark.parametrize("moment", ["insert_mail", "pack"])
def test_a_process_killed_while_it_queues_loses_nothing(tmp_path: Path, inbox: Inbox, moment: str) -> None:
    code = f"""
        import os, sys
        from pathlib import Path
        from fusion_assets.notify import queue
        from tests.notify.mail_lab import MailLab
        real = queue.{moment}
        def killed(*arguments, **options):
            real(*arguments, **options)
            os.kill(os.getpid(), 9)
        queue.{moment} = killed
        MailLab(Path(sys.argv[1]), int(sys.argv[2])).post("s1")
    """
    assert start(code, tmp_path, inbox.port).wait(60) == -signal.SIGKILL
    lab = MailLab(tmp_path, inbox.port)
    lab.post("s1")
    lab.mailbox.deliver()
    assert subjects(inbox) == ["s1"]
    assert lab.post("s1").fate is Fate.NOTHING_NEW


def test_processes_killed_at_any_moment_lose_no_cause_and_send_none_under_two_names(
    tmp_path: Path, inbox: Inbox
) -> None:
    code = """
        import sys
        from pathlib import Path
        from tests.notify.mail_lab import MailLab
        lab = MailLab(Path(sys.argv[1]), int(sys.argv[2]), notify={"cooldown_minutes": {"check_failed": 0}})
        for number in range(40):
            lab.post(f"<{number}>")
    """
    lab = MailLab(tmp_path, inbox.port, notify={"cooldown_minutes": {"check_failed": 0}})
    for already in (0, 3, 10, 17, 25, 33):
        running = start(code, tmp_path, inbox.port)
        until = time.monotonic() + 30
        while len(inbox.mails) <= already and running.poll() is None and time.monotonic() < until:
            time.sleep(0.001)
        running.kill()
        running.wait()
    assert start(code, tmp_path, inbox.port).wait(60) == 0
    lab.mailbox.deliver(at_once=True)
    names: dict[str, set[str]] = {}
    for mail in inbox.mails:
        names.setdefault(str(mail["Subject"]), set()).add(str(mail["Message-ID"]))
    assert sorted(names) == sorted(f"[fusion-toolkit] <{number}>" for number in range(40))
    assert all(len(ids) == 1 for ids in names.values())
    assert len(inbox.mails) <= 40 + 6


def test_while_another_process_sends_a_mail_waits_and_is_not_lost(
    tmp_path: Path, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filelock import FileLock

    monkeypatch.setattr("fusion_assets.notify.mailbox._LOCK_SECONDS", 0.2)
    lab = MailLab(tmp_path, inbox.port)
    lab.state.mkdir()
    with FileLock(lab.state / "mailbox.sending.lock"):
        posted = lab.post("s1")
    assert (posted.fate, posted.sentence) == (Fate.WAITING, "mail waits: another process is sending")
    lab.mailbox.deliver()
    assert subjects(inbox) == ["s1"]


# a file that cannot be used


def test_a_damaged_mailbox_is_set_aside_and_its_people_are_told(tmp_path: Path, inbox: Inbox) -> None:
    lab = MailLab(tmp_path, inbox.port)
    lab.post("s1")
    file = lab.state / "mailbox.sqlite"
    file.write_bytes(b"not a database at all, but a good deal of text" * 100)
    posted = lab.post("s2")
    assert posted.fate is Fate.SENT
    assert any("the mailbox was damaged" in problem for problem in posted.problems)
    assert "the mailbox was damaged" in " ".join(subjects(inbox))
    (aside,) = lab.state.glob("mailbox.sqlite.damaged-*")
    assert aside.read_bytes().startswith(b"not a database")
    assert lab.post("s2").fate is Fate.NOTHING_NEW
    assert lab.post("s3").problems == ()


def test_a_mailbox_whose_pages_are_torn_is_set_aside(tmp_path: Path, inbox: Inbox) -> None:
    lab = MailLab(tmp_path, inbox.port)
    lab.post(*(f"s{number}" for number in range(500)))
    file = lab.state / "mailbox.sqlite"
    content = bytearray(file.read_bytes())
    content[4096:] = bytes(byte ^ 0x5A for byte in content[4096:])
    file.write_bytes(content)
    assert lab.post("s1", event=Event.CAPACITY_WARNING).fate is Fate.SENT
    assert len(list(lab.state.glob("mailbox.sqlite.damaged-*"))) == 1


def unusable(lab: MailLab) -> None:
    lab.state.write_text("a file where the state folder should be")


def test_without_a_usable_folder_a_mail_is_sent_at_once_and_says_so(tmp_path: Path, inbox: Inbox) -> None:
    lab = MailLab(tmp_path, inbox.port)
    unusable(lab)
    posted = lab.post("s1")
    assert posted.fate is Fate.SENT
    assert "without the mailbox" in posted.sentence
    assert any("the mailbox cannot be used" in problem for problem in posted.problems)
    assert lab.mailbox.send(Event.DIGEST, say(["week"])).fate is Fate.SENT
    assert subjects(inbox) == ["s1", "week"]
    assert lab.mailbox.waiting() == ()
    assert lab.mailbox.deliver().sent == ()
    assert lab.state.read_text() == "a file where the state folder should be"


def test_without_a_usable_folder_a_process_still_mails_each_cause_once(tmp_path: Path, inbox: Inbox) -> None:
    lab = MailLab(tmp_path, inbox.port)
    unusable(lab)
    mailbox = lab.mailbox
    for _ in range(100):
        mailbox.post(Event.CHECK_FAILED, {"check:a": "1"}, say)
    assert subjects(inbox) == ["check:a"]
    assert mailbox.standing(["check:a", "check:b"]) == {"check:a"}
    mailbox.settle_others("check:", ())
    assert mailbox.post(Event.CHECK_FAILED, {"check:a": "1"}, say).fate is Fate.SENT


def test_without_folder_and_server_a_mail_is_lost_loudly_and_tried_again(tmp_path: Path) -> None:
    lab = MailLab(tmp_path, free_port())
    unusable(lab)
    mailbox = lab.mailbox
    for _ in range(2):
        posted = mailbox.post(Event.CHECK_FAILED, {"a": "1"}, say)
        assert posted.fate is Fate.LOST
        assert "could not be queued either" in posted.sentence


def test_a_full_disk_sends_at_once_and_never_the_same_twice(tmp_path: Path, inbox: Inbox) -> None:
    lab = MailLab(tmp_path, free_port())
    lab.post("s0")  # waits on disk
    code = """
        import resource, signal, sys
        from pathlib import Path
        from fusion_assets.config import Event
        from tests.notify.mail_lab import MailLab, say
        lab = MailLab(Path(sys.argv[1]), int(sys.argv[2]))
        lab.clock.turn(minutes=5)
        mailbox = lab.mailbox
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        for _ in range(5):
            print(mailbox.post(Event.CHECK_FAILED, {"s1": "1"}, say).fate)
            mailbox.deliver()
    """
    full = start(code, tmp_path, inbox.port)
    assert full.communicate(timeout=60)[0].split() == ["sent"] + ["nothing_new"] * 4
    assert subjects(inbox) == ["s1"]
    lab = MailLab(tmp_path, inbox.port, clock=lab.clock)
    lab.clock.turn(hours=1)
    lab.mailbox.deliver()
    assert subjects(inbox) == ["s1", "s0"]


def test_a_mailbox_that_another_process_holds_for_too_long_does_not_stop_the_work(
    tmp_path: Path, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fusion_assets.notify.queue._BUSY_SECONDS", 0.1)
    lab = MailLab(tmp_path, inbox.port)
    lab.post("s0")
    holder = sqlite3.connect(lab.state / "mailbox.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        posted = lab.post("s1")
    finally:
        holder.close()
    assert posted.fate is Fate.SENT
    assert "database is locked" in posted.problems[0]


def test_a_home_that_cannot_be_found_does_not_stop_the_work(tmp_path: Path, inbox: Inbox) -> None:
    lab = MailLab(tmp_path, inbox.port, notify={"recipients_dir": "~nobody-of-this-name/recipients"})
    assert lab.post("s1").fate is Fate.LOST


# the real thing


def test_a_mail_that_waited_for_gmail_arrives_once_over_starttls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = make_authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    login = f"FUSION_SMTP_USER={USER}\nFUSION_SMTP_APP_PASSWORD={PASSWORD}\n"
    lab = MailLab(tmp_path, free_port(), security="starttls", login=login)
    assert lab.post("s1").fate is Fate.WAITING
    with starttls_server(authority) as inbox:
        lab = MailLab(tmp_path, inbox.port, security="starttls", login=login, clock=lab.clock)
        for _ in range(5):
            lab.clock.turn(minutes=1)
            lab.mailbox.deliver()
    assert subjects(inbox) == ["s1"]
    assert inbox.logins == [True]
    assert PASSWORD not in (lab.state / "mailbox.sqlite").read_bytes().decode("latin-1")


def test_every_event_has_a_cooldown_and_that_of_our_own_errors_is_in_seconds(tmp_path: Path) -> None:
    lab = MailLab(tmp_path, 25, notify={"toolkit_error_cooldown_seconds": 7, "cooldown_minutes": {"digest": 2}})
    seconds = {event: cooldown_seconds(lab.config, event) for event in Event}
    assert seconds[Event.TOOLKIT_ERROR] == 7
    assert seconds[Event.DIGEST] == 120
    assert seconds[Event.FUSION_ERROR] == 60 * COOLDOWN_MINUTES[Event.FUSION_ERROR]


def test_a_mailbox_lies_in_the_state_folder(tmp_path: Path, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    lab = MailLab(tmp_path, inbox.port)
    mailbox = Mailbox(lab.config, smtp_env=lab.smtp_env)
    assert mailbox.post(Event.CHECK_FAILED, {"a": "1"}, say).fate is Fate.SENT
    assert (tmp_path / ".fusion" / "mailbox.sqlite").is_file()


def test_the_manual_names_every_event_with_its_cooldown() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "mail.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| .* \| (\S+|`toolkit_error_cooldown_seconds` = 300) \|$", manual, re.MULTILINE)
    defaults = {event.value: f"{COOLDOWN_MINUTES[event]:g}" for event in COOLDOWN_MINUTES}
    seconds = NotifySection().toolkit_error_cooldown_seconds
    assert dict(rows) == defaults | {"toolkit_error": f"`toolkit_error_cooldown_seconds` = {seconds:g}"}
