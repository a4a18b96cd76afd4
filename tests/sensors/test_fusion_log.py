"""The sensor of the instrument's log: each error is mailed once, whoever reads it, and a lab without a log has none."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import time_machine
from filelock import FileLock

from definitions import build_defs
from fusion_assets.config import load_config
from fusion_assets.monitor.state import LOCK_FILE
from fusion_assets.state import state_folder
from sensors.outages import WELL
from tests.real.small_lab import SmallLab
from tests.sensors.daemon import Daemon

pytestmark = pytest.mark.real

# Synthetic: the real log's form is not public.
START = "2026-03-01 02:00:00 INFO acquisition started\n"
ERROR = "2026-03-01 02:00:01 ERROR stage did not move\n  at axis X\n2026-03-01 02:00:02 INFO going on\n"


@pytest.fixture
def logged(lab: SmallLab, daemon: Daemon) -> Daemon:
    """A daemon that has seen the beginning of the log."""
    (lab.folder / "Fusion.log").write_text(START)
    text = lab.config.read_text().replace("[source]\n", f"[source]\nlog = '{lab.folder / 'Fusion.log'}'\n", 1)
    lab.config.write_text(text)
    daemon.tick("fusion_log")
    return daemon


def append(lab: SmallLab, text: str) -> None:
    with (lab.folder / "Fusion.log").open("a") as file:
        file.write(text)


def subjects(daemon: Daemon) -> list[str]:
    return [mail.subject for mail in daemon.mailbox.waiting()]


def test_an_error_of_the_instrument_is_mailed_once_and_seen_in_the_ui(lab, logged) -> None:
    append(lab, ERROR)
    for _ in range(3):
        logged.tick("fusion_log")
    assert len(subjects(logged)) == 1
    (seen,) = logged.instance.fetch_observations(dg.AssetKey("fusion_log"), limit=5).records
    assert "stage did not move" in seen.asset_observation.metadata["first lines"].value


def test_the_command_line_and_the_sensor_tell_of_an_error_once_between_them(lab, logged) -> None:
    append(lab, ERROR)
    assert lab.fusion("monitor", "tail", "--once").returncode == 0
    logged.tick("fusion_log")
    assert len(subjects(logged)) == 1


def test_what_was_not_seen_of_a_log_that_was_replaced_is_a_warning_of_ours_which_is_mailed(lab, logged, caplog) -> None:
    (lab.folder / "Fusion.log").rename(lab.folder / "gone elsewhere")
    (lab.folder / "gone elsewhere").unlink()
    (lab.folder / "Fusion.log").write_text("2026-03-02 02:00:00 INFO another log\n" * 9)
    logged.tick("fusion_log")
    (said,) = [record.getMessage() for record in caplog.records if record.name == "sensors.fusion_log_mail"]
    assert "not seen" in said


def test_a_log_that_is_gone_is_a_reason_in_the_tick_and_no_failed_sensor(lab, logged) -> None:
    (lab.folder / "Fusion.log").unlink()
    assert "Fusion.log" in logged.tick("fusion_log").skipped


def test_a_look_that_hangs_is_mailed_after_a_quarter_of_an_hour_and_once_until_looks_are_taken_again(
    lab, logged, monkeypatch
) -> None:
    """On a mount that does not answer: the tick is given up by Dagster, but not by its thread."""
    monkeypatch.setattr("fusion_assets.monitor.state._PATIENCE_SECONDS", 0.01)
    lock, start, mailed = state_folder(load_config(lab.config)) / LOCK_FILE, datetime.now(UTC), []
    for days in (1, 3):
        for minutes in (0, 14, 16, 60, 61):
            hung = nullcontext() if minutes == 61 else FileLock(lock)
            with hung, time_machine.travel(start + timedelta(days=days, minutes=minutes)):
                assert ("has not ended" in logged.tick("fusion_log").skipped) == (minutes < 61)
                mailed.append(len(subjects(logged)))
    assert mailed == [0, 0, 1, 1, 1, 1, 1, 2, 2, 2]


def test_a_second_hang_begins_anew_although_the_log_could_not_be_read_in_between(lab, logged, monkeypatch) -> None:
    monkeypatch.setattr("fusion_assets.monitor.state._PATIENCE_SECONDS", 0.01)
    lock, start = state_folder(load_config(lab.config)) / LOCK_FILE, datetime.now(UTC)
    log = lab.folder / "Fusion.log"
    away = log.rename(lab.folder / "away")
    logged.tick("fusion_log")
    with FileLock(lock):
        logged.tick("fusion_log")
    with time_machine.travel(start + timedelta(minutes=5)):
        assert "Fusion.log" in logged.tick("fusion_log").skipped
    with FileLock(lock), time_machine.travel(start + timedelta(minutes=14)):
        logged.tick("fusion_log")
    with FileLock(lock), time_machine.travel(start + timedelta(minutes=20)):
        logged.tick("fusion_log")
        assert subjects(logged) == [], "it hangs for six minutes"
    away.rename(log)
    with time_machine.travel(start + timedelta(minutes=21)):
        logged.tick("fusion_log")
    assert logged.cursors["fusion_log"] == WELL


def test_a_lab_that_names_no_log_has_no_such_sensor(lab) -> None:
    assert "fusion_log" not in {sensor.name for sensor in build_defs(load_config(lab.config)).sensors}
