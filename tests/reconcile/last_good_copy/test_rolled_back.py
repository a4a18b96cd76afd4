"""The ledger, the NAS or S3 went back to what it was, each by itself or together."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable

import pytest

from fusion_assets.manifest.record import Status
from fusion_assets.reconcile.plan import Step
from fusion_assets.standard.listing import SIDECAR_NAME
from resources.errors import NotMountedError, UnavailableError
from tests.damage import rot
from tests.reconcile.last_good_copy.actions import (
    ARCHIVING,
    FILE,
    NEW,
    OTHER,
    accept,
    bytes_of,
    copied_while_s3_is_away,
    flip_back,
    keep_snapshot,
    record,
    roll_back,
    sums,
)
from tests.reconcile.memory_lab import RAW, STUDY, MemoryLab, carry_out
from tests.transfer.memory_bucket import Stored

# The ledger is older than what it is about.


@pytest.mark.parametrize("states_checksums", [True, False])
def test_an_object_of_a_newer_archive_is_not_overwritten_when_nas_and_ledger_were_rolled_back(
    archived: MemoryLab, rolled_back_ledger: Callable[[], None], *, states_checksums: bool
) -> None:
    archived.bucket.states_checksums = states_checksums
    snapshot = keep_snapshot(archived)
    archived.write(NEW, b"one more frame" * 30)
    assert archived.apply() is None
    good = bytes_of(archived, NEW)
    rolled_back_ledger()
    roll_back(archived, snapshot)
    rot(archived.study / NEW)
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
    assert (newest["status"], newest["file_count"]) == ("complete", len(sums(archived)))


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
    rot(archived.study / NEW)
    with pytest.raises(NotMountedError, match="manifest restore"):
        archived.plan(archived.opened())
    assert "manifest restore" in str(archived.apply())
    assert "s3" in archived.places(NEW, good)


def test_a_newer_proof_of_rotten_bytes_does_not_overwrite_what_was_archived(archived: MemoryLab) -> None:
    """The NAS was rolled back with its ledger, a copy made while S3 was away, then the ledger restored as told."""
    good = _gain_a_file_and_roll_back_the_nas(archived)
    rot(archived.study / NEW)
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
    accept(archived)
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
    accept(archived)
    assert archived.apply() is None
    assert record(archived).status is Status.COMPLETE
    assert archived.places(FILE, newer) == {"source", "nas", "s3"}
    assert archived.places(OTHER, bytes_of(archived, OTHER)) == {"source", "nas", "s3"}


def test_an_unknown_archive_that_was_accepted_is_not_called_complete_before_its_copy_was_read(
    archived: MemoryLab, rolled_back_ledger: Callable[[], None]
) -> None:
    """The ledger says complete, of the copy on the NAS; S3 has a newer one, and the source a third state."""
    snapshot = keep_snapshot(archived)
    archived.write(FILE, b"a newer state" * 30)
    accept(archived)
    assert archived.apply() is None
    rolled_back_ledger()
    roll_back(archived, snapshot)
    archived.write(OTHER, b"right new bytes" * 30)
    accept(archived)
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
    copied_while_s3_is_away(archived)
    rolled_back_ledger()
    if then == "it rots at the source":
        rot(archived.study / NEW)
        assert "do not say the same" in str(archived.apply())
        assert archived.places(NEW, good) == {"nas"}
    else:
        (archived.study / NEW).unlink()
        assert archived.apply() is None
        assert archived.places(NEW, good) == {"nas", "s3"}


@pytest.fixture
def rolled_back_acceptance(archived: MemoryLab, rolled_back_ledger: Callable[[], None]) -> Callable[[], None]:
    """Only NAS and source have an accepted change, of which the ledger does not know; undoes it at the source."""
    file, old = archived.study / FILE, bytes_of(archived)
    before = file.stat()
    archived.write(FILE, b"a newer state" * 30)
    accept(archived)
    copied_while_s3_is_away(archived)
    rolled_back_ledger()

    def undo() -> None:
        file.write_bytes(old)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    return undo


@pytest.mark.usefixtures("rolled_back_acceptance")
@pytest.mark.parametrize("sidecar", ["newer than the ledger", "lost"])
def test_a_change_that_only_the_nas_has_is_accepted_again_when_the_ledger_was_rolled_back(
    archived: MemoryLab, sidecar: str
) -> None:
    good = bytes_of(archived)
    if sidecar == "lost":
        archived.sidecar.unlink()
    accept(archived)
    assert archived.apply() is None
    assert archived.places(FILE, good) == {"source", "nas", "s3"}


@pytest.mark.usefixtures("rolled_back_acceptance")
def test_accepting_a_change_again_accepts_no_rot_of_what_only_the_nas_has(archived: MemoryLab) -> None:
    good = bytes_of(archived)
    rot(archived.study / FILE)
    accept(archived)
    assert "has not the bytes that were proven" in str(archived.apply())
    assert archived.places(FILE, good) == {"nas"}


@pytest.mark.parametrize("gained", [False, True])
@pytest.mark.parametrize("sidecar", ["newer than the ledger", "lost", "emptied"])
def test_a_source_that_went_back_is_not_copied_over_what_only_the_nas_has_when_the_ledger_went_back_too(
    archived: MemoryLab, rolled_back_acceptance: Callable[[], None], sidecar: str, *, gained: bool
) -> None:
    newer = bytes_of(archived)
    rolled_back_acceptance()
    if gained:
        archived.write(NEW, b"one more frame" * 30)
    if sidecar == "lost":
        archived.sidecar.unlink()
    elif sidecar == "emptied":
        archived.sidecar.write_bytes(b"")
    assert "is newer than the archive" in str(archived.run(*ARCHIVING))
    assert archived.places(FILE, newer) == {"nas"}
    accept(archived)
    assert archived.apply() is None
    assert archived.places(FILE, bytes_of(archived)) == {"source", "nas", "s3"}


@pytest.mark.usefixtures("rolled_back_acceptance")
def test_nobody_is_told_to_bring_back_an_older_file_from_s3_over_what_only_the_nas_has(archived: MemoryLab) -> None:
    shutil.rmtree(archived.study)
    assert "do not say the same" in str(archived.run(Step.S3_ARCHIVE))


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


def test_a_copy_that_went_back_after_its_study_left_is_told_from_a_newer_one_and_its_files_are_in_s3(
    archived: MemoryLab,
) -> None:
    snapshot = keep_snapshot(archived)
    archived.write(FILE, b"version 2" * 50)
    good, times = bytes_of(archived), (archived.study / FILE).stat()
    accept(archived)
    assert archived.apply() is None
    shutil.rmtree(archived.study)
    roll_back(archived, snapshot)
    said = str(archived.run(Step.S3_ARCHIVE, Step.MANIFEST_ENTRY))
    assert f"bring them back from s3://memory/{STUDY}" in said
    (archived.copy / FILE).write_bytes(good)
    os.utime(archived.copy / FILE, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert archived.apply() is None
    assert archived.places(FILE, good) == {"nas", "s3"}
