"""Whatever was lost or said by mistake: as long as good bytes are somewhere, there is a way on, and none over them."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import pytest

from fusion_assets.manifest.extra_fields import EVICTED_FIELD
from fusion_assets.reconcile.conditions import Name
from fusion_assets.reconcile.plan import SOURCE_CHANGED, Verdict
from fusion_assets.standard.listing import SIDECAR_NAME
from tests.damage import rot
from tests.reconcile.last_good_copy.actions import (
    ARCHIVING,
    FILE,
    NEW,
    OTHER,
    accept,
    bytes_of,
    copied_while_s3_is_away,
    keep_snapshot,
    left,
    record,
    roll_back,
    sums,
)
from tests.reconcile.memory_lab import STUDY, MemoryLab

# Ways out.


def test_a_source_that_can_prove_what_was_lost_everywhere_else_does(archived: MemoryLab) -> None:
    archived.sidecar.unlink()
    (archived.copy / FILE).unlink()
    del archived.bucket.objects[f"{STUDY}/{SIDECAR_NAME}"], archived.bucket.objects[f"{STUDY}/{OTHER}"]
    assert archived.apply() is None
    for path in (FILE, OTHER):
        assert archived.places(path, bytes_of(archived, path)) == {"source", "nas", "s3"}


def test_an_archive_that_nothing_else_tells_of_is_compared_with_the_source_and_taken_over(archived: MemoryLab) -> None:
    good, time = bytes_of(archived), (archived.study / FILE).stat().st_mtime
    archived.forget_ledger()
    shutil.rmtree(archived.copy)
    rot(archived.study / FILE)
    assert "other bytes" in str(archived.apply())
    (archived.study / FILE).write_bytes(good)
    os.utime(archived.study / FILE, (time, time))
    assert archived.apply() is None
    assert archived.places(FILE, bytes_of(archived)) == {"source", "nas", "s3"}


@pytest.mark.parametrize("damage", [b"", b"no sidecar at all", None])
def test_a_change_can_be_accepted_whatever_became_of_the_sidecar(archived: MemoryLab, damage: bytes | None) -> None:
    archived.write(FILE, b"right new bytes" * 30)
    archived.sidecar.unlink() if damage is None else archived.sidecar.write_bytes(damage)
    plan = archived.plan(archived.opened())
    assert plan is not None
    assert plan.observed.conditions[Name.VALIDATED].reason == SOURCE_CHANGED
    accept(archived)
    assert archived.apply() is None
    assert archived.places(FILE, bytes_of(archived)) == {"source", "nas", "s3"}


def test_a_pipe_in_the_place_of_a_sidecar_holds_up_nobody(archived: MemoryLab) -> None:
    archived.sidecar.unlink()
    os.mkfifo(archived.sidecar)
    plan = archived.plan(archived.opened())
    assert plan is not None
    assert plan.verdict is not Verdict.SETTLED


def test_accepted_files_go_on_when_the_nas_was_rolled_back_to_what_is_archived(archived: MemoryLab) -> None:
    snapshot = keep_snapshot(archived)
    archived.write(FILE, b"right new bytes" * 30)
    accept(archived)
    copied_while_s3_is_away(archived)
    roll_back(archived, snapshot)
    assert archived.apply() is None
    assert archived.places(FILE, bytes_of(archived)) == {"source", "nas", "s3"}


@pytest.mark.parametrize(
    "damage", ["none", "the old file has rotted", "none, and a file was gained", "the NAS lost its sidecar"]
)
def test_a_wrong_acceptance_can_be_taken_back_and_the_old_file_is_held_to_its_bytes(
    archived: MemoryLab, damage: str
) -> None:
    file, right = archived.study / FILE, bytes_of(archived)
    before = file.stat()
    archived.write(FILE, b"a mistake" * 30)
    accept(archived)
    copied_while_s3_is_away(archived)
    file.write_bytes(right)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    if damage == "the old file has rotted":
        rot(file)
    elif damage == "the NAS lost its sidecar":
        archived.sidecar.unlink()
    elif damage != "none":
        archived.write(NEW, b"one more frame" * 30)
    assert "is newer than the archive" in str(archived.run(*ARCHIVING))
    plan = archived.plan(archived.opened())
    assert plan is not None
    assert plan.observed.conditions[Name.VALIDATED].reason == SOURCE_CHANGED
    accept(archived)
    said = archived.apply()
    if damage != "the old file has rotted":
        assert said is None
        assert archived.places(FILE, right) == {"source", "nas", "s3"}
    else:
        assert "has not the bytes that were proven" in str(said)
        assert archived.places(FILE, right) == {"s3"}


def test_a_study_that_gained_files_goes_on_when_the_nas_lost_what_proved_them(archived: MemoryLab) -> None:
    archived.write(NEW, b"one more frame" * 30)
    copied_while_s3_is_away(archived)
    archived.sidecar.unlink()
    (archived.copy / FILE).unlink()
    assert archived.apply() is None
    for path in (FILE, NEW):
        assert archived.places(path, bytes_of(archived, path)) == {"source", "nas", "s3"}


def test_a_gained_file_that_only_the_nas_has_good_is_not_replaced_when_its_proof_is_lost(archived: MemoryLab) -> None:
    archived.write(NEW, b"one more frame" * 30)
    good = bytes_of(archived, NEW)
    copied_while_s3_is_away(archived)
    archived.sidecar.unlink()
    (archived.copy / FILE).unlink()
    rot(archived.study / NEW)
    assert archived.apply() is not None
    assert archived.places(NEW, good) == {"nas"}


def test_a_study_that_was_evicted_while_its_source_was_kept_is_copied_again_when_sources_are_to_go(
    archived: MemoryLab,
) -> None:
    complete = record(archived)
    evicted = replace(complete, extra={**complete.extra, EVICTED_FIELD: "2026-11-20T00:00:00+00:00"})
    archived.opened().ledger.append(evicted)
    shutil.rmtree(archived.copy)
    kept = archived.plan(archived.opened())
    assert kept is not None
    assert kept.verdict is Verdict.SETTLED
    good = bytes_of(archived)
    archived.write(NEW, b"gained since" * 30)
    archived.write_config(delete_source=True)
    assert archived.apply() is None
    assert archived.places(FILE, good) == {"nas", "s3"}
    assert not archived.study.exists()


def test_of_half_a_study_in_the_trash_nobody_is_told_to_move_it_back(archived: MemoryLab) -> None:
    archived.write_config(delete_source=True)
    said, cut = None, 3
    while not (said == "killed" and 0 < len(left(archived)) < len(sums(archived))):
        said, cut = archived.apply(cut_after=cut), cut + 1
        assert cut < 60, "it was never half deleted"
    archived.write_config(delete_source=False)
    plan = archived.plan(archived.opened())
    assert plan is not None
    message = plan.observed.conditions[Name.SOURCE_RELEASED].message
    assert "deleted already" in message
    assert "move that back" not in message
    archived.write_config(delete_source=True)
    assert archived.apply() is None
