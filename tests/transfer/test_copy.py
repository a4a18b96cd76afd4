"""A study copied to the NAS: whole, once, and again."""

from __future__ import annotations

import os
import threading
from dataclasses import replace

import pytest

from fusion_assets.transfer.errors import CorruptCopyError, ReadBackError, SourceChangedError
from resources.errors import NotMountedError, StorageFullError, UnsafeNameError
from tests.transfer.lab import BACKUP, RUN, SIDECAR, STUDY, TINY, Lab


def test_every_file_arrives_whole_with_its_time_and_a_sidecar(lab):
    outcome = lab.copy_study()
    lab.check_copied()
    assert outcome.files == outcome.copied_files == len(STUDY)
    assert outcome.total_bytes == sum(STUDY.values())


def test_each_byte_is_read_once_written_once_and_read_back_once(lab):
    outcome = lab.copy_study()
    total = sum(STUDY.values())
    assert sum(lab.source.read.values()) == total == outcome.source_read
    assert sum(size for path, size in lab.nas.written.items() if SIDECAR not in path) == total == outcome.nas_written
    assert sum(lab.nas.read.values()) == total == outcome.nas_read


def test_the_read_back_asks_for_bytes_past_the_cache(lab):
    lab.copy_study()
    assert lab.nas.uncached == {f"{BACKUP}/{path}.partial" for path in STUDY}


def test_a_final_name_appears_only_after_its_bytes_were_read_back(lab):
    read_when_named = {}

    def before(method: str, path: str) -> None:
        if method == "replace" and SIDECAR not in path:
            read_when_named[path] = lab.nas.read[path]

    lab.nas.before = before
    lab.copy_study()
    assert read_when_named == {f"{BACKUP}/{path}.partial": size for path, size in STUDY.items()}


def test_a_second_run_moves_nothing_and_changes_nothing(lab):
    first = lab.copy_study()
    before = {path: path.stat().st_mtime_ns for path in lab.copy.rglob("*")}
    lab.forget_counts()
    second = lab.copy_study()
    assert second.proofs == first.proofs or [p.sha256 for p in second.proofs] == [p.sha256 for p in first.proofs]
    assert second.copied_files == second.nas_written == second.source_read == second.nas_read == 0
    assert second.sidecar_sha256 == first.sidecar_sha256
    assert not lab.source.read
    assert set(lab.nas.read) == {f"{BACKUP}/{SIDECAR}"}
    assert not lab.nas.written
    assert {path: path.stat().st_mtime_ns for path in lab.copy.rglob("*")} == before


def test_a_nas_that_rounds_times_is_refused_because_nothing_there_would_ever_look_copied(lab, monkeypatch):
    set_times = os.utime
    for file in (path for path in lab.source.path.rglob("*") if path.is_file()):
        set_times(file, ns=(1_700_000_001_123_456_700,) * 2)
    rounded = (1_700_000_000_000_000_000,) * 2
    monkeypatch.setattr(os, "utime", lambda path, ns, **how: set_times(path, ns=rounded, **how))
    with pytest.raises(ReadBackError, match="not FAT or exFAT"):
        lab.copy_study()
    assert SIDECAR not in lab.on_nas()
    monkeypatch.undo()
    lab.copy_study()
    lab.check_copied()


def test_only_what_changed_at_the_source_is_copied_again(lab):
    lab.copy_study()
    lab.forget_counts()
    lab.write(f"{RUN}.xpd", b"{}" * 100)
    outcome = lab.copy_study()
    assert outcome.copied_files == 1
    assert sum(lab.source.read.values()) == 200
    lab.check_copied()


def test_a_study_grows_and_the_copy_follows(lab):
    lab.copy_study()
    lab.write(f"{RUN}/Scan3/new.qptiff", b"q" * 50_000)
    assert lab.copy_study().copied_files == 1
    lab.check_copied()


