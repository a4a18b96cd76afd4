"""The lock of a study: one worker, whatever crashes, moves away, or runs in several threads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fusion_assets.reconcile.locks import find_locks, study_lock, study_lock_facts, unlock
from fusion_assets.standard.listing import LOCK_NAME
from resources.errors import NotFoundError, UnavailableError
from resources.local import LocalStorage
from resources.lockfile import LockHeldError
from resources.process import this_host

STUDY = "20260105_WW_HCC_run1"

WORKER = """
import signal, sys, time
from fusion_assets.reconcile.locks import study_lock
from resources.local import LocalStorage
def stop(*_): raise SystemExit(143)
signal.signal(signal.SIGTERM, stop)
with study_lock(LocalStorage(sys.argv[1]), sys.argv[2], sys.argv[2]):
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


@pytest.fixture
def worker(source: Path):
    argv = [sys.executable, "-c", WORKER, str(source), STUDY]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    yield process
    process.kill()
    process.communicate()


def lock_file(source: Path, study: str = STUDY) -> Path:
    return source / study / LOCK_NAME


def leave_lock(source: Path, *, hostname: str, pid: int = 4242) -> None:
    fields = {"hostname": hostname, "pid": pid, "started_at": "2026-01-05T10:00:00Z", "run_name": STUDY}
    lock_file(source).write_text(json.dumps(fields))


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
    facts = study_lock_facts(storage, STUDY)
    assert facts is not None
    assert not facts.owner_is_gone
    refused = unlock(storage, STUDY)
    assert not refused.removed
    assert f"process {worker.pid} on {this_host()}" in refused.message
    assert "--force" in refused.message
    assert lock_file(source).exists()
    assert unlock(storage, STUDY, force=True).removed
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
    facts = study_lock_facts(storage, STUDY)
    assert facts is not None
    assert facts.owner_is_gone
    removed = unlock(storage, STUDY)
    assert removed.removed
    assert str(lock_file(source)) in removed.message
    assert str(worker.pid) in removed.message
    assert not lock_file(source).exists()


def test_a_lock_of_another_host_is_not_called_dead_and_a_person_may_remove_it(storage, source):
    leave_lock(source, hostname="microscope-2")
    (found,) = find_locks(storage, [STUDY])
    assert found.state.alive is None
    assert "can only be seen on microscope-2" in found.message
    facts = study_lock_facts(storage, STUDY)
    assert facts is not None
    assert not facts.owner_is_gone
    assert unlock(storage, STUDY).removed


def test_a_damaged_lock_is_still_a_lock(storage, source):
    lock_file(source).write_bytes(b'{"hostname": "fus')
    (found,) = find_locks(storage, [STUDY])
    assert "an owner that it does not name" in found.message
    with pytest.raises(LockHeldError), study_lock(storage, STUDY, STUDY):
        pytest.fail("it was held")
    assert unlock(storage, STUDY).removed


def test_a_number_used_again_by_this_very_process_is_not_our_lock(storage, source):
    leave_lock(source, hostname=this_host(), pid=os.getpid())
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
    leave_lock(source, hostname="microscope-2")
    assert [found.study for found in find_locks(Counting(source), ["a", STUDY, "b"])] == [STUDY]
    assert asked == [f"{name}/{LOCK_NAME}" for name in ("a", STUDY, "b")]


def test_a_study_that_cannot_be_looked_into_is_not_called_unlocked(source):
    class Unreachable(LocalStorage):
        def read_file(self, path: str, *, uncached: bool = False) -> bytes:
            raise UnavailableError("the share does not answer")

    for look in (lambda storage: find_locks(storage, [STUDY]), lambda storage: study_lock_facts(storage, STUDY)):
        with pytest.raises(UnavailableError):
            look(Unreachable(source))


def test_our_own_lock_does_not_stand_in_our_way(storage):
    with study_lock(storage, STUDY, STUDY):
        assert study_lock_facts(storage, STUDY) is None
        assert find_locks(storage, [STUDY]) == []


def test_a_study_moved_to_the_trash_takes_its_lock_along_and_nothing_else_is_removed(storage, source):
    with study_lock(storage, STUDY, STUDY):
        (source / STUDY).rename(source / "trash")
        (source / STUDY).mkdir()
        leave_lock(source, hostname="microscope-2")
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
    result = unlock(storage, "no-such-study")
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
