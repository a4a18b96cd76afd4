"""The scrub, the inventory, the digest and the calendar's commands, run as Dagster runs them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NoReturn

import dagster as dg
import pytest

from definitions import build_defs
from fusion_assets.config import Event, load_config
from fusion_assets.eviction.telling import gone
from fusion_assets.notify.letter import Message
from fusion_assets.notify.mailbox import Mailbox
from fusion_assets.notify.queue import Queue, UnusableError
from fusion_assets.reconcile.idle import Memory
from fusion_assets.reconcile.lab import Lab
from fusion_assets.reconcile.observe import LabObservation, observe_lab
from fusion_assets.reconcile.scrub import provable, scrub_share
from fusion_assets.studies.tags import MAILED_TAG
from resources.local import LocalStorage
from tests.real.small_lab import STUDY, SmallLab, assert_nothing_lost
from tests.studies.face import Face

pytestmark = pytest.mark.real

OTHER = "20260106_WW_HCC_run2"
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture
def archived(face: Face) -> Face:
    face.lab.add_study(OTHER)
    assert face.lab.apply().failed == 0
    return face


def run(face: Face, job: str, tags: Mapping[str, str] | None = None) -> dg.ExecuteInProcessResult:
    definitions = build_defs(load_config(face.lab.config))
    return definitions.resolve_job_def(job).execute_in_process(
        instance=face.instance, run_config=_QUIET, raise_on_error=False, tags=tags
    )


def check(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    (found,) = result.get_asset_check_evaluations()
    return found


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    (event,) = result.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}


def latest(face: Face, study: str = STUDY) -> str:
    return [record["status"] for record in face.lab.ledger() if record["backup_name"] == study][-1]


def set_scrub(face: Face, **values: int) -> None:
    with face.lab.config.open("a") as file:
        file.write("[scrub]\n" + "".join(f"{name} = {value}\n" for name, value in values.items()))


def test_every_copy_is_proven_again_within_a_cycle_the_longest_unproven_first(archived) -> None:
    set_scrub(archived, cycle_weeks=2)
    assert metadata(run(archived, "scrub_copies"))["proven again"] == 1
    assert [record["backup_name"] for record in archived.lab.ledger()[-1:]] == [STUDY]
    assert "scrubbed_at" in archived.lab.ledger()[-1]
    run(archived, "scrub_copies")
    assert archived.lab.ledger()[-1]["backup_name"] == OTHER


def test_a_byte_that_rotted_on_the_nas_without_a_trace_is_found_and_the_source_is_kept(archived) -> None:
    set_scrub(archived, cycle_weeks=1)
    file = archived.lab.copy / archived.lab.path_of("focus003.bin")
    seen, data = file.stat(), bytearray(file.read_bytes())
    data[7] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    result = run(archived, "scrub_copies")
    assert result.success, "a finding is no failed run"
    assert not check(result).passed
    assert "focus003.bin" in str(check(result).metadata["problems"])
    assert latest(archived) == "failed_truenas"
    assert archived.lab.apply().failed == 0, "the source still has the good file: the next run repairs the copy"
    assert_nothing_lost(archived.lab)
    assert check(run(archived, "scrub_copies")).passed


def test_an_object_that_somebody_altered_in_s3_is_found(archived) -> None:
    set_scrub(archived, cycle_weeks=1)
    lab = archived.lab
    key = lab.key(lab.path_of("focus003.bin"))
    lab.server.client().put_object(Bucket=lab.bucket, Key=key, Body=b"something else")
    assert not check(run(archived, "scrub_copies")).passed
    assert latest(archived) == "failed_s3"


def test_an_instrument_that_is_switched_off_keeps_no_copy_from_being_proven_again(archived) -> None:
    source = archived.lab.source
    source.rename(source.with_name("away"))
    source.mkdir()
    assert check(run(archived, "scrub_copies")).passed
    source.rmdir()
    assert check(run(archived, "scrub_copies")).passed
    assert {record["backup_name"] for record in archived.lab.ledger() if "scrubbed_at" in record} == {STUDY, OTHER}


def test_a_scrub_stays_within_its_budget_but_never_stands_still(archived) -> None:
    set_scrub(archived, cycle_weeks=1, max_bytes=1)
    assert metadata(run(archived, "scrub_copies"))["proven again"] == 1


def test_a_copy_that_cannot_be_read_keeps_no_other_from_being_proven_again(archived) -> None:
    set_scrub(archived, cycle_weeks=2)
    shutil.rmtree(archived.lab.nas / STUDY)
    for _ in range(2):
        result = run(archived, "scrub_copies")
        assert metadata(result)["proven again"] == 1
        assert metadata(result)["not read"] == 1
    assert STUDY in str(check(result).metadata["problems"])
    assert {record["backup_name"] for record in archived.lab.ledger() if "scrubbed_at" in record} == {OTHER}


def test_a_copy_that_is_evicted_while_others_are_proven_is_not_taken_for_a_damaged_one(archived) -> None:
    with archived.lab.opened() as lab:
        records = lab.ledger.read().records
        waiting = provable(records.values())
        lab.ledger.append(gone(records[STUDY], datetime.now(UTC), None))
        shutil.rmtree(archived.lab.nas / STUDY)
        share = scrub_share(lab, waiting, folder=archived.lab.folder, cycle_weeks=1, max_bytes=None)
    assert [one.backup.run_name for one in share.done] == [OTHER]
    assert not share.unread


@pytest.mark.parametrize("left", ["nothing", "an empty mount point"])
def test_a_scrub_of_a_nas_that_is_not_mounted_fails_instead_of_finding_all_well(archived, left: str) -> None:
    archived.lab.nas.rename(archived.lab.nas.with_name("away"))
    if left == "an empty mount point":
        archived.lab.nas.mkdir()
    result = run(archived, "scrub_copies")
    assert not result.success
    assert not result.get_asset_check_evaluations()


def test_a_nas_that_is_away_is_asked_for_one_copy_and_not_for_a_thousand(archived) -> None:
    with archived.lab.opened() as lab:
        waiting = provable(lab.ledger.read().records.values())
        archived.lab.nas.rename(archived.lab.nas.with_name("unmounted"))
        archived.lab.nas.mkdir()
        share = scrub_share(lab, waiting, folder=archived.lab.folder, cycle_weeks=1, max_bytes=None)
    assert not share.done
    assert list(share.unread) == [STUDY]


def test_a_quiet_inventory_means_that_all_is_as_declared(archived) -> None:
    result = run(archived, "take_inventory")
    assert check(result).passed
    assert metadata(result)["settled"] == 2


def test_a_study_that_waits_for_a_person_is_in_the_inventory_every_day_until_it_is_put_right(archived) -> None:
    (archived.lab.study / archived.lab.path_of("focus003.bin")).write_bytes(b"changed after it was proven")
    result = run(archived, "take_inventory")
    assert not check(result).passed
    assert STUDY in str(check(result).metadata["astray"])
    assert not check(run(archived, "take_inventory")).passed
    assert archived.lab.fusion("apply", "--accept-changes", STUDY).returncode == 0
    assert check(run(archived, "take_inventory")).passed


def test_a_study_that_was_due_days_ago_and_is_not_archived_is_in_the_inventory(face) -> None:
    old = (datetime.now(UTC) - timedelta(days=3)).timestamp()
    for file in face.lab.study.rglob("*"):
        os.utime(file, (old, old))
    result = run(face, "take_inventory")
    assert not check(result).passed
    assert "was due on" in str(check(result).metadata["astray"])


def test_a_study_whose_run_ends_while_the_inventory_looks_is_not_told_as_one_that_was_due(face, monkeypatch) -> None:
    make_old(face, 400)
    tags = {"dagster/partition": STUDY}
    begun = face.instance.add_run(dg.DagsterRun("archive_study", status=dg.DagsterRunStatus.STARTED, tags=tags))

    def look(lab: Lab, memory: Memory, *, now: datetime) -> LabObservation:
        observed = observe_lab(lab, memory, now=now)
        face.instance.report_run_canceled(begun)
        return observed

    assert check(run(face, "take_inventory")).passed, "it is at work"

    def look_while_another_begins_and_ends(lab: Lab, memory: Memory, *, now: datetime) -> LabObservation:
        observed = observe_lab(lab, memory, now=now)
        begun = face.instance.add_run(dg.DagsterRun("archive_study", status=dg.DagsterRunStatus.STARTED, tags=tags))
        face.instance.report_run_canceled(begun)
        return observed

    monkeypatch.setattr("fusion_assets.studies.upkeep.observe_lab", look)
    assert check(run(face, "take_inventory")).passed, "it was while the inventory looked"
    monkeypatch.setattr("fusion_assets.studies.upkeep.observe_lab", look_while_another_begins_and_ends)
    assert check(run(face, "take_inventory")).passed, "another one was"
    monkeypatch.setattr("fusion_assets.studies.upkeep.observe_lab", observe_lab)
    assert not check(run(face, "take_inventory")).passed


def make_old(face: Face, days: float) -> None:
    """All files of the study are `days` old, of 30 after which a study is due."""
    lab = face.lab
    lab.config.write_text(lab.config.read_text().replace("idle_days = 0", "idle_days = 30"))
    old = (datetime.now(UTC) - timedelta(days=days)).timestamp()
    for file in lab.study.rglob("*"):
        os.utime(file, (old, old))


@pytest.mark.parametrize(("days", "passed"), [(29, True), (30.5, True), (31.5, False), (400, False)])
def test_a_viewer_that_was_left_open_is_told_of_a_day_after_its_study_was_due(face, monkeypatch, days, passed) -> None:
    make_old(face, days)
    monkeypatch.setattr(LocalStorage, "is_held_open", lambda storage, path: True)
    found = check(run(face, "take_inventory"))
    assert found.passed is passed
    assert ("is held open by another program" in str(found.metadata["astray"])) is not passed


def test_a_viewer_that_shows_an_archived_study_whose_source_stays_wakes_nobody(face, monkeypatch) -> None:
    make_old(face, 400)
    assert face.lab.apply().failed == 0
    monkeypatch.setattr(LocalStorage, "is_held_open", lambda storage, path: True)
    result = run(face, "take_inventory")
    assert metadata(result)["waiting"] == 1
    assert check(result).passed


@pytest.mark.parametrize(("hours", "passed"), [(12, True), (36, False), (14 * 365 * 24, False)])
def test_a_study_with_a_file_of_the_year_2040_does_not_wait_until_then_in_silence(face, hours, passed) -> None:
    make_old(face, 400)
    ahead = (datetime.now(UTC) + timedelta(hours=hours)).timestamp()
    os.utime(face.lab.study / face.lab.path_of("focus003.bin"), (ahead, ahead))
    found = check(run(face, "take_inventory"))
    assert found.passed is passed
    assert ("correct the time of the file" in str(found.metadata["astray"])) is not passed


def test_an_inventory_that_cannot_look_fails_and_says_so_instead_of_being_empty(archived) -> None:
    archived.lab.source.rename(archived.lab.source.with_name("unmounted"))
    archived.lab.source.mkdir()
    result = run(archived, "take_inventory")
    assert not result.success
    assert not result.get_asset_materialization_events()


def subscribe(lab: SmallLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mails wait, so that they can be counted."""
    with lab.config.open("a") as file:
        file.write("[notify]\nenabled = true\n")
    (lab.folder / "recipients").mkdir()
    (lab.folder / "recipients" / "digest.txt").write_text("pi@lab.example\n")
    for name, value in {"HOST": "127.0.0.1", "PORT": "9", "SECURITY": "none", "SENDER": "fusion@lab.example"}.items():
        monkeypatch.setenv(f"FUSION_SMTP_{name}", value)


