"""The sensor that watches: each failure is mailed once, none is mailed twice, and silence is noticed."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NoReturn

import dagster as dg
import pytest
import time_machine
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.scheduler.instigation import InstigatorStatus, SensorInstigatorData, TickData, TickStatus
from dagster._utils.error import SerializableErrorInfo

from fusion_assets.config import Event, load_config
from fusion_assets.heartbeat import heartbeat_file, read_heartbeat
from fusion_assets.notify.posted import Waiting
from fusion_assets.notify.queue import Queue, UnusableError
from fusion_assets.partitions import partition_key
from fusion_assets.state import state_folder
from fusion_assets.studies.checks import table
from fusion_assets.studies.tags import BY_COMMAND, STARTED_BY_TAG, STATE_TAG
from sensors.alert_mail import tell_of_silence
from sensors.ended_runs import read_ended_runs, run_cursor_from_text
from sensors.silence import find_silent
from tests.real.small_lab import STUDY
from tests.sensors.daemon import Daemon, instigator

pytestmark = pytest.mark.real

OTHER = "20260106_WW_HCC_run2"


def subjects(daemon: Daemon) -> list[str]:
    return [mail.subject for mail in daemon.mailbox.waiting()]


def test_a_study_that_fails_is_mailed_once_with_its_reason_however_often_it_is_tried(lab, watched) -> None:
    lab.write("notes.txt", b"not allowed here")
    assert watched.tick("idle_studies").failed == [STUDY]
    for _ in range(3):
        watched.tick("alerts")
    assert len(subjects(watched)) == 1
    watched.run(STUDY, "validated")
    watched.tick("alerts")
    assert len(subjects(watched)) == 1, "the same study failed for the same reason: nothing new"


def test_a_study_that_fails_for_another_reason_is_mailed_again(lab, watched) -> None:
    lab.write("notes.txt", b"not allowed here")
    watched.run(STUDY, "validated")
    watched.tick("alerts")
    lab.write("more.docx", b"not allowed either")
    (lab.study / "notes.txt").unlink()
    watched.run(STUDY, "validated")
    watched.tick("alerts")
    assert len(subjects(watched)) == 2


def test_a_nas_that_is_full_is_one_cause_however_many_bytes_are_missing(lab, watched) -> None:
    """Sizes change at each try, and with them their units, back and forth."""
    missing = "/mnt/nas has {} free; 1.5 MiB are to be copied and 64.0 MiB must stay free: {} are missing"
    for free, lacking in (("1.2 MiB", "383.5 KiB"), ("129.0 KiB", "1.4 MiB"), ("12 bytes", "1.5 MiB")):
        end_from_outside(watched, missing.format(free, lacking))
        watched.tick("alerts")
    assert len(subjects(watched)) == 1


def test_a_study_that_was_repaired_and_breaks_again_is_mailed_again(lab, watched) -> None:
    stray = lab.write("notes.txt", b"not allowed here")
    watched.run(STUDY, "validated")
    watched.tick("alerts")
    stray.unlink()
    watched.run(STUDY, "validated")
    watched.tick("alerts")
    stray.write_bytes(b"not allowed here")
    watched.run(STUDY, "validated")
    watched.tick("alerts")
    assert len(subjects(watched)) == 2


def test_a_dead_server_that_fails_two_studies_between_two_ticks_is_one_mail_that_names_both(lab, watched) -> None:
    lab.add_study(OTHER)
    config = lab.config.read_text()
    lab.config.write_text(config.replace(lab.server.url, "http://127.0.0.1:9"))
    watched.run(STUDY, "validated", "truenas_copy", "s3_archive")
    watched.run(OTHER, "validated", "truenas_copy", "s3_archive")
    lab.config.write_text(config)
    watched.tick("alerts")
    assert subjects(watched) == [
        "[fusion-toolkit] backup: 2 studies failed on " + subjects(watched)[0].rpartition(" ")[2]
    ]


def test_what_the_command_line_ran_is_not_mailed_a_second_time_by_the_daemon(lab, watched) -> None:
    lab.write("notes.txt", b"not allowed here")
    watched.run(STUDY, "validated", tags={STARTED_BY_TAG: BY_COMMAND})
    watched.tick("alerts")
    assert subjects(watched) == []


def test_a_run_that_waited_until_somebody_else_had_done_its_study_is_no_failure_of_it(lab, watched) -> None:
    watched.before_run = lambda: lab.fusion("backup", "run")
    tick = watched.tick("idle_studies")
    assert tick.requested == tick.failed == [STUDY]
    assert not lab.study.exists()
    watched.tick("alerts")
    assert subjects(watched) == []


def test_a_study_that_a_person_deleted_before_its_run_began_is_mailed(lab, watched) -> None:
    watched.before_run = lambda: shutil.rmtree(lab.study)
    assert watched.tick("idle_studies").failed == [STUDY]
    watched.tick("alerts")
    assert len(subjects(watched)) == 1


def test_a_run_that_was_marked_as_failed_from_outside_is_mailed_and_stops_no_other_mail(lab, watched) -> None:
    """Of such a run there is no error, only a message: after its longest time, or when a person gave it up."""
    end_from_outside(watched, "Exceeded maximum runtime of 86400 seconds.")
    watched.tick("alerts")
    (mail,) = watched.mailbox.waiting()
    assert "1 study failed" in mail.subject


@pytest.mark.parametrize(
    "message",
    [
        "[DagsterApiServer] Run execution process for 2f1c was terminated by signal 9 (SIGKILL). This usually …",
        "Detected run worker status NOT_FOUND: 'its process is gone'. Marking run 2f1c as failed.",
    ],
)
def test_a_run_whose_process_was_killed_is_no_failure_of_its_study_when_a_sensor_starts_it_again(
    lab, watched, message
) -> None:
    end_from_outside(watched, message, {STATE_TAG: "0123456789abcdef"})
    watched.tick("alerts")
    assert subjects(watched) == []
    end_from_outside(watched, message)
    watched.tick("alerts")
    assert len(subjects(watched)) == 1, "nobody starts again what a person started"


def test_a_study_that_fails_on_a_server_and_is_killed_in_between_is_mailed_once(lab, watched) -> None:
    """A host that is upgraded during an outage of S3."""
    killed = "[DagsterApiServer] Run execution process for 2f1c was terminated by signal 9 (SIGKILL)."
    away = "cannot reach s3://lab: Connection refused"
    for why in (away, away, killed, away, killed, away):
        end_from_outside(watched, why, {STATE_TAG: "0123456789abcdef"})
        watched.tick("alerts")
    assert len(subjects(watched)) == 1


def test_a_run_that_is_killed_at_every_try_is_mailed_at_the_third_and_once(lab, watched) -> None:
    """Out of memory, say: its sensor starts it again for ever."""
    killed = "[DagsterApiServer] Run execution process for 2f1c was terminated by signal 9 (SIGKILL)."
    counts = []
    for states in (["0123456789abcdef"] * 2, ["0123456789abcdef"], ["0123456789abcdef", "fedcba9876543210"]):
        for state in states:
            end_from_outside(watched, killed, {STATE_TAG: state})
        watched.tick("alerts")
        counts.append(len(subjects(watched)))
    assert counts == [0, 1, 1]


def test_a_check_that_fails_without_stopping_its_run_is_mailed_although_the_run_is_green(lab, watched) -> None:
    """Dagster itself tells nobody of such a check."""
    report_check(watched, passed=False)
    watched.tick("alerts")
    watched.tick("alerts")
    (subject,) = subjects(watched)
    assert "bytes_are_good" in subject
    report_check(watched, passed=True)
    watched.tick("alerts")
    report_check(watched, passed=False)
    watched.tick("alerts")
    assert len(subjects(watched)) == 2, "it was well in between"


def test_a_warning_is_for_the_ui_and_wakes_nobody(lab, watched) -> None:
    report_check(watched, passed=False, severity=dg.AssetCheckSeverity.WARN)
    watched.tick("alerts")
    assert subjects(watched) == []


def test_a_run_that_is_tagged_after_its_end_is_no_news(lab, watched) -> None:
    lab.write("notes.txt", b"not allowed here")
    run_id = watched.run(STUDY, "validated").run_id
    watched.tick("alerts")
    watched.mailbox.settle([f"run:{STUDY}"])
    watched.instance.add_run_tags(run_id, {"note": "seen"})
    watched.tick("alerts")
    assert len(subjects(watched)) == 1


def test_a_clock_that_is_behind_for_one_tick_tells_no_failure_of_the_past_again(lab, watched, monkeypatch) -> None:
    """A host without a battery boots, and asks for the time a minute later."""
    monkeypatch.setattr("sensors.ended_runs._AT_A_TIME", 1)
    start = datetime.now(UTC)
    stray = lab.write("notes.txt", b"not allowed here")
    watched.run(STUDY, "validated")
    watched.tick("alerts")
    stray.unlink()
    watched.run(STUDY, "validated")
    watched.tick("alerts")
    for hours, ticks in ((1, 1), (-90 * 24, 1), (2, 5)):
        with time_machine.travel(start + timedelta(hours=hours), tick=True):
            watched.restart()
            fail_job(watched, "scrub_copies", "which fails at any time")
            for _ in range(ticks):
                watched.tick("alerts")
    assert [subject.partition("] ")[2].partition(" on ")[0] for subject in subjects(watched)] == [
        "backup: 1 study failed",
        "the weekly scrub failed",
    ]


def test_a_failed_run_that_bears_the_number_of_a_deleted_one_is_mailed(lab, watched) -> None:
    """SQLite gives the number of the newest run again once that is deleted."""
    run = dg.DagsterRun("probe", status=dg.DagsterRunStatus.STARTED)
    watched.instance.add_run(run)
    watched.tick("alerts")
    watched.instance.delete_run(run.run_id)
    watched.tick("alerts")
    end_from_outside(watched, "Exceeded maximum runtime of 86400 seconds.")
    watched.tick("alerts")
    assert len(subjects(watched)) == 1


def test_a_run_that_began_and_failed_between_two_ticks_is_mailed_whatever_was_deleted_meanwhile(lab, watched) -> None:
    for number in range(30):
        run = dg.DagsterRun(f"probe{number}", status=dg.DagsterRunStatus.SUCCESS)
        watched.instance.add_run(run)
        if number % 9 == 0:
            watched.tick("alerts")
    watched.tick("alerts")
    for told, deleted in ((1, 1), (2, 3), (3, 0), (4, 12)):
        for record in watched.instance.get_run_records(limit=deleted) if deleted else ():
            watched.instance.delete_run(record.dagster_run.run_id)
        fail_job(watched, f"probe{told}", f"it is failure {told}")
        watched.tick("alerts")
        assert len(subjects(watched)) == told
    for record in watched.instance.get_run_records():
        watched.instance.delete_run(record.dagster_run.run_id)
    watched.tick("alerts")
    fail_job(watched, "scrub_copies", "the history was reset")
    watched.tick("alerts")
    assert len(subjects(watched)) == 5


def test_a_clock_that_was_ahead_for_a_while_silences_no_later_failure(lab, watched) -> None:
    with time_machine.travel(datetime.now(UTC) + timedelta(days=400), tick=True):
        end_from_outside(watched, "Exceeded maximum runtime of 86400 seconds.")
        watched.tick("alerts")
    watched.restart()  # as its unit does when the clock is set
    told = len(subjects(watched))
    lab.write("notes.txt", b"not allowed here")
    watched.run(STUDY, "validated")
    for _ in range(3):
        watched.tick("alerts")
    assert len(subjects(watched)) == told + 1


def test_more_runs_at_one_moment_than_a_look_reads_keep_no_later_failure_from_being_mailed(
    lab, watched, monkeypatch
) -> None:
    """A person cancels 500 queued runs, say; here a look reads three."""
    monkeypatch.setattr("sensors.ended_runs._AT_A_TIME", 3)
    for run in [dg.DagsterRun("archive_study", status=dg.DagsterRunStatus.STARTED) for _ in range(8)]:
        watched.instance.add_run(run)
        watched.instance.report_run_canceled(run)
    end_from_outside(watched, "Exceeded maximum runtime of 86400 seconds.")
    cursor, read = run_cursor_from_text(watched.cursors["alerts"]), []
    for _ in range(4):
        runs, cursor = read_ended_runs(watched.instance, cursor)
        read += [run.run_id for run in runs]
    assert len(read) == len(set(read)) == 9
    assert runs == []


def test_a_tick_that_is_killed_after_its_mails_were_queued_tells_no_failure_twice(lab, watched) -> None:
    watched.run(STUDY, "validated")
    lab.write("notes.txt", b"not allowed here")
    watched.run(STUDY, "validated")
    before = watched.cursors["alerts"]
    watched.tick("alerts")
    watched.cursors["alerts"] = before  # what Dagster keeps of a tick that did not end
    watched.tick("alerts")
    assert len(subjects(watched)) == 1


def test_a_failure_that_could_be_neither_queued_nor_sent_is_mailed_when_that_is_possible_again(
    lab, watched, monkeypatch
) -> None:
    def full(*_: object) -> NoReturn:
        raise UnusableError("database or disk is full")  # and the mail server is away

    lab.write("notes.txt", b"not allowed here")
    watched.run(STUDY, "validated")
    with monkeypatch.context() as patch:
        patch.setattr(Queue, "_change", full)
        for _ in range(2):
            watched.tick("alerts")
    assert subjects(watched) == []
    for _ in range(3):
        watched.tick("alerts")
    assert len(subjects(watched)) == 1


def damaged(number: int) -> dict[str, str]:
    study = f"2026010{number}_WW_HCC_run{number}"
    return {"study": study, "path": f"Scan1/{study}.qptiff", "problem": "its bytes are not those that were proven"}


def test_a_second_damaged_copy_is_mailed_although_its_name_differs_by_digits_only(watched) -> None:
    for number in (1, 2):
        report_check(watched, passed=False, rows=[damaged(number)])
        watched.tick("alerts")
    assert [f"2026010{number}_WW_HCC_run{number}" in subjects(watched)[number - 1] for number in (1, 2)] == [True, True]


def test_of_many_studies_that_a_check_finds_only_those_are_mailed_that_were_not_found_before(watched) -> None:
    report_check(watched, passed=False, rows=[damaged(number) for number in range(1, 6)])
    watched.tick("alerts")
    report_check(watched, passed=False, rows=[damaged(number) for number in range(2, 8)])
    watched.tick("alerts")
    assert [mail.subject.partition(" on ")[0] for mail in watched.mailbox.waiting()] == [
        "[fusion-toolkit] 5 checks failed, of 5 studies",
        "[fusion-toolkit] 2 checks failed, of 2 studies",
    ]
    report_check(watched, passed=False, rows=[damaged(1)])
    watched.tick("alerts")
    assert len(subjects(watched)) == 3, "it was well for a while, and is damaged again"


def test_a_failed_job_of_no_study_is_told_as_what_it_is_and_not_as_a_study_of_its_name(lab, watched) -> None:
    for job in ("scrub_copies", "backup_run", "cleanup_run"):
        fail_job(watched, job, f"{job} did not come far")
    watched.tick("alerts")
    assert [(mail.event, mail.subject.partition(" on ")[0]) for mail in waiting(watched)] == [
        (Event.BACKUP_FAILURE, "[fusion-toolkit] backup stopped"),
        (Event.CLEANUP_FAILURE, "[fusion-toolkit] cleanup stopped"),
        (Event.BACKUP_FAILURE, "[fusion-toolkit] the weekly scrub failed"),
    ]
    backup, cleanup, scrub = texts(watched)
    assert "scrub_copies: probe: scrub_copies did not come far" in scrub
    assert "fusion backup run" not in scrub, "which does not scrub"
    assert "is tried again by itself" not in scrub
    assert "backup_run did not come far" in backup
    assert "fusion cleanup run" in cleanup


def test_the_mail_of_a_check_says_commands_that_work_whether_it_names_a_study_or_not(lab, watched) -> None:
    report_check(watched, passed=False)
    watched.tick("alerts")
    report_check(watched, passed=False, rows=[{"study": STUDY, "state": "failed", "why": "its copy is gone"}])
    watched.tick("alerts")
    of_none, of_one = texts(watched)
    assert "check bytes_are_good failed on" in waiting(watched)[0].subject
    typed = [line.strip() for line in (of_none + of_one).splitlines() if line.startswith("    fusion ")]
    assert [line.split()[1] for line in typed] == ["plan", "plan", "explain"]
    for line in typed[1:]:
        assert lab.fusion(*shlex.split(line)[1:]).returncode == 0, line


def test_the_heartbeat_stays_fresh_while_the_daemon_ticks_and_is_old_when_it_died(lab, watched) -> None:
    config = load_config(lab.config)
    now = datetime.now(UTC)
    assert read_heartbeat(config, now).fresh
    assert not read_heartbeat(config, now + timedelta(minutes=20)).fresh
    heartbeat_file(config).write_text("garbage")
    assert not read_heartbeat(config, now).fresh


def test_what_the_daemon_cannot_write_is_mailed_and_does_not_only_stand_in_the_log_of_a_tick(
    lab, watched, caplog
) -> None:
    """`toolkit_error` mails what our own loggers are told; Dagster's are not ours."""
    with lab.config.open("a") as file:
        file.write("[heartbeat]\nfile = '/proc/nowhere/heartbeat'\n")
    watched.tick("alerts")
    mailbox = state_folder(load_config(lab.config)) / "mailbox.sqlite"
    mailbox.unlink(missing_ok=True)
    mailbox.mkdir()
    watched.tick("alerts")
    said = [record.getMessage() for record in caplog.records if record.name == "sensors.alerts"]
    assert [("heartbeat's file" in one, "the mailbox cannot be used" in one) for one in said] == [
        (True, False),
        (False, True),
        (True, False),
    ]


