"""A sidecar that somebody made anew, of files that had rotted."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime

import pytest

from fusion_assets.manifest.record import Status
from fusion_assets.reconcile.plan import Step
from fusion_assets.reconcile.scrub import provable, scrub
from fusion_assets.standard.listing import SIDECAR_NAME
from tests.damage import rot
from tests.reconcile.last_good_copy.actions import FILE, bytes_of, flip_back, left, record, sums, sync_to_s3
from tests.reconcile.memory_lab import STUDY, MemoryLab
from tests.transfer.memory_bucket import Stored

# A study in the trash, and a sidecar that the ledger does not name.


@pytest.fixture
def in_the_trash(archived: MemoryLab) -> MemoryLab:
    """The whole study: its release was killed before the first file was deleted."""
    archived.write_config(delete_source=True)
    cut = 0
    while archived.here() == archived.study:
        assert archived.apply(cut_after=cut) == "killed"
        cut += 1
    assert len(left(archived)) == len(sums(archived))
    return archived


def test_a_release_that_goes_on_does_not_believe_a_sidecar_that_was_made_of_rotten_files(
    in_the_trash: MemoryLab,
) -> None:
    good = (in_the_trash.here() / FILE).read_bytes()
    rot(in_the_trash.copy / FILE)
    in_the_trash.regenerate_sidecar()
    sync_to_s3(in_the_trash)
    assert "it is not the one that the ledger proved" in str(in_the_trash.run(Step.SOURCE_RELEASED))
    assert "do not say the same" in str(in_the_trash.apply())
    assert in_the_trash.places(FILE, good) == {"source"}


def test_an_altered_archive_is_not_adopted_while_the_study_lies_in_the_trash(in_the_trash: MemoryLab) -> None:
    """And nobody is told to bring the altered file to the NAS."""
    good, proven = (in_the_trash.here() / FILE).read_bytes(), in_the_trash.sidecar.read_bytes()
    rot(in_the_trash.copy / FILE)
    in_the_trash.regenerate_sidecar()
    sync_to_s3(in_the_trash)
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
    rot(archived.copy / FILE)
    archived.regenerate_sidecar()
    sync_to_s3(archived)
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
    rot(archived.copy / FILE)
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
    rot(archived.copy / gone)
    archived.regenerate_sidecar()
    archived.bucket.objects[f"{STUDY}/{SIDECAR_NAME}"] = Stored(archived.sidecar.read_bytes(), {})
    if synced == "file and sidecar":
        archived.bucket.objects[f"{STUDY}/{gone}"] = Stored((archived.copy / gone).read_bytes(), {})
    assert re.search("do not say the same|bring them back", str(archived.apply()))
    assert not record(archived).was_released
    assert archived.places(gone, good) == ({"s3"} if synced == "sidecar" else set())


def test_a_source_that_lost_a_file_does_not_tell_whether_its_new_sidecar_is_right(archived: MemoryLab) -> None:
    (archived.study / FILE).unlink()
    rot(archived.copy / FILE)
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


# The ledger is lost, too.


def test_a_sidecar_made_anew_is_not_believed_against_s3_when_the_ledger_is_lost(
    archived: MemoryLab, rotten_under_new_sidecar: bytes
) -> None:
    archived.forget_ledger()
    (archived.nas / "_manifest").mkdir()
    archived.apply()
    assert "s3" in archived.places(FILE, rotten_under_new_sidecar)


@pytest.mark.parametrize("sidecar", [None, b"garbled"])
def test_a_copy_without_its_sidecar_is_proven_by_the_archive_when_the_ledger_is_lost_and_the_study_gone(
    archived: MemoryLab, sidecar: bytes | None
) -> None:
    good = bytes_of(archived)
    shutil.rmtree(archived.study)
    archived.forget_ledger()
    (archived.nas / "_manifest").mkdir()
    archived.sidecar.unlink()
    if sidecar:
        archived.sidecar.write_bytes(sidecar)
    rot(archived.copy / FILE)
    assert FILE in str(archived.apply())
    assert archived.places(FILE, good) == {"s3"}
    (archived.copy / FILE).write_bytes(good)
    assert archived.apply() is None
    assert record(archived).status is Status.COMPLETE
    assert archived.places(FILE, good) == {"nas", "s3"}
