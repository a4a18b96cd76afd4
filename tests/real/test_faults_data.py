"""Bytes that are gone, cut, flipped, added or changed in one of the places: found, named, and repaired or kept.

Plans are carried out in this process (`SmallLab.apply`), by the same code as `fusion apply`.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from fusion_assets.manifest.record import Status
from fusion_assets.reconcile.accepting import accept_changes
from fusion_assets.reconcile.conditions import Name
from fusion_assets.reconcile.plan import SIDECAR_LOST, Step, Verdict
from fusion_assets.reconcile.transferring import transfer
from fusion_assets.standard.listing import SIDECAR_NAME
from fusion_assets.transfer.errors import CorruptCopyError
from fusion_assets.transfer.options import TransferOptions
from tests.damage import archived_objects, break_off_release, flip_bit, forget_ledger
from tests.real.small_lab import LARGE, PREFIX, STUDY, SmallLab, assert_completed, assert_nothing_lost

pytestmark = pytest.mark.real


@pytest.fixture
def lab(small_lab: SmallLab) -> SmallLab:
    """A lab of one study that keeps its sources."""
    small_lab.add_study(large_mib=6)
    small_lab.write_config(delete_source=False)
    return small_lab


@pytest.fixture
def archived(lab: SmallLab) -> SmallLab:
    """The same lab after its study was archived."""
    done = lab.apply()
    assert done.failed == 0, done.errors
    assert_completed(lab, released=False)
    return lab


def _release(lab: SmallLab) -> None:
    """From now on sources are released."""
    lab.write_config(delete_source=True)


def test_a_second_run_over_an_archived_study_changes_nothing(archived: SmallLab) -> None:
    before = archived.ledger(), archived.objects()
    done = archived.apply()
    assert (done.failed, done.changed) == (0, 0)
    assert (archived.ledger(), archived.objects()) == before


@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_nas_file_that_lost_bytes_is_copied_again_before_the_source_may_go(archived: SmallLab, damage: str) -> None:
    file = archived.copy / archived.path_of("focus003.bin")
    if damage == "truncated":
        os.truncate(file, 10)
    else:
        file.unlink()
    _release(archived)
    plan = archived.plans()[STUDY]
    assert Step.SOURCE_RELEASED not in plan.actions
    assert file.name in plan.observed.conditions[Name.ON_TRUENAS].message
    done = archived.apply()
    assert done.failed == 0, done.errors
    assert_completed(archived)


@pytest.mark.parametrize("ending", ["MarkerList.txt", ".qptiff"])
def test_a_source_that_rotted_is_not_copied_over_what_is_proven_of_it_when_the_nas_lost_a_file(
    archived: SmallLab, ending: str
) -> None:
    path = archived.path_of(ending)
    objects, good = archived_objects(archived), (archived.copy / path).read_bytes()
    (archived.copy / path).unlink()
    original = archived.study / path
    before = original.stat()
    original.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    os.utime(original, ns=(before.st_atime_ns, before.st_mtime_ns))
    _release(archived)

    done = archived.apply()
    assert done.failed == 1
    assert "its disk has damaged it" in done.errors
    assert not (archived.copy / path).exists()
    assert archived_objects(archived) == objects
    assert original.exists()

    # The way out: the good file comes back from S3 to the NAS, with its time.
    (archived.copy / path).write_bytes(good)
    os.utime(archived.copy / path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert archived.apply().failed == 0


def test_an_unknown_file_on_the_nas_is_named_and_left_alone(archived: SmallLab) -> None:
    extra = archived.copy / "notes of a colleague.txt"
    extra.write_bytes(b"do not delete")
    _release(archived)
    assert extra.name in archived.plans()[STUDY].observed.conditions[Name.ON_TRUENAS].message
    assert archived.apply().failed == 0
    assert extra.read_bytes() == b"do not delete"
    assert archived.key(extra.name) not in archived.objects()
    assert_completed(archived)


def test_an_s3_object_that_is_missing_is_uploaded_again_before_the_source_may_go(archived: SmallLab) -> None:
    path = archived.path_of("focus003.bin")
    archived.server.client().delete_object(Bucket=archived.bucket, Key=archived.key(path))
    _release(archived)
    plan = archived.plans()[STUDY]
    assert plan.actions == (Step.S3_ARCHIVE, Step.MANIFEST_ENTRY)
    assert path in plan.observed.conditions[Name.ON_S3].message
    done = archived.apply()
    assert done.failed == 0, done.errors
    assert_completed(archived)


@pytest.mark.parametrize("ending", ["focus003.bin", LARGE], ids=["one part", "several parts"])
def test_an_s3_object_with_other_bytes_of_the_same_length_stops_the_release_and_is_replaced(
    archived: SmallLab, ending: str
) -> None:
    path = archived.path_of(ending)
    other = os.urandom(len(archived.originals[STUDY, path]))
    archived.server.client().put_object(Bucket=archived.bucket, Key=archived.key(path), Body=other)
    _release(archived)

    refused = archived.apply()

    assert refused.failed, "the release did not notice that the object is another one"
    assert path in refused.errors
    assert archived.study.is_dir()
    assert_nothing_lost(archived)
    second = archived.apply()
    assert second.failed == 0, second.errors
    assert_completed(archived)


def test_a_release_that_was_broken_off_deletes_nothing_whose_object_was_damaged_meanwhile(archived: SmallLab) -> None:
    _release(archived)
    trashed = break_off_release(archived)
    (archived.source / "20260106_WW_HCC_run2").mkdir()  # else the source looks as if it were not mounted
    path = archived.path_of("focus003.bin")
    client, at = archived.server.client(), {"Bucket": archived.bucket, "Key": archived.key(path)}
    client.put_object(**at, Body=os.urandom(len(archived.originals[STUDY, path])))

    refused = archived.apply()

    assert path in refused.errors
    assert all((trashed / path).read_bytes() == data for (_, path), data in archived.originals.items())
    second = archived.apply()
    assert second.recaps[STUDY].failed == 0, second.errors
    assert_completed(archived)


def test_an_object_that_is_missing_when_a_release_goes_on_is_uploaded_again_first(archived: SmallLab) -> None:
    _release(archived)
    break_off_release(archived, archived.path_of("focus001.bin"))
    key = archived.key(archived.path_of("focus003.bin"))
    archived.server.client().delete_object(Bucket=archived.bucket, Key=key)
    assert archived.plans()[STUDY].actions == (Step.S3_ARCHIVE, Step.MANIFEST_ENTRY)
    done = archived.apply()
    assert done.failed == 0, done.errors
    assert_completed(archived)


@pytest.mark.parametrize("deleted", [0, 1], ids=["whole", "half deleted"])
@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_nas_file_that_is_lost_while_the_study_lies_in_the_trash_is_copied_again_from_there(
    archived: SmallLab, damage: str, deleted: int
) -> None:
    _release(archived)
    break_off_release(archived, *[archived.path_of("focus001.bin")][:deleted])
    file = archived.copy / archived.path_of("focus003.bin")
    if damage == "truncated":
        os.truncate(file, 10)
    else:
        file.unlink()
    plan = archived.plans()[STUDY]
    assert plan.actions == (Step.TRUENAS_COPY, Step.S3_ARCHIVE, Step.MANIFEST_ENTRY)
    assert file.name in plan.observed.conditions[Name.ON_TRUENAS].message
    done = archived.apply()
    assert done.failed == 0, done.errors
    assert_completed(archived)


def test_a_file_that_only_s3_has_any_more_is_named_and_nothing_else_is_deleted(archived: SmallLab) -> None:
    path = archived.path_of("focus003.bin")
    _release(archived)
    trashed = break_off_release(archived, path)
    (archived.copy / path).unlink()
    left = sorted(trashed.rglob("*"))
    refused = archived.apply()
    assert path in refused.errors
    assert "from S3" in refused.errors
    assert sorted(trashed.rglob("*")) == left
    (archived.copy / path).write_bytes(archived.objects()[archived.key(path)])
    done = archived.apply()
    assert done.failed == 0, done.errors
    assert_completed(archived)


@pytest.mark.parametrize("deleted", [0, 1], ids=["whole", "half deleted"])
def test_a_study_in_the_trash_that_the_ledger_forgot_is_listed_and_its_release_finished(
    archived: SmallLab, deleted: int
) -> None:
    _release(archived)
    break_off_release(archived, *[archived.path_of("focus001.bin")][:deleted])
    forget_ledger(archived)
    assert STUDY in archived.fusion("plan").stdout
    assert archived.plans()[STUDY].actions == (Step.S3_ARCHIVE, Step.MANIFEST_ENTRY)
    done = archived.apply()
    assert done.failed == 0, done.errors
    assert_completed(archived)


def test_a_study_that_took_the_name_of_one_in_the_trash_is_not_archived_over_it(archived: SmallLab) -> None:
    _release(archived)
    break_off_release(archived, archived.path_of("focus001.bin"))
    mine, archived.originals = archived.originals, {}
    archived.add_study()
    others, archived.originals = archived.originals, mine
    before = archived.objects(), {path: path.read_bytes() for path in archived.copy.rglob("*") if path.is_file()}

    refused = archived.apply()

    assert refused.failed
    plan = archived.plans()[STUDY]
    assert "rename this one" in plan.observed.conditions[Name.VALIDATED].message
    assert before == (
        archived.objects(),
        {path: path.read_bytes() for path in archived.copy.rglob("*") if path.is_file()},
    )
    away = archived.folder / "20260105_WW_HCC_run1b"
    archived.study.rename(away)
    done = archived.apply()
    assert done.failed == 0, done.errors
    assert_completed(archived)
    assert all((away / path).read_bytes() == data for (_, path), data in others.items())


@pytest.mark.parametrize("damage", [b"no sidecar at all", None], ids=["unreadable", "missing"])
@pytest.mark.parametrize("source", ["at the source", "in the trash", "half deleted", "gone"])
def test_a_sidecar_that_the_nas_damaged_is_written_again_when_the_copy_proves_it(
    archived: SmallLab, source: str, damage: bytes | None
) -> None:
    sidecar = archived.copy / "_checksums.sha256"
    good, copied = sidecar.read_bytes(), (archived.copy / archived.path_of(LARGE)).stat().st_ino
    if source == "at the source":
        _release(archived)
    elif source == "gone":
        # The archive was found damaged, and somebody deleted the source by hand.
        with archived.opened() as lab:
            lab.ledger.append(replace(lab.ledger.read().records[STUDY], status=Status.FAILED_S3, s3_verified_at=None))
        archived.study.rename(archived.folder / "by hand")
        _release(archived)
    else:
        _release(archived)
        break_off_release(archived, *[archived.path_of("focus001.bin")][: source == "half deleted"])
    (archived.source / "20260106_WW_HCC_run2").mkdir(exist_ok=True)  # else the source looks as if it were not mounted
    sidecar.write_bytes(damage) if damage else sidecar.unlink()
    (archived.copy / "notes of a colleague.txt").write_bytes(b"not in the sidecar")

    condition = archived.plans()[STUDY].observed.conditions[Name.ON_TRUENAS]
    assert condition.reason == SIDECAR_LOST
    assert "fusion apply" in condition.message
    done = archived.apply()

    assert done.recaps[STUDY].failed == 0, done.errors
    assert sidecar.read_bytes() == good
    assert (archived.copy / archived.path_of(LARGE)).stat().st_ino == copied, "it was copied again"
    assert_completed(archived)


@pytest.mark.parametrize("source", ["at the source", "in the trash", "half deleted"])
def test_a_damaged_sidecar_beside_a_damaged_file_is_made_good_from_what_is_at_hand(
    archived: SmallLab, source: str
) -> None:
    if source == "at the source":
        _release(archived)
    else:
        _release(archived)
        break_off_release(archived, *[archived.path_of("focus001.bin")][: source == "half deleted"])
    sidecar, file = archived.copy / SIDECAR_NAME, archived.copy / archived.path_of("focus003.bin")
    good = sidecar.read_bytes()
    sidecar.write_bytes(b"no sidecar at all")
    flip_bit(file)
    done = archived.apply()
    assert done.failed == 0, done.errors
    assert sidecar.read_bytes() == good
    assert_completed(archived)


def test_a_damaged_sidecar_beside_a_damaged_file_that_only_s3_has_needs_a_person(archived: SmallLab) -> None:
    path = archived.path_of("focus003.bin")
    _release(archived)
    trashed = break_off_release(archived, path)
    sidecar, file = archived.copy / SIDECAR_NAME, archived.copy / path
    sidecar.write_bytes(b"no sidecar at all")
    flip_bit(file)
    left = sorted(trashed.rglob("*"))
    refused = archived.apply()
    assert path in refused.errors
    assert "bring them back from s3://" in refused.errors
    assert sorted(trashed.rglob("*")) == left
    file.write_bytes(archived.objects()[archived.key(path)])
    done = archived.apply()
    assert done.failed == 0, done.errors
    assert_completed(archived)


@pytest.mark.parametrize("ending", ["focus003.bin", LARGE], ids=["small file", "large file"])
def test_a_bit_that_flips_between_the_copy_and_a_later_upload_never_reaches_s3(lab: SmallLab, ending: str) -> None:
    with lab.opened() as opened:
        transfer(opened, STUDY, copying=True, archiving=False, options=TransferOptions(), progress=lambda _: None)
    path = lab.path_of(ending)
    flip_bit(lab.copy / path)
    with lab.opened() as opened, pytest.raises(CorruptCopyError, match=Path(path).name):
        transfer(opened, STUDY, copying=False, archiving=True, options=TransferOptions(), progress=lambda _: None)
    assert lab.key(path) not in lab.objects()
    assert lab.ledger()[-1]["status"] == "failed_truenas"
    _release(lab)
    done = lab.apply()
    assert done.failed == 0, done.errors
    assert_completed(lab)


def _damage(lab: SmallLab, damage: str) -> str:
    """Change a proven file at the source; gives its path."""
    path = lab.path_of("focus003.bin")
    file = lab.study / path
    if damage == "truncated":
        os.truncate(file, 10)
    elif damage == "rewritten":
        file.write_bytes(os.urandom(file.stat().st_size))
    else:
        os.utime(file, (0, 0))
    return path


@pytest.mark.parametrize("damage", ["truncated", "rewritten", "touched"])
def test_a_proven_file_that_changes_at_the_source_is_not_copied_over_what_was_proven(
    archived: SmallLab, damage: str
) -> None:
    path = _damage(archived, damage)
    _release(archived)
    before = archived.files(), archived.objects(), archived.ledger()

    plan = archived.plans()[STUDY]
    done = archived.fusion("backup", "run")
    by_dagster = archived.run_assets("truenas_copy", "s3_archive", "manifest_entry", "source_released")

    said = plan.observed.conditions[Name.VALIDATED].message
    assert (plan.actions, plan.verdict) == ((), Verdict.FAILED)
    assert path in said
    assert f'fusion apply --accept-changes "{STUDY}"' in said
    assert done.returncode == 1
    assert "failed=1" in done.stdout
    assert path in by_dagster, "a run started in the UI, or a backfill, obeys no rule"
    assert (archived.files(), archived.objects(), archived.ledger()) == before
    assert_nothing_lost(archived)

    copy = archived.copy / path  # the good bytes are put back, with their time
    shutil.copy2(copy, archived.study / path)
    assert archived.apply().failed == 0
    assert_completed(archived)


def test_changes_that_a_person_accepted_replace_what_was_proven(archived: SmallLab) -> None:
    path = archived.path_of("focus003.bin")
    nothing = archived.fusion("apply", "--yes", "--accept-changes", STUDY)
    assert nothing.returncode == 2
    assert "nothing to accept" in nothing.stderr
    archived.write(path, b"written again, longer or shorter than before")
    _release(archived)
    assert archived.fusion("apply", "--yes", "--accept-changes", STUDY, "--limit", "*").returncode == 2
    assert archived.apply().failed == 1
    done = archived.fusion("apply", "--yes", "--accept-changes", STUDY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_completed(archived)


def test_changes_that_were_accepted_are_archived_by_a_later_run_when_the_first_one_fails(archived: SmallLab) -> None:
    archived.write(archived.path_of("focus003.bin"), b"written again, longer or shorter than before")
    with archived.opened() as opened:
        accept_changes(opened, STUDY, archived.plans()[STUDY].observed.fingerprint)
        transfer(opened, STUDY, copying=True, archiving=False, options=TransferOptions(), progress=lambda _: None)
    assert archived.ledger()[-1]["status"] == "in_progress"
    _release(archived)
    done = archived.apply()
    assert done.failed == 0, done.errors
    assert_completed(archived)


def test_a_study_that_gained_files_after_it_was_archived_is_archived_again_and_kept_until_then(
    archived: SmallLab,
) -> None:
    archived.write(f"{STUDY}/Scan1/.temp/one more.bin", b"the acquisition went on")
    _release(archived)
    assert Step.SOURCE_RELEASED not in archived.plans()[STUDY].actions
    done = archived.apply()
    assert done.failed == 0, done.errors
    assert_completed(archived)


def test_a_study_that_lost_a_file_at_the_source_keeps_what_is_proven_and_is_released(archived: SmallLab) -> None:
    (archived.study / archived.path_of("focus003.bin")).unlink()
    before = archived.files(), archived.objects(), archived.ledger()
    done = archived.apply()
    assert (done.failed, done.changed) == (0, 0), done.errors
    assert (archived.files(), archived.objects(), archived.ledger()) == before
    _release(archived)
    done = archived.apply()
    assert done.failed == 0, done.errors
    assert_completed(archived)


def test_a_source_file_that_changes_while_it_is_copied_is_not_recorded_and_the_next_run_takes_it(
    lab: SmallLab,
) -> None:
    path = lab.path_of(LARGE)
    lab.write_config(bandwidth_mib=6)
    appended = False

    def append(_: object) -> None:
        nonlocal appended
        if not appended and any(lab.copy.rglob("*.partial")):
            appended = True
            lab.write(path, lab.originals[STUDY, path] + b"one more camera frame")

    first = lab.apply(on_progress=append)
    assert appended
    assert first.failed, "the change was not noticed"
    assert Path(path).name in first.errors
    assert not any(line["status"] == "complete" for line in lab.ledger())
    assert lab.study.is_dir()
    second = lab.apply()
    assert second.failed == 0, second.errors
    assert_completed(lab)


def test_a_torn_line_at_the_end_of_the_ledger_is_reported_and_the_next_append_repairs_it(archived: SmallLab) -> None:
    (month,) = (archived.nas / "_manifest").glob("*.jsonl")
    before = archived.ledger()
    with month.open("ab") as file:  # killed in the middle of writing a line
        file.write(json.dumps(before[-1])[:50].encode())
    planned = archived.fusion("plan")
    assert planned.returncode == 0, planned.stderr
    assert month.name in planned.stderr, "nobody is told of the torn line"

    _release(archived)
    done = archived.apply()

    assert done.failed == 0, done.errors
    assert archived.ledger()[: len(before)] == before
    assert archived.ledger()[-1]["source_deleted_at"]
    assert_completed(archived)


def test_a_ledger_that_lost_a_line_s3_has_is_never_mirrored_over_it_and_keeps_the_source(archived: SmallLab) -> None:
    (month,) = (archived.nas / "_manifest").glob("*.jsonl")
    lines = month.read_bytes().splitlines(keepends=True)
    month.write_bytes(b"".join(lines[:-1]))  # the one that says complete
    mirror = archived.objects()[f"{PREFIX}/_manifest/{month.name}"]
    _release(archived)

    refused = archived.fusion("apply", "--yes")

    assert refused.returncode == 2
    assert month.stem in refused.stderr
    assert "lost, cut or edited" in refused.stderr
    assert archived.study.is_dir()
    assert archived.objects()[f"{PREFIX}/_manifest/{month.name}"] == mirror
    assert_nothing_lost(archived)

    assert archived.fusion("manifest", "restore").returncode == 0
    done = archived.apply()
    assert done.failed == 0, done.errors
    assert_completed(archived)


def test_a_ledger_that_was_lost_with_its_mirror_is_written_anew_from_copies_that_are_read_again(
    archived: SmallLab,
) -> None:
    _release(archived)
    assert archived.apply().failed == 0
    before = archived.ledger()[-1]
    (archived.source / "20260106_WW_HCC_run2").mkdir()  # else the source looks as if it were not mounted
    shutil.rmtree(archived.nas / "_manifest")
    for key in [key for key in archived.objects() if key.startswith(f"{PREFIX}/_manifest/")]:
        archived.server.client().delete_object(Bucket=archived.bucket, Key=key)
    copied = archived.files()

    assert archived.plans()[STUDY].actions == (Step.S3_ARCHIVE, Step.MANIFEST_ENTRY)
    file = archived.copy / archived.path_of("focus003.bin")
    good, times = file.read_bytes(), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    flip_bit(file)
    refused = archived.apply()
    assert file.name in refused.errors, "a copy that nothing vouches for was believed without being read"
    assert "complete" not in [line["status"] for line in archived.ledger()]
    file.write_bytes(good)
    os.utime(file, ns=times)

    done = archived.apply()

    assert done.recaps[STUDY].failed == 0, done.errors
    assert_completed(archived)
    assert copied.items() <= archived.files().items(), "the copy was written again"
    after = archived.ledger()[-1]
    for name in ("backup_name", "run_name", "file_count", "total_bytes", "sidecar_sha256", "status"):
        assert after[name] == before[name]


def test_a_copy_that_rotted_is_not_believed_when_the_ledger_was_lost_while_its_study_is_still_at_the_source(
    archived: SmallLab,
) -> None:
    forget_ledger(archived)
    path = archived.path_of("focus003.bin")
    flip_bit(archived.copy / path)
    _release(archived)

    done = archived.apply()

    assert done.failed == 0, done.errors
    assert (archived.copy / path).read_bytes() == archived.originals[STUDY, path]
    assert_completed(archived)


@pytest.mark.parametrize("ending", ["focus003.bin", LARGE], ids=["one part", "several parts"])
def test_an_altered_object_in_cold_storage_stops_the_release_and_is_replaced(archived: SmallLab, ending: str) -> None:
    path = archived.path_of(ending)
    _alter_in_cold_storage(archived, path)
    _release(archived)

    refused = archived.apply()

    assert refused.failed, "the release did not notice that the object is another one"
    assert path in refused.errors
    assert archived.study.is_dir()
    second = archived.apply()
    assert second.failed == 0, second.errors
    assert_completed(archived)


def test_an_altered_sidecar_in_cold_storage_is_replaced(archived: SmallLab) -> None:
    _alter_in_cold_storage(archived, SIDECAR_NAME)
    _release(archived)
    done = archived.apply()
    assert done.failed == 0, done.errors
    assert_completed(archived)


def _alter_in_cold_storage(lab: SmallLab, path: str) -> None:
    """Other bytes of the same length, that cannot be read without restoring them first."""
    other = bytes(byte ^ 1 for byte in (lab.copy / path).read_bytes())
    client = lab.server.client()
    client.put_object(Bucket=lab.bucket, Key=lab.key(path), Body=other, StorageClass="DEEP_ARCHIVE")
    with pytest.raises(ClientError, match="InvalidObjectState"):
        client.get_object(Bucket=lab.bucket, Key=lab.key(path))


def test_a_study_in_cold_storage_is_released_without_reading_anything_back_from_there(lab: SmallLab) -> None:
    lab.write_config()
    lab.config.write_text(lab.config.read_text().replace("[backup]", "storage_class = 'DEEP_ARCHIVE'\n[backup]"))
    done = lab.apply()
    assert done.failed == 0, done.errors
    assert not lab.study.exists()
    found = lab.server.client().head_object(Bucket=lab.bucket, Key=lab.key("_checksums.sha256"))
    assert found["StorageClass"] == "DEEP_ARCHIVE"
    assert lab.apply().changed == 0