def test_a_sensor_that_fails_or_no_longer_ticks_or_was_switched_off_is_mailed_once(lab, watched, monkeypatch) -> None:
    now = datetime.now(UTC)
    add_sensor(watched.instance, "failing", now, error="the disk is gone")
    add_sensor(watched.instance, "late", now - timedelta(hours=1))
    add_sensor(watched.instance, "off", now, status=InstigatorStatus.STOPPED)
    add_sensor(watched.instance, "fine", now)
    expected = {"failing": 60, "late": 60, "off": 60, "fine": 60, "not yet taken up": 60}
    silent = find_silent(watched.instance, expected, now)
    assert set(silent) == {"failing", "late", "off"}
    assert silent["failing"].why == "the disk is gone"
    for _ in range(2):
        tell_of_silence(load_config(lab.config), watched.mailbox, silent, now)
    assert len(subjects(watched)) == 1
    tell_of_silence(load_config(lab.config), watched.mailbox, {}, now)
    tell_of_silence(load_config(lab.config), watched.mailbox, {"late": silent["late"]}, now)
    assert len(watched.mailbox.waiting()) >= 1


def test_a_code_server_that_is_being_restarted_is_no_news_until_a_sensor_stays_unheard(lab, watched) -> None:
    now = datetime.now(UTC)
    unreachable = DagsterUserCodeUnreachableError.__name__
    for name, minutes in {"restarted": 1, "gone": 11}.items():
        add_sensor(watched.instance, name, now - timedelta(minutes=minutes))
        add_tick(watched.instance, name, now, SerializableErrorInfo("connection refused", [], unreachable))
    silent = find_silent(watched.instance, {"restarted": 60, "gone": 60}, now)
    assert set(silent) == {"gone"}
    assert silent["gone"].last_heard is not None