def test_what_the_source_no_longer_has_stays_in_the_copy(lab):
    lab.copy_study()
    gone = lab.study / f"{RUN}.xpd"
    data = gone.read_bytes()
    gone.unlink()
    outcome = lab.copy_study()
    assert lab.on_nas()[f"{RUN}.xpd"] == data
    assert f"{RUN}.xpd" in lab.on_nas()[SIDECAR].decode()
    assert outcome.files == len(STUDY)


def test_a_file_that_is_gone_from_both_the_source_and_the_copy_is_not_forgotten_silently(lab):
    lab.copy_study()
    (lab.study / f"{RUN}.xpd").unlink()
    (lab.copy / f"{RUN}.xpd").unlink()
    with pytest.raises(CorruptCopyError, match=f"{RUN}.xpd"):
        lab.copy_study()


def test_empty_directories_are_part_of_a_study(lab):
    (lab.study / "Scan9" / ".temp").mkdir(parents=True)
    lab.copy_study()
    assert (lab.copy / "Scan9" / ".temp").is_dir()


def test_a_study_without_files_has_an_empty_sidecar(tmp_path):
    lab = Lab(tmp_path, {})
    assert lab.copy_study().files == 0
    assert lab.on_nas() == {SIDECAR: b""}


def test_links_and_unfinished_files_are_not_copied_but_named(lab):
    (lab.study / "link.tif").symlink_to(lab.study / f"{RUN}.xpd")
    os.mkfifo(lab.study / "pipe")
    (lab.study / "half.tif.partial").write_bytes(b"half")
    outcome = lab.copy_study()
    assert dict(outcome.skipped) == {"link.tif": "symlink", "pipe": "other", "half.tif.partial": "file"}
    assert not {"link.tif", "pipe", "half.tif.partial"} & set(lab.on_nas())


def test_our_lock_and_a_restored_sidecar_at_the_source_are_not_data(lab):
    (lab.study / ".fusion-toolkit.lock").write_text("{}")
    (lab.study / SIDECAR).write_text("old")
    outcome = lab.copy_study()
    assert outcome.skipped == ()
    assert ".fusion-toolkit.lock" not in lab.on_nas()
    assert b"old" not in lab.on_nas()[SIDECAR]


def test_a_file_of_the_sidecars_name_deeper_down_is_data(lab):
    lab.write(f"Scan1/{SIDECAR}", b"somebody's")
    lab.copy_study()
    assert lab.on_nas()[f"Scan1/{SIDECAR}"] == b"somebody's"


def test_unknown_files_on_the_nas_are_left_alone_and_named(lab):
    lab.copy.mkdir()
    (lab.copy / "notes.txt").write_text("mine")
    outcome = lab.copy_study()
    assert outcome.extra == ("notes.txt",)
    assert lab.on_nas().pop("notes.txt") == b"mine"
    assert "notes.txt" not in lab.on_nas()[SIDECAR].decode()


