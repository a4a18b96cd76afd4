"""A study archived in S3: in one pass with the copy, from the copy alone, and again."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from fusion_assets.transfer import check_archive, check_copy
from fusion_assets.transfer.errors import ArchiveError, CorruptCopyError, ReadBackError
from resources.errors import UnavailableError
from resources.s3_errors import ArchivedObjectError
from tests.transfer.lab import BACKUP, RUN, SIDECAR, STUDY, TINY, Lab, flip_bit_of

TOTAL = sum(STUDY.values())
LARGE = f"{RUN}/Scan1/{RUN}.qptiff"
SMALL = f"{RUN}.xpd"


def test_one_pass_reads_the_source_once_writes_once_and_reads_back_once(lab):
    copied, archived = lab.copy_and_archive()
    lab.check_copied()
    lab.check_archived()
    assert archived.error is None
    assert sum(lab.source.read.values()) == TOTAL
    assert sum(size for path, size in lab.nas.written.items() if SIDECAR not in path) == TOTAL
    assert sum(lab.nas.read.values()) == TOTAL
    assert lab.bucket.received == TOTAL + len(lab.on_nas()[SIDECAR])
    assert (copied.source_read, copied.nas_written, copied.nas_read) == (TOTAL, TOTAL, TOTAL)
    assert (archived.uploaded_files, archived.uploaded_bytes) == (len(STUDY), TOTAL)


def test_every_object_is_asked_for_after_it_was_uploaded_and_the_sidecar_comes_last(lab):
    asked: list[tuple[str, str]] = []
    lab.bucket.before = lambda method, key: asked.append((method, key))
    lab.copy_and_archive()
    heads = {key for method, key in asked if method == "head"}
    multipart = {path for path, size in STUDY.items() if size > TINY.part_size}
    assert heads == {f"{BACKUP}/{path}" for path in [*multipart, SIDECAR]}
    last_upload = max(n for n, (method, key) in enumerate(asked) if method == "put" and not key.endswith(SIDECAR))
    assert ("list", f"{BACKUP}/") in asked[last_upload:]
    sidecar_put = asked.index(("put", f"{BACKUP}/{SIDECAR}"))
    assert {key for _, key in asked[sidecar_put:]} == {f"{BACKUP}/{SIDECAR}"}


def test_large_objects_are_multipart_with_the_whole_sha256_and_the_rest_is_one_put(lab):
    _, archived = lab.copy_and_archive()
    proofs = {proof.path: proof for proof in archived.proofs}
    for path, size in STUDY.items():
        stored = lab.bucket.objects[f"{BACKUP}/{path}"]
        assert (stored.composite is not None) == (size > TINY.part_size)
        assert proofs[path].composite == stored.composite
        assert stored.metadata["mtime"].replace(".", "") == str(proofs[path].mtime_ns)


def test_a_second_pass_moves_nothing(lab):
    lab.copy_and_archive()
    lab.forget_counts()
    copied, archived = lab.copy_and_archive()
    assert (copied.source_read, copied.nas_written, copied.nas_read) == (0, 0, 0)
    assert (archived.uploaded_files, archived.uploaded_bytes, archived.nas_read) == (0, 0, 0)
    assert archived.present_files == len(STUDY)
    assert archived.error is None
    assert not lab.source.read
    assert set(lab.bucket.requests) == {"list", "head", "abort_abandoned"}
    assert lab.bucket.received == 0


def test_the_copy_alone_can_be_archived_later_with_one_read(lab):
    lab.copy_study()
    lab.forget_counts()
    outcome = lab.archive_copy()
    lab.check_archived()
    assert outcome.uploaded_files == len(STUDY)
    assert not lab.source.read
    lab.nas.read.pop(f"{BACKUP}/{SIDECAR}")
    assert sum(lab.nas.read.values()) == TOTAL == outcome.nas_read
    lab.forget_counts()
    again = lab.archive_copy()
    assert (again.uploaded_files, again.nas_read, lab.bucket.received) == (0, 0, 0)


def test_parts_too_large_for_memory_are_read_twice_and_never_held(lab):
    lab.copy_study()
    lab.forget_counts()
    lab.archive_copy(options=replace(TINY, memory=8192))
    lab.check_archived()
    assert lab.nas.read[f"{BACKUP}/{LARGE}"] == 2 * STUDY[LARGE]


def test_an_archive_without_a_finished_copy_is_refused(lab):
    with pytest.raises(ArchiveError, match="no finished copy"):
        lab.archive_copy()
    lab.copy.mkdir()
    with pytest.raises(ArchiveError, match="no finished copy"):
        lab.archive_copy()


def test_a_copy_that_is_newer_than_its_sidecar_is_not_archived(lab):
    lab.copy_study()
    lab.write(SMALL, b"changed")

    def stop_before_the_sidecar(method: str, path: str) -> None:
        if SIDECAR in path and method == "write_file":
            raise UnavailableError("the NAS is gone")

    lab.nas.before = stop_before_the_sidecar
    with pytest.raises(UnavailableError):
        lab.copy_study()
    lab.nas.before = lambda *_: None
    with pytest.raises(ArchiveError, match=f"unfinished: {SMALL}"):
        lab.archive_copy()
    assert lab.in_s3() == {}


@pytest.mark.parametrize("path", [SMALL, LARGE, f"{RUN}/Scan1/.temp/one part.raw.qptiff"])
@pytest.mark.parametrize("memory", [TINY.memory, 8192])
def test_a_bit_that_flips_between_copy_and_upload_is_found_set_aside_and_healed(lab, path, memory):
    lab.copy_study()
    flip_bit(lab, path)
    spoilt = lab.on_nas()[path]
    with pytest.raises(CorruptCopyError, match="1 files") as caught:
        lab.archive_copy(options=replace(TINY, memory=memory))
    assert caught.value.paths == (path,)
    assert path not in lab.in_s3()
    assert SIDECAR not in lab.in_s3()
    assert lab.bucket.uploads == {}
    assert path not in lab.on_nas()
    assert lab.on_nas()[f"{path}.corrupt.partial"] == spoilt, "kept until a good copy is proven"
    copied, archived = lab.copy_and_archive()
    assert copied.copied_files == 1
    assert archived.error is None
    lab.check_copied()
    lab.check_archived()


def test_a_bad_read_that_reads_well_the_second_time_condemns_nothing(lab):
    lab.copy_study()
    flipped: list[str] = []

    def flip_once(path: str, data: memoryview) -> None:
        if path.endswith(SMALL) and not flipped:
            flipped.append(path)
            data[0] ^= 1

    lab.nas.after_read = flip_once
    with pytest.raises(ReadBackError, match="once"):
        lab.archive_copy()
    assert SMALL in lab.on_nas()
    lab.archive_copy()
    lab.check_archived()


def test_a_truncated_copy_is_not_archived(lab):
    lab.copy_study()
    os.truncate(lab.copy / LARGE, 20_000)
    with pytest.raises(CorruptCopyError):
        lab.archive_copy()
    assert LARGE not in lab.in_s3()


def test_a_copy_that_lost_a_file_is_not_archived(lab):
    lab.copy_study()
    (lab.copy / SMALL).unlink()
    with pytest.raises(CorruptCopyError, match=SMALL):
        lab.archive_copy()
    assert lab.in_s3() == {}


def test_unknown_files_on_the_nas_are_not_archived_but_named(lab):
    lab.copy_study()
    (lab.copy / "notes.txt").write_text("mine")
    assert lab.archive_copy().extra == ("notes.txt",)
    assert "notes.txt" not in lab.in_s3()


def test_objects_that_are_there_already_are_not_uploaded_again(lab):
    lab.copy_and_archive()
    del lab.bucket.objects[f"{BACKUP}/{SMALL}"]
    del lab.bucket.objects[f"{BACKUP}/{SIDECAR}"]
    lab.forget_counts()
    outcome = lab.archive_copy()
    lab.check_archived()
    assert outcome.uploaded_files == 1
    assert lab.bucket.received == STUDY[SMALL] + len(lab.on_nas()[SIDECAR])


@pytest.mark.parametrize("path", [SMALL, LARGE])
@pytest.mark.parametrize("same_size", [True, False])
def test_an_object_that_somebody_overwrote_is_replaced(lab, path, same_size):
    lab.copy_and_archive()
    lab.bucket.alter(f"{BACKUP}/{path}", b"x" * (STUDY[path] if same_size else 3))
    assert lab.archive_copy().uploaded_files == 1
    lab.check_archived()


def test_a_large_object_whose_composite_nobody_knows_is_proven_from_the_nas_copy(lab):
    lab.copy_and_archive()
    del lab.bucket.objects[f"{BACKUP}/{SIDECAR}"]  # it bore the digest over all composites
    lab.forget_counts()
    outcome = lab.archive_copy()
    assert outcome.uploaded_files == 0
    large = {path: size for path, size in STUDY.items() if size > TINY.part_size}
    assert {path: lab.nas.read[f"{BACKUP}/{path}"] for path in large} == large
    lab.check_archived()


def test_a_server_that_states_no_checksums_is_asked_for_the_bytes_once(lab):
    lab.bucket.states_checksums = False
    _, archived = lab.copy_and_archive()
    assert archived.error is None
    assert archived.proved_by_download == len(STUDY)
    assert lab.bucket.requests["read"] == len(STUDY)
    lab.check_archived()


def test_a_server_that_states_no_checksums_and_stored_something_else_is_found_out(lab):
    lab.bucket.states_checksums = False

    def spoil(method: str, key: str) -> None:
        if method == "head" and key.endswith(SMALL):
            stored = lab.bucket.objects[key]
            lab.bucket.objects[key] = replace(stored, data=bytes(len(stored.data)))

    lab.bucket.before = spoil
    _, archived = lab.copy_and_archive()
    assert isinstance(archived.error, ArchiveError)
    assert SMALL in str(archived.error)
    assert SIDECAR not in lab.in_s3()


@pytest.mark.parametrize("states_checksums", [True, False])
def test_a_small_object_that_somebody_overwrites_or_removes_before_the_study_is_committed_is_found_out(
    lab, states_checksums
):
    lab.bucket.states_checksums = states_checksums
    for spoil in (lambda key: lab.bucket.alter(key, b"x" * STUDY[SMALL]), lab.bucket.objects.pop):

        def once_uploaded(method: str, key: str, spoil=spoil) -> None:
            small = f"{BACKUP}/{SMALL}"
            if (method, key) in (("list", f"{BACKUP}/"), ("head", small)) and small in lab.bucket.objects:
                spoil(small)

        lab.bucket.before = once_uploaded
        _, archived = lab.copy_and_archive()
        assert SMALL in str(archived.error)
        assert SIDECAR not in lab.in_s3()
        lab.bucket.before = lambda *_: None
    lab.archive_copy()
    lab.check_archived()


def test_a_server_whose_listing_lags_behind_is_asked_for_each_object(lab, monkeypatch):
    monkeypatch.setattr(lab.bucket, "list", lambda prefix="": iter(()))
    _, archived = lab.copy_and_archive()
    assert archived.error is None
    assert archived.uploaded_files == len(STUDY)
    assert lab.bucket.requests["head"] >= len(STUDY)


def test_an_object_that_vanishes_after_its_upload_is_found_out(lab):
    def lose(method: str, key: str) -> None:
        if method == "head" and key.endswith(".qptiff"):
            lab.bucket.objects.pop(key, None)

    lab.bucket.before = lose
    _, archived = lab.copy_and_archive()
    assert "missing" in str(archived.error)
    assert SIDECAR not in lab.in_s3()


@pytest.mark.parametrize("requests", [0, 1, 2, 5, 9, 20, 30])
def test_an_s3_server_that_goes_away_does_not_stop_the_copy(lab, requests):
    left = [requests]

    def until(method: str, key: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise UnavailableError(f"cannot {method} {key}")

    lab.bucket.before = until
    copied, archived = lab.copy_and_archive()
    lab.check_copied()
    assert isinstance(archived.error, UnavailableError)
    assert SIDECAR not in lab.in_s3()
    assert copied.files == len(STUDY)
    lab.bucket.before = lambda *_: None
    lab.forget_counts()
    assert lab.archive_copy().error is None
    lab.check_archived()
    assert not lab.source.read


def test_a_failed_archive_of_a_copy_is_raised(lab):
    lab.copy_study()
    lab.bucket.break_down()
    with pytest.raises(UnavailableError):
        lab.archive_copy()


def test_abandoned_uploads_of_this_study_are_aborted_and_others_are_not(lab):
    lab.bucket.start_multipart(f"{BACKUP}/old.qptiff")
    lab.bucket.start_multipart(f"{BACKUP}2/alive.qptiff")
    lab.copy_and_archive()
    assert [key for key, _, _ in lab.bucket.uploads.values()] == [f"{BACKUP}2/alive.qptiff"]


@pytest.mark.parametrize("path", [SMALL, LARGE])
def test_a_bit_that_flips_between_write_and_read_back_stops_everything(lab, path):
    def flip(method: str, name: str) -> None:
        if method in ("open_reader", "read_into") and name == f"{BACKUP}/{path}.partial":
            flip_bit(lab, f"{path}.partial")

    lab.nas.before = flip
    with pytest.raises(ReadBackError, match="other bytes") as caught:
        lab.copy_and_archive()
    assert caught.value.paths == (path,)
    assert path not in lab.on_nas()
    assert SIDECAR not in lab.on_nas()
    assert path not in lab.in_s3()
    assert SIDECAR not in lab.in_s3()
    assert lab.bucket.uploads == {}
    lab.nas.before = lambda *_: None
    lab.copy_and_archive()
    lab.check_copied()
    lab.check_archived()


def test_a_corrupt_kept_copy_is_noticed_in_a_combined_pass_too(lab):
    lab.copy_study()
    flip_bit(lab, LARGE)
    with pytest.raises(CorruptCopyError):
        lab.copy_and_archive()
    copied, archived = lab.copy_and_archive()
    assert copied.copied_files == 1
    assert archived.error is None
    lab.check_copied()
    lab.check_archived()


def test_the_archive_never_forgets(lab):
    lab.copy_and_archive()
    (lab.study / SMALL).unlink()
    lab.write("new.xpd", b"{}")
    _, archived = lab.copy_and_archive()
    assert archived.uploaded_files == 1
    assert {SMALL, "new.xpd"} <= set(lab.in_s3())
    lab.check_archived()


def test_a_good_archive_and_a_good_copy_have_no_problems(lab):
    lab.copy_and_archive()
    lab.forget_counts()
    assert check_archive(lab.nas, lab.bucket, BACKUP) == []
    assert set(lab.nas.read) == {f"{BACKUP}/{SIDECAR}"}
    assert lab.bucket.requests["read"] == 0
    assert check_copy(lab.nas, BACKUP) == []
    assert lab.nas.read[f"{BACKUP}/{LARGE}"] == STUDY[LARGE]


def test_each_bad_object_is_named(lab):
    lab.copy_and_archive()
    lab.bucket.alter(f"{BACKUP}/{SMALL}", b"x" * STUDY[SMALL])
    lab.bucket.alter(f"{BACKUP}/{LARGE}", b"short")
    del lab.bucket.objects[f"{BACKUP}/{RUN}/Scan2/tile03.tif"]
    problems = {problem.path: str(problem) for problem in check_archive(lab.nas, lab.bucket, BACKUP)}
    assert set(problems) == {SMALL, LARGE, f"{RUN}/Scan2/tile03.tif"}
    assert "other checksum" in problems[SMALL]
    assert "other size" in problems[LARGE]
    assert "missing" in problems[f"{RUN}/Scan2/tile03.tif"]


def test_an_archive_without_its_commit_mark_is_not_complete(lab):
    lab.copy_and_archive()
    del lab.bucket.objects[f"{BACKUP}/{SIDECAR}"]
    assert [problem.path for problem in check_archive(lab.nas, lab.bucket, BACKUP)] == [SIDECAR]


def test_an_altered_object_in_cold_storage_is_not_proven_and_is_uploaded_again(lab):
    lab.copy_and_archive()
    for path in (SMALL, SIDECAR):
        lab.bucket.alter(f"{BACKUP}/{path}", b"x" * len(lab.on_nas()[path]))

    def refuse_downloads(method: str, key: str) -> None:
        if method in ("read", "get"):
            raise ArchivedObjectError(
                f"cannot read {key}: it is in an archive storage class and must be restored first"
            )

    lab.bucket.before = refuse_downloads
    lab.bucket.states_checksums = False
    assert {problem.path for problem in check_archive(lab.nas, lab.bucket, BACKUP)} > {SMALL, SIDECAR}
    lab.bucket.states_checksums = True
    assert [problem.path for problem in check_archive(lab.nas, lab.bucket, BACKUP)] == [SMALL, SIDECAR]
    head = lab.bucket.head

    def head_as_another_program_left_it(key: str):
        info = head(key)
        return replace(info, sha256=None) if info and not info.metadata else info

    lab.bucket.head = head_as_another_program_left_it  # it stated no SHA-256 when it wrote what it wrote
    assert [problem.path for problem in check_archive(lab.nas, lab.bucket, BACKUP)] == [SMALL, SIDECAR]

    lab.archive_copy()

    assert check_archive(lab.nas, lab.bucket, BACKUP) == []
    lab.check_archived()


def test_a_failed_look_at_s3_is_not_a_missing_object(lab):
    lab.copy_and_archive()
    lab.bucket.break_down()
    with pytest.raises(UnavailableError):
        check_archive(lab.nas, lab.bucket, BACKUP)


def test_each_bad_file_of_a_copy_is_named(lab):
    lab.copy_study()
    flip_bit(lab, LARGE)
    os.truncate(lab.copy / SMALL, 10)
    (lab.copy / RUN / "Scan2" / "tile03.tif").unlink()
    (lab.copy / RUN / "Scan1" / ".temp" / "empty.bin").write_bytes(b"not empty")
    found = {problem.path for problem in check_copy(lab.nas, BACKUP)}
    assert found == {LARGE, SMALL, f"{RUN}/Scan2/tile03.tif", f"{RUN}/Scan1/.temp/empty.bin"}


def flip_bit(lab: Lab, path: str) -> None:
    flip_bit_of(lab.copy / path)
