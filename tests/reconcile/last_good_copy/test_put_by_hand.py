"""What a person, or another program, put beside the proven files of a study is never written over."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fusion_assets.reconcile.plan import Step
from tests.damage import rot
from tests.reconcile.memory_lab import FAILURES, RAW, STUDY, MemoryLab, carry_out
from tests.transfer.memory_bucket import Stored

NEW = f"{RAW}/late.bin"


@pytest.fixture
def late(tmp_path: Path) -> tuple[MemoryLab, bytes]:
    """An archived study of which a late file was copied by hand, to the NAS and to S3; and what is in it."""
    lab = MemoryLab(tmp_path / "lab")
    assert lab.apply() is None
    lab.write(NEW, b"a late file" * 40)
    good = (lab.study / NEW).read_bytes()
    shutil.copy2(lab.study / NEW, lab.copy / NEW)
    lab.bucket.objects[f"{STUDY}/{NEW}"] = Stored(good, {})
    return lab, good


def test_a_late_file_that_was_copied_by_hand_is_taken_over_where_it_is_the_same(late: tuple[MemoryLab, bytes]) -> None:
    lab, good = late
    assert lab.apply() is None
    assert lab.places(NEW, good) == {"source", "nas", "s3"}


@pytest.mark.parametrize("only", ["nas", "s3", ""])
@pytest.mark.parametrize("states_checksums", [True, False])
def test_a_late_file_that_rotted_at_the_source_is_not_copied_over_the_one_copied_by_hand(
    late: tuple[MemoryLab, bytes], only: str, *, states_checksums: bool
) -> None:
    lab, good = late
    lab.bucket.states_checksums = states_checksums
    if only == "nas":
        del lab.bucket.objects[f"{STUDY}/{NEW}"]
    if only == "s3":
        (lab.copy / NEW).unlink()
    rot(lab.study / NEW)
    assert "no run of this program wrote" in str(lab.apply())
    assert lab.places(NEW, good) == ({only} if only else {"nas", "s3"})
    lab.write(NEW, good)  # as the hint says
    assert lab.apply() is None
    assert lab.places(NEW, good) == {"source", "nas", "s3"}


def test_a_late_file_of_which_a_killed_run_left_a_copy_is_copied_anew_when_it_went_on_changing(tmp_path: Path) -> None:
    """What a run of ours left is none that somebody put there: a study may grow while it is copied."""
    lab = MemoryLab(tmp_path / "lab")
    assert lab.apply() is None
    for changes in range(12):
        lab.write(NEW, bytes([changes]) * 700)
        assert lab.apply(cut_after=changes) == "killed"
    assert lab.places(NEW, (lab.study / NEW).read_bytes()) == {"source", "nas", "s3"}
    lab.write(NEW, b"the last frame" * 40)
    assert lab.apply() is None
    assert lab.places(NEW, (lab.study / NEW).read_bytes()) == {"source", "nas", "s3"}


def test_an_object_put_by_hand_is_not_overwritten_because_s3_was_away_when_the_copy_was_made(tmp_path: Path) -> None:
    lab = MemoryLab(tmp_path / "lab")
    assert lab.apply() is None
    lab.write(NEW, b"a late file" * 40)
    good = (lab.study / NEW).read_bytes()
    lab.bucket.objects[f"{STUDY}/{NEW}"] = Stored(good, {})
    rot(lab.study / NEW)
    opened = lab.opened()
    plan = lab.plan(opened)
    assert plan is not None
    lab.bucket.break_down()
    with pytest.raises(FAILURES):
        carry_out(opened, plan.actions)
    assert (lab.copy / NEW).exists()
    assert "no run of this program wrote" in str(lab.apply())
    assert "no run of this program wrote" in str(lab.run(Step.S3_ARCHIVE))
    assert lab.places(NEW, good) == {"s3"}


def test_a_file_that_somebody_put_into_a_copy_that_was_begun_is_not_overwritten(tmp_path: Path) -> None:
    """The first run was broken off, and a person, or an old script, copies the rest."""
    lab = MemoryLab(tmp_path / "lab")
    assert lab.apply(cut_after=9) == "killed"
    path = f"{RAW}/raw0.bin"
    good = (lab.study / path).read_bytes()
    assert not (lab.copy / path).exists()
    shutil.copy2(lab.study / path, lab.copy / path)
    rot(lab.study / path)
    assert "no run of this program wrote" in str(lab.apply())
    assert lab.places(path, good) == {"nas"}