def digests(face: Face) -> list[str]:
    mails = Mailbox(load_config(face.lab.config)).waiting()
    return [mail.subject.removeprefix("[fusion-toolkit] ").rpartition(" on ")[0] for mail in mails]


def test_the_digest_counts_what_the_week_brought_and_is_mailed_once_each_time(archived, monkeypatch) -> None:
    subscribe(archived.lab, monkeypatch)
    assert run(archived, "take_inventory").success
    first, next_week = ({".dagster/scheduled_execution_time": f"2026-11-{day}T23:00:00+00:00"} for day in (22, 29))
    for tags in (first, first, next_week):
        assert run(archived, "weekly_digest_job", tags).success
    assert digests(archived) == ["digest: 2 studies archived, all is well"] * 2, "two daemons are no two weeks"
    assert run(archived, "weekly_digest_job").success
    assert len(digests(archived)) == 3, "a person asked for it, which takes nothing from the next week's"


def test_a_digest_that_could_be_neither_queued_nor_sent_is_a_failed_run_of_which_a_person_is_told(
    archived, monkeypatch
) -> None:
    subscribe(archived.lab, monkeypatch)

    def full(*_: object) -> NoReturn:
        raise UnusableError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Queue, "_change", full)
        result = run(archived, "weekly_digest_job")
    assert not result.success
    assert "it could not be queued either" in str(result.failure_data_for_node("send_digest"))
    assert run(archived, "weekly_digest_job").success
    assert len(digests(archived)) == 1


