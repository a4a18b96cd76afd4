"""Making room on the NAS while everything breaks: killed before every change, raced by a backup, on a full disk."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusion_assets.eviction.gates import Gate, KeptError
from fusion_assets.reconcile.found_lock import CLEANUP_LOCK, LOCKS
from fusion_assets.reconcile.lab import TRASH
from fusion_assets.standard.listing import SIDECAR_NAME
from tests.eviction.store_lab import DISK_BYTES, StoreLab, Volume, assert_evicted, assert_nothing_lost
from tests.real.requirements import require
from tests.real.small_lab import SmallLab

pytestmark = pytest.mark.real

NEWEST = "20260301_WW_HCC_newest"
_KILLER = Path(__file__).with_name("killed_eviction.py")


@pytest.fixture
def disk(small_lab: SmallLab) -> Iterator[Path]:
    """A disk for the NAS alone, of which somebody has 0.2 %.

    On a common one, what other tests write meanwhile looks to the commands like a snapshot that holds the space.
    """
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(small_lab.nas)],
        check=False,
        capture_output=True,
    )
    require(available=mounted.returncode == 0, what="to be allowed to mount a tmpfs")
    (small_lab.nas / "somebody.bin").write_bytes(bytes(DISK_BYTES // 500))
    try:
        yield small_lab.nas
    finally:
        subprocess.run(["umount", "-l", str(small_lab.nas)], check=False)


@pytest.fixture
def lab(small_lab: SmallLab, disk: Path) -> StoreLab:
    """A lab whose NAS is so full by its own settings that everything may go but the last copy."""
    small_lab.source.mkdir()
    (small_lab.source / "20990101_ZZ_KEEP_busy").mkdir()
    lab = StoreLab(small_lab, Volume([disk], DISK_BYTES))
    lab.want(free_threshold_pct=99.9, max_store_pct=99.9, max_studies=1000)
    return lab


def _archive_tiny(lab: StoreLab, study: str) -> None:
    """A study of three files: few enough to be killed before the removal of each."""
    scan = f"{study}/Scan1"
    lab.small.add_study(study)
    for path in list(lab.small.originals):
        if path[0] == study and "focus" in path[1]:
            (lab.small.source / study / path[1]).unlink()
            del lab.small.originals[path]
    lab.small.write(f"{scan}/.temp/raw.bin", os.urandom(5000), study)
    lab.archive_written(study)


def _killed(lab: StoreLab, study: str, count: int) -> bool:
    done = subprocess.run(
        [sys.executable, str(_KILLER), str(lab.small.config), study, str(count)],
        env=lab.small.environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=lab.small.folder,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


@pytest.mark.timeout(600)
def test_an_eviction_killed_before_any_of_its_changes_loses_nothing_and_the_next_one_ends_it(lab: StoreLab) -> None:
    _archive_tiny(lab, NEWEST)
    count, killed_at = 0, []
    while True:
        count += 1
        study = f"202601{1 + count % 28:02d}_WW_HCC_kill{count}"
        _archive_tiny(lab, study)
        s3 = lab.s3()
        if not _killed(lab, study, count):
            break
        killed_at.append(count)
        assert_nothing_lost(lab)
        assert lab.s3() == s3
        copy = lab.small.nas / study
        assert not copy.exists() or (copy / SIDECAR_NAME).exists(), "half a study looks like one"
        lab.fill()
        lab.evict(study)
        assert_evicted(lab, study)
        assert lab.s3() == s3
    assert_evicted(lab, study)
    assert len(killed_at) > 20, killed_at
    assert lab.on_nas() == {NEWEST}
    assert not lab.trash()
    locks = {path.name for path in (lab.small.nas / LOCKS).iterdir() if path.suffix == ".lock"}
    assert not locks
    assert not (lab.small.nas / CLEANUP_LOCK).exists()


def _half_deleted(lab: StoreLab, study: str) -> Path:
    """Kill an eviction in the middle of its deletion: a file of it is gone, the sidecar is not."""
    for count in range(12, 60):
        if not _killed(lab, study, count):
            break
        trashed = [path for path in lab.trash() if path.name.startswith(study)]
        files = sum(1 for path in trashed for file in path.rglob("*") if file.is_file())
        whole = lab.record(study)["file_count"] + 1
        if trashed and files < whole:
            return trashed[0]
        lab_is_back = (lab.small.nas / study).exists() or not trashed
        if not lab_is_back:
            trashed[0].rename(lab.small.nas / study)
    raise AssertionError("it was never killed in the middle of the deletion")


def test_of_half_a_study_nothing_more_is_deleted_that_s3_has_lost_meanwhile(lab: StoreLab) -> None:
    study = "20260101_WW_HCC_half"
    _archive_tiny(lab, NEWEST)
    _archive_tiny(lab, study)
    trashed = _half_deleted(lab, study)
    left = next(path for path in sorted(trashed.rglob("*")) if path.is_file() and path.name != SIDECAR_NAME)
    key = lab.small.key(left.relative_to(trashed).as_posix(), study)
    body = lab.small.objects()[key]
    client = lab.small.server.client()
    client.delete_object(Bucket=lab.small.bucket, Key=key)
    with pytest.raises(Exception, match="not proven in S3 any more"):
        lab.evict(study)
    assert left.exists()
    client.put_object(Bucket=lab.small.bucket, Key=key, Body=body, ChecksumAlgorithm="SHA256")
    lab.evict(study)
    assert_evicted(lab, study)


def test_a_file_that_the_sidecar_does_not_list_survives_in_the_trash_and_is_named(lab: StoreLab) -> None:
    study = "20260101_WW_HCC_half"
    _archive_tiny(lab, NEWEST)
    _archive_tiny(lab, study)
    trashed = _half_deleted(lab, study)
    (trashed / "segmentation.tif").write_bytes(b"a week of work")
    done = lab.evict(study)
    assert done.left == ("segmentation.tif",)
    assert [path.name for path in trashed.iterdir()] == ["segmentation.tif"]
    shown = lab.small.fusion("cleanup", "run", "--dry-run")
    assert str(trashed) in shown.stderr
    assert lab.small.fusion("cleanup", "run", "-f", "json").returncode == 0
    assert (trashed / "segmentation.tif").read_bytes() == b"a week of work"


def test_an_eviction_and_a_backup_of_the_same_study_never_work_on_it_at_once(lab: StoreLab) -> None:
    study = "20260101_WW_HCC_race"
    lab.small.write_config(delete_source=False, bandwidth_mib=2)
    lab.want(free_threshold_pct=99.9, max_store_pct=99.9)
    lab.archive(study, NEWEST, released=False)
    lab.small.write(f"{study}/Scan1/.temp/more.bin", os.urandom(6 * 1024**2), study)  # the acquisition goes on
    backup = lab.small.start("backup", "run", "--limit", study)
    try:
        lock = lab.small.nas / LOCKS / f"{study}.lock"
        deadline = time.monotonic() + 60
        while not lock.exists():
            assert backup.poll() is None, "the backup ended before it could be raced"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        with pytest.raises(KeptError) as kept:
            lab.evict(study)
        assert Gate.UNLOCKED in kept.value.closed
        cleanup = lab.small.fusion("cleanup", "run", "-f", "json")
        assert study in lab.on_nas()
        evicted = [json.loads(line) for line in cleanup.stdout.splitlines() if '"eviction"' in line]
        assert study not in [line["study"] for line in evicted if line["result"] == "evicted"]
        assert backup.wait(timeout=120) == 0, (lab.small.folder / "killed.log").read_text()
    finally:
        if backup.poll() is None:
            os.killpg(backup.pid, signal.SIGKILL)
            backup.wait()
    assert_nothing_lost(lab)
    record = lab.record(study)
    assert record["status"] == "complete"
    assert lab.s3()[lab.small.key(f"{study}/Scan1/.temp/more.bin", study)]


def test_two_cleanups_at_once_never_work_together(lab: StoreLab) -> None:
    studies = [f"202601{day:02d}_WW_HCC_run{day}" for day in range(1, 5)]
    lab.archive(*studies)
    first = lab.small.start("cleanup", "run")
    try:
        deadline = time.monotonic() + 60
        while not (lab.small.nas / CLEANUP_LOCK).exists():
            assert first.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.killpg(first.pid, signal.SIGSTOP)  # it still lives, however long the second one takes
        second = lab.small.fusion("cleanup", "run")
        os.killpg(first.pid, signal.SIGCONT)
        assert second.returncode == 2
        assert "room is being made" in second.stderr
        assert first.wait(timeout=120) == 0
    finally:
        if first.poll() is None:
            os.killpg(first.pid, signal.SIGKILL)
            first.wait()
    assert lab.on_nas() == {studies[-1]}
    for study in studies[:-1]:
        assert_evicted(lab, study)


def test_a_cleanup_killed_in_the_middle_is_ended_by_the_next_one(lab: StoreLab) -> None:
    studies = [f"202601{day:02d}_WW_HCC_run{day}" for day in range(1, 4)]
    lab.archive(*studies)
    assert lab.small.kill_when(lambda: bool(lab.trash()), "cleanup", "run")
    assert_nothing_lost(lab)
    done = lab.small.fusion("cleanup", "run", "-f", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert lab.on_nas() == {studies[-1]}
    assert not lab.trash()
    for study in studies[:-1]:
        assert_evicted(lab, study)


@pytest.fixture
def small_disk(disk: Path) -> Path:
    """The disk of the NAS, of 96 MiB."""
    subprocess.run(["mount", "-o", "remount,size=96m", str(disk)], check=True)
    return disk


def test_a_nas_without_a_byte_left_can_still_be_cleaned(small_disk: Path, lab: StoreLab) -> None:
    oldest, newest = "20260101_WW_HCC_old", NEWEST
    lab.want(free_threshold_pct=15)
    lab.archive(oldest, kib=10 * 1024)
    lab.archive(newest)
    with (small_disk / "somebody.bin").open("wb") as filler:
        try:
            while True:
                filler.write(bytes(1024**2))
                filler.flush()
        except OSError:
            pass
    with (small_disk / "more.bin").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError:
            pass
    assert shutil.disk_usage(small_disk).free == 0
    done = lab.small.fusion("cleanup", "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_evicted(lab, oldest)
    assert (small_disk / LOCKS / "reserve").stat().st_size == 1024**2
    assert not (small_disk / TRASH).exists() or not lab.trash()


def test_hard_links_that_hold_the_blocks_stop_the_cleanup_after_one_study(small_disk: Path, lab: StoreLab) -> None:
    studies = [f"202601{day:02d}_WW_HCC_run{day}" for day in range(1, 4)]
    lab.archive(*studies, kib=4 * 1024)
    snapshot = small_disk / ".snapshot"
    shutil.copytree(small_disk / studies[0], snapshot, copy_function=os.link)
    started = time.monotonic()
    done = lab.small.fusion("cleanup", "run", "-f", "json")
    assert done.returncode == 1
    assert time.monotonic() - started > 55, "free space is not given a minute to rise"
    assert lab.on_nas() == set(studies[1:])
    assert_evicted(lab, studies[0])
    again = lab.small.fusion("cleanup", "run")
    assert again.returncode == 1
    assert "--despite-snapshots" in again.stderr
    assert lab.on_nas() == set(studies[1:])
    shutil.rmtree(snapshot)
    assert lab.small.fusion("cleanup", "run").returncode == 0
    assert lab.on_nas() == {studies[-1]}
