"""What would take the real daemon hours or days: clocks that jump, S3 away for an hour, 500 studies at once, and what
is still so the next morning."""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine

from fusion_assets.studies.upkeep import inventory_job
from resources.process import this_host
from sensors.idle_studies import RUNS_A_TICK
from tests.real.s3 import S3Server, moto_server
from tests.real.small_lab import LOCK, STUDY, SmallLab, assert_completed, make_lab
from tests.sensors.daemon import Daemon, Tick, until_quiet

__all__ = ["moto_server"]

pytestmark = pytest.mark.real

OTHER = "20260106_WW_HCC_run2"
MANY = 500


@pytest.fixture
def small_lab(tmp_path: Path, moto_server: S3Server, no_aws: None, monkeypatch: pytest.MonkeyPatch) -> SmallLab:
    """On a server that takes a request of any time."""
    return make_lab(tmp_path, moto_server, monkeypatch)


def tick(daemon: Daemon) -> Tick:
    done = daemon.tick("idle_studies")
    daemon.tick("alerts")
    return done


def settle(lab: SmallLab, minutes: float) -> None:
    lab.config.write_text(lab.config.read_text().replace("settle_minutes = 0", f"settle_minutes = {minutes}"))


def subjects(daemon: Daemon) -> list[str]:
    return [mail.subject for mail in daemon.mailbox.waiting()]


def test_a_clock_that_jumps_a_day_ahead_and_back_again_starts_nothing_twice_and_stops_nothing_once_that_is_noticed(
    lab: SmallLab, daemon: Daemon
) -> None:
    settle(lab, 30)
    assert tick(daemon).requested == []
    with time_machine.travel(datetime.now(UTC) + timedelta(days=1)) as clock:
        assert [one.requested for one in until_quiet(lambda: tick(daemon))] == [[STUDY], [STUDY], []]
        lab.add_study(OTHER)
        assert tick(daemon).requested == []
        clock.shift(-timedelta(hours=1))
        assert tick(daemon).waited, "Dagster itself waits for the hour to come"
        daemon.restart()
        assert tick(daemon).requested == [], "what was first seen an hour from now has not looked the same for long"
        clock.shift(timedelta(minutes=31))
        assert [one.requested for one in until_quiet(lambda: tick(daemon))] == [[OTHER], [OTHER], []]
    assert tick(daemon).waited
    assert "the clock was set back" in lab.fusion("status", "--heartbeat").stdout
    daemon.restart()
    assert tick(daemon).requested == []
    assert "alive" in lab.fusion("status", "--heartbeat").stdout
    runs = Counter(run.tags["dagster/partition"] for run in daemon.instance.get_runs())
    assert (runs, subjects(daemon)) == ({STUDY: 2, OTHER: 2}, [])
    for study in (STUDY, OTHER):
        assert_completed(lab, study=study)


def test_an_hour_without_s3_is_a_few_tries_and_one_mail_and_then_all_goes_on(
    lab: SmallLab, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resources.s3_requests.pause_seconds", lambda *_, **__: 0.001)
    config = lab.config.read_text()
    away = config.replace(lab.server.url, "http://127.0.0.1:9")
    daemon.before_run = lambda: lab.config.write_text(away)
    tried, gone_at = [], None
    with time_machine.travel(datetime.now(UTC)) as clock:
        for minutes in range(0, 180, 5):
            # Looked at, it is there each time; it goes when it is needed: the hardest hour for whoever tries again.
            lab.config.write_text(config)
            if minutes >= 60:
                daemon.before_run = None
            if (done := tick(daemon)).requested:
                tried.append(minutes)
            if not lab.study.exists():
                gone_at = minutes
                break
            assert done.failed == done.requested or minutes >= 60
            clock.shift(timedelta(minutes=5))
    assert tried == [0, 5, 25, 105, 110], "paused for 5, 20 and 80 minutes, then archived, then released"
    assert gone_at == 110
    assert_completed(lab)
    (subject,) = subjects(daemon)
    assert "1 study failed" in subject


def test_five_hundred_studies_that_become_idle_at_once_are_started_once_each_a_few_at_a_time(
    lab: SmallLab, daemon: Daemon
) -> None:
    names = [f"20260201_WW_HCC_run{number:03d}" for number in range(MANY)]
    for name in names:
        lab.write(f"{name}.xpd", b"{}", name)
    asked: list[str] = []
    daemon.only_begin = True
    while requested := daemon.tick("idle_studies").requested:
        assert len(requested) <= RUNS_A_TICK
        asked += requested
    assert asked == [STUDY, *names], "each once, the oldest first"
    assert daemon.instance.get_runs_count() == MANY + 1


def mails_of_days(daemon: Daemon, days: int) -> list[int]:
    """How many mails there are after each day: a tick of the sensor that looks for work, and an inventory."""
    start, mails = datetime.now(UTC), []
    for day in range(days):
        with time_machine.travel(start + timedelta(days=day, hours=8)):
            daemon.tick("idle_studies")
            assert daemon.run_job(inventory_job.name).success
            daemon.tick("alerts")
            mails.append(len(daemon.mailbox.waiting()))
    return mails


def leave_lock(lab: SmallLab, study: str) -> None:
    """As a run does whose process is killed."""
    left = {"hostname": this_host(), "pid": 999_999_999, "started_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
    (lab.source / study / LOCK).write_text(json.dumps({**left, "run_name": study}))


def test_a_lock_that_a_crash_left_is_not_mailed_by_the_inventory_again(lab, watched) -> None:
    leave_lock(lab, STUDY)
    assert mails_of_days(watched, 3) == [1, 1, 1]


def test_a_study_whose_run_failed_is_not_mailed_by_the_inventory_again(lab, watched) -> None:
    lab.write("notes.txt", b"not allowed here")
    assert mails_of_days(watched, 3) == [1, 1, 1]


def test_a_nas_that_is_away_at_the_hour_of_the_inventory_is_one_mail(lab, watched) -> None:
    away = lab.nas.rename(lab.folder / "away")
    start = datetime.now(UTC)
    for minutes in (30, 120, 240):
        with time_machine.travel(start + timedelta(minutes=minutes)):
            watched.tick("idle_studies")
            assert not watched.run_job(inventory_job.name).success
            watched.tick("alerts")
    (mail,) = watched.mailbox.waiting()
    assert "the lab cannot be looked at" in mail.subject
    away.rename(lab.nas)


def test_a_study_that_was_put_right_into_another_trouble_is_mailed_again_by_the_inventory(lab, watched) -> None:
    """Its names are good by now, but a file bears a date to come: no run begins, and none will."""
    stray = lab.write("notes.txt", b"not allowed here")
    assert mails_of_days(watched, 1) == [1]
    stray.unlink()
    (design,) = lab.study.glob("*.xpd")
    to_come = (datetime.now(UTC) + timedelta(days=900)).timestamp()
    os.utime(design, (to_come, to_come))
    lab.config.write_text(lab.config.read_text().replace("idle_days = 0", "idle_days = 1"))
    assert mails_of_days(watched, 4)[-1] == 2


def test_the_inventory_mails_what_nobody_was_told_of_beside_what_they_were(lab, watched) -> None:
    lab.write("notes.txt", b"not allowed here")
    assert mails_of_days(watched, 1) == [1]
    lab.add_study(OTHER)
    leave_lock(lab, OTHER)
    with time_machine.travel(datetime.now(UTC) + timedelta(days=1)):
        assert watched.run_job(inventory_job.name).success
        watched.tick("alerts")
    (_, mail) = watched.mailbox.waiting()
    assert OTHER in mail.subject
