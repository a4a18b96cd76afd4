"""Lock files on a real storage, with real processes that die."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from resources.errors import HeldOpenError, NotFoundError, UnavailableError
from resources.local import LocalStorage
from resources.lockfile import (
    LockHeldError,
    describe,
    hold,
    new_lock,
    read_lock,
    release,
    take,
    take_over,
)
from resources.process import this_host

NAME = ".lock"
NOW = datetime.now(UTC)

HOLDER = """
import sys, time
from resources.local import LocalStorage
from resources.lockfile import new_lock, take
lock = new_lock(".lock", extra={"run_name": "study"}, with_process=sys.argv[2] == "identity")
take(LocalStorage(sys.argv[1]), lock)
print("taken", flush=True)
time.sleep(60)
"""

COUNTER = """
import pathlib, sys
from resources.local import LocalStorage
from resources.lockfile import hold, new_lock
storage, counter = LocalStorage(sys.argv[1]), pathlib.Path(sys.argv[1], "counter")
for _ in range(40):
    with hold(storage, new_lock(".lock"), patience=60):
        number = int(counter.read_text())
        counter.write_text(str(number + 1))
"""


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


@pytest.fixture
def storage(disk: Path) -> LocalStorage:
    return LocalStorage(disk)


def run_holder(disk: Path, *, identity: bool) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", HOLDER, str(disk), "identity" if identity else "-"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "taken\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def lock_of(fields: dict[str, object]) -> bytes:
    return json.dumps(fields).encode()


def test_a_lock_says_who_took_it_and_when_and_nothing_else(storage, disk):
    take(storage, new_lock(NAME, extra={"run_name": "study"}, now=NOW))
    assert json.loads((disk / NAME).read_bytes()) == {
        "hostname": this_host(),
        "pid": os.getpid(),
        "started_at": NOW.isoformat().replace("+00:00", "Z"),
        "run_name": "study",
    }
    found = read_lock(storage, NAME)
    assert found is not None
    assert (found.pid, found.started_at, found.extra) == (os.getpid(), NOW, {"run_name": "study"})


def test_the_owner_of_a_crashed_run_is_named_and_known_to_be_gone(storage, disk):
    process = run_holder(disk, identity=False)
    with pytest.raises(LockHeldError, match=rf"process {process.pid} on .*still running") as alive:
        take(storage, new_lock(NAME))
    end(process)
    with pytest.raises(LockHeldError, match=rf"process {process.pid} on .*no longer running") as dead:
        take(storage, new_lock(NAME))
    assert (alive.value.state.alive, dead.value.state.alive) == (True, False)


def test_whether_the_owner_on_another_host_lives_is_not_guessed(storage, disk):
    (disk / NAME).write_bytes(lock_of({"hostname": "microscope-2", "pid": 1, "started_at": "2026-01-05T10:00:00Z"}))
    lock = read_lock(storage, NAME)
    assert lock is not None
    state = describe(lock, datetime(2026, 1, 5, 15, 12, 9, tzinfo=UTC))
    assert state.alive is None
    assert state.text == (
        "process 1 on microscope-2 since 2026-01-05 10:00:00 UTC (5 h 12 min ago); "
        "whether it still runs can only be seen on microscope-2"
    )


@pytest.mark.parametrize(
    ("age", "spoken"),
    [(-5, "in the future: the clocks differ"), (59, "59 s ago"), (60, "1 min ago"), (3600, "1 h 0 min ago"),
     (200_000, "2 d 7 h ago")],
)  # fmt: skip
def test_the_age_of_a_lock_is_said_in_words(age, spoken):
    assert f"({spoken})" in describe(new_lock(NAME, now=NOW), NOW + timedelta(seconds=age)).text


def test_a_lock_cut_short_by_a_power_loss_is_still_a_lock(storage, disk):
    content = new_lock(NAME, extra={"run_name": "study"}).content
    for length in range(len(content.rstrip()) - 1):
        (disk / NAME).write_bytes(content[:length])
        with pytest.raises(LockHeldError, match="damaged") as held:
            take(storage, new_lock(NAME))
        assert held.value.state.alive is None
        assert held.value.state.age is not None, "its file has a time"
    assert (disk / NAME).read_bytes() == content[:length]


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\0" * 200, b"[1]", b"7", b'{"hostname": "", "pid": 1, "started_at": "2026-01-05T10:00:00Z"}',
     b'{"hostname": "a", "pid": true, "started_at": "2026-01-05T10:00:00Z"}', b"[" * 100_000,
     b'{"hostname": "a", "pid": 1, "started_at": 5}', b'{"hostname": "a", "pid": 1, "started_at": "yesterday"}'],
)  # fmt: skip
def test_a_lock_of_garbage_has_an_unknown_owner(storage, disk, garbage):
    (disk / NAME).write_bytes(garbage)
    lock = read_lock(storage, NAME)
    assert lock is not None
    assert lock.owner == "an owner that it does not name"
    assert describe(lock, NOW).alive is None


def test_nobody_removes_the_lock_of_somebody_else(storage, disk):
    ours = new_lock(NAME)
    take(storage, ours)
    theirs = lock_of({"hostname": "microscope-2", "pid": os.getpid(), "started_at": "2026-01-05T10:00:00Z"})
    (disk / NAME).write_bytes(theirs)
    assert release(storage, ours) is False
    assert (disk / NAME).read_bytes() == theirs


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(1), GeneratorExit()])
def test_the_lock_is_removed_however_the_work_ends(storage, disk, error):
    def work() -> None:
        assert (disk / NAME).exists()
        raise error

    with pytest.raises(type(error)), hold(storage, new_lock(NAME)):
        work()
    assert not (disk / NAME).exists()


def test_a_lock_whose_taking_was_interrupted_after_the_file_was_there_is_removed(disk):
    class Interrupted(LocalStorage):
        def create_exclusive(self, path: str, data: bytes) -> None:
            super().create_exclusive(path, data)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), hold(Interrupted(disk), new_lock(NAME)):
        pytest.fail("the lock was not held")
    assert not (disk / NAME).exists()


def test_an_error_of_the_work_is_not_hidden_by_a_lock_that_cannot_be_removed(disk):
    class Gone(LocalStorage):
        def remove_file(self, path: str) -> None:
            raise UnavailableError("the share is gone")

    with pytest.raises(ValueError, match="the real trouble") as raised, hold(Gone(disk), new_lock(NAME)):
        raise ValueError("the real trouble")
    assert any("the share is gone" in note for note in raised.value.__notes__)
    with pytest.raises(UnavailableError), hold(Gone(disk), new_lock("other")):
        pass


def test_the_directory_of_a_lock_may_be_moved_away_while_it_is_held(storage, disk):
    (disk / "study").mkdir()
    with hold(storage, new_lock("study/.lock")):
        (disk / "study").rename(disk / "trash")
        (disk / "study").mkdir()
        (disk / "study" / ".lock").write_bytes(b"of somebody else")
    assert (disk / "trash" / ".lock").exists()
    assert (disk / "study" / ".lock").read_bytes() == b"of somebody else"


def test_there_is_no_lock_without_its_directory(storage):
    with pytest.raises(NotFoundError):
        take(storage, new_lock("no-such-study/.lock"))


def test_who_is_patient_gets_the_lock_when_it_is_free(storage):
    inside = threading.Event()

    def first() -> None:
        with hold(storage, new_lock(NAME)):
            inside.set()
            time.sleep(0.3)

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(10)
    with pytest.raises(LockHeldError), hold(storage, new_lock(NAME)):
        pytest.fail("two had the lock")
    with hold(storage, new_lock(NAME), patience=30):
        pass
    thread.join()


def test_a_lock_that_goes_away_between_two_looks_is_taken(disk):
    class Vanishing(LocalStorage):
        vanishes = True

        def read_file(self, path: str, *, uncached: bool = False) -> bytes:
            if self.vanishes:
                self.vanishes = False
                (disk / NAME).unlink(missing_ok=True)
            return super().read_file(path, uncached=uncached)

    take(LocalStorage(disk), new_lock(NAME))
    ours = new_lock(NAME)
    take(Vanishing(disk), ours)
    assert (disk / NAME).read_bytes() == ours.content
    assert release(Vanishing(disk), ours) is False, "gone before it could be removed"


def test_a_lock_file_that_is_just_being_removed_is_waited_for(disk):
    class Windows(LocalStorage):
        refusals = 3

        def create_exclusive(self, path: str, data: bytes) -> None:
            if self.refusals:
                self.refusals -= 1
                raise HeldOpenError("deletion pending")
            super().create_exclusive(path, data)

    with hold(Windows(disk), new_lock(NAME), patience=30):
        assert (disk / NAME).exists()
    with pytest.raises(HeldOpenError), hold(Windows(disk), new_lock(NAME)):
        pytest.fail("it was held")


@pytest.mark.parametrize("identity", [True, False])
def test_a_patient_one_takes_over_from_the_dead_but_never_from_the_living(storage, disk, identity):
    process = run_holder(disk, identity=identity)
    with pytest.raises(LockHeldError), hold(storage, new_lock(NAME), patience=0.3):
        pytest.fail("two had the lock")
    end(process)
    with hold(storage, new_lock(NAME), patience=5) as lock:
        assert (disk / NAME).read_bytes() == lock.content
    assert not (disk / NAME).exists()


@pytest.mark.parametrize(
    "content",
    [lock_of({"hostname": "microscope-2", "pid": 2**22 + 1, "started_at": "2026-01-05T10:00:00Z"}), b"", b"garbage"],
)
def test_the_lock_of_another_host_or_of_nobody_is_never_broken_silently(storage, disk, content):
    (disk / NAME).write_bytes(content)
    with pytest.raises(LockHeldError), hold(storage, new_lock(NAME), patience=0.3):
        pytest.fail("it was broken")
    assert (disk / NAME).read_bytes() == content
    assert [path.name for path in disk.iterdir()] == [NAME]


def test_who_comes_late_to_take_over_does_not_remove_the_lock_taken_meanwhile(storage, disk):
    process = run_holder(disk, identity=False)
    end(process)
    dead = read_lock(storage, NAME)
    assert dead is not None
    assert take_over(storage, dead) is True
    live = new_lock(NAME)
    take(storage, live)
    assert take_over(storage, dead) is False
    assert (disk / NAME).read_bytes() == live.content


def test_where_a_rename_may_overwrite_a_live_lock_that_was_moved_is_put_back(disk):
    class Careless(LocalStorage):
        def rename(self, source: str, target: str) -> None:
            self.replace(source, target)

    storage, live = Careless(disk), new_lock(NAME)
    take(storage, live)
    assert take_over(storage, replace(live, content=b"the dead one, seen before")) is False
    assert (disk / NAME).read_bytes() == live.content


def test_two_processes_are_never_inside_together(disk):
    (disk / "counter").write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", COUNTER, str(disk)]) for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert (disk / "counter").read_text() == "120"


def test_a_lock_whose_owner_was_killed_before_it_wrote_a_word_is_taken_over_by_who_waits(tmp_path):
    storage = LocalStorage(tmp_path)
    for _ in range(2):  # the second time, too: what the first left behind is not in the way
        (tmp_path / "ledger.lock").touch()
        with hold(storage, new_lock("ledger.lock", with_process=True), patience=15):
            assert read_lock(storage, "ledger.lock").pid == os.getpid()
        assert not (tmp_path / "ledger.lock").exists()


def test_a_lock_without_a_word_is_never_broken_by_who_does_not_wait(tmp_path):
    storage = LocalStorage(tmp_path)
    (tmp_path / "study.lock").touch()
    with pytest.raises(LockHeldError, match="damaged"), hold(storage, new_lock("study.lock")):
        pass
    assert (tmp_path / "study.lock").exists()
