"""A copy is proven on the NAS, and S3 takes nothing yet: the source may grow, and nothing else replaces the copy."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from fusion_assets.reconcile.conditions import Name
from fusion_assets.reconcile.plan import Step
from tests.damage import rot
from tests.reconcile.last_good_copy.actions import FILE, OTHER, accept, bytes_of
from tests.reconcile.memory_lab import RAW, MemoryLab


@pytest.fixture
def copied(lab: MemoryLab) -> MemoryLab:
    (lab.nas / "_manifest").mkdir()
    assert lab.run(Step.VALIDATED, Step.TRUENAS_COPY) is None
    return lab


def kept_time(file: Path, data: bytes, *, back_by: int = 0) -> None:
    """Other bytes in a file that bears the time it had, or an earlier one, in seconds."""
    time = file.stat().st_mtime_ns - back_by * 10**9
    file.write_bytes(data)
    os.utime(file, ns=(time, time))


@pytest.mark.parametrize("damage", ["cut", "emptied", "an older state"])
@pytest.mark.parametrize("sidecar", ["there", "lost", "emptied"])
def test_a_source_that_was_cut_or_went_back_is_not_copied_over_what_the_nas_has(
    copied: MemoryLab, damage: str, sidecar: str
) -> None:
    good = bytes_of(copied)
    if damage == "an older state":
        kept_time(copied.study / FILE, good[:90], back_by=600)
    else:
        kept_time(copied.study / FILE, good[:100] if damage == "cut" else b"")
    if sidecar == "lost":
        copied.sidecar.unlink()
    elif sidecar == "emptied":
        copied.sidecar.write_bytes(b"")
    assert "were cut, or went back" in str(copied.run(Step.TRUENAS_COPY))
    assert copied.places(FILE, good) == {"nas"}
    kept_time(copied.study / FILE, good)  # as the hint says
    os.utime(copied.study / FILE, ns=2 * ((copied.copy / FILE).stat().st_mtime_ns,))
    assert copied.apply() is None
    assert copied.places(FILE, good) == {"source", "nas", "s3"}


def test_a_file_that_was_cut_on_purpose_can_be_accepted(copied: MemoryLab) -> None:
    kept_time(copied.study / FILE, bytes_of(copied)[:100])
    accept(copied)
    assert copied.apply() is None
    assert copied.places(FILE, bytes_of(copied)) == {"source", "nas", "s3"}


def test_a_file_that_went_on_growing_replaces_its_copy(copied: MemoryLab) -> None:
    copied.write(FILE, bytes_of(copied) + b"one more frame")
    assert copied.apply() is None
    assert copied.places(FILE, bytes_of(copied)) == {"source", "nas", "s3"}


@pytest.mark.parametrize("damage", ["lost", "rotten, and set aside"])
def test_a_file_that_went_on_growing_is_copied_though_the_nas_lost_its_copy(copied: MemoryLab, damage: str) -> None:
    if damage == "lost":
        (copied.copy / FILE).unlink()
    else:
        rot(copied.copy / FILE)
        assert "set aside" in str(copied.run(Step.S3_ARCHIVE))
    copied.write(FILE, bytes_of(copied) + b"one more frame")
    assert copied.apply() is None
    assert copied.places(FILE, bytes_of(copied)) == {"source", "nas", "s3"}


@pytest.mark.parametrize("sidecar", ["there", "lost"])
@pytest.mark.parametrize("same", ["not one file", "one file of a template"])
def test_a_study_that_was_copied_and_not_archived_is_not_overwritten_by_another_of_its_name(
    copied: MemoryLab, same: str, sidecar: str
) -> None:
    """Somebody freed the instrument by hand."""
    good, template = bytes_of(copied), copied.copy / f"{RAW}/MarkerList.txt"
    shutil.rmtree(copied.study)
    copied.write_study(prefix="raw")
    if same == "one file of a template":
        shutil.copy2(template, copied.study / f"{RAW}/MarkerList.txt")
    if sidecar == "lost":
        copied.sidecar.unlink()
    plan = copied.plan(copied.opened())
    assert plan is not None
    assert "rename it" in plan.observed.conditions[Name.VALIDATED].message
    assert "rename it" in str(copied.run(Step.TRUENAS_COPY))
    assert copied.places(FILE, good) == {"nas"}
    accept(copied)
    assert copied.apply() is None
    for path in (FILE, OTHER):
        assert copied.places(path, bytes_of(copied, path)) == {"source", "nas", "s3"}
