"""Holding a study in all its places: which locks, and on which NAS."""

from __future__ import annotations

import shutil

import pytest

from fusion_assets.reconcile.found_lock import LOCKS
from fusion_assets.reconcile.holding import locked, locks_in_the_way
from resources.errors import NotMountedError
from tests.real.small_lab import LOCK, STUDY, SmallLab

pytestmark = pytest.mark.real


def _locks(lab: SmallLab) -> list[str]:
    found = [*lab.source.rglob(LOCK), *(lab.nas / LOCKS).glob("*.lock")]
    return [path.relative_to(lab.folder).as_posix() for path in found]


def test_a_study_at_the_source_is_held_there_and_on_the_nas_and_one_that_left_it_on_the_nas(lab: SmallLab) -> None:
    at_source, of_backup = f"instrument/{STUDY}/{LOCK}", f"nas/{LOCKS}/{STUDY}.lock"
    with lab.opened() as opened:
        with locked(opened, STUDY):
            assert _locks(lab) == [at_source, of_backup]
            with locked(opened, STUDY):  # as each step does
                assert locks_in_the_way(opened, [STUDY]) == []
            assert _locks(lab) == [at_source, of_backup]
        assert _locks(lab) == []
        shutil.rmtree(lab.study)
        with locked(opened, STUDY):
            assert _locks(lab) == [of_backup]
    assert _locks(lab) == []


def test_a_backup_is_locked_under_the_name_it_has_on_the_nas(lab: SmallLab) -> None:
    lab.config.write_text(lab.config.read_text() + f"[alias]\n{STUDY} = '20260105_WW_HCC_renamed'\n")
    with lab.opened() as opened, locked(opened, STUDY):
        assert _locks(lab)[1:] == [f"nas/{LOCKS}/20260105_WW_HCC_renamed.lock"]


def test_a_study_whose_name_the_nas_cannot_keep_can_still_be_looked_at(lab: SmallLab) -> None:
    name = "x" * 255
    (lab.source / name).mkdir()
    with lab.opened() as opened, locked(opened, name, backup=False):
        assert _locks(lab) == [f"instrument/{name}/{LOCK}"]


def test_a_nas_that_is_not_mounted_is_refused_and_no_trace_is_left_in_its_mount_point(lab: SmallLab) -> None:
    lab.write_config(delete_source=False)
    assert lab.apply().failed == 0
    lab.nas.rename(lab.folder / "the-real-nas")
    lab.nas.mkdir()
    with lab.opened() as opened, pytest.raises(NotMountedError), locked(opened, STUDY):
        pytest.fail("there was nothing to lock")
    assert list(lab.nas.iterdir()) == []
    assert _locks(lab) == [], "and the source is not left locked"