def test_a_digest_says_that_all_is_well_only_where_that_was_looked_at(archived, monkeypatch) -> None:
    subscribe(archived.lab, monkeypatch)
    Mailbox(load_config(archived.lab.config), clock=lambda: datetime.now(UTC) - timedelta(days=3)).send(
        Event.DIGEST, Message("old", "old")
    )
    assert run(archived, "weekly_digest_job").success
    shutil.rmtree(archived.lab.copy)
    set_scrub(archived, cycle_weeks=1)
    assert run(archived, "scrub_copies").success
    with archived.lab.config.open("a") as file:
        file.write("[cleanup]\nfree_threshold_pct = 99.99\nmax_store_pct = 99\n")
    assert run(archived, "weekly_digest_job").success
    assert [subject for subject in digests(archived) if subject.startswith("digest")] == [
        "digest: 2 studies archived, no recent inventory, 1 mail waiting",
        "digest: 2 studies archived, 1 damaged copy, no recent inventory, the NAS is too full, 1 mail waiting",
    ]


def test_the_monthly_backup_does_what_a_person_would_type_and_shows_it_in_its_log(face) -> None:
    result = run(face, "backup_run")
    assert result.success
    log = [entry.user_message for entry in face.instance.all_logs(result.run_id) if not entry.is_dagster_event]
    assert any("RECAP" in line for line in log)
    assert face.lab.ledger()[-1]["status"] == "complete"