def test_a_file_of_the_right_name_and_size_that_nobody_vouches_for_is_copied_again(lab):
    lab.copy.mkdir()
    file = lab.copy / f"{RUN}.xpd"
    file.write_bytes(b"x" * 700)
    stat = (lab.study / f"{RUN}.xpd").stat()
    os.utime(file, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    lab.copy_study()
    lab.check_copied()


def test_a_truncated_file_on_the_nas_is_copied_again(lab):
    lab.copy_study()
    victim = lab.copy / RUN / "Scan1" / f"{RUN}.qptiff"
    mtime = victim.stat().st_mtime_ns
    os.truncate(victim, 100)
    os.utime(victim, ns=(mtime, mtime))
    assert lab.copy_study().copied_files == 1
    lab.check_copied()


@pytest.mark.parametrize("path", [f"{RUN}.xpd", f"{RUN}/Scan1/{RUN}.qptiff"])
def test_a_file_that_changes_while_it_is_copied_is_not_recorded(lab, path):
    def write_behind(name: str, _: memoryview) -> None:
        if name == f"{RUN}/{path}":
            with (lab.study / path).open("ab") as file:
                file.write(b"more")

    lab.source.after_read = write_behind
    with pytest.raises(SourceChangedError, match="1 files changed") as caught:
        lab.copy_study()
    assert caught.value.paths == (path,)
    assert SIDECAR not in lab.on_nas()
    assert path not in lab.on_nas()
    lab.source.after_read = lambda *_: None
    again = lab.copy_study()
    assert again.copied_files == 1, "the other files were kept"
    lab.check_copied()


@pytest.mark.parametrize("path", [f"{RUN}.xpd", f"{RUN}/Scan1/{RUN}.qptiff"])
@pytest.mark.parametrize("change", ["rewritten", "shrunk", "grown", "gone", "replaced"])
def test_a_file_that_is_no_longer_what_was_listed_is_not_copied(lab, path, change):
    study, file = lab.listed(), lab.study / path
    data = file.read_bytes()
    match change:
        case "rewritten":
            file.write_bytes(data[::-1])
        case "shrunk":
            os.truncate(file, len(data) - 1)
        case "grown":
            file.write_bytes(data + b"!")
        case "gone":
            file.unlink()
        case "replaced":
            file.rename(file.with_name("old"))
            file.write_bytes(data)
    with pytest.raises(SourceChangedError):
        lab.copy_study(study)
    assert path not in lab.on_nas()
    assert SIDECAR not in lab.on_nas()


def test_a_file_swapped_for_another_behind_an_open_handle_is_noticed(lab):
    path, once = f"{RUN}/Scan1/{RUN}.qptiff", threading.Lock()

    def swap(name: str, data: memoryview) -> None:
        if name == f"{RUN}/{path}" and once.acquire(blocking=False):
            (lab.study / path).rename(lab.study / "moved away")
            (lab.study / path).write_bytes(bytes(STUDY[path]))

    lab.source.after_read = swap
    with pytest.raises(SourceChangedError):
        lab.copy_study()


def test_all_bad_names_are_listed_before_anything_is_written(lab):
    lab.write("Case.tif", b"1")
    lab.write("case.TIF", b"2")
    lab.write("x" * 250 + ".tif", b"3")
    with pytest.raises(UnsafeNameError) as caught:
        lab.copy_study()
    assert "Case.tif and case.TIF" in str(caught.value)
    assert "xxx" in str(caught.value)
    assert not lab.copy.exists()


def test_a_name_that_differs_only_in_case_from_an_unknown_file_on_the_nas_is_refused(lab):
    lab.copy.mkdir()
    (lab.copy / f"{RUN.lower()}.XPD").write_text("somebody's")
    with pytest.raises(UnsafeNameError, match="case is ignored"):
        lab.copy_study()


def test_a_link_on_the_nas_where_a_directory_must_be_is_never_written_through(lab, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    lab.copy.mkdir()
    (lab.copy / RUN).symlink_to(elsewhere)
    with pytest.raises(UnsafeNameError, match="symlink"):
        lab.copy_study()
    assert list(elsewhere.iterdir()) == []


def test_too_little_space_is_said_before_anything_is_written(lab):
    with pytest.raises(StorageFullError, match="missing"):
        lab.copy_study(options=replace(TINY, space_reserve=1 << 60))
    assert not lab.copy.exists()


def test_a_nas_that_fills_up_meanwhile_keeps_nothing_unfinished(lab):
    def full(method: str, path: str) -> None:
        if method in ("write", "write_file") and "qptiff" in path:
            raise StorageFullError("no space left")

    lab.nas.before = full
    with pytest.raises(StorageFullError):
        lab.copy_study()
    assert not [path for path in lab.on_nas() if path.endswith(".partial") and "_journal" not in path]
    lab.nas.before = lambda *_: None
    lab.copy_study()
    lab.check_copied()


def test_a_nas_that_is_not_mounted_is_not_an_empty_one(lab):
    lab.nas.path.rmdir()
    with pytest.raises(NotMountedError):
        lab.copy_study()
