"""Each step alone: what it refuses, what it writes into the ledger, and that it can be run twice."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fusion_assets.manifest.extra_fields import FINGERPRINT_FIELD, SIDECAR_FIELD
from fusion_assets.manifest.record import Record, Status
from fusion_assets.reconcile import releasing, steps, transferring
from fusion_assets.reconcile.deletion import GateError
from fusion_assets.reconcile.entries import vouches_for_copy
from fusion_assets.reconcile.errors import InvalidStudyError, LedgerError
from fusion_assets.reconcile.lab import TRASH, Lab
from fusion_assets.reconcile.transferring import Transferred
from fusion_assets.standard.listing import SIDECAR_NAME
from fusion_assets.transfer.errors import CorruptCopyError
from fusion_assets.transfer.options import TransferOptions
from resources.errors import NotMountedError, ResourceError, UnavailableError
from tests.damage import flip_bit
from tests.manifest.records import record
from tests.real.small_lab import PREFIX, STUDY, SmallLab, assert_completed, assert_nothing_lost

pytestmark = pytest.mark.real

OTHER = "20260106_WW_HCC_run2"


def transfer(opened: Lab, *, copying: bool = True, archiving: bool = True, study: str = STUDY) -> Transferred:
    return transferring.transfer(
        opened, study, copying=copying, archiving=archiving, options=TransferOptions(), progress=lambda _: None
    )


@pytest.fixture
def proven(opened: Lab) -> Lab:
    """The lab after its study was copied and archived, not recorded as complete."""
    transferring.refuse_unarchived(transfer(opened))
    return opened


@pytest.fixture
def complete(proven: Lab) -> Lab:
    steps.record_entry(proven, STUDY)
    return proven


def latest(opened: Lab, study: str = STUDY) -> Record:
    return opened.ledger.read().records[study]


def empty_ledger(lab: SmallLab) -> None:
    """As if all that both the ledger and its mirror said had been lost."""
    for month in (lab.nas / "_manifest").glob("*.jsonl"):
        month.write_bytes(b"")
        lab.server.client().delete_object(Bucket=lab.bucket, Key=f"{PREFIX}/_manifest/{month.name}")


def test_an_invalid_study_is_written_into_the_ledger_once_with_its_first_problem(opened, lab):
    lab.write("stray.txt", b"")
    for _ in range(2):
        found = steps.validate(opened, STUDY)
        with pytest.raises(InvalidStudyError, match="R5"):
            steps.refuse_invalid(opened, STUDY, found)
    (line,) = lab.ledger()
    assert line["status"] == "failed_validation"
    assert "R5" in line["reason"]


def test_a_good_study_is_refused_by_nothing_and_leaves_no_record(opened, lab):
    steps.refuse_invalid(opened, STUDY, steps.validate(opened, STUDY))
    assert lab.ledger() == []


def test_a_transfer_says_what_was_proven_and_a_second_one_adds_nothing(proven, lab):
    said = lab.ledger()
    assert [line["status"] for line in said] == ["in_progress", "in_progress"]
    assert said[-1]["truenas_verified_at"]
    assert said[-1]["s3_verified_at"]
    assert (said[-1]["file_count"], said[-1]["total_bytes"]) == (
        len(lab.originals),
        sum(len(data) for data in lab.originals.values()),
    )
    steps.record_entry(proven, STUDY)
    said, objects = lab.ledger(), lab.objects()
    again = transfer(proven)
    assert again.copy is not None
    assert again.archive is not None
    assert (again.copy.copied_files, again.archive.uploaded_files) == (0, 0)
    assert (lab.ledger(), lab.objects()) == (said, objects)


def test_a_copy_that_fails_is_written_down_with_why(opened, lab):
    (lab.nas / STUDY).write_bytes(b"a file where the copy should be")
    with pytest.raises(ResourceError):
        transfer(opened)
    assert latest(opened).status is Status.FAILED_TRUENAS
    assert latest(opened).extra["reason"]


def test_an_archive_that_fails_costs_only_the_archive(opened, lab, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise UnavailableError("S3 does not answer")

    put = opened.bucket.put
    monkeypatch.setattr(opened.bucket, "put", refuse)
    done = transfer(opened)
    assert done.copy is not None
    with pytest.raises(UnavailableError, match="does not answer"):
        transferring.refuse_unarchived(done)
    assert latest(opened).status is Status.FAILED_S3
    assert latest(opened).truenas_verified_at is not None
    assert latest(opened).s3_verified_at is None
    monkeypatch.setattr(opened.bucket, "put", put)
    transferring.refuse_unarchived(transfer(opened, copying=False))
    assert steps.record_entry(opened, STUDY).record.status is Status.COMPLETE


def test_another_study_of_an_archived_name_is_never_copied_over_it(complete, lab):
    opened = complete
    opened.ledger.append(record(backup_name=OTHER, run_name="the first one", extra={FINGERPRINT_FIELD: "its"}))
    lab.add_study(OTHER)
    with pytest.raises(InvalidStudyError, match="the first one is archived under this name"):
        transfer(opened, study=OTHER)
    assert not (lab.nas / OTHER).exists()
    lab.add_study(STUDY.upper())
    with pytest.raises(InvalidStudyError, match="is the same name as"):
        transfer(opened, study=STUDY.upper())


def test_a_copy_that_no_record_vouches_for_is_read_again_before_it_is_archived(proven, lab):
    empty_ledger(lab)
    file = lab.copy / lab.path_of("focus003.bin")
    flip_bit(file)
    with pytest.raises(CorruptCopyError, match=file.name):
        transfer(proven, copying=False)
    assert latest(proven).status is Status.FAILED_TRUENAS
    flip_bit(file)
    done = transfer(proven, copying=False)
    assert done.copy_read_again
    assert latest(proven).truenas_verified_at is not None


def test_a_copy_that_no_record_vouches_for_is_read_again_and_only_its_bad_files_are_copied_again(complete, lab):
    empty_ledger(lab)
    bad = lab.copy / lab.path_of("focus003.bin")
    flip_bit(bad)
    before = lab.files()
    done = transfer(complete)
    assert done.copy_read_again
    assert done.copy is not None
    assert done.copy.copied_files == 1
    assert {path for path, file in before.items() if lab.files()[path] != file} - {bad} == ledger_files(lab)
    assert latest(complete).truenas_verified_at is not None
    steps.record_entry(complete, STUDY)
    assert_completed(lab, released=False)


def test_a_sidecar_that_somebody_wrote_again_is_not_believed_before_its_files_were_read(complete, lab):
    sidecar = lab.copy / SIDECAR_NAME
    good = sidecar.read_bytes()
    sidecar.write_bytes(good.replace(good[:64], b"0" * 64))
    assert not vouches_for_copy(complete, latest(complete))
    done = transfer(complete)
    assert done.copy_read_again
    assert done.copy is not None
    assert done.copy.copied_files == 0, "the files are what was proven; only the sidecar is not"
    assert sidecar.read_bytes() == good
    steps.record_entry(complete, STUDY)
    assert_completed(lab, released=False)


def test_a_copy_the_ledger_vouches_for_is_not_read_again(complete):
    done = transfer(complete, archiving=False)
    assert not done.copy_read_again
    assert done.copy is not None
    assert done.copy.nas_read == 0


def test_a_run_killed_after_the_sidecar_was_written_copies_nothing_again_but_reads_the_copy(opened, monkeypatch):
    with monkeypatch.context() as killed:
        killed.setattr(transferring, "with_proofs", raising(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            transfer(opened)
    assert latest(opened).truenas_verified_at is None
    done = transfer(opened)
    assert done.copy_read_again
    assert done.copy is not None
    assert done.copy.copied_files == 0
    assert latest(opened).truenas_verified_at is not None


def raising(error: BaseException):
    def stand_in(*_: object, **__: object) -> None:
        raise error

    return stand_in


def ledger_files(lab: SmallLab) -> set[Path]:
    return set((lab.nas / "_manifest").glob("*.jsonl"))


def test_a_copy_read_again_is_not_read_once_more_because_s3_did_not_answer(complete, monkeypatch, lab):
    empty_ledger(lab)
    lab.server.client().delete_object(Bucket=lab.bucket, Key=lab.key(lab.path_of("focus003.bin")))
    with monkeypatch.context() as away:
        away.setattr(complete.bucket, "put", raising(UnavailableError("S3 does not answer")))
        with pytest.raises(UnavailableError):
            transfer(complete, copying=False)
    assert latest(complete).status is Status.FAILED_S3
    assert latest(complete).truenas_verified_at is not None
    assert not transfer(complete, copying=False).copy_read_again


def test_a_failed_step_takes_back_what_it_disproved(complete, lab):
    file = lab.copy / lab.path_of("focus003.bin")
    away = file.rename(lab.folder / "away")
    with pytest.raises(CorruptCopyError):
        transfer(complete, copying=False)
    failed = latest(complete)
    assert failed.status is Status.FAILED_TRUENAS
    assert (failed.truenas_verified_at, failed.s3_verified_at, failed.completed_at) == (None, None, None)
    # Brought back badly: the size is right, and so is the time.
    away.rename(file)
    flip_bit(file)
    with pytest.raises(CorruptCopyError, match=file.name):
        transfer(complete, copying=False)
    with pytest.raises(LedgerError, match="proven in both places"):
        steps.record_entry(complete, STUDY)
    flip_bit(file)
    assert transfer(complete, copying=False).copy_read_again
    assert steps.record_entry(complete, STUDY).record.status is Status.COMPLETE


def test_no_line_says_that_both_copies_are_proven_before_they_are(complete, lab):
    (lab.study / STUDY / "Scan1/.temp/new.txt").write_bytes(b"new")
    lab.server.client().delete_object(Bucket=lab.bucket, Key=lab.key(lab.path_of("focus003.bin")))
    said = len(lab.ledger())
    transfer(complete)
    begun, announced, proven = lab.ledger()[said:]
    for line in (begun, announced):
        assert (line["truenas_verified_at"], line["s3_verified_at"]) == (None, None)
    assert begun["sidecar_sha256"] == announced["sidecar_sha256"] != proven["sidecar_sha256"]
    assert announced["announced_sidecar_sha256"] == proven["sidecar_sha256"]
    assert "announced_sidecar_sha256" not in proven
    assert proven["truenas_verified_at"]
    assert proven["s3_verified_at"]


def test_a_study_that_was_proven_but_not_recorded_yet_is_not_overwritten_by_a_changed_source(proven, lab):
    lab.write(lab.path_of("focus003.bin"), b"ransom")
    with pytest.raises(InvalidStudyError, match="proven files changed"):
        transfer(proven)


def test_nothing_is_recorded_as_complete_that_was_not_proven_in_both_places(opened):
    with pytest.raises(LedgerError, match="proven in both places"):
        steps.record_entry(opened, STUDY)
    transfer(opened, archiving=False)
    with pytest.raises(LedgerError, match="proven in both places"):
        steps.record_entry(opened, STUDY)


def test_a_copy_that_changed_since_it_was_proven_is_not_recorded(proven, lab):
    sidecar = lab.copy / SIDECAR_NAME
    sidecar.write_bytes(sidecar.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(LedgerError, match="not the one the ledger knows"):
        steps.record_entry(proven, STUDY)
    assert latest(proven).status is Status.IN_PROGRESS


def test_a_complete_record_of_an_older_ledger_that_names_no_sidecar_is_mirrored_as_it_is(complete, lab):
    known = latest(complete)
    complete.ledger.append(replace(known, extra={k: v for k, v in known.extra.items() if k != SIDECAR_FIELD}))
    for key in [key for key in lab.objects() if "/_manifest/" in key]:
        lab.server.client().delete_object(Bucket=lab.bucket, Key=key)
    assert complete.ledger.stale_mirrors()
    assert not steps.record_entry(complete, STUDY).appended
    assert complete.ledger.stale_mirrors() == []


def test_complete_is_written_once_and_the_mirror_follows(proven, lab):
    first = steps.record_entry(proven, STUDY)
    assert first.appended
    assert (first.failures, first.bad_lines, first.studies) == ((), (), 1)
    assert proven.ledger.stale_mirrors() == []
    assert not steps.record_entry(proven, STUDY).appended
    assert [line["status"] for line in lab.ledger()].count("complete") == 1


def test_a_release_is_written_down_and_deletes_only_the_source(complete, lab):
    released = releasing.release(complete, STUDY, {})
    assert released.file_count == len(lab.originals)
    assert not lab.study.exists()
    assert latest(complete).source_deleted_at is not None
    assert latest(complete).status is Status.COMPLETE
    assert_nothing_lost(lab)


def test_a_failed_repair_of_a_released_study_does_not_forget_that_its_copies_are_the_only_ones(complete, lab):
    releasing.release(complete, STUDY, {})
    released = latest(complete).source_deleted_at
    assert released is not None
    path = lab.path_of("focus003.bin")
    away = (lab.copy / path).rename(lab.folder / "away")
    with pytest.raises(CorruptCopyError):
        transfer(complete, copying=False)
    assert latest(complete).was_released
    lab.write("other.bin", b"another study of that name", STUDY)
    lab.originals.pop((STUDY, "other.bin"))
    with pytest.raises(InvalidStudyError, match="this is another"):
        transfer(complete)
    with pytest.raises(InvalidStudyError):
        steps.refuse_invalid(complete, STUDY, steps.validate(complete, STUDY))
    with pytest.raises(InvalidStudyError, match="this is another"):
        transfer(complete)
    (lab.study / "other.bin").unlink()
    lab.study.rmdir()

    away.rename(lab.copy / path)
    transfer(complete, copying=False)
    done = steps.record_entry(complete, STUDY)
    assert done.record.source_deleted_at is not None
    assert done.record.extra["released_at"] == released.isoformat()
    assert done.failures == ()


def test_a_released_study_that_came_back_to_the_source_is_not_released_any_more(complete, lab):
    shutil.copytree(lab.study, lab.folder / "kept")
    releasing.release(complete, STUDY, {})
    (lab.copy / lab.path_of("focus003.bin")).unlink()
    with pytest.raises(CorruptCopyError):
        transfer(complete, copying=False)
    (lab.folder / "kept").rename(lab.study)
    transfer(complete)
    done = steps.record_entry(complete, STUDY)
    assert not done.record.was_released


def aged(lab: Lab, *, days: float, **extra: object) -> None:
    """As if the study had been archived that long ago."""
    was, ago = latest(lab), timedelta(days=days)
    times = ("started_at", "truenas_verified_at", "s3_verified_at", "completed_at")
    lab.ledger.append(
        replace(was, **{name: getattr(was, name) - ago for name in times}, extra={**was.extra, **extra})  # type: ignore[arg-type]
    )


def test_a_copy_that_rotted_since_it_was_proven_long_ago_is_read_again_before_its_source_goes(complete, lab):
    aged(complete, days=8)
    flip_bit(lab.copy / lab.path_of("focus003.bin"))
    with pytest.raises(GateError, match=r"CopyRead: .*focus003\.bin: its bytes on the NAS"):
        releasing.release(complete, STUDY, {})
    assert latest(complete).status is Status.FAILED_TRUENAS
    done = lab.apply()
    assert done.failed == 0, done.errors
    assert_completed(lab)


def test_a_copy_that_rotted_while_its_study_lay_in_the_trash_for_weeks_keeps_what_is_left_there(
    complete, lab, monkeypatch
):
    def kill(storage, run_name, listing, moved):
        (lab.source / TRASH).mkdir()
        storage.rename(run_name, f"{TRASH}/{run_name}@20260301T000000000000")
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(releasing, "release_source", kill)
        with pytest.raises(KeyboardInterrupt):
            releasing.release(complete, STUDY, {})
    aged(complete, days=30)
    flip_bit(lab.copy / lab.path_of("focus003.bin"))
    with pytest.raises(GateError, match="CopyRead"):
        releasing.release(complete, STUDY, {})
    assert any(lab.trashed()[0].rglob("focus003.bin"))
    done = lab.apply()
    assert done.failed == 0, done.errors
    assert_completed(lab)


@pytest.mark.parametrize(("days", "scrubbed", "read"), [(1, None, 0), (8, None, 1), (90, 3, 0), (90, 30, 1)])
def test_a_release_reads_the_copy_again_only_when_nobody_has_for_a_week_and_says_so(
    complete, lab, days, scrubbed, read
):
    extra = {} if scrubbed is None else {"scrubbed_at": (datetime.now(UTC) - timedelta(days=scrubbed)).isoformat()}
    aged(complete, days=days, **extra)
    said: list[str] = []
    releasing.release(complete, STUDY, {}, said.append)
    assert len([line for line in said if "is read again on the NAS" in line]) == read
    assert latest(complete).source_deleted_at is not None
    if read:
        again = datetime.fromisoformat(latest(complete).extra["scrubbed_at"])
        assert datetime.now(UTC) - again < timedelta(minutes=5)


def test_a_release_killed_before_it_moved_the_study_does_not_stop_a_file_it_gained_since(complete, lab, monkeypatch):
    def kill(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(releasing, "release_source", kill)
        with pytest.raises(KeyboardInterrupt):
            releasing.release(complete, STUDY, {})
    lab.write(f"{STUDY}/Scan1/.temp/late.bin", b"one more frame")
    done = lab.apply()
    assert done.failed == 0, done.errors
    assert_completed(lab)


def test_a_release_killed_before_it_was_recorded_is_recorded_by_the_next_look(complete, lab, monkeypatch):
    with monkeypatch.context() as killed:
        killed.setattr(releasing, "release_source", then_killed(releasing.release_source))
        with pytest.raises(KeyboardInterrupt):
            releasing.release(complete, STUDY, {})
    assert not lab.study.exists()
    assert not lab.trashed()
    assert latest(complete).source_deleted_at is None
    done = lab.apply()
    assert done.failed == 0, done.errors
    assert latest(complete).source_deleted_at is not None
    assert "release_begun_at" not in latest(complete).extra
    assert lab.apply().changed == 0
    assert_completed(lab)


def then_killed(step):
    def killed(*arguments: object) -> None:
        step(*arguments)
        raise KeyboardInterrupt

    return killed


def test_a_release_that_the_ledger_cannot_be_told_of_puts_the_study_back_whole(complete, lab, monkeypatch):
    def refuse(*_: object) -> None:
        raise UnavailableError("the NAS went away at that moment")

    before, records = lab.files(), lab.ledger()
    with monkeypatch.context() as away:
        away.setattr(releasing, "append", refuse)
        with pytest.raises(UnavailableError):
            releasing.release(complete, STUDY, {})
    assert {path: seen for path, seen in lab.files().items() if lab.study in path.parents} == {
        path: seen for path, seen in before.items() if lab.study in path.parents
    }
    assert (lab.ledger(), lab.trashed()) == (records, [])
    releasing.release(complete, STUDY, {})
    assert_completed(lab)


def test_a_study_that_was_renamed_after_its_release_was_killed_is_not_called_released(complete, lab, monkeypatch):
    """Nothing was deleted: the run died before it moved anything."""

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(releasing, "release_source", kill)
        with pytest.raises(KeyboardInterrupt):
            releasing.release(complete, STUDY, {})
    lab.study.rename(lab.source / "20260107_WW_HCC_run9")
    lab.apply()
    assert latest(complete).source_deleted_at is None
    assert not latest(complete).was_released


def test_a_source_that_is_not_mounted_does_not_look_released(complete, lab):
    complete.ledger.append(replace(latest(complete), extra={**latest(complete).extra, "release_begun_at": "now"}))
    lab.source.rename(lab.folder / "the real source")
    lab.source.mkdir()
    with pytest.raises(NotMountedError):
        releasing.release(complete, STUDY, {})


@pytest.mark.parametrize("lost", ["share", "month"])
def test_no_step_writes_or_deletes_anything_where_the_ledger_is_not(complete, lab, lost):
    if lost == "share":
        lab.nas.rename(lab.folder / "the real nas")
        lab.nas.mkdir()
    else:
        next((lab.nas / "_manifest").glob("*.jsonl")).unlink()
    lab.write("stray.txt", b"")
    before = lab.files()
    invalid = steps.validate(complete, STUDY)
    for step in (
        lambda: steps.refuse_invalid(complete, STUDY, invalid),
        lambda: transfer(complete),
        lambda: transfer(complete, copying=False),
        lambda: steps.record_entry(complete, STUDY),
        lambda: releasing.release(complete, STUDY, {}),
    ):
        with pytest.raises(NotMountedError, match="fusion manifest restore"):
            step()
    assert lab.files() == before


def test_a_share_that_drops_in_the_middle_of_a_copy_leaves_no_ledger_in_its_mount_point(opened, lab, monkeypatch):
    def drop(*_: object, **__: object) -> None:
        lab.nas.rename(lab.folder / "the real nas")
        lab.nas.mkdir()
        raise UnavailableError("the share went away")

    monkeypatch.setattr(transferring, "copy_and_archive", drop)
    monkeypatch.setattr(opened.ledger, "_bucket", None)  # not even the mirror could tell
    with pytest.raises(UnavailableError, match="went away"):
        transfer(opened)
    assert list(lab.nas.iterdir()) == []


def test_a_study_that_is_not_recorded_as_complete_is_not_released(proven, lab):
    with pytest.raises(GateError, match="Recorded"):
        releasing.release(proven, STUDY, {})
    assert lab.study.is_dir()


@pytest.mark.parametrize("from_trash", [False, True], ids=["at the source", "in the trash"])
def test_an_object_that_is_not_what_was_recorded_keeps_the_source_and_takes_the_record_back(complete, lab, from_trash):
    path = lab.path_of("focus003.bin")
    data = os.urandom(len(lab.originals[STUDY, path]))
    lab.server.client().put_object(Bucket=lab.bucket, Key=lab.key(path), Body=data)
    if from_trash:
        (lab.source / TRASH).mkdir()
        lab.study.rename(lab.source / TRASH / f"{STUDY}@20260301T000000000000")
    with pytest.raises(GateError, match=Path(path).name):
        releasing.release(complete, STUDY, {})
    assert latest(complete).status is Status.FAILED_S3
    assert latest(complete).s3_verified_at is None
    assert_kept(lab)


def assert_kept(lab: SmallLab) -> None:
    """Every file of the study is at the source, or in its trash."""
    here = lab.study if lab.study.is_dir() else lab.trashed()[0]
    assert all((here / path).read_bytes() == data for (_, path), data in lab.originals.items())


def test_a_release_from_the_trash_needs_a_complete_record(proven, lab):
    (lab.source / TRASH).mkdir()
    lab.study.rename(lab.source / TRASH / f"{STUDY}@20260301T000000000000")
    with pytest.raises(GateError, match="does not say complete"):
        releasing.release(proven, STUDY, {})
    assert_kept(lab)