def test_a_sensor_that_fails_at_every_tick_is_mailed_once_also_when_the_next_tick_is_under_way(lab, watched) -> None:
    now = datetime.now(UTC)
    add_sensor(watched.instance, "failing", now - timedelta(seconds=60), error="the disk is gone")
    assert set(find_silent(watched.instance, {"failing": 60}, now)) == {"failing"}
    for _ in range(2):  # that of a daemon that was killed meanwhile, or of a second one, is never ended
        add_tick(watched.instance, "failing", now, under_way=True)
        assert set(find_silent(watched.instance, {"failing": 60}, now)) == {"failing"}
    add_tick(watched.instance, "failing", now)
    assert find_silent(watched.instance, {"failing": 60}, now) == {}


def waiting(daemon: Daemon) -> tuple[Waiting, ...]:
    return daemon.mailbox.waiting()


def texts(daemon: Daemon) -> list[str]:
    """What the mails say, oldest first."""
    queue = Queue(state_folder(load_config(daemon.config)) / "mailbox.sqlite")
    return [mail.message.text for mail, _ in queue.waiting(datetime.now(UTC))]


def fail_job(daemon: Daemon, name: str, why: str) -> None:
    @dg.op
    def probe() -> None:
        raise dg.Failure(why)

    @dg.job(name=name)
    def job() -> None:
        probe()

    assert not job.execute_in_process(instance=daemon.instance, raise_on_error=False).success


