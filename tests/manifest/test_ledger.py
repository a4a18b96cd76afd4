"""The ledger's files on a real disk: torn ends, several writers, killed writers, a full disk."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_assets.manifest.ledger import LOCK_NAME, Ledger
from fusion_assets.manifest.record import Record, RecordError
from resources.errors import ChecksumError, NotMountedError, StorageFullError, UnavailableError
from resources.local import LocalStorage
from resources.lockfile import LockHeldError
from tests.manifest.records import record

JANUARY = datetime(2026, 1, 5, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 5, tzinfo=UTC)

APPENDER = """
import dataclasses, sys
from fusion_assets.manifest.ledger import Ledger
from fusion_assets.manifest.record import parse_line
from resources.local import LocalStorage
directory, name, count, template = sys.argv[1], sys.argv[2], int(sys.argv[3]), parse_line(sys.argv[4])
ledger = Ledger(LocalStorage(directory))
for number in range(count):
    ledger.append(dataclasses.replace(template, backup_name=f"{name}-{number}"))
    print(number, flush=True)
"""


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    folder = tmp_path / "_manifest"
    folder.mkdir()
    return folder


@pytest.fixture
def ledger(disk: Path) -> Ledger:
    return Ledger(LocalStorage(disk), patience=1)


def numbered(number: int) -> Record:
    return record(backup_name=f"study-{number}")


def appender(disk: Path, name: str, count: int) -> subprocess.Popen[str]:
    template = record(extra={"padding": "x" * 3000}).to_line().decode()
    argv = [sys.executable, "-c", APPENDER, str(disk), name, str(count), template]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


def names_in(disk: Path) -> list[str]:
    return sorted(path.name for path in disk.iterdir())


def test_a_record_goes_to_the_file_of_its_month_and_leaves_nothing_else_behind(ledger, disk):
    assert ledger.append(numbered(1), now=JANUARY) == "2026-01"
    assert ledger.append(numbered(2), now=FEBRUARY) == "2026-02"
    assert names_in(disk) == ["2026-01.jsonl", "2026-02.jsonl"]
    assert (disk / "2026-01.jsonl").read_bytes() == numbered(1).to_line()
    view = ledger.read()
    assert view.records == {"study-1": numbered(1), "study-2": numbered(2)}
    assert view.months == ("2026-01", "2026-02")


def test_a_ledger_that_is_not_there_is_empty_and_says_so_and_is_not_made_by_an_append(tmp_path):
    ledger = Ledger(LocalStorage(tmp_path / "nas" / "_manifest"))
    assert not ledger.exists()
    view = ledger.read()
    assert (view.exists, dict(view.records)) == (False, {})
    with pytest.raises(NotMountedError):
        ledger.append(numbered(1))
    assert not (tmp_path / "nas").exists()
    (tmp_path / "nas" / "_manifest").mkdir(parents=True)
    assert ledger.exists()
    assert ledger.read().exists
    ledger.append(numbered(1))


def test_a_listing_that_fails_is_not_an_empty_ledger(disk):
    class Unreachable(LocalStorage):
        def list(self, path: str = ""):
            raise UnavailableError("the share does not answer")

    ledger = Ledger(Unreachable(disk))
    for look in (ledger.read, ledger.exists, lambda: ledger.append(numbered(1))):
        with pytest.raises(UnavailableError):
            look()
    assert names_in(disk) == []


def test_other_files_in_the_directory_are_not_read(ledger, disk):
    for name in ("2026-13.jsonl", "2026-01.jsonl.partial", "pins.json", "2026-01.torn", "x2026-01.jsonl"):
        (disk / name).write_text("rubbish\n")
    (disk / "2026-03.jsonl").mkdir()
    view = ledger.read()
    assert (view.months, view.bad_lines) == ((), ())


def test_a_line_changed_by_hand_is_seen_though_size_and_time_stay_the_same(ledger, disk):
    ledger.append(numbered(1), now=JANUARY)
    assert list(ledger.read().records) == ["study-1"]
    file = disk / "2026-01.jsonl"
    before = file.stat()
    file.write_bytes(file.read_bytes().replace(b"study-1", b"study-2"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert list(ledger.read().records) == ["study-2"]


def test_what_another_writer_added_is_seen_by_a_ledger_that_has_read_before(ledger, disk):
    other = Ledger(LocalStorage(disk))
    for number in range(3):
        other.append(numbered(number), now=JANUARY)
        assert list(ledger.read().records) == [f"study-{i}" for i in range(number + 1)]
        assert ledger.read() is ledger.read()


def test_a_line_that_a_crash_cut_short_is_set_aside_and_not_lost(ledger, disk):
    torn = numbered(2).to_line()[:50]
    (disk / "2026-01.jsonl").write_bytes(numbered(1).to_line() + torn)
    assert len(ledger.read().bad_lines) == 1
    ledger.append(numbered(3), now=JANUARY)
    assert (disk / "2026-01.jsonl").read_bytes() == numbered(1).to_line() + numbered(3).to_line()
    assert (disk / "2026-01.torn").read_bytes() == torn + b"\n"
    assert not ledger.read().bad_lines


def test_a_line_that_only_lacks_its_end_is_kept(ledger, disk):
    (disk / "2026-01.jsonl").write_bytes(numbered(1).to_line().rstrip())
    ledger.append(numbered(2), now=JANUARY)
    assert (disk / "2026-01.jsonl").read_bytes() == numbered(1).to_line() + numbered(2).to_line()
    assert not (disk / "2026-01.torn").exists()


def test_a_torn_end_is_mended_even_if_the_next_append_comes_in_another_month(ledger, disk):
    (disk / "2026-01.jsonl").write_bytes(numbered(1).to_line() + b'{"backup_')
    ledger.append(numbered(2), now=FEBRUARY)
    assert not ledger.read().bad_lines
    assert (disk / "2026-01.torn").read_bytes() == b'{"backup_\n'


def test_a_mending_that_was_killed_in_the_middle_is_finished_by_the_next(disk):
    class Dying(LocalStorage):
        def replace(self, source: str, target: str) -> None:
            raise UnavailableError("killed here")

    (disk / "2026-01.jsonl").write_bytes(numbered(1).to_line() + b'{"backup_')
    with pytest.raises(UnavailableError):
        Ledger(Dying(disk)).append(numbered(2), now=JANUARY)
    assert (disk / "2026-01.jsonl").read_bytes() == numbered(1).to_line() + b'{"backup_'
    Ledger(LocalStorage(disk)).append(numbered(2), now=JANUARY)
    assert (disk / "2026-01.jsonl").read_bytes() == numbered(1).to_line() + numbered(2).to_line()
    assert (disk / "2026-01.torn").read_bytes() == b'{"backup_\n'


@settings(deadline=None)
@given(st.integers(0, 3 * len(numbered(1).to_line())))
def test_a_file_cut_at_any_byte_loses_at_most_the_line_it_was_cut_in(tmp_path_factory, cut):
    disk = tmp_path_factory.mktemp("cut")
    lines = [numbered(i).to_line() for i in range(3)]
    content = b"".join(lines)[:cut]
    (disk / "2026-01.jsonl").write_bytes(content)
    ledger = Ledger(LocalStorage(disk))
    whole = content.count(b"\n") + (content[content.rfind(b"\n") + 1 :] + b"\n" in lines)
    assert [event for _, event in ledger.read().events] == [numbered(i) for i in range(whole)]
    ledger.append(numbered(9), now=JANUARY)
    view = ledger.read()
    assert [event for _, event in view.events] == [*(numbered(i) for i in range(whole)), numbered(9)]
    assert not view.bad_lines


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_whatever_is_in_the_file_no_byte_of_it_is_lost_and_the_next_record_is_read(tmp_path_factory, garbage):
    disk = tmp_path_factory.mktemp("garbage")
    (disk / "2026-01.jsonl").write_bytes(garbage)
    ledger = Ledger(LocalStorage(disk))
    ledger.read()
    ledger.append(numbered(1), now=JANUARY)
    assert ledger.read().records["study-1"] == numbered(1)
    kept = (disk / "2026-01.jsonl").read_bytes().removesuffix(numbered(1).to_line())
    torn = disk / "2026-01.torn"
    assert kept + (torn.read_bytes() if torn.exists() else b"") in (garbage, garbage + b"\n")


def test_a_clock_that_was_ahead_does_not_put_later_records_before_earlier_ones(ledger):
    ledger.append(record(file_count=1), now=FEBRUARY)
    assert ledger.append(record(file_count=2), now=JANUARY) == "2026-02"
    assert ledger.read().records[record().backup_name].file_count == 2


def test_a_full_disk_loses_no_earlier_record_and_the_next_append_cleans_up(disk):
    class Full(LocalStorage):
        def append(self, path: str, data: bytes) -> None:
            super().append(path, data[:40])
            raise StorageFullError("no space is left")

    Ledger(LocalStorage(disk)).append(numbered(1), now=JANUARY)
    with pytest.raises(StorageFullError):
        Ledger(Full(disk)).append(numbered(2), now=JANUARY)
    assert not (disk / LOCK_NAME).exists()
    Ledger(LocalStorage(disk)).append(numbered(3), now=JANUARY)
    assert list(Ledger(LocalStorage(disk)).read().records) == ["study-1", "study-3"]


def test_an_append_that_did_not_arrive_is_not_believed(disk):
    class Forgetful(LocalStorage):
        def append(self, path: str, data: bytes) -> None:
            super().append(path, b"")

    with pytest.raises(ChecksumError, match="does not end with the line"):
        Ledger(Forgetful(disk)).append(numbered(1))


def test_a_record_that_could_not_be_read_again_is_not_written(ledger, disk):
    with pytest.raises(RecordError, match="file_count"):
        ledger.append(record(file_count=1.5))
    assert names_in(disk) == []


def test_a_lock_of_another_host_stops_the_append_and_says_what_to_do(disk):
    lock = {"hostname": "microscope-2", "pid": 4242, "started_at": "2026-01-05T10:00:00Z"}
    (disk / LOCK_NAME).write_text(json.dumps(lock))
    with pytest.raises(LockHeldError) as held:
        Ledger(LocalStorage(disk), patience=0.2).append(numbered(1))
    for said in ("process 4242 on microscope-2", "can only be seen on microscope-2", "`fusion unlock --ledger`"):
        assert said in str(held.value)
    assert names_in(disk) == [LOCK_NAME]


def test_several_threads_share_one_ledger(ledger):
    threads = [threading.Thread(target=ledger.append, args=(numbered(i),)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(ledger.read().records) == {f"study-{i}" for i in range(20)}


def test_several_processes_never_interleave_or_lose_a_line(ledger, disk):
    processes = [appender(disk, name, 100) for name in "abc"]
    assert [process.communicate()[0].count("\n") for process in processes] == [100] * 3
    view = ledger.read()
    assert not view.bad_lines
    for name in "abc":
        own = [event.backup_name for _, event in view.events if event.backup_name.startswith(name)]
        assert own == [f"{name}-{i}" for i in range(100)], "and each one's in their order"
    assert len(view.events) == 300
    assert [name for name in names_in(disk) if not name.endswith(".jsonl")] == []


def test_a_writer_killed_at_any_moment_loses_nothing_it_had_acknowledged(disk):
    seed = random.randrange(10**6)
    dice = random.Random(seed)
    acknowledged: list[str] = []
    ledger = Ledger(LocalStorage(disk), patience=20)
    for round_ in range(12):
        process = appender(disk, str(round_), 10_000)
        assert process.stdout is not None
        process.stdout.readline()  # it is at work now
        time.sleep(dice.uniform(0, 0.05))
        process.kill()
        done = process.communicate()[0].count("\n") + 1
        acknowledged += [f"{round_}-{i}" for i in range(done)]
        ledger.append(record(backup_name=f"after-{round_}"))  # over the dead one's lock and torn line
        acknowledged.append(f"after-{round_}")
    view = ledger.read()
    assert not view.bad_lines, f"seed {seed}"
    assert set(acknowledged) <= set(view.records), f"seed {seed}"
    assert not (disk / LOCK_NAME).exists()
