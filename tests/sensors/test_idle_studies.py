"""The sensor of idle studies: everything reaches its declared state by itself, once, and what does not says why."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
import time_machine

from fusion_assets.config import load_config
from fusion_assets.notify.queue import Queue
from fusion_assets.reconcile.conditions import Condition, Name, false, true, unknown
from fusion_assets.reconcile.decisions import load_decisions
from fusion_assets.reconcile.idle import Observation
from fusion_assets.reconcile.observe import PartialObservation, observe_next
from fusion_assets.reconcile.plan import LOCKED, SOURCE_CHANGED, Desired, ObservedStudy, StudyPlan, plan_study
from fusion_assets.state import state_folder
from fusion_assets.studies.tags import STATE_TAG
from fusion_assets.transfer.options import TransferOptions
from resources.local import LocalStorage
from resources.process import this_host, this_process
from resources.storage import Space
from sensors.idle_cursor import IdleCursor, cursor_from_text
from sensors.idle_mail import tell_of_stuck
from sensors.run_tries import PARTITION_TAG, tries_of
from tests.real.small_lab import LOCK, STUDY, SmallLab, assert_nothing_lost
from tests.sensors.daemon import Daemon, until_quiet

pytestmark = pytest.mark.real

OTHER = "20260106_WW_HCC_run2"
RESERVE = TransferOptions().space_reserve


def tick(daemon: Daemon):
    return daemon.tick("idle_studies")


def subjects(daemon: Daemon) -> list[str]:
    return [mail.subject for mail in daemon.mailbox.waiting()]


def texts(daemon: Daemon) -> list[str]:
    """What the mails say, oldest first."""
    queue = Queue(state_folder(load_config(daemon.config)) / "mailbox.sqlite")
    return [mail.message.text for mail, _ in queue.waiting(datetime.now(UTC))]


def settle_minutes(lab: SmallLab, minutes: float) -> None:
    lab.config.write_text(lab.config.read_text().replace("settle_minutes = 0", f"settle_minutes = {minutes}"))


def test_a_study_reaches_its_declared_state_without_anybody_and_then_there_is_nothing_to_do(lab, daemon) -> None:
    first, second, *rest = until_quiet(lambda: tick(daemon))
    assert first.requested == second.requested == [STUDY], "copied, archived and recorded; then released"
    assert not lab.study.exists()
    assert_nothing_lost(lab)
    assert "in their declared state" in rest[-1].skipped
    assert subjects(daemon) == []


def test_a_study_seen_once_waits_for_its_second_look_also_when_the_daemon_was_restarted(lab, daemon) -> None:
    settle_minutes(lab, 30)
    waiting = tick(daemon)
    assert waiting.requested == []
    assert "must look the same until" in waiting.skipped
    cursor = cursor_from_text(daemon.cursors["idle_studies"])
    past = {
        name: Observation(seen.fingerprint, datetime.now(UTC) - timedelta(hours=1))
        for name, seen in cursor.memory.items()
    }
    daemon.cursors["idle_studies"] = IdleCursor(past).to_text()
    assert tick(daemon).requested == [STUDY]


@pytest.fixture
def ends_meanwhile(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """Runs are only begun, and fail while the sensor looks at the lab, which takes it seconds."""
    daemon.only_begin = True

    def look(*places: Any, **settings: Any) -> PartialObservation:
        observed = observe_next(*places, **settings)
        daemon.break_off_all()
        return observed

    monkeypatch.setattr("sensors.idle_studies.observe_next", look)
    return daemon


def test_a_study_whose_run_ends_while_the_sensor_looks_is_not_started_from_what_it_saw_before(ends_meanwhile) -> None:
    assert tick(ends_meanwhile).requested == [STUDY]
    during, after = tick(ends_meanwhile), tick(ends_meanwhile)
    assert during.requested == after.requested == []
    assert "a run works on it" in during.skipped
    assert "tried once without coming further; tried again at" in after.skipped


@pytest.mark.parametrize("ends", [True, False])
def test_a_study_on_which_a_command_works_while_the_sensor_looks_is_left_to_it(daemon, monkeypatch, ends) -> None:
    def look(*places: Any, **settings: Any) -> PartialObservation:
        observed = observe_next(*places, **settings)
        tags = {PARTITION_TAG: STUDY}
        begun = daemon.instance.add_run(dg.DagsterRun("archive_study", status=dg.DagsterRunStatus.STARTED, tags=tags))
        if ends:
            daemon.instance.report_run_canceled(begun)
        return observed

    monkeypatch.setattr("sensors.idle_studies.observe_next", look)
    during = tick(daemon)
    assert during.requested == []
    assert "a run works on it" in during.skipped


def test_a_clock_that_was_ahead_when_a_try_failed_neither_stops_the_study_until_then_nor_lets_it_be_tried_for_ever(
    daemon,
) -> None:
    daemon.only_begin = True
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=10)):
        assert tick(daemon).requested == [STUDY]
        daemon.break_off_all()
    daemon.restart()
    assert tick(daemon).requested == [STUDY]
    daemon.break_off_all()
    again = tick(daemon)
    assert again.requested == []
    assert "tried 2 times without coming further; tried again at" in again.skipped


def test_what_waits_for_a_person_by_what_was_seen_while_a_run_put_it_right_is_not_mailed(
    lab, ends_meanwhile, monkeypatch
) -> None:
    assert tick(ends_meanwhile).requested == [STUDY]
    left = {"hostname": this_host(), "pid": 999_999_999, "started_at": "2026-01-05T12:00:00Z", "run_name": STUDY}
    (lab.study / LOCK).write_text(json.dumps(left))
    tick(ends_meanwhile)
    assert subjects(ends_meanwhile) == []
    tick(ends_meanwhile)
    assert len(subjects(ends_meanwhile)) == 1


def test_a_study_that_grows_between_two_looks_is_not_touched(lab, daemon) -> None:
    settle_minutes(lab, 30)
    tick(daemon)
    lab.write(lab.path_of("focus003.bin"), b"the instrument still writes")
    assert tick(daemon).requested == []
    assert lab.study.exists()


def test_a_bad_name_is_tried_once_and_mailed_by_its_run_and_tried_again_when_it_was_repaired(lab, daemon) -> None:
    lab.write("notes.txt", b"not allowed here")
    assert tick(daemon).failed == [STUDY]
    again = tick(daemon)
    assert again.requested == []
    assert "notes.txt" in again.skipped
    assert subjects(daemon) == [], "the failed run is told of by whoever watches runs"
    (lab.study / "notes.txt").unlink()
    del lab.originals[STUDY, "notes.txt"]
    assert tick(daemon).requested == [STUDY]


def test_a_server_that_is_away_is_asked_again_later_and_not_at_every_tick(lab, daemon) -> None:
    config = lab.config.read_text()
    daemon.before_run = lambda: lab.config.write_text(config.replace(lab.server.url, "http://127.0.0.1:9"))
    assert tick(daemon).failed == [STUDY]
    lab.config.write_text(config)
    later = tick(daemon)
    assert later.requested == []
    assert "tried once without coming further; tried again at" in later.skipped
    assert lab.study.exists()


def test_a_share_that_is_not_mounted_is_no_empty_lab_and_mailed_once_after_an_hour(lab, daemon) -> None:
    hidden = lab.source.with_name("unmounted")
    lab.source.rename(hidden)
    lab.source.mkdir()
    first = tick(daemon)
    assert first.requested == []
    assert "is empty: a share that is not mounted looks like this" in first.skipped
    assert subjects(daemon) == [], "a host that is switched off for a while is nothing to mail about"
    cursor = cursor_from_text(daemon.cursors["idle_studies"])
    assert cursor.blind_since is not None
    ahead = replace(cursor, blind_since=cursor.blind_since + timedelta(days=400))
    daemon.cursors["idle_studies"] = ahead.to_text()
    tick(daemon)
    since = cursor_from_text(daemon.cursors["idle_studies"]).blind_since
    assert since is not None
    assert since < datetime.now(UTC), "the clock was ahead, and nobody would be told for as long"
    daemon.cursors["idle_studies"] = replace(cursor, blind_since=since - timedelta(hours=2)).to_text()
    tick(daemon)
    tick(daemon)
    assert len(subjects(daemon)) == 1
    lab.source.rmdir()
    hidden.rename(lab.source)
    assert tick(daemon).requested == [STUDY]


def test_a_lock_that_a_crash_left_is_mailed_once_however_old_it_grows(lab, daemon) -> None:
    left = {"hostname": this_host(), "pid": 999_999_999, "started_at": "2026-01-01T00:00:00Z", "run_name": STUDY}
    (lab.study / LOCK).write_text(json.dumps(left))
    for _ in range(3):
        assert tick(daemon).requested == []
    assert len(subjects(daemon)) == 1


def test_a_lock_that_a_crash_left_is_mailed_once_also_while_its_study_settles(lab, daemon) -> None:
    settle_minutes(lab, 30)
    left = {"hostname": this_host(), "pid": 999_999_999, "started_at": "2026-01-01T00:00:00Z", "run_name": STUDY}
    (lab.study / LOCK).write_text(json.dumps(left))
    tick(daemon)
    lab.config.write_text(lab.config.read_text().replace("settle_minutes = 30", "settle_minutes = 0"))
    tick(daemon)
    assert len(subjects(daemon)) == 1


@pytest.mark.parametrize(
    ("owner", "limit", "subject"),
    [
        ({"hostname": "fusion-pc", "pid": 17}, timedelta(hours=25), "1 study is locked for long"),
        (
            {"hostname": this_host(), "pid": os.getpid(), "process": this_process()},
            timedelta(hours=25),
            "1 study is locked for long",
        ),
        ({}, timedelta(minutes=1), "1 study is locked by what no longer runs"),
    ],
    ids=["an unseen host", "a process that hangs", "a damaged file"],
)
def test_a_lock_that_nobody_may_ever_leave_is_mailed_once_while_its_study_still_changes(
    lab, daemon, owner, limit, subject
) -> None:
    def lock(age: timedelta) -> None:
        taken = datetime.now(UTC) - age
        left = {**owner, "started_at": taken.isoformat(), "run_name": STUDY}
        (lab.study / LOCK).write_text(json.dumps(left) if owner else "")
        os.utime(lab.study / LOCK, (taken.timestamp(), taken.timestamp()))

    lock(limit - timedelta(seconds=30))
    tick(daemon)
    assert subjects(daemon) == []
    lock(-400 * timedelta(days=1))
    tick(daemon)
    assert [subject in found for found in subjects(daemon)] == [True], "the clock was ahead when it was taken"
    for number in range(2):
        lab.write(lab.path_of("focus003.bin"), b"the instrument still writes"[number:])
        lock(limit + timedelta(days=number))
        assert tick(daemon).requested == []
    assert len(subjects(daemon)) == 1


GONE = {Name.ON_TRUENAS: false("CopyGone", "its copy is gone from the NAS | hint: bring it back from s3://lab/x")}


def released(conditions: Mapping[Name, Condition]) -> StudyPlan:
    """A study that has left the instrument and is well, but for some conditions."""
    well = {name: true("Fine") for name in Name}
    return plan_study(Desired(delete_source=True), ObservedStudy(STUDY, STUDY, False, {**well, **conditions}))


@pytest.mark.parametrize(
    "blip",
    [
        {Name.UNLOCKED: unknown("LockUnreadable", "the NAS did not answer in time")},
        {Name.UNLOCKED: false(LOCKED, "the scrub is at work on it")},
        {Name.ON_TRUENAS: unknown("TruenasUnseen", "the NAS did not answer in time")},
        {Name.ON_S3: unknown("S3Unseen", "S3 did not answer in time")},
        {Name.UNLOCKED: false("StaleLock", "left by a crash")},
    ],
)
def test_a_study_that_waits_for_a_person_is_not_mailed_again_after_a_blip_in_which_it_was_not_seen(
    lab, daemon, blip
) -> None:
    for _ in range(3):
        for seen in (GONE, GONE | blip):
            tell_of_stuck(load_config(lab.config), daemon.mailbox, [released(seen)], datetime.now(UTC))
    (text,) = [text for text in texts(daemon) if "1 study failed" in text]
    assert "It has left the instrument" in text
    assert "S3 has its archive; the NAS has no whole copy of it" in text
    assert f"fusion explain {STUDY}" in text
    assert "fusion backup run" not in text, "it is not at the source"
    for seen in ({}, GONE):
        tell_of_stuck(load_config(lab.config), daemon.mailbox, [released(seen)], datetime.now(UTC))
    about_it = [subject for subject in subjects(daemon) if "1 study failed" in subject]
    assert len(about_it) == 2, "it was well in between"


def test_damage_that_is_seen_at_once_is_mailed_once_although_s3_comes_and_goes(lab, daemon) -> None:
    changed = {Name.VALIDATED: false(SOURCE_CHANGED, "another size"), Name.ON_S3: false("NotArchived")}
    for seen in (changed, changed | {Name.ON_S3: unknown("S3Unseen")}, changed):
        tell_of_stuck(load_config(lab.config), daemon.mailbox, [released(seen)], datetime.now(UTC))
    assert len(subjects(daemon)) == 1


def test_a_lock_that_cannot_be_seen_for_a_moment_is_not_mailed_again(lab, daemon) -> None:
    left = {Name.UNLOCKED: false("StaleLock", "left by a crash")}
    for seen in (left, {Name.UNLOCKED: unknown("LockUnreadable")}, left):
        tell_of_stuck(load_config(lab.config), daemon.mailbox, [released(seen)], datetime.now(UTC))
    assert len(subjects(daemon)) == 1
    for seen in ({}, left):
        tell_of_stuck(load_config(lab.config), daemon.mailbox, [released(seen)], datetime.now(UTC))
    assert len(subjects(daemon)) == 2, "a second crash left a second lock"


def test_what_is_held_back_is_explained_and_what_is_started_is_no_longer(lab, daemon) -> None:
    settle_minutes(lab, 30)
    folder = state_folder(load_config(lab.config))
    tick(daemon)
    assert "must look the same" in load_decisions(folder)[STUDY].why
    lab.config.write_text(lab.config.read_text().replace("settle_minutes = 30", "settle_minutes = 0"))
    until_quiet(lambda: tick(daemon))
    assert load_decisions(folder) == {}


def test_a_decision_that_cannot_be_written_down_keeps_no_study_from_being_archived(lab, daemon, caplog) -> None:
    (state_folder(load_config(lab.config)) / "decisions.json").mkdir()
    daemon.run_requested = False
    assert tick(daemon).requested == [STUDY]
    assert "cannot be written down" in caplog.text


def test_a_full_nas_is_waited_for_without_a_run_and_who_fails_on_one_all_the_same_waits_for_room_too(
    lab, daemon, monkeypatch
) -> None:
    free = {"bytes": 100}
    spaces = lambda _: Space(100 * RESERVE, RESERVE + free["bytes"])  # noqa: E731 - as the storage measures
    monkeypatch.setattr(LocalStorage, "space", spaces)
    full = tick(daemon)
    assert full.requested == []
    assert "waits for room on the NAS" in full.skipped
    assert "waits for room on the NAS" in load_decisions(state_folder(load_config(lab.config)))[STUDY].why
    free["bytes"] = 10_000_000
    daemon.before_run = lambda: free.update(bytes=100)  # others were faster
    assert tick(daemon).failed == [STUDY]
    assert "waits for room on the NAS" in tick(daemon).skipped
    (run,) = daemon.instance.get_runs()
    (tried,) = tries_of(daemon.instance, {run.tags[STATE_TAG]}).values()
    assert (tried.for_room, tried.hopeless) == (True, False)
    daemon.before_run = None
    free["bytes"] = 10_000_000
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=6)):
        until_quiet(lambda: tick(daemon))
    assert not lab.study.exists()


def test_no_younger_study_takes_the_room_of_the_oldest_where_a_look_takes_several_ticks(
    lab, daemon, monkeypatch
) -> None:
    lab.write(f"{STUDY}/Scan1/.temp/big.bin", b"x" * 3_000_000)
    for day in range(6, 10):
        lab.add_study(f"202601{day:02}_WW_HCC_run{day}")
    monkeypatch.setattr(LocalStorage, "space", lambda _: Space(100 * RESERVE, RESERVE + 3_000_000))
    monkeypatch.setattr("sensors.idle_studies.LOOK_SECONDS", 0.0)  # four studies at a tick
    daemon.run_requested = False
    first = tick(daemon)
    assert cursor_from_text(daemon.cursors["idle_studies"]).after, "not all were looked at"
    assert (first.requested, tick(daemon).requested) == ([], [])


def test_a_directory_with_an_odd_name_gets_a_partition_that_dagster_can_keep(lab, daemon) -> None:
    odd = "a...b [x] %20 naïve"
    (lab.source / odd).mkdir()
    (lab.source / odd / "file").write_bytes(b"x")
    lab.originals[odd, "file"] = b"x"
    tick(daemon)
    keys = daemon.instance.get_dynamic_partitions("studies")
    assert len(keys) == 2
    assert not any("..." in key for key in keys)
    assert (lab.source / odd / "file").exists()
