"""What others change about a study that was archived: at its source, in its trash, on the NAS, in the configuration.

Nothing that changed is copied over what was proven, nothing is deleted whose bytes are nowhere else, and whoever puts
it right is believed. Plans are carried out in this process (`SmallLab.apply`), by the same code as `fusion apply`.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fusion_assets.manifest.record import Status
from fusion_assets.reconcile.conditions import Name
from fusion_assets.reconcile.lab import TRASH
from fusion_assets.reconcile.plan import KNOWN_INVALID, Step, Verdict
from tests.real.small_lab import STUDY, SmallLab, assert_completed, assert_nothing_lost

pytestmark = pytest.mark.real

TRASHED = f"{STUDY}@20260301T000000000000"


@pytest.fixture
def archived(small_lab: SmallLab) -> SmallLab:
    """A lab whose one study was archived when it kept its sources; from now on they are released."""
    small_lab.add_study()
    small_lab.write_config(delete_source=False)
    done = small_lab.apply()
    assert done.failed == 0, done.errors
    small_lab.write_config(delete_source=True)
    return small_lab


def proven_bytes(lab: SmallLab) -> dict[str, bytes]:
    return {key: data for key, data in lab.objects().items() if "/_manifest/" not in key}


def into_trash(lab: SmallLab) -> Path:
    """As if a run had been killed right after it renamed the study."""
    trashed = lab.source / TRASH / TRASHED
    trashed.parent.mkdir()
    lab.study.rename(trashed)
    (lab.source / "20260106_WW_HCC_run2").mkdir()  # else the source looks as if it were not mounted
    return trashed


@pytest.mark.parametrize("also", ["nothing else", "a file vanished", "copied anew in the UI"])
def test_a_source_that_changed_together_with_its_copy_is_kept_although_both_look_alike(
    archived: SmallLab, also: str
) -> None:
    path, in_s3 = archived.path_of("focus005.bin"), proven_bytes(archived)
    file, good = archived.study / path, archived.originals[STUDY, path]
    times = file.stat()
    file.write_bytes(bytes(byte ^ 255 for byte in good))
    os.utime(file)
    shutil.copy2(file, archived.copy / path)  # an old script still mirrors the instrument to the NAS
    if also == "a file vanished":
        (archived.study / archived.path_of("focus001.bin")).unlink()
    if also == "copied anew in the UI":
        archived.run_assets("truenas_copy", "s3_archive", "manifest_entry")

    for _ in range(3):
        refused = archived.apply()
        assert refused.failed == 1
        assert file.name in refused.errors
        assert file.is_file(), "the only bytes of it are gone"
        assert proven_bytes(archived) == in_s3

    for damaged in (file, archived.copy / path):
        damaged.write_bytes(good)
        os.utime(damaged, ns=(times.st_atime_ns, times.st_mtime_ns))
    done = archived.apply()
    assert done.failed == 0, done.errors
    assert_completed(archived)


def test_a_source_and_a_copy_that_only_have_other_times_are_read_again_and_then_the_source_is_released(
    archived: SmallLab,
) -> None:
    path = archived.path_of("focus005.bin")
    for place in (archived.study, archived.copy):
        os.utime(place / path, (10**9, 10**9))
    done = archived.apply()
    assert done.failed == 0, done.errors
    assert_completed(archived)


@pytest.mark.parametrize("deleted", [0, 1], ids=["whole", "half deleted"])
def test_a_file_that_changed_in_the_trash_is_not_copied_over_what_is_proven_and_can_be_moved_out(
    archived: SmallLab, deleted: int
) -> None:
    path, in_s3 = archived.path_of("focus005.bin"), proven_bytes(archived)
    trashed = into_trash(archived)
    for gone in [archived.path_of("focus001.bin")][:deleted]:
        (trashed / gone).unlink()
    (trashed / path).write_bytes(b"RANSOM" * 100)

    by_dagster = archived.run_assets("truenas_copy", "s3_archive", "manifest_entry", "source_released")
    for said in (by_dagster, archived.apply().errors):
        assert Path(path).name in said
        assert "the size and the time it had" not in said
        assert "move" in said
    assert (trashed / path).is_file()
    assert (archived.copy / path).read_bytes() == archived.originals[STUDY, path]
    assert proven_bytes(archived) == in_s3

    (trashed / path).rename(archived.folder / "kept for the police")
    done = archived.apply()
    assert done.recaps[STUDY].failed == 0, done.errors
    assert_completed(archived)


def test_a_study_that_was_repaired_without_touching_any_of_its_files_is_archived(small_lab: SmallLab) -> None:
    small_lab.add_study()
    (small_lab.study / "notes").mkdir()
    assert "R5" in small_lab.apply().errors
    assert small_lab.plans()[STUDY].observed.conditions[Name.VALIDATED].reason == KNOWN_INVALID
    (small_lab.study / "notes").rmdir()
    done = small_lab.apply()
    assert done.failed == 0, done.errors
    assert_completed(small_lab)


@pytest.mark.parametrize("before", ["never archived", "complete"])
def test_a_study_that_a_newer_version_finds_whole_is_believed_once_it_was_validated_again(
    small_lab: SmallLab, before: str
) -> None:
    small_lab.add_study()
    small_lab.write_config(delete_source=False)
    assert small_lab.apply().failed == 0
    with small_lab.opened() as opened:
        record = opened.ledger.read().records[STUDY]
        extra = {**record.extra, "reason": f"[D2] {STUDY}/image.qptiff: is broken"}
        invalid = replace(record, status=Status.FAILED_VALIDATION, extra=extra)
        if before == "never archived":
            for month in (small_lab.nas / "_manifest").glob("*.jsonl"):
                month.write_bytes(b"")
                key = f"archive/_manifest/{month.name}"
                small_lab.server.client().delete_object(Bucket=small_lab.bucket, Key=key)
            invalid = replace(invalid, truenas_verified_at=None, s3_verified_at=None, completed_at=None)
        opened.ledger.append(invalid)
    small_lab.write_config(delete_source=True)
    assert small_lab.plans()[STUDY].observed.conditions[Name.VALIDATED].reason == KNOWN_INVALID
    assert small_lab.run_assets("validated") == ""
    done = small_lab.apply()
    assert done.failed == 0, done.errors
    assert_completed(small_lab)


def test_the_monthly_run_finishes_a_release_that_was_broken_off(archived: SmallLab) -> None:
    into_trash(archived)
    assert archived.plans()[STUDY].actions == (Step.SOURCE_RELEASED,)
    done = archived.fusion("backup", "run", "--limit", STUDY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_completed(archived)


def test_a_release_that_was_broken_off_needs_a_person_where_sources_are_to_stay_by_now(archived: SmallLab) -> None:
    trashed = into_trash(archived)
    archived.write_config(delete_source=False)
    assert archived.plans()[STUDY].verdict is Verdict.FAILED
    done = archived.fusion("backup", "run", "--limit", STUDY)
    assert done.returncode == 1
    assert f"move that back to {STUDY}" in done.stdout
    assert_nothing_lost(archived)
    trashed.rename(archived.study)
    assert archived.plans()[STUDY].verdict is Verdict.SETTLED


def test_a_study_whose_alias_came_later_is_not_archived_twice_from_the_ui(archived: SmallLab) -> None:
    before = proven_bytes(archived)
    archived.config.write_text(f"{archived.config.read_text()}[alias]\n'{STUDY}' = '20260106_WW_HCC_run2'\n")
    assert f"archived as {STUDY}" in archived.run_assets("truenas_copy", "s3_archive")
    assert proven_bytes(archived) == before