def end_from_outside(daemon: Daemon, message: str, tags: Mapping[str, str] | None = None) -> None:
    """A run that was at work, of which somebody else wrote that it failed."""
    about = {"dagster/partition": partition_key(STUDY), **(tags or {})}
    run = dg.DagsterRun(job_name="archive_study", status=dg.DagsterRunStatus.STARTED, tags=about)
    daemon.instance.add_run(run)
    daemon.instance.report_engine_event(message, run)
    daemon.instance.report_run_failed(run, message)


def add_sensor(
    instance: dg.DagsterInstance,
    name: str,
    ticked: datetime,
    *,
    error: str = "",
    status: InstigatorStatus = InstigatorStatus.RUNNING,
) -> None:
    """What the daemon leaves of a sensor that ticked once."""
    data = SensorInstigatorData(last_tick_timestamp=ticked.timestamp(), min_interval=60)
    instance.add_instigator_state(instigator(name, data, status))
    add_tick(instance, name, ticked, SerializableErrorInfo(error, [], "OSError") if error else None)


def add_tick(
    instance: dg.DagsterInstance,
    name: str,
    at: datetime,
    error: SerializableErrorInfo | None = None,
    *,
    under_way: bool = False,
) -> None:
    (state,) = [state for state in instance.all_instigator_state() if state.name == name]
    instance.create_tick(
        TickData(
            instigator_origin_id=state.instigator_origin_id,
            instigator_name=name,
            instigator_type=InstigatorType.SENSOR,
            status=TickStatus.STARTED if under_way else TickStatus.FAILURE if error else TickStatus.SKIPPED,
            timestamp=at.timestamp(),
            selector_id=state.selector_id,
            error=error,
        )
    )


def report_check(
    daemon: Daemon,
    *,
    passed: bool,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
    rows: Sequence[Mapping[str, str]] = (),
) -> None:
    """A run that succeeds although its check, which does not block, found something."""

    @dg.asset(check_specs=[dg.AssetCheckSpec("bytes_are_good", asset="probe")])
    def probe() -> dg.MaterializeResult:
        found = dg.AssetCheckResult(
            passed=passed, check_name="bytes_are_good", severity=severity, metadata={"problems": table(rows)}
        )
        return dg.MaterializeResult(check_results=[found])

    assert dg.materialize([probe], instance=daemon.instance).success
