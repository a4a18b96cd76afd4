"""A log that is rotated: renamed, copied and truncated, replaced; whatever happens between two looks."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fusion_assets.monitor.blocks import Context
from resources import local_files
from tests.monitor.synthetic import Watched, error, first_lines, info


@pytest.fixture
def log(tmp_path: Path) -> Watched:
    """A log that was read up to its end, longer than what it is recognised by."""
    log = Watched(tmp_path)
    log.write(*[info(f"moved {number}") for number in range(100)], info("Sample: A, cycle 3"))
    log.look()
    return log


def rotate(log: Watched, name: str = "Fusion.log.1") -> Path:
    return log.file.rename(log.file.with_name(name))


@pytest.mark.parametrize(
    "name", ["Fusion.log.1", "Fusion.1.log", "Fusion-2026-01-05.log", "Fusion.log.old", "Fusion_bak.log", "xyz.txt"]
)
def test_what_was_written_before_and_after_a_rename_is_reported_once(log: Watched, name: str) -> None:
    log.write(error("before"), "  at A()")
    rotate(log, name)
    log.write(error("after"), info("b"))
    assert log.look_until_quiet() == [error("before"), error("after")]
    assert log.look_until_quiet() == []


def test_the_sample_is_still_known_after_a_rotation(log: Watched) -> None:
    rotate(log)
    log.write(error("after"), info("b"))
    groups = [group for _ in range(4) for group in log.look(after=6).groups]
    assert [group.block.context for group in groups] == [Context("A", "3")]


def test_what_the_writer_still_adds_to_the_renamed_file_is_not_missed(log: Watched) -> None:
    old = rotate(log)
    log.write(info("new file"))
    assert log.look(after=1).waits
    with old.open("a") as late:
        late.write(error("late") + "\n")
    assert log.look_until_quiet() == [error("late")]


def test_half_a_line_at_the_end_of_a_renamed_file_is_read(log: Watched) -> None:
    log.write(error("the last words"), end="")
    rotate(log)
    log.write(info("new file"))
    assert log.look_until_quiet() == [error("the last words")]


def test_several_rotations_between_two_looks_lose_nothing(log: Watched) -> None:
    log.write(error("one"))
    second, first = log.file.with_name("Fusion.log.2"), log.file.with_name("Fusion.log.1")
    rotate(log, second.name)
    log.write(error("two"), info("x"))
    rotate(log, first.name)
    os.utime(second, (1000, 1000))
    os.utime(first, (2000, 2000))
    log.write(error("three"), info("x"))
    assert log.look_until_quiet() == [error("one"), error("two"), error("three")]
    assert log.look_until_quiet() == []


def test_a_rotation_in_the_middle_of_catching_up_loses_nothing(log: Watched) -> None:
    log.write(error("one"))
    rotate(log)
    log.write(error("two"), info("x"))
    log.look(after=1)
    log.file.with_name("Fusion.log.1").rename(log.file.with_name("Fusion.log.2"))
    rotate(log)
    os.utime(log.file.with_name("Fusion.log.2"), (1000, 1000))
    log.write(error("three"), info("x"))
    assert log.look_until_quiet() == [error("one"), error("two"), error("three")]


def test_old_logs_that_were_there_before_are_not_read(log: Watched) -> None:
    for number in range(2, 5):
        old = log.file.with_name(f"Fusion.log.{number}")
        old.write_text(error(f"years old {number}") + "\n" + info("x") + "\n")
        os.utime(old, (1000 * number, 1000 * number))
    rotate(log)
    log.write(error("new"), info("x"))
    assert log.look_until_quiet() == [error("new")]


def test_other_programs_logs_are_not_read(log: Watched) -> None:
    rotate(log)
    log.file.with_name("FusionService.log").write_text(error("not ours") + "\n" + info("x") + "\n")
    log.write(error("new"), info("x"))
    assert log.look_until_quiet() == [error("new")]


def test_a_log_that_was_copied_and_truncated_loses_and_repeats_nothing(log: Watched) -> None:
    log.write(error("before"), info("x"))
    shutil.copy(log.file, log.file.with_name("Fusion.log.1"))
    os.truncate(log.file, 0)
    log.write(error("after"), info("x"))
    assert log.look_until_quiet() == [error("before"), error("after")]


def test_a_log_that_was_truncated_is_read_from_its_beginning(log: Watched) -> None:
    os.truncate(log.file, 0)
    log.write(error("after"), info("x"))
    tailed = log.look()
    assert first_lines(tailed) == [error("after")]
    assert "was replaced" in tailed.notes[0]


def test_a_log_replaced_by_one_that_is_not_smaller_is_read_from_its_beginning(log: Watched) -> None:
    size = log.file.stat().st_size
    log.file.unlink()
    log.write(error("first in the new log"), *[info(f"turned {number}") for number in range(200)])
    assert log.file.stat().st_size > size
    assert first_lines(log.look()) == [error("first in the new log")]


def test_a_log_rewritten_in_place_behind_the_same_banner_is_noticed(log: Watched, tmp_path: Path) -> None:
    banner = "\n".join(["Fusion, all rights reserved"] * 60)
    log.file.write_text(banner + "\n" + info("x") + "\n" + info("y") * 100 + "\n")
    log.look_until_quiet()
    inode = log.file.stat().st_ino
    log.file.write_text(banner + "\n" + error("new") + "\n" + info("z") * 200 + "\n")
    assert log.file.stat().st_ino == inode
    assert log.look_until_quiet() == [error("new")]


def test_the_same_log_under_another_inode_is_read_on(log: Watched) -> None:
    """Some shares number their files anew at every mount; and a tool may restore the log from a copy."""
    copy = log.file.with_name("copy.tmp")
    shutil.copy(log.file, copy)
    copy.replace(log.file)
    log.write(error("new"), info("x"))
    tailed = log.look()
    assert first_lines(tailed) == [error("new")]
    assert tailed.notes == ()


def test_a_log_that_is_gone_between_rename_and_recreation_is_waited_for(log: Watched) -> None:
    log.write(error("before"))
    rotate(log)
    log.look()
    log.look(after=6)
    assert log.reported == [error("before")]
    assert "there is no" in log.look(after=6).trouble
    log.write(error("after"), info("x"))
    assert log.look_until_quiet() == [error("after")]


def test_a_log_of_a_few_bytes_is_not_taken_for_another_that_begins_alike(tmp_path: Path) -> None:
    log = Watched(tmp_path)
    log.file.write_bytes(b"\xff\xfe")
    log.write(error("one"), encoding="utf-16-le")
    log.look()
    rotate(log)
    log.file.write_bytes(b"\xff\xfe")
    log.write(error("two"), info("x"), encoding="utf-16-le")
    assert log.look_until_quiet() == [error("one"), error("two")]


def test_where_files_have_no_numbers_they_are_known_by_their_bytes(
    log: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resources.local_files.entry_of", _without_number(local_files.entry_of))
    monkeypatch.setattr("resources.local.entry_of", _without_number(local_files.entry_of))
    log.look()
    log.write(error("before"))
    rotate(log)
    log.write(error("after"), info("x"))
    assert log.look_until_quiet() == [error("before"), error("after")]


def _without_number(entry_of):
    return lambda path, status: entry_of(path, status)._replace(file_id=0)


STEPS = st.lists(
    st.sampled_from(["error", "info", "rotate", "look", "look in vain", "wait and look"]),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.sampled_from(["utf-8", "utf-16-le"]))
@example(["error", "look", "rotate", "error", "rotate", "error", "rotate", "look", "rotate"], "utf-8")
@example(["rotate", "look", "wait and look", "wait and look", "error", "rotate", "error"], "utf-8")
def test_whatever_is_rotated_between_which_looks_each_error_is_told_once(steps: list[str], encoding: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log, written, rotations = Watched(Path(folder)), list[str](), 0
        log.file.touch()
        log.look()
        for step in steps:
            text = error("stuck " + "".join(chr(97 + int(digit)) for digit in f"{len(written)}"))
            if step == "error":
                log.write(text, "  at A()", encoding=encoding)
                written.append(text)
            elif step == "info":
                log.write(info("moved"), encoding=encoding)
            elif step == "rotate":
                rotations += 1
                old = rotate(log, f"Fusion.log.{rotations}")
                os.utime(old, (rotations, rotations))
                log.file.touch()
            elif "look" in step:
                log.look(after=7 if step == "wait and look" else 1, save=step != "look in vain")
        log.look_until_quiet()
        assert log.reported == written
