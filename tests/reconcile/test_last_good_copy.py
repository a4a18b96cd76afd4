"""Sequences in which a single run once destroyed the last good copy of a file, or called it proven, each by itself."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fusion_assets.config import load_config
from fusion_assets.manifest.record import Record, Status
from fusion_assets.reconcile.accepting import accept_changes
from fusion_assets.reconcile.conditions import Name
from fusion_assets.reconcile.errors import InvalidStudyError
from fusion_assets.reconcile.lab import EVICTED_FIELD, TRASH
from fusion_assets.reconcile.plan import SOURCE_CHANGED, Step, Verdict
from fusion_assets.reconcile.release import GateError
from fusion_assets.reconcile.releasing import release
from fusion_assets.reconcile.scrub import provable, scrub
from fusion_assets.reconcile.steps import refuse_invalid, validate
from fusion_assets.reconcile.transferring import transfer
from fusion_assets.standard.listing import SIDECAR_NAME
from resources.errors import NotFoundError, NotMountedError, UnavailableError
from resources.s3_objects import ObjectInfo
from tests.reconcile.memory_lab import RAW, STUDY, MemoryLab, carry_out, flip_bit
from tests.transfer.lab import TINY
from tests.transfer.memory_bucket import Stored

FILE, OTHER, NEW = f"{RAW}/raw0.bin", f"{RAW}/raw1.bin", f"{RAW}/new.bin"
ARCHIVING = (Step.VALIDATED, Step.TRUENAS_COPY, Step.S3_ARCHIVE, Step.MANIFEST_ENTRY)


@pytest.fixture
def lab(tmp_path: Path) -> MemoryLab:
    return MemoryLab(tmp_path / "lab")


@pytest.fixture
def archived(lab: MemoryLab) -> MemoryLab:
    assert lab.apply() is None
    return lab


def record(lab: MemoryLab) -> Record:
    return lab.opened().ledger.read().records[STUDY]


def bytes_of(lab: MemoryLab, path: str = FILE) -> bytes:
    return (lab.study / path).read_bytes()


# A name under which another program left copies, and a source of which one file has rotted since.


@pytest.fixture
def rotten_beside_old_copies(lab: MemoryLab) -> bytes:
    """The good bytes."""
    _copies_of_another_program(lab)
    good = bytes_of(lab)
    flip_bit(lab.study / FILE)
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
    flip_bit(lab.study / FILE)
    assert "other bytes: " in str(lab.apply())
    assert "s3" in lab.places(FILE, good)
    flip_back(lab.study / FILE, good)
    lab.write(OTHER, b"right new bytes" * 30)
    _accept(lab)
    assert lab.apply() is None
    assert lab.places(OTHER, bytes_of(lab, OTHER)) == lab.places(FILE, good) == {"source", "nas", "s3"}


def flip_back(file: Path, good: bytes) -> None:
    status = file.stat()
    file.write_bytes(good)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_accepting_a_change_accepts_no_rot_of_what_only_another_programs_objects_show(
    lab: MemoryLab, unstated: None
) -> None:
    _copies_of_another_program(lab, nas=False)
    good = bytes_of(lab)
    flip_bit(lab.study / FILE)
    lab.write(OTHER, b"right new bytes" * 30)
    _accept(lab)
    assert "other bytes: " in str(lab.apply())
    assert lab.places(FILE, good) == {"s3"}


@pytest.mark.parametrize("at_source", [True, False])
def test_an_archive_step_that_fails_on_unknown_copies_does_not_make_them_ours(
    lab: MemoryLab, *, at_source: bool
) -> None:
    _copies_of_another_program(lab)
    rotten, changed = bytes_of(lab), bytes_of(lab, OTHER)
    flip_bit(lab.copy / f"{RAW}/raw2.bin")
    if not at_source:
        lab.study.rename(lab.root / "away")
    assert "of the NAS these files are others" in str(lab.run(Step.S3_ARCHIVE))
    if not at_source:
        (lab.root / "away").rename(lab.study)
    flip_bit(lab.study / FILE)
    lab.write(OTHER, b"what ransomware left" * 20)
    lab.apply()
    assert lab.places(FILE, rotten) == lab.places(OTHER, changed) == {"nas", "s3"}


def test_objects_that_nobody_looked_at_while_s3_was_away_are_not_overwritten_when_it_is_back(lab: MemoryLab) -> None:
    _copies_of_another_program(lab, nas=False)
    (lab.nas / "_manifest").mkdir()
    rotten, changed = bytes_of(lab), bytes_of(lab, OTHER)
    flip_bit(lab.study / FILE)
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
    _accept(lab)
    assert "other bytes: " in str(lab.apply())
    assert lab.places(FILE, rotten) == {"s3"}


def test_accepting_one_change_does_not_believe_all_other_files_of_an_unknown_copy(lab: MemoryLab) -> None:
    shutil.copytree(lab.study, lab.copy)
    good = bytes_of(lab, OTHER)
    flip_bit(lab.copy / OTHER)
    lab.write(FILE, b"right new bytes" * 30)
    lab.write_config(delete_source=True)
    _accept(lab)
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
    snapshot = archived.root / "snapshot"
    shutil.copytree(archived.copy, snapshot)
    archived.write(FILE, b"a newer state" * 30)
    _accept(archived)
    assert archived.apply() is None
    newer = bytes_of(archived)
    archived.forget_ledger()
    _roll_back(archived, snapshot)
    flip_bit(archived.study / FILE)
    archived.write(OTHER, b"changed on purpose" * 30)
    _accept(archived)
    archived.apply()
    assert "s3" in archived.places(FILE, newer)


def _accept(lab: MemoryLab) -> None:
    opened = lab.opened()
    plan = lab.plan(opened)
    assert plan is not None
    accept_changes(opened, STUDY, plan.observed.fingerprint)


def _roll_back(lab: MemoryLab, snapshot: Path) -> None:
    shutil.rmtree(lab.copy)
    shutil.copytree(snapshot, lab.copy)


# The ledger is older than what it is about.


@pytest.fixture
def rolled_back_ledger(archived: MemoryLab) -> Callable[[], None]:
    """Puts the ledger and its mirror back as they were after the study was archived first."""
    files = archived.ledger_files()

    def put_back() -> None:
        archived.forget_ledger()
        archived.put_ledger(files)

    return put_back


@pytest.mark.parametrize("states_checksums", [True, False])
def test_an_object_of_a_newer_archive_is_not_overwritten_when_nas_and_ledger_were_rolled_back(
    archived: MemoryLab, rolled_back_ledger: Callable[[], None], *, states_checksums: bool
) -> None:
    archived.bucket.states_checksums = states_checksums
    snapshot = archived.root / "snapshot"
    shutil.copytree(archived.copy, snapshot)
    archived.write(NEW, b"one more frame" * 30)
    assert archived.apply() is None
    good = bytes_of(archived, NEW)
    rolled_back_ledger()
    _roll_back(archived, snapshot)
    flip_bit(archived.study / NEW)
    assert "do not say the same" in str(archived.apply())
    assert archived.places(NEW, good) == {"s3"}
    archived.write(NEW, good)
    assert archived.apply() is None
    assert archived.places(NEW, good) == {"source", "nas", "s3"}


def test_a_released_study_is_proven_anew_when_both_copies_are_newer_than_the_ledger(
    archived: MemoryLab, rolled_back_ledger: Callable[[], None]
) -> None:
    archived.write(NEW, b"one more frame" * 30)
    archived.write_config(delete_source=True)
    assert archived.apply() is None
    assert not archived.study.exists()
    rolled_back_ledger()
    assert archived.run(Step.S3_ARCHIVE, Step.MANIFEST_ENTRY) is None
    newest = json.loads(archived.ledger_bytes().splitlines()[-1])
    assert (newest["status"], newest["file_count"]) == ("complete", len(_sums(archived)))


def _sums(lab: MemoryLab) -> list[str]:
    return lab.sidecar.read_text().splitlines()


def _gain_a_file_and_roll_back_the_nas(lab: MemoryLab) -> bytes:
    """With its ledger, and not the mirror; gives the bytes of the file, which only the source and S3 have then."""
    snapshot = lab.root / "snapshot"
    shutil.copytree(lab.nas, snapshot)
    lab.write(NEW, b"one more frame" * 30)
    assert lab.apply() is None
    shutil.rmtree(lab.nas)
    shutil.copytree(snapshot, lab.nas)
    return bytes_of(lab, NEW)


def test_a_ledger_that_was_rolled_back_and_grew_since_does_not_pass_for_whole(archived: MemoryLab) -> None:
    good = _gain_a_file_and_roll_back_the_nas(archived)

    def away(method: str, key: str) -> None:
        raise UnavailableError("S3 is away")

    for number in range(6):  # until its file is longer than the mirror again
        archived.write(f"{RAW}/later{number}.bin", bytes([number]) * 200)
        opened = archived.opened()
        archived.bucket.before = away
        carry_out(opened, (Step.TRUENAS_COPY,))
    flip_bit(archived.study / NEW)
    with pytest.raises(NotMountedError, match="manifest restore"):
        archived.plan(archived.opened())
    assert "manifest restore" in str(archived.apply())
    assert "s3" in archived.places(NEW, good)


def test_a_newer_proof_of_rotten_bytes_does_not_overwrite_what_was_archived(archived: MemoryLab) -> None:
    """The NAS was rolled back with its ledger, a copy made while S3 was away, then the ledger restored as told."""
    good = _gain_a_file_and_roll_back_the_nas(archived)
    flip_bit(archived.study / NEW)
    opened = archived.opened()
    archived.bucket.break_down()
    with pytest.raises(UnavailableError):
        carry_out(opened, (Step.TRUENAS_COPY, Step.S3_ARCHIVE))
    archived.bucket.before = lambda _method, _key: None
    archived.opened().ledger.restore_from_mirror()
    assert "do not say the same" in str(archived.apply())
    assert archived.places(NEW, good) == {"s3"}
    flip_back(archived.study / NEW, good)
    assert "of the NAS these files are others" in str(archived.apply())  # the next run copies it again
    assert archived.apply() is None
    assert archived.places(NEW, good) == {"source", "nas", "s3"}


# S3 went back to what it was, or its sidecar there was damaged.


@pytest.fixture
def archived_twice(archived: MemoryLab) -> dict[str, Stored]:
    """Of two files the first state is known, too; gives the objects of the first archive."""
    first = {key: each for key, each in archived.bucket.objects.items() if key.startswith(f"{STUDY}/")}
    for path in (FILE, OTHER):
        archived.write(path, b"a newer state" * 30)
    _accept(archived)
    assert archived.apply() is None
    return first


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("damage", ["garbage", "an older sidecar", "all of it older"])
def test_an_archive_that_went_back_is_brought_up_to_date_from_the_copy(
    archived: MemoryLab, archived_twice: dict[str, Stored], damage: str, *, released: bool
) -> None:
    key, newer = f"{STUDY}/{SIDECAR_NAME}", bytes_of(archived)
    if released:
        archived.write_config(delete_source=True)
        assert archived.apply() is None
    if damage == "garbage":
        archived.alter_object(key)
    elif damage == "an older sidecar":
        archived.bucket.objects[key] = archived_twice[key]
    else:
        archived.bucket.objects.update(archived_twice)
    assert archived.run(Step.S3_ARCHIVE, Step.MANIFEST_ENTRY) is None
    assert archived.places(FILE, newer) >= {"nas", "s3"}
    assert archived.bucket.objects[key].data == archived.sidecar.read_bytes()


def test_a_change_accepted_while_the_archive_had_gone_back_is_proven_before_it_is_called_complete(
    archived: MemoryLab, archived_twice: dict[str, Stored]
) -> None:
    newer = bytes_of(archived)
    archived.bucket.objects.update(archived_twice)
    archived.write(OTHER, b"a mistake, put right" * 30)
    _accept(archived)
    assert archived.apply() is None
    assert record(archived).status is Status.COMPLETE
    assert archived.places(FILE, newer) == {"source", "nas", "s3"}
    assert archived.places(OTHER, bytes_of(archived, OTHER)) == {"source", "nas", "s3"}


def test_an_unknown_archive_that_was_accepted_is_not_called_complete_before_its_copy_was_read(
    archived: MemoryLab, rolled_back_ledger: Callable[[], None]
) -> None:
    """The ledger says complete, of the copy on the NAS; S3 has a newer one, and the source a third state."""
    snapshot = archived.root / "snapshot"
    shutil.copytree(archived.copy, snapshot)
    archived.write(FILE, b"a newer state" * 30)
    _accept(archived)
    assert archived.apply() is None
    rolled_back_ledger()
    _roll_back(archived, snapshot)
    archived.write(OTHER, b"right new bytes" * 30)
    _accept(archived)
    assert record(archived).extra["sidecar_sha256"] == hashlib.sha256(archived.sidecar.read_bytes()).hexdigest()
    assert archived.apply() is None
    for path in (FILE, OTHER):
        assert archived.places(path, bytes_of(archived, path)) == {"source", "nas", "s3"}


@pytest.mark.parametrize("then", ["it rots at the source", "it leaves the source"])
def test_what_only_the_nas_has_under_a_sidecar_newer_than_the_ledger_is_not_overwritten_or_forgotten(
    archived: MemoryLab, rolled_back_ledger: Callable[[], None], then: str
) -> None:
    archived.write(NEW, b"one more frame" * 30)
    good = bytes_of(archived, NEW)
    _copied_while_s3_is_away(archived)
    rolled_back_ledger()
    if then == "it rots at the source":
        flip_bit(archived.study / NEW)
        assert "do not say the same" in str(archived.apply())
        assert archived.places(NEW, good) == {"nas"}
    else:
        (archived.study / NEW).unlink()
        assert archived.apply() is None
        assert archived.places(NEW, good) == {"nas", "s3"}


@pytest.mark.parametrize("states_checksums", [True, False])
def test_another_worker_that_appends_while_the_ledger_is_compared_does_not_make_it_look_rolled_back(
    archived: MemoryLab, *, states_checksums: bool
) -> None:
    archived.bucket.states_checksums = states_checksums
    ours, other = archived.opened().ledger, archived.opened().ledger
    entry = record(archived)

    def append_once(method: str, key: str) -> None:
        if method == "head" and key.startswith("_manifest/"):
            archived.bucket.before = lambda _method, _key: None
            other.append(entry)

    archived.bucket.before = append_once
    assert ours.lost_months() == []
    archived.bucket.before = append_once
    assert ours.read_pins() == b""


# What a proof says.


@pytest.mark.parametrize("then", ["nothing", "the study gains a file", "the NAS loses another file"])
def test_a_copy_that_nobody_read_for_months_is_read_before_its_source_goes_whatever_was_copied_since(
    archived: MemoryLab, then: str
) -> None:
    good = bytes_of(archived)
    _backdate(archived, days=60)
    flip_bit(archived.copy / FILE)
    if then == "the study gains a file":
        archived.write(NEW, b"one more frame" * 30)
    elif then == "the NAS loses another file":
        (archived.copy / OTHER).unlink()
    archived.write_config(delete_source=True)
    assert "CopyRead" in str(archived.apply())
    assert "source" in archived.places(FILE, good)
    assert archived.apply() is None
    assert archived.places(FILE, good) == {"nas", "s3"}


def _backdate(lab: MemoryLab, *, days: int) -> None:
    """All that the ledger says happened, happened that much earlier."""

    def older(found: re.Match[str]) -> str:
        return (datetime.fromisoformat(found[0]) - timedelta(days=days)).isoformat(timespec="microseconds")

    for file in (lab.nas / "_manifest").glob("*.jsonl"):
        text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)?", older, file.read_text())
        file.write_text(text)
        lab.bucket.objects[f"_manifest/{file.name}"] = Stored(text.encode(), {})


def test_the_ledger_says_where_the_copies_are_when_the_lab_moved_them(archived: MemoryLab) -> None:
    archived.bucket.uri = "s3://another"
    for key in [key for key in archived.bucket.objects if not key.startswith("_manifest/")]:
        del archived.bucket.objects[key]
    archived.nas.rename(archived.root / "new-nas")
    archived.nas = archived.root / "new-nas"
    archived.write_config(delete_source=True)
    assert archived.apply() is None
    assert record(archived).s3_uri == f"s3://another/{STUDY}"
    assert record(archived).truenas_path == str(archived.copy)
    assert not archived.study.exists()


@pytest.mark.parametrize("invalid_first", [False, True])
def test_an_alias_that_is_given_to_a_study_found_invalid_first_overwrites_nothing(
    lab: MemoryLab, *, invalid_first: bool
) -> None:
    good, other = bytes_of(lab), "20260107_WW_HCC_run9"
    _copied_while_s3_is_away(lab)
    shutil.copytree(lab.study, lab.source / other)
    (lab.source / other / FILE).write_bytes(b"of another study" * 30)
    lab.study.rename(lab.root / "moved away")
    config = load_config(lab.root / "config.toml").model_copy(update={"alias": {other: STUDY}})
    opened = replace(lab.opened(), config=config)
    link = lab.source / other / "link"
    if invalid_first:
        link.symlink_to("/etc")
        with pytest.raises(InvalidStudyError, match="R5"):
            refuse_invalid(opened, other, validate(opened, other))
        link.unlink()
        refuse_invalid(opened, other, validate(opened, other))
    for copying in (False, True):
        with pytest.raises(InvalidStudyError, match=f"{STUDY} is archived under this name"):
            transfer(opened, other, copying=copying, archiving=True, options=TINY, progress=lambda _: None)
    assert lab.places(FILE, good) == {"nas"}


def test_a_release_that_is_asked_for_twice_changes_nothing_the_second_time(archived: MemoryLab) -> None:
    archived.write_config(delete_source=True)
    assert archived.apply() is None
    ledger = archived.ledger_bytes()
    assert archived.run(Step.SOURCE_RELEASED) is None
    assert archived.ledger_bytes() == ledger


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
    flip_bit(archived.study / FILE)
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
    _accept(archived)
    assert archived.apply() is None
    assert archived.places(FILE, bytes_of(archived)) == {"source", "nas", "s3"}


def test_a_pipe_in_the_place_of_a_sidecar_holds_up_nobody(archived: MemoryLab) -> None:
    archived.sidecar.unlink()
    os.mkfifo(archived.sidecar)
    plan = archived.plan(archived.opened())
    assert plan is not None
    assert plan.verdict is not Verdict.SETTLED


def _copied_while_s3_is_away(lab: MemoryLab) -> None:
    assert lab.run(Step.VALIDATED, Step.TRUENAS_COPY) is None


def test_accepted_files_go_on_when_the_nas_was_rolled_back_to_what_is_archived(archived: MemoryLab) -> None:
    snapshot = archived.root / "snapshot"
    shutil.copytree(archived.copy, snapshot)
    archived.write(FILE, b"right new bytes" * 30)
    _accept(archived)
    _copied_while_s3_is_away(archived)
    _roll_back(archived, snapshot)
    assert archived.apply() is None
    assert archived.places(FILE, bytes_of(archived)) == {"source", "nas", "s3"}


@pytest.mark.parametrize("damage", ["none", "the old file has rotted", "none, and a file was gained"])
def test_a_wrong_acceptance_can_be_taken_back_and_the_old_file_is_held_to_its_bytes(
    archived: MemoryLab, damage: str
) -> None:
    file, right = archived.study / FILE, bytes_of(archived)
    before = file.stat()
    archived.write(FILE, b"a mistake" * 30)
    _accept(archived)
    _copied_while_s3_is_away(archived)
    file.write_bytes(right)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    if damage == "the old file has rotted":
        flip_bit(file)
    elif damage != "none":
        archived.write(NEW, b"one more frame" * 30)
    assert "is newer than the archive" in str(archived.run(*ARCHIVING))
    plan = archived.plan(archived.opened())
    assert plan is not None
    assert plan.observed.conditions[Name.VALIDATED].reason == SOURCE_CHANGED
    _accept(archived)
    said = archived.apply()
    if damage != "the old file has rotted":
        assert said is None
        assert archived.places(FILE, right) == {"source", "nas", "s3"}
    else:
        assert "has not the bytes that were proven" in str(said)
        assert archived.places(FILE, right) == {"s3"}


def test_a_study_that_gained_files_goes_on_when_the_nas_lost_what_proved_them(archived: MemoryLab) -> None:
    archived.write(NEW, b"one more frame" * 30)
    _copied_while_s3_is_away(archived)
    archived.sidecar.unlink()
    (archived.copy / FILE).unlink()
    assert archived.apply() is None
    for path in (FILE, NEW):
        assert archived.places(path, bytes_of(archived, path)) == {"source", "nas", "s3"}


def test_a_gained_file_that_only_the_nas_has_good_is_not_replaced_when_its_proof_is_lost(archived: MemoryLab) -> None:
    archived.write(NEW, b"one more frame" * 30)
    good = bytes_of(archived, NEW)
    _copied_while_s3_is_away(archived)
    archived.sidecar.unlink()
    (archived.copy / FILE).unlink()
    flip_bit(archived.study / NEW)
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
    while not (said == "killed" and 0 < len(_left(archived)) < len(_sums(archived))):
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


def _left(lab: MemoryLab) -> list[Path]:
    return [path for path in lab.here().rglob("*") if path.is_file()] if lab.here() != lab.study else []


# A study in the trash, and a sidecar that the ledger does not name.


@pytest.fixture
def in_the_trash(archived: MemoryLab) -> MemoryLab:
    """The whole study: its release was killed before the first file was deleted."""
    archived.write_config(delete_source=True)
    cut = 0
    while archived.here() == archived.study:
        assert archived.apply(cut_after=cut) == "killed"
        cut += 1
    assert len(_left(archived)) == len(_sums(archived))
    return archived


def _sync_to_s3(lab: MemoryLab) -> None:
    """As somebody does who copies the NAS to the bucket, sidecar and all."""
    for path in [FILE, SIDECAR_NAME]:
        lab.bucket.objects[f"{STUDY}/{path}"] = Stored((lab.copy / path).read_bytes(), {})


def test_a_release_that_goes_on_does_not_believe_a_sidecar_that_was_made_of_rotten_files(
    in_the_trash: MemoryLab,
) -> None:
    good = (in_the_trash.here() / FILE).read_bytes()
    flip_bit(in_the_trash.copy / FILE)
    in_the_trash.regenerate_sidecar()
    _sync_to_s3(in_the_trash)
    assert "it is not the one that the ledger proved" in str(in_the_trash.run(Step.SOURCE_RELEASED))
    assert "do not say the same" in str(in_the_trash.apply())
    assert in_the_trash.places(FILE, good) == {"source"}


def test_an_altered_archive_is_not_adopted_while_the_study_lies_in_the_trash(in_the_trash: MemoryLab) -> None:
    """And nobody is told to bring the altered file to the NAS."""
    good, proven = (in_the_trash.here() / FILE).read_bytes(), in_the_trash.sidecar.read_bytes()
    flip_bit(in_the_trash.copy / FILE)
    in_the_trash.regenerate_sidecar()
    _sync_to_s3(in_the_trash)
    flip_back(in_the_trash.copy / FILE, good)
    in_the_trash.sidecar.write_bytes(proven)
    for _ in range(2):
        said = str(in_the_trash.apply())
        assert "do not say the same" in said
        assert "bring them back from" not in said
    assert in_the_trash.places(FILE, good) == {"source", "nas"}
    assert in_the_trash.sidecar.read_bytes() == proven
    del in_the_trash.bucket.objects[f"{STUDY}/{SIDECAR_NAME}"]  # as the hint says
    for _ in range(2):
        in_the_trash.apply()
    assert in_the_trash.places(FILE, good) == {"nas", "s3"}


def test_a_scrub_does_not_believe_a_sidecar_that_was_made_of_rotten_files(archived: MemoryLab) -> None:
    flip_bit(archived.copy / FILE)
    archived.regenerate_sidecar()
    _sync_to_s3(archived)
    opened = archived.opened()
    (backup,) = provable(opened.ledger.read().records.values())
    scrubbed = scrub(opened, backup, now=datetime.now(UTC))
    assert scrubbed is not None
    assert [problem.path for problem in scrubbed.problems] == [SIDECAR_NAME]
    assert record(archived).status is Status.FAILED_TRUENAS


# A sidecar that somebody made anew of a rotten file, of a study that has left, and that reached S3 by a sync.


@pytest.fixture
def rotten_under_new_sidecar(archived: MemoryLab) -> bytes:
    """The good bytes, which only S3 has."""
    good = bytes_of(archived)
    archived.write_config(delete_source=True)
    assert archived.apply() is None
    flip_bit(archived.copy / FILE)
    archived.regenerate_sidecar()
    archived.bucket.objects[f"{STUDY}/{SIDECAR_NAME}"] = Stored(archived.sidecar.read_bytes(), {})
    return good


@pytest.mark.parametrize("told_by_scrub", [True, False])
def test_a_sidecar_made_anew_of_rotten_files_and_synced_to_s3_overwrites_no_good_object(
    archived: MemoryLab, rotten_under_new_sidecar: bytes, told_by_scrub: bool
) -> None:
    if told_by_scrub:
        lab = archived.opened()
        assert scrub(lab, provable(lab.ledger.read().records.values())[0], now=datetime.now(UTC)).problems
        said = archived.apply()
    else:
        said = archived.run(Step.S3_ARCHIVE, Step.MANIFEST_ENTRY)
    assert "bring them back from" in str(said)
    assert archived.places(FILE, rotten_under_new_sidecar) == {"s3"}
    (archived.copy / FILE).write_bytes(rotten_under_new_sidecar)
    assert archived.apply() is None
    assert archived.places(FILE, rotten_under_new_sidecar) == {"nas", "s3"}
    assert record(archived).status is Status.COMPLETE
    assert archived.bucket.objects[f"{STUDY}/{SIDECAR_NAME}"].data == archived.sidecar.read_bytes()


@pytest.mark.usefixtures("rotten_under_new_sidecar")
def test_a_rotten_file_that_was_synced_to_s3_with_a_sidecar_made_anew_is_never_called_proven(
    archived: MemoryLab,
) -> None:
    archived.bucket.objects[f"{STUDY}/{FILE}"] = Stored((archived.copy / FILE).read_bytes(), {})
    assert "do not say the same" in str(archived.run(Step.S3_ARCHIVE, Step.MANIFEST_ENTRY))
    assert record(archived).status is Status.FAILED_TRUENAS
    assert "do not say the same" in str(archived.apply())


@pytest.mark.parametrize("synced", ["sidecar", "file and sidecar"])
def test_half_a_study_in_the_trash_does_not_tell_whether_a_sidecar_made_anew_is_right(
    archived: MemoryLab, synced: str
) -> None:
    files = [path.relative_to(archived.study).as_posix() for path in archived.study.rglob("*.bin")]
    archived.write_config(delete_source=True)
    gone = _release_half(archived, files)
    good = (archived.copy / gone).read_bytes()
    flip_bit(archived.copy / gone)
    archived.regenerate_sidecar()
    archived.bucket.objects[f"{STUDY}/{SIDECAR_NAME}"] = Stored(archived.sidecar.read_bytes(), {})
    if synced == "file and sidecar":
        archived.bucket.objects[f"{STUDY}/{gone}"] = Stored((archived.copy / gone).read_bytes(), {})
    assert re.search("do not say the same|bring them back", str(archived.apply()))
    assert not record(archived).was_released
    assert archived.places(gone, good) == ({"s3"} if synced == "sidecar" else set())


def test_a_source_that_lost_a_file_does_not_tell_whether_its_new_sidecar_is_right(archived: MemoryLab) -> None:
    (archived.study / FILE).unlink()
    flip_bit(archived.copy / FILE)
    archived.regenerate_sidecar()
    for path, data in ((FILE, (archived.copy / FILE).read_bytes()), (SIDECAR_NAME, archived.sidecar.read_bytes())):
        archived.bucket.objects[f"{STUDY}/{path}"] = Stored(data, {})
    assert "do not say the same" in str(archived.run(Step.S3_ARCHIVE, Step.MANIFEST_ENTRY))
    assert record(archived).status is Status.FAILED_TRUENAS


def _release_half(lab: MemoryLab, files: list[str]) -> str:
    """Kill a release when the first of these files is deleted; gives that file."""
    for changes in range(3, 9):
        assert lab.apply(cut_after=changes) == "killed"
        if gone := [path for path in files if not (lab.here() / path).is_file()]:
            return gone[0]
    raise AssertionError("no release was broken off")


@pytest.fixture
def moved_nas(lab: MemoryLab) -> Callable[[], None]:
    """Moves the lab to another NAS, on which a file of the copy is another one."""

    def move() -> None:
        shutil.copytree(lab.nas, lab.root / "nas2")
        lab.nas = lab.root / "nas2"
        flip_bit(lab.copy / FILE)
        lab.write_config(delete_source=True)

    return move


def test_a_nas_that_the_lab_moved_to_is_read_before_the_source_goes(
    archived: MemoryLab, moved_nas: Callable[[], None]
) -> None:
    good = bytes_of(archived)
    moved_nas()
    assert "CopyRead" in str(archived.apply())
    assert archived.apply() is None
    assert archived.places(FILE, good) == {"nas", "s3"}
    assert record(archived).truenas_path == str(archived.copy)


def test_what_was_proven_on_another_nas_is_not_called_complete(lab: MemoryLab, moved_nas: Callable[[], None]) -> None:
    (lab.nas / "_manifest").mkdir()
    assert lab.run(Step.VALIDATED, Step.TRUENAS_COPY, Step.S3_ARCHIVE) is None
    good = bytes_of(lab)
    moved_nas()
    assert "nobody has read the copy in" in str(lab.apply())
    assert lab.apply() is None
    assert lab.places(FILE, good) == {"nas", "s3"}


# Reading takes hours, and what was asked before it is that old when it is done.


@pytest.mark.parametrize("lost", ["object", "copy"])
@pytest.mark.parametrize("left", ["source", "trash"])
def test_what_is_lost_while_the_source_is_read_keeps_the_source(archived: MemoryLab, lost: str, left: str) -> None:
    good = bytes_of(archived)
    archived.write_config(delete_source=True)
    (archived.study / OTHER).unlink()  # it is not what was hashed, and has to be read
    if left == "trash":
        (archived.source / TRASH).mkdir()
        archived.study.rename(archived.source / TRASH / f"{STUDY}@20261121T000000000000")

    def lose(said: str) -> None:
        if "not as it was when it was hashed" in said:
            _lose(archived, lost)

    with pytest.raises((GateError, NotFoundError)):
        release(archived.opened(), STUDY, {}, lose)
    assert "source" in archived.places(FILE, good)


def test_an_object_that_is_lost_while_the_copy_is_read_again_keeps_the_source(archived: MemoryLab) -> None:
    good = bytes_of(archived)
    archived.write_config(delete_source=True)
    _backdate(archived, days=60)

    def lose(said: str) -> None:
        if "is read again on the NAS" in said:
            _lose(archived, "object")

    with pytest.raises(GateError):
        release(archived.opened(), STUDY, {}, lose)
    assert archived.places(FILE, good) == {"source", "nas"}
    assert archived.apply() is None
    assert archived.places(FILE, good) == {"nas", "s3"}


def _lose(lab: MemoryLab, what: str) -> None:
    if what == "object":
        del lab.bucket.objects[f"{STUDY}/{FILE}"]
    else:
        (lab.copy / FILE).unlink()


# A name that was used again before its first study was archived.


def test_a_study_that_was_copied_and_not_archived_is_not_overwritten_by_another_of_its_name(lab: MemoryLab) -> None:
    (lab.nas / "_manifest").mkdir()
    assert lab.run(Step.VALIDATED, Step.TRUENAS_COPY) is None
    good = bytes_of(lab)
    shutil.rmtree(lab.study)
    lab.write_study(prefix="raw")
    plan = lab.plan(lab.opened())
    assert plan is not None
    assert "rename it" in plan.observed.conditions[Name.VALIDATED].message
    assert "rename it" in str(lab.run(Step.TRUENAS_COPY))
    assert lab.places(FILE, good) == {"nas"}
    _accept(lab)
    assert lab.apply() is None
    assert lab.places(FILE, bytes_of(lab)) == {"source", "nas", "s3"}


# The ledger is lost, too.


def test_a_sidecar_made_anew_is_not_believed_against_s3_when_the_ledger_is_lost(
    archived: MemoryLab, rotten_under_new_sidecar: bytes
) -> None:
    archived.forget_ledger()
    (archived.nas / "_manifest").mkdir()
    archived.apply()
    assert "s3" in archived.places(FILE, rotten_under_new_sidecar)
