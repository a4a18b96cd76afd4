"""The locks of a study: one worker, whatever crashes, moves away, or runs in several threads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fusion_assets.reconcile.found_lock import LOCKS
from fusion_assets.reconcile.locks import (
    backup_lock,
    find_backup_lock,
    find_locks,
    find_study_lock,
    locked_backups,
    study_lock,
)
from fusion_assets.reconcile.unlocking import Unlocked, unlock
from fusion_assets.standard.listing import LOCK_NAME
from resources.errors import NotFoundError, UnavailableError
from resources.local import LocalStorage
from resources.lockfile import LockHeldError
from resources.process import this_host

STUDY = "20260105_WW_HCC_run1"

WORKER = """
import signal, sys, time
from fusion_assets.reconcile.locks import backup_lock, study_lock
from resources.local import LocalStorage
def stop(*_): raise SystemExit(143)
signal.signal(signal.SIGTERM, stop)
lock = {"study": study_lock, "backup": backup_lock}[sys.argv[3]]
with lock(LocalStorage(sys.argv[1]), sys.argv[2], sys.argv[2]):
    print("at work", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / STUDY).mkdir()
    return tmp_path


@pytest.fixture
def storage(source: Path) -> LocalStorage:
    return LocalStorage(source)


@contextmanager
def at_work(root: Path, lock: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a lock."""
    argv = [sys.executable, "-c", WORKER, str(root), STUDY, lock]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def worker(source: Path):
    with at_work(source, "study") as process:
        yield process


@pytest.fixture
def nas(tmp_path: Path) -> LocalStorage:
    (tmp_path / "nas" / LOCKS).mkdir(parents=True)
    return LocalStorage(tmp_path / "nas")


@pytest.fixture
def backup_worker(nas: LocalStorage):
    with at_work(Path(nas.root), "backup") as process:
        yield process


def remove_locks(source: LocalStorage, study: str = STUDY, *, force: bool = False) -> Unlocked:
    """`unlock`, where no backup was ever locked."""
    return unlock(source, source, run_name=study, backup_name=study, force=force)


def backup_file(nas: LocalStorage) -> Path:
    return Path(nas.root) / LOCKS / f"{STUDY}.lock"


def lock_file(source: Path, study: str = STUDY) -> Path:
    return source / study / LOCK_NAME


def leave_lock(file: Path, *, hostname: str, pid: int = 4242) -> None:
    fields = {"hostname": hostname, "pid": pid, "started_at": "2026-01-05T10:00:00Z", "run_name": STUDY}
    file.write_text(json.dumps(fields))


def test_while_a_study_is_worked_on_its_lock_says_exactly_who_does(storage, source):
    with study_lock(storage, STUDY, STUDY):
        fields = json.loads(lock_file(source).read_text())
        assert list(fields) == ["hostname", "pid", "started_at", "run_name"]
        assert (fields["hostname"], fields["pid"], fields["run_name"]) == (this_host(), os.getpid(), STUDY)
        age = datetime.now(UTC) - datetime.fromisoformat(fields["started_at"])
        assert 0 <= age.total_seconds() < 60
    assert not lock_file(source).exists()


def test_the_steps_of_a_pipeline_each_take_the_lock_and_the_last_to_leave_removes_it(storage, source):
    with study_lock(storage, STUDY, STUDY):
        first = lock_file(source).read_bytes()
        for _ in range(2):
            with study_lock(LocalStorage(source), STUDY, STUDY):
                assert lock_file(source).read_bytes() == first
            assert lock_file(source).exists()
        with pytest.raises(ValueError, match="step"), study_lock(storage, STUDY, STUDY):
            raise ValueError("step")
        assert lock_file(source).exists()
    assert not lock_file(source).exists()


def test_threads_share_the_lock_of_their_process_until_the_last_one_is_done(storage, source):
    start, seen = threading.Barrier(8), []

    def step() -> None:
        start.wait()
        for _ in range(20):
            with study_lock(storage, STUDY, STUDY):
                seen.append(lock_file(source).exists())

    threads = [threading.Thread(target=step) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 160
    assert not lock_file(source).exists()


def test_two_studies_are_two_locks(storage, source):
    (source / "other").mkdir()
    with study_lock(storage, STUDY, STUDY), study_lock(storage, "other", "other"):
        assert lock_file(source, "other").exists()
    assert not lock_file(source, "other").exists()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_the_lock_is_removed_on_every_exit(storage, source, error):
    with pytest.raises(error), study_lock(storage, STUDY, STUDY):
        raise error
    assert not lock_file(source).exists()


def test_an_interruption_while_the_lock_is_taken_leaves_none_behind(source):
    class Interrupted(LocalStorage):
        def create_exclusive(self, path: str, data: bytes) -> None:
            super().create_exclusive(path, data)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), study_lock(Interrupted(source), STUDY, STUDY):
        pytest.fail("the lock was not held")
    assert not lock_file(source).exists()
    with study_lock(LocalStorage(source), STUDY, STUDY):
        assert lock_file(source).exists(), "it was taken anew, not believed to be held"


def test_a_lock_that_cannot_be_removed_does_not_hide_why_the_work_failed(source):
    class Gone(LocalStorage):
        def remove_file(self, path: str) -> None:
            raise UnavailableError("the share is gone")

    with pytest.raises(ValueError, match="the real trouble") as raised, study_lock(Gone(source), STUDY, STUDY):
        raise ValueError("the real trouble")
    assert any("the share is gone" in note for note in raised.value.__notes__)


def test_a_terminated_worker_removes_its_lock(worker, source):
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 143
    assert not lock_file(source).exists()


def test_a_study_another_process_works_on_is_left_alone(worker, storage, source):
    with pytest.raises(LockHeldError, match="still running") as held, study_lock(storage, STUDY, STUDY):
        pytest.fail("two at work")
    assert held.value.state.alive is True
    assert "wait until it is done" in str(held.value)
    found = find_study_lock(storage, STUDY)
    assert found is not None
    assert found.facts.owner_is_gone is False
    refused = remove_locks(storage)
    assert not refused.removed
    assert f"process {worker.pid} on {this_host()}" in refused.message
    assert "--force" in refused.message
    assert lock_file(source).exists()
    assert remove_locks(storage, force=True).removed
    assert not lock_file(source).exists()


def test_a_crash_leaves_a_lock_that_says_whose_it_is_and_what_to_type(worker, storage, source):
    worker.kill()
    worker.wait()
    (found,) = find_locks(storage, [STUDY])
    assert (found.study, found.state.alive) == (STUDY, False)
    for said in (
        STUDY,
        f"process {worker.pid} on {this_host()}",
        " ago)",
        "no longer running",
        f"fusion unlock {STUDY}",
    ):
        assert said in str(found)
    with pytest.raises(LockHeldError) as held, study_lock(storage, STUDY, STUDY):
        pytest.fail("a stale lock is for a person to remove")
    assert str(held.value) == str(found)
    found = find_study_lock(storage, STUDY)
    assert found is not None
    assert found.facts.owner_is_gone is True
    removed = remove_locks(storage)
    assert removed.removed
    assert str(lock_file(source)) in removed.message
    assert str(worker.pid) in removed.message
    assert not lock_file(source).exists()


def test_a_lock_of_another_host_is_not_called_dead_and_a_person_may_remove_it(storage, source):
    leave_lock(lock_file(source), hostname="microscope-2")
    (found,) = find_locks(storage, [STUDY])
    assert found.state.alive is None
    assert "can only be seen on microscope-2" in found.message
    found = find_study_lock(storage, STUDY)
    assert found is not None
    assert found.facts.owner_is_gone is False
    assert remove_locks(storage).removed


def test_a_damaged_lock_is_still_a_lock(storage, source):
    lock_file(source).write_bytes(b'{"hostname": "fus')
    (found,) = find_locks(storage, [STUDY])
    assert "an owner that it does not name" in found.message
    with pytest.raises(LockHeldError), study_lock(storage, STUDY, STUDY):
        pytest.fail("it was held")
    assert remove_locks(storage).removed


def test_a_number_used_again_by_this_very_process_is_not_our_lock(storage, source):
    leave_lock(lock_file(source), hostname=this_host(), pid=os.getpid())
    (found,) = find_locks(storage, [STUDY])
    assert found.state.alive is False
    with pytest.raises(LockHeldError), study_lock(storage, STUDY, STUDY):
        pytest.fail("it was held")


def test_only_studies_with_a_lock_are_found_and_each_costs_one_request(source):
    asked: list[str] = []

    class Counting(LocalStorage):
        def read_file(self, path: str, *, uncached: bool = False) -> bytes:
            asked.append(path)
            return super().read_file(path, uncached=uncached)

        def list(self, path: str = ""):
            raise AssertionError("no listing is needed")

    for name in ("a", "b"):
        (source / name).mkdir()
    leave_lock(lock_file(source), hostname="microscope-2")
    assert [found.study for found in find_locks(Counting(source), ["a", STUDY, "b"])] == [STUDY]
    assert asked == [f"{name}/{LOCK_NAME}" for name in ("a", STUDY, "b")]


def test_a_study_that_cannot_be_looked_into_is_not_called_unlocked(source):
    class Unreachable(LocalStorage):
        def read_file(self, path: str, *, uncached: bool = False) -> bytes:
            raise UnavailableError("the share does not answer")

    for look in (lambda storage: find_locks(storage, [STUDY]), lambda storage: find_study_lock(storage, STUDY)):
        with pytest.raises(UnavailableError):
            look(Unreachable(source))


def test_our_own_lock_does_not_stand_in_our_way(storage):
    with study_lock(storage, STUDY, STUDY):
        assert find_study_lock(storage, STUDY) is None
        assert find_locks(storage, [STUDY]) == []


def test_a_study_moved_to_the_trash_takes_its_lock_along_and_nothing_else_is_removed(storage, source):
    with study_lock(storage, STUDY, STUDY):
        (source / STUDY).rename(source / "trash")
        (source / STUDY).mkdir()
        leave_lock(lock_file(source), hostname="microscope-2")
    assert (source / "trash" / LOCK_NAME).exists()
    assert lock_file(source).exists()


def test_a_study_that_was_deleted_while_locked_is_left_in_peace(storage, source):
    with study_lock(storage, STUDY, STUDY):
        lock_file(source).unlink()
        (source / STUDY).rmdir()
    assert list(source.iterdir()) == []


def test_there_is_nothing_to_lock_or_unlock_where_there_is_no_study(storage):
    with pytest.raises(NotFoundError), study_lock(storage, "no-such-study", "x"):
        pytest.fail("it was held")
    result = remove_locks(storage, "no-such-study")
    assert not result.removed
    assert "no lock" in result.message


def test_a_study_with_a_space_in_its_name_is_quoted_in_what_to_type(storage, source):
    (source / "my study").mkdir()
    lock_file(source, "my study").write_bytes(b"")
    (found,) = find_locks(storage, ["my study"])
    assert 'fusion unlock "my study"' in found.message


def test_a_forked_child_neither_holds_nor_removes_its_parents_lock(storage, source):
    parent = os.getpid()
    try:
        with study_lock(storage, STUDY, STUDY):
            child = os.fork()
            if child == 0:
                with pytest.raises(LockHeldError), study_lock(storage, STUDY, STUDY):
                    os._exit(2)
                raise SystemExit  # it unwinds the stack it inherited
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert lock_file(source).exists()
    finally:
        if os.getpid() != parent:
            os._exit(0)
    assert not lock_file(source).exists()


def test_the_lock_of_a_backup_is_no_file_of_the_copy_which_stays_what_was_proven(nas):
    with backup_lock(nas, STUDY, STUDY):
        assert locked_backups(nas) == {STUDY}
        assert [entry.name for entry in nas.list()] == [LOCKS]
        assert find_backup_lock(nas, STUDY, STUDY) is None, "our own lock does not stand in our way"
        with backup_lock(nas, STUDY, STUDY):
            pass
        assert backup_file(nas).exists()
    assert locked_backups(nas) == frozenset()


def test_two_workers_never_finish_the_same_backup_once_its_source_is_gone(nas, backup_worker):
    with pytest.raises(LockHeldError, match="wait until it is done") as held, backup_lock(nas, STUDY, STUDY):
        pytest.fail("two at work")
    assert f"the backup of {STUDY} at {nas.root}" in str(held.value)
    found = find_backup_lock(nas, STUDY, STUDY)
    assert str(found) == str(held.value)
    assert found is not None
    assert not found.facts.owner_is_gone


def test_the_backup_of_a_worker_that_was_killed_on_this_host_is_taken_over_without_a_question(nas, backup_worker):
    backup_worker.kill()
    backup_worker.wait()
    assert find_backup_lock(nas, STUDY, STUDY) is None
    with backup_lock(nas, STUDY, STUDY):
        assert json.loads(backup_file(nas).read_text())["pid"] == os.getpid()
    assert locked_backups(nas) == frozenset()


def test_a_backup_locked_on_another_host_waits_for_a_person_who_types_the_name_at_the_source(nas, source, storage):
    leave_lock(backup_file(nas), hostname="microscope-2")
    found = find_backup_lock(nas, STUDY, "run 1 of Monday")
    assert 'fusion unlock "run 1 of Monday"' in str(found)
    with pytest.raises(LockHeldError), backup_lock(nas, STUDY, STUDY):
        pytest.fail("it may be at work there")
    leave_lock(lock_file(source), hostname="microscope-2")
    result = unlock(storage, nas, run_name=STUDY, backup_name=STUDY)
    assert result.removed
    assert str(lock_file(source)) in result.message
    assert str(backup_file(nas)) in result.message
    assert not lock_file(source).exists()
    assert not backup_file(nas).exists()


def test_unlocking_a_study_whose_worker_lives_takes_away_none_of_its_locks(nas, storage, source, backup_worker):
    leave_lock(lock_file(source), hostname="microscope-2")
    refused = unlock(storage, nas, run_name=STUDY, backup_name=STUDY)
    assert not refused.removed
    assert str(backup_worker.pid) in refused.message
    assert "--force" in refused.message
    assert lock_file(source).exists()
    assert backup_file(nas).exists()
    assert unlock(storage, nas, run_name=STUDY, backup_name=STUDY, force=True).removed
    assert locked_backups(nas) == frozenset()


def test_locks_of_backups_that_cannot_be_listed_are_not_called_free(nas):
    class Unreachable(LocalStorage):
        def list(self, path: str = ""):
            raise UnavailableError("the share does not answer")

    with pytest.raises(UnavailableError):
        locked_backups(Unreachable(nas.root))
    (Path(nas.root) / LOCKS).rmdir()
    assert locked_backups(nas) == frozenset(), "where nothing was ever locked, nothing is"
