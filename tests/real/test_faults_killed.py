"""kill -9 at chosen points of the pipeline, then the lock, then a second run: nothing is lost, the study completes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fusion_assets.reconcile.conditions import Name
from fusion_assets.reconcile.plan import why_nothing
from fusion_assets.reconcile.unlocking import unlock
from fusion_assets.standard.listing import SIDECAR_NAME
from fusion_assets.transfer.journal import JOURNAL_NAME
from tests.real.small_lab import LOCK, PREFIX, STUDY, SmallLab, assert_completed, assert_nothing_lost, recap

pytestmark = pytest.mark.real


@pytest.fixture
def lab(small_lab: SmallLab) -> SmallLab:
    """A lab of one study with a file large enough to be killed in; slow enough to hit a chosen point of it."""
    small_lab.add_study(large_mib=6)
    small_lab.write_config(bandwidth_mib=6)
    return small_lab


def _lock_is_there(lab: SmallLab) -> bool:
    return (lab.study / LOCK).exists()


def _first_partial_file(lab: SmallLab) -> bool:
    return any(path.name != JOURNAL_NAME for path in lab.copy.rglob("*.partial"))


def _journal_is_written(lab: SmallLab) -> bool:
    journal = lab.copy / JOURNAL_NAME
    return journal.exists() and journal.stat().st_size > 0


def _first_object(lab: SmallLab) -> bool:
    found = lab.server.client().list_objects_v2(Bucket=lab.bucket, Prefix=f"{PREFIX}/{STUDY}/", MaxKeys=1)
    return found["KeyCount"] > 0


def _sidecar_is_written(lab: SmallLab) -> bool:
    return (lab.copy / SIDECAR_NAME).exists()


def _ledger_says_complete(lab: SmallLab) -> bool:
    return any(b'"complete"' in month.read_bytes() for month in (lab.nas / "_manifest").glob("*.jsonl"))


def _trash_is_there(lab: SmallLab) -> bool:
    return bool(lab.trashed())


def _trash_is_half_empty(lab: SmallLab) -> bool:
    found = sum(len(files) for study in lab.trashed() for _, _, files in os.walk(study))
    return bool(lab.trashed()) and found < len(lab.originals)


def _is_proven(lab: SmallLab, file: Path) -> bool:
    """Whether it has its final name on the NAS: it gets that only when it was read back."""
    return file.is_relative_to(lab.copy) and file.suffix != ".partial" and file.name != SIDECAR_NAME


@pytest.mark.parametrize(
    "happened",
    [
        _lock_is_there,
        _first_partial_file,
        _journal_is_written,
        _first_object,
        _sidecar_is_written,
        _ledger_says_complete,
        _trash_is_there,
        _trash_is_half_empty,
    ],
)
def test_a_run_killed_at_any_point_loses_nothing_and_the_next_one_completes_the_study(
    lab: SmallLab, happened: Callable[[SmallLab], bool]
) -> None:
    killed = lab.kill_when(lambda: happened(lab), "apply", "--yes", "-f", "json")
    assert killed or happened in (_trash_is_there, _trash_is_half_empty), "the run ended before it could be killed"
    assert_nothing_lost(lab)
    proven = {path: file for path, file in lab.files().items() if _is_proven(lab, path)}
    if (lab.study / LOCK).exists():
        with lab.opened() as opened:
            assert unlock(opened.source, opened.truenas, run_name=STUDY, backup_name=STUDY).removed
    lab.write_config()
    second = lab.apply()
    assert second.failed == 0, second.errors
    assert_completed(lab)
    assert proven.items() <= lab.files().items(), "what was proven before the kill was copied again"


def test_half_a_copy_of_a_study_that_was_given_up_says_what_to_remove_and_is_forgotten_then(lab: SmallLab) -> None:
    assert lab.kill_when(lambda: _first_object(lab), "apply", "--yes")
    assert lab.fusion("unlock", STUDY).returncode == 0
    lab.study.rename(lab.folder / "given up")
    (lab.source / "20260106_WW_HCC_run2").mkdir()  # else the source looks as if it were not mounted
    for place, remove in ((str(lab.copy), lambda: shutil.rmtree(lab.copy)), (PREFIX, lambda: _remove_objects(lab))):
        why = why_nothing(lab.plans()[STUDY])
        assert "half of it was copied, and it is no longer at the source" in why
        assert place in why
        remove()
    assert STUDY not in lab.plans()


def _remove_objects(lab: SmallLab) -> None:
    for key in [key for key in lab.objects() if key.startswith(f"{PREFIX}/{STUDY}/")]:
        lab.server.client().delete_object(Bucket=lab.bucket, Key=key)


def test_a_lock_left_by_a_crash_stops_the_backup_before_anything_is_touched(lab: SmallLab) -> None:
    assert lab.kill_when(lambda: _journal_is_written(lab), "backup", "run")
    owner = json.loads((lab.study / LOCK).read_text())
    before = _everything(lab)

    refused = lab.fusion("backup", "run")

    assert refused.returncode == 1
    assert _everything(lab) == before, "the refused run touched something"
    said = refused.stderr
    assert STUDY in said
    assert owner["hostname"] in said
    assert str(owner["pid"]) in said
    assert "ago" in said, said
    assert f"fusion unlock {STUDY}" in said
    assert "nothing was touched" in said

    # `apply` would go on with other studies, and counts this one as failed; `plan` says why.
    assert lab.fusion("apply", "--yes").returncode == 1
    assert f"fusion unlock {STUDY}" in lab.plans()[STUDY].observed.conditions[Name.UNLOCKED].message
    assert _everything(lab) == before

    assert lab.fusion("unlock", STUDY).returncode == 0
    done = lab.fusion("backup", "run", "-f", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert recap(done)["failed"] == 0
    assert_completed(lab)


def _everything(lab: SmallLab) -> tuple[object, object]:
    """Every file at the source and on the NAS, and every object."""
    return lab.files(), lab.objects()
