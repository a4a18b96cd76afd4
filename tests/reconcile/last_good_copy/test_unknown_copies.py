"""A name under which something lies that the ledger does not know: it is another program's, or the ledger was lost."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from fusion_assets.reconcile.conditions import Name
from fusion_assets.reconcile.plan import SOURCE_CHANGED, Step
from resources.errors import UnavailableError
from resources.s3_objects import ObjectInfo
from tests.damage import rot
from tests.reconcile.last_good_copy.actions import (
    ARCHIVING,
    FILE,
    NEW,
    OTHER,
    accept,
    bytes_of,
    flip_back,
    keep_snapshot,
    record,
    roll_back,
)
from tests.reconcile.memory_lab import RAW, STUDY, MemoryLab, carry_out
from tests.transfer.memory_bucket import Stored

# A name under which another program left copies, and a source of which one file has rotted since.


@pytest.fixture
def rotten_beside_old_copies(lab: MemoryLab) -> bytes:
    """The good bytes."""
    _copies_of_another_program(lab)
    good = bytes_of(lab)
    rot(lab.study / FILE)
    return good


def test_a_study_that_was_invalid_once_is_still_not_copied_over_what_the_ledger_does_not_know(
    lab: MemoryLab, rotten_beside_old_copies: bytes
) -> None:
    link = lab.study / "link"
    link.symlink_to("/etc")
    assert "[R5]" in str(lab.apply())
    link.unlink()
    assert "does not know" in str(lab.apply())
    assert lab.places(FILE, rotten_beside_old_copies) == {"nas", "s3"}


@pytest.mark.parametrize("away", ["nas", "s3"])
def test_a_place_that_failed_while_unknown_copies_were_compared_does_not_make_them_ours(
    lab: MemoryLab, rotten_beside_old_copies: bytes, away: str
) -> None:
    def fail(method: str, path: str) -> None:
        if method in ("head", "read_into", "open_reader") and "raw1" in path:
            raise UnavailableError("away for a moment")

    opened = lab.opened()
    (lab.nas / "_manifest").mkdir()
    if away == "nas":
        opened.truenas.before = fail  # type: ignore[attr-defined]
    else:
        lab.bucket.before = fail
    with pytest.raises(UnavailableError):
        carry_out(opened, ARCHIVING)
    assert "does not know" in str(lab.apply())
    assert lab.places(FILE, rotten_beside_old_copies) == {"nas", "s3"}


@pytest.fixture
def unstated(lab: MemoryLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 states a checksum only of what was uploaded with one, as AWS does: not of another program's objects."""
    head = lab.bucket.head

    def without(key: str) -> ObjectInfo | None:
        info = head(key)
        return replace(info, sha256=None) if info and not info.metadata and not key.startswith("_manifest/") else info

    monkeypatch.setattr(lab.bucket, "head", without)


def _copies_of_another_program(lab: MemoryLab, *, nas: bool = True) -> None:
    shutil.copytree(lab.study, lab.copy)
    for file in lab.copy.rglob("*"):
        if file.is_file():
            lab.bucket.objects[f"{STUDY}/{file.relative_to(lab.copy).as_posix()}"] = Stored(file.read_bytes(), {})
    if not nas:
        shutil.rmtree(lab.copy)


@pytest.mark.parametrize("nas", [True, False])
def test_objects_of_which_s3_states_no_checksum_are_read_before_they_are_taken_over(
    lab: MemoryLab, unstated: None, *, nas: bool
) -> None:
    _copies_of_another_program(lab, nas=nas)
    good = bytes_of(lab)
    rot(lab.study / FILE)
    assert "other bytes: " in str(lab.apply())
    assert "s3" in lab.places(FILE, good)
    flip_back(lab.study / FILE, good)
    lab.write(OTHER, b"right new bytes" * 30)
    accept(lab)
    assert lab.apply() is None
    assert lab.places(OTHER, bytes_of(lab, OTHER)) == lab.places(FILE, good) == {"source", "nas", "s3"}


def test_accepting_a_change_accepts_no_rot_of_what_only_another_programs_objects_show(
    lab: MemoryLab, unstated: None
) -> None:
    _copies_of_another_program(lab, nas=False)
    good = bytes_of(lab)
    rot(lab.study / FILE)
    lab.write(OTHER, b"right new bytes" * 30)
    accept(lab)
    assert "other bytes: " in str(lab.apply())
    assert lab.places(FILE, good) == {"s3"}


@pytest.mark.parametrize("at_source", [True, False])
def test_an_archive_step_that_fails_on_unknown_copies_does_not_make_them_ours(
    lab: MemoryLab, *, at_source: bool
) -> None:
    _copies_of_another_program(lab)
    rotten, changed = bytes_of(lab), bytes_of(lab, OTHER)
    rot(lab.copy / f"{RAW}/raw2.bin")
    if not at_source:
        lab.study.rename(lab.root / "away")
    assert "of the NAS these files are others" in str(lab.run(Step.S3_ARCHIVE))
    if not at_source:
        (lab.root / "away").rename(lab.study)
    rot(lab.study / FILE)
    lab.write(OTHER, b"what ransomware left" * 20)
    lab.apply()
    assert lab.places(FILE, rotten) == lab.places(OTHER, changed) == {"nas", "s3"}


