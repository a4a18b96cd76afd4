"""Two workers, one study: whoever comes second waits or is told so, and a crash needs one command at the most."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fusion_assets.manifest.ledger import LOCK_NAME as LEDGER_LOCK
from fusion_assets.manifest.ledger import Ledger
from fusion_assets.reconcile.conditions import Name
from fusion_assets.reconcile.found_lock import LOCKS
from fusion_assets.reconcile.observe import observe_lab
from fusion_assets.reconcile.plan import Desired, Step, Verdict, plan_studies
from fusion_assets.reconcile.transferring import transfer
from fusion_assets.transfer.options import TransferOptions
from resources.local import LocalStorage
from resources.lockfile import LockHeldError, hold, new_lock
from tests.real.small_lab import LARGE, LOCK, STUDY, SmallLab, assert_completed, assert_nothing_lost, recap

pytestmark = pytest.mark.real

OTHER = "20260106_WW_HCC_run2"


@pytest.fixture
def lab(small_lab: SmallLab) -> SmallLab:
    """A lab of one study that takes seconds to archive."""
    small_lab.add_study(large_mib=6)
    small_lab.write_config(bandwidth_mib=1.5)
    return small_lab


@pytest.fixture
def only_copied(lab: SmallLab) -> SmallLab:
    """The same lab after its study was copied to the NAS, but not archived, and then left the source."""
    with lab.opened() as opened:
        transfer(opened, STUDY, copying=True, archiving=False, options=TransferOptions(), progress=lambda _: None)
    shutil.move(lab.study, lab.folder / "taken away by hand")
    (lab.source / OTHER).mkdir()  # else the source looks as if it were not mounted
    return lab


def _backup_lock(lab: SmallLab) -> Path:
    return lab.nas / LOCKS / f"{STUDY}.lock"


def _as_of_another_host(lock: Path) -> None:
    lock.write_text(json.dumps({**json.loads(lock.read_text()), "hostname": "microscope-2"}))


def _start_and_wait_for(lab: SmallLab, happened: Callable[[], bool], *arguments: str) -> subprocess.Popen[bytes]:
    process = lab.start(*arguments)
    deadline = time.monotonic() + 60
    while not happened():
        assert process.poll() is None, (lab.folder / "killed.log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


def _copy_has_begun(lab: SmallLab) -> bool:
    return any(lab.copy.rglob(f"{LARGE}*"))


def _archive_has_begun(lab: SmallLab) -> bool:
    found = lab.server.client().list_objects_v2(Bucket=lab.bucket, Prefix=lab.key(""), MaxKeys=1)
    return found["KeyCount"] > 0


def _assert_archived(lab: SmallLab) -> None:
    objects = lab.objects()
    assert all(objects.get(lab.key(path)) == data for (_, path), data in lab.originals.items())
    assert lab.ledger()[-1]["status"] == "complete"


def test_two_workers_never_archive_the_same_copy_at_once_when_its_source_is_gone(only_copied: SmallLab) -> None:
    lab, apply = only_copied, ("apply", "--yes", "--limit", STUDY)
    first = _start_and_wait_for(lab, lambda: _archive_has_begun(lab), *apply)
    locked = _backup_lock(lab).read_bytes()
    os.killpg(first.pid, signal.SIGSTOP)  # it still lives, however long the second one takes
    before = lab.ledger()

    plan = lab.plans()[STUDY]
    assert (plan.verdict, plan.actions) == (Verdict.WAITING, ())
    assert f"process {first.pid}" in plan.observed.conditions[Name.UNLOCKED].message
    second = lab.fusion(*apply, "-f", "json")

    assert second.returncode == 0, second.stderr
    assert recap(second)["changed"] == recap(second)["failed"] == 0
    assert _backup_lock(lab).read_bytes() == locked
    assert lab.ledger() == before
    os.killpg(first.pid, signal.SIGCONT)
    assert first.wait(60) == 0, (lab.folder / "killed.log").read_text()
    assert not _backup_lock(lab).exists()
    _assert_archived(lab)


def test_what_another_worker_finished_since_it_was_planned_is_no_failure_of_this_one(lab: SmallLab) -> None:
    lab.write_config()
    planned_days_ago = list(lab.plans().values())
    assert lab.apply().failed == 0
    assert not lab.study.exists()
    late = lab.apply(planned_days_ago)
    assert (late.failed, late.changed) == (0, 0), late.errors


def test_a_study_that_is_written_to_again_since_it_was_planned_is_not_touched(lab: SmallLab) -> None:
    lab.write_config()
    lab.config.write_text(lab.config.read_text().replace("idle_days = 0", "idle_days = 1"))
    long_ago = time.time() - 10 * 86_400
    for file in lab.study.rglob("*"):
        os.utime(file, (long_ago, long_ago))
    planned_days_ago = list(lab.plans().values())
    assert planned_days_ago[0].actions
    lab.write(lab.path_of("focus003.bin"), b"the acquisition goes on")
    late = lab.apply(planned_days_ago)
    assert (late.failed, late.changed) == (0, 0), late.errors
    assert not lab.copy.exists()


def test_a_worker_killed_on_a_study_that_left_the_source_needs_no_command_on_the_same_host(
    only_copied: SmallLab,
) -> None:
    lab, apply = only_copied, ("apply", "--yes", "--limit", STUDY)
    assert lab.kill_when(lambda: _archive_has_begun(lab), *apply)
    assert _backup_lock(lab).exists()
    lab.write_config()
    done = lab.fusion(*apply)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not _backup_lock(lab).exists()
    _assert_archived(lab)


def test_a_worker_killed_on_another_host_is_waited_for_until_a_person_unlocks_the_study(only_copied: SmallLab) -> None:
    lab, apply = only_copied, ("apply", "--yes", "--limit", STUDY)
    assert lab.kill_when(lambda: _archive_has_begun(lab), *apply)
    _as_of_another_host(_backup_lock(lab))
    lab.write_config()
    before = lab.objects(), lab.files()
    assert recap(lab.fusion(*apply, "-f", "json"))["changed"] == 0
    assert (lab.objects(), lab.files()) == before
    said = lab.plans()[STUDY].observed.conditions[Name.UNLOCKED].message
    assert "microscope-2" in said
    assert f"fusion unlock {STUDY}" in said

    assert lab.fusion("unlock", STUDY).returncode == 0
    done = lab.fusion(*apply)
    assert done.returncode == 0, done.stdout + done.stderr
    _assert_archived(lab)


def test_a_backup_that_another_host_works_on_stops_the_backup_run_before_anything_is_touched(lab: SmallLab) -> None:
    assert lab.kill_when(lambda: _copy_has_begun(lab), "apply", "--yes")
    (lab.study / LOCK).unlink()
    _as_of_another_host(_backup_lock(lab))
    before = lab.files(), lab.objects()

    refused = lab.fusion("backup", "run")

    assert refused.returncode == 1
    assert f"the backup of {STUDY}" in refused.stderr
    assert "microscope-2" in refused.stderr
    assert f"fusion unlock {STUDY}" in refused.stderr
    assert "nothing was touched" in refused.stderr
    assert (lab.files(), lab.objects()) == before


def test_a_crash_leaves_two_locks_and_one_command_removes_both(lab: SmallLab) -> None:
    assert lab.kill_when(lambda: _copy_has_begun(lab), "backup", "run")
    assert (lab.study / LOCK).exists()
    assert _backup_lock(lab).exists()
    assert lab.fusion("backup", "run").returncode == 1
    assert lab.fusion("unlock", STUDY).returncode == 0
    assert not (lab.study / LOCK).exists()
    assert not _backup_lock(lab).exists()
    lab.write_config()
    done = lab.fusion("backup", "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_completed(lab)


def test_a_ledger_that_a_dead_host_left_locked_is_unlocked_by_one_command(lab: SmallLab) -> None:
    lab.write_config()
    assert lab.apply().failed == 0
    ledger = lab.nas / "_manifest"
    with hold(LocalStorage(ledger), new_lock(LEDGER_LOCK, with_process=True)):
        living = lab.fusion("unlock", "--ledger")
        assert living.returncode == 1
        assert "still running" in living.stdout
        assert (ledger / LEDGER_LOCK).exists()
        _as_of_another_host(ledger / LEDGER_LOCK)
        with lab.opened() as opened, pytest.raises(LockHeldError, match="fusion unlock --ledger"):
            Ledger(LocalStorage(ledger), patience=0.1).append(opened.ledger.read().records[STUDY])

        dead = lab.fusion("unlock", "--ledger")

    assert dead.returncode == 0, dead.stderr
    assert "microscope-2" in dead.stdout
    assert not (ledger / LEDGER_LOCK).exists()
    assert lab.fusion("unlock", "--ledger").returncode == 1
    assert lab.fusion("unlock").returncode == lab.fusion("unlock", STUDY, "--ledger").returncode == 2
    lab.add_study(OTHER)
    assert lab.apply().failed == 0
    assert_completed(lab, study=OTHER)


@pytest.mark.parametrize("polite", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_stopped_politely_begins_no_other_study_and_leaves_no_lock(
    lab: SmallLab, polite: signal.Signals
) -> None:
    lab.add_study(OTHER)
    process = _start_and_wait_for(lab, lambda: _copy_has_begun(lab), "apply", "--yes")
    process.send_signal(polite)
    assert process.wait(60) == 130
    assert "run the same command again" in (lab.folder / "killed.log").read_text()
    assert not (lab.study / LOCK).exists()
    assert not _backup_lock(lab).exists()
    assert not (lab.nas / OTHER).exists(), "it went on with the next study"
    assert_nothing_lost(lab)
    lab.write_config()
    assert lab.apply().failed == 0
    assert_completed(lab)
    assert_completed(lab, study=OTHER)


def test_nobody_can_step_in_between_two_steps_of_a_study(lab: SmallLab) -> None:
    lab.write_config()
    locked: list[tuple[Step, bool, bool]] = []

    def look(step: Step) -> None:
        locked.append((step, (lab.study / LOCK).exists(), _backup_lock(lab).exists()))

    assert lab.apply(on_step=lambda done: look(done.step)).failed == 0
    assert [at for at in locked if not at[2]] == []
    assert [step for step, at_source, _ in locked if not at_source] == [Step.SOURCE_RELEASED]
    assert_completed(lab)
    assert not _backup_lock(lab).exists()


def test_a_study_that_somebody_locked_after_it_was_planned_fails_with_his_name_and_stops_no_other(
    lab: SmallLab,
) -> None:
    lab.add_study(OTHER)
    lab.write_config()
    with lab.opened() as opened:
        plans = plan_studies(Desired(delete_source=True), observe_lab(opened, {}).studies)
    lock = {"hostname": "microscope-2", "pid": 7, "started_at": "2026-01-05T10:00:00Z", "run_name": STUDY}
    (lab.study / LOCK).write_text(json.dumps(lock))

    done = lab.apply(plans)

    assert done.recaps[STUDY].failed == 1
    assert "process 7 on microscope-2" in done.errors
    assert f"fusion unlock {STUDY}" in done.errors
    assert not lab.copy.exists()
    assert done.recaps[OTHER].failed == 0
    assert_completed(lab, study=OTHER)
    assert_nothing_lost(lab)