def test_a_monthly_backup_that_fails_says_that_it_mailed_so_that_the_daemon_does_not_again(face) -> None:
    face.lab.write("notes.txt", b"not allowed here")
    result = run(face, "backup_run")
    assert not result.success
    assert MAILED_TAG in face.instance.get_run_by_id(result.run_id).tags


def test_the_calendar_is_the_labs_own_and_each_appointment_can_be_crossed_out(face) -> None:
    with face.lab.config.open("a") as file:
        file.write("[schedules]\ntimezone = 'Asia/Shanghai'\nweekly_scrub = false\n")
    schedules = {one.name: one for one in build_defs(load_config(face.lab.config)).schedules}
    assert set(schedules) == {"monthly_backup", "monthly_cleanup", "weekly_digest", "daily_inventory"}
    backup = schedules["monthly_backup"]
    assert (backup.cron_schedule, backup.execution_timezone) == ("0 2 1 * *", "Asia/Shanghai")
    assert schedules["monthly_cleanup"].cron_schedule == "0 2 20 * *"


def test_every_sensor_can_be_switched_off(face) -> None:
    with face.lab.config.open("a") as file:
        file.write("[sensors]\nidle_studies = false\ntruenas_capacity = false\nalerts = false\n")
    assert build_defs(load_config(face.lab.config)).sensors == []