def test_objects_that_nobody_looked_at_while_s3_was_away_are_not_overwritten_when_it_is_back(lab: MemoryLab) -> None:
    _copies_of_another_program(lab, nas=False)
    (lab.nas / "_manifest").mkdir()
    rotten, changed = bytes_of(lab), bytes_of(lab, OTHER)
    rot(lab.study / FILE)
    lab.write(OTHER, b"what ransomware left" * 20)
    opened = lab.opened()
    lab.bucket.break_down()
    with pytest.raises(UnavailableError):
        carry_out(opened, ARCHIVING)
    lab.apply()
    assert lab.places(FILE, rotten) == lab.places(OTHER, changed) == {"s3"}
    plan = lab.plan(lab.opened())
    assert plan is not None
    assert plan.observed.conditions[Name.VALIDATED].reason == SOURCE_CHANGED
    accept(lab)
    assert "other bytes: " in str(lab.apply())
    assert lab.places(FILE, rotten) == {"s3"}


def test_accepting_one_change_does_not_believe_all_other_files_of_an_unknown_copy(lab: MemoryLab) -> None:
    shutil.copytree(lab.study, lab.copy)
    good = bytes_of(lab, OTHER)
    rot(lab.copy / OTHER)
    lab.write(FILE, b"right new bytes" * 30)
    lab.write_config(delete_source=True)
    accept(lab)
    assert "other bytes: " in str(lab.apply())
    assert "source" in lab.places(OTHER, good)


@pytest.mark.parametrize("place", ["nas", "bucket", "server"])
def test_what_lies_in_a_place_that_is_new_to_the_lab_is_not_overwritten(archived: MemoryLab, place: str) -> None:
    other = b"of another program, years ago" * 20
    if place == "nas":
        archived.nas = archived.root / "new-nas"
        file = archived.copy / FILE
        file.parent.mkdir(parents=True)
        file.write_bytes(other)
        shutil.copytree(archived.root / "nas" / "_manifest", archived.nas / "_manifest")
        archived.write_config(delete_source=False)
    else:
        for key in [key for key in archived.bucket.objects if not key.startswith("_manifest/")]:
            del archived.bucket.objects[key]
        if place == "bucket":
            archived.bucket.uri = "s3://another"
        else:
            config = archived.root / "config.toml"
            config.write_text(config.read_text().replace("[s3]", "[s3]\nendpoint_url = 'http://another:9000'"))
        archived.bucket.objects[f"{STUDY}/{FILE}"] = Stored(other, {})
    for _ in range(3):  # no record of a failure makes the place ours
        archived.apply()
        assert archived.places(FILE, other) == {"nas" if place == "nas" else "s3"}


def test_a_failed_question_in_a_new_bucket_does_not_make_what_lies_there_ours(archived: MemoryLab) -> None:
    other = b"another program's, of the same length"
    archived.write(NEW, other[::-1])
    assert archived.apply() is None
    for key in [key for key in archived.bucket.objects if not key.startswith("_manifest/")]:
        del archived.bucket.objects[key]
    archived.bucket.uri = "s3://another"
    archived.bucket.objects[f"{STUDY}/{NEW}"] = Stored(other, {})
    for answers in range(12):
        archived.apply(fails_after=answers, place="s3")
    archived.apply()
    assert archived.places(NEW, other) == {"s3"}


# The ledger was lost, with its mirror.


def test_what_was_recognised_after_the_ledger_was_lost_is_not_replaced_when_that_run_was_killed(
    archived: MemoryLab,
) -> None:
    good = bytes_of(archived)
    archived.forget_ledger()
    cut = 0
    while "sidecar_sha256" not in (record(archived).extra if _has_record(archived) else {}):
        assert archived.apply(cut_after=cut) == "killed"
        cut += 1
    archived.write(FILE, b"what ransomware left" * 20)
    plan = archived.plan(archived.opened())
    assert plan is not None
    assert plan.observed.conditions[Name.VALIDATED].reason == SOURCE_CHANGED
    archived.apply()
    assert archived.places(FILE, good) == {"nas", "s3"}


def _has_record(lab: MemoryLab) -> bool:
    return STUDY in lab.opened().ledger.read().records


def test_only_accepted_files_replace_anything_when_the_nas_was_rolled_back_and_the_ledger_lost(
    archived: MemoryLab,
) -> None:
    snapshot = keep_snapshot(archived)
    archived.write(FILE, b"a newer state" * 30)
    accept(archived)
    assert archived.apply() is None
    newer = bytes_of(archived)
    archived.forget_ledger()
    roll_back(archived, snapshot)
    rot(archived.study / FILE)
    archived.write(OTHER, b"changed on purpose" * 30)
    accept(archived)
    archived.apply()
    assert "s3" in archived.places(FILE, newer)
