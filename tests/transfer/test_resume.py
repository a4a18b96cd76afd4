"""A run that ends at any moment, and the next one that must finish the study as if nothing had happened."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusion_assets.transfer.errors import CorruptCopyError
from resources.errors import UnavailableError
from tests.transfer.lab import RUN, SIDECAR, STUDY, Lab, flip_bit_of
from tests.transfer.watched_storage import MUTATIONS

SHORT = {
    f"{RUN}.xpd": 300,
    f"{RUN}/Scan1/{RUN}.qptiff": 25_000,
    f"{RUN}/Scan1/.temp/a.bin": 10_001,
    **{f"{RUN}/Scan1/.temp/t{n}.tif": 100 + n for n in range(7)},
}


class PowerCutError(BaseException):
    """The process is gone: nothing after it happens any more, whoever tries."""


class PowerCut:
    """Lets a number of changes to the NAS and to S3 happen, and none after that."""

    def __init__(self, lab: Lab, changes: int) -> None:
        self.left = changes
        self._lock = threading.Lock()
        lab.nas.before = self.on_nas
        lab.bucket.before = self.on_s3

    def on_nas(self, method: str, path: str) -> None:
        if method in MUTATIONS or method == "write":
            self._count()

    def on_s3(self, method: str, key: str) -> None:
        if method not in ("head", "list", "read", "get"):
            self._count()

    def _count(self) -> None:
        with self._lock:
            self.left -= 1
            if self.left < 0:
                raise PowerCutError


def run_cut_after(lab: Lab, changes: int) -> bool:
    """A combined pass that is cut off after so many changes; True if it was done before."""
    cut = PowerCut(lab, changes)
    try:
        lab.copy_and_archive()
    except PowerCutError:
        return False
    finally:
        lab.nas.before = lab.bucket.before = lambda *_: None
    return cut.left >= 0


def cut_at_the_sidecar(lab: Lab, work: Callable[[], object]) -> None:
    """A pass that proves every file and is cut off before its sidecar is written."""

    def cut(method: str, path: str) -> None:
        if SIDECAR in path:
            raise PowerCutError

    lab.nas.before = cut
    with pytest.raises(PowerCutError):
        work()
    lab.nas.before = lambda *_: None


def check_unfinished(lab: Lab) -> None:
    """At every moment: a final name has the right bytes, and no commit mark stands where anything is missing."""
    files = {path: (lab.study / path).read_bytes() for path in SHORT}
    held = lab.on_nas() if lab.copy.exists() else {}
    for path, data in held.items():
        if not path.endswith(".partial") and path != SIDECAR:
            assert data == files[path]
    if SIDECAR in held:
        assert set(files) <= set(held)
    stored = lab.in_s3()
    for path, data in stored.items():
        assert path == SIDECAR or data == files[path]
    if SIDECAR in stored:
        assert SIDECAR in held
        assert set(files) <= set(stored)


@pytest.mark.parametrize("first", range(0, 90, 3))
def test_a_run_that_is_cut_off_anywhere_is_finished_by_the_next(tmp_path, first):
    for changes in range(first, first + 3):
        lab = Lab(tmp_path / str(changes), SHORT)
        run_cut_after(lab, changes)
        check_unfinished(lab)
        _, archived = lab.copy_and_archive()
        assert archived.error is None
        lab.check_copied()
        lab.check_archived()


def test_there_are_no_more_changes_than_the_cuts_cover(tmp_path):
    assert run_cut_after(Lab(tmp_path, SHORT), 90)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 60), min_size=2, max_size=5))
def test_a_run_that_is_cut_off_again_and_again_is_finished_in_the_end(tmp_path_factory, cuts):
    lab = Lab(tmp_path_factory.mktemp("lab"), SHORT)
    for changes in cuts:
        run_cut_after(lab, changes)
        check_unfinished(lab)
    _, archived = lab.copy_and_archive()
    assert archived.error is None
    lab.check_copied()
    lab.check_archived()


def test_what_was_proven_before_the_cut_is_neither_copied_nor_uploaded_again(tmp_path):
    lab = Lab(tmp_path)
    cut_at_the_sidecar(lab, lab.copy_and_archive)
    lab.forget_counts()
    copied, archived = lab.copy_and_archive()
    assert copied.copied_files == 0
    assert not lab.source.read
    assert archived.uploaded_files == 0
    assert archived.nas_read == sum(STUDY.values()), "each file is read again, once: the journal knows the composites"
    lab.check_copied()
    lab.check_archived()


@pytest.mark.parametrize("path", [f"{RUN}.xpd", f"{RUN}/Scan1/{RUN}.qptiff"])
@pytest.mark.parametrize("archiving", [False, True])
def test_a_copy_that_rotted_after_the_cut_is_found_before_its_sidecar_is_written(tmp_path, archiving, path):
    lab = Lab(tmp_path)
    work = lab.copy_and_archive if archiving else lab.copy_study
    cut_at_the_sidecar(lab, work)
    flip_bit_of(lab.copy / path)
    objects = lab.in_s3()
    with pytest.raises(CorruptCopyError, match=Path(path).name):
        work()
    assert SIDECAR not in lab.on_nas()
    assert lab.in_s3() == objects
    copied = lab.copy_study()
    assert copied.copied_files == 1
    lab.check_copied()


@pytest.mark.parametrize("path", [f"{RUN}.xpd", f"{RUN}/Scan1/{RUN}.qptiff"])
@pytest.mark.parametrize("requests", range(0, 12, 2))
def test_a_copy_that_rotted_after_the_cut_is_found_although_s3_goes_away(tmp_path, requests, path):
    lab = Lab(tmp_path)
    cut_at_the_sidecar(lab, lab.copy_study)
    flip_bit_of(lab.copy / path)
    left = [requests]

    def until(method: str, key: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise UnavailableError(f"cannot {method} {key}")

    lab.bucket.before = until
    with pytest.raises(CorruptCopyError, match=Path(path).name):
        lab.copy_and_archive()
    assert SIDECAR not in lab.on_nas()


def test_a_journal_with_a_torn_line_costs_one_file(tmp_path):
    lab = Lab(tmp_path)
    cut_at_the_sidecar(lab, lab.copy_study)
    journal = lab.copy / "_journal.jsonl.partial"
    journal.write_bytes(journal.read_bytes()[:-20])
    assert lab.copy_study().copied_files == 1
    lab.check_copied()


def test_a_file_that_changed_after_it_was_proven_is_copied_again(tmp_path):
    lab = Lab(tmp_path)
    cut_at_the_sidecar(lab, lab.copy_study)
    lab.write(f"{RUN}.xpd", b"y" * STUDY[f"{RUN}.xpd"], mtime_ns=1_800_000_000_000_000_000)
    assert lab.copy_study().copied_files == 1
    lab.check_copied()


def test_leftovers_of_a_cut_run_are_gone_afterwards(tmp_path):
    lab = Lab(tmp_path)
    (lab.copy / "deep").mkdir(parents=True)
    (lab.copy / "deep" / "old.qptiff.partial").write_bytes(b"half")
    lab.copy_study()
    assert not [path for path in lab.on_nas() if path.endswith(".partial")]


def test_a_copy_set_aside_stays_until_a_good_one_is_proven(tmp_path):
    lab = Lab(tmp_path)
    lab.copy_study()
    path = f"{RUN}.xpd"
    (lab.copy / path).rename(lab.copy / f"{path}.corrupt.partial")
    lab.source.before = lambda method, name: None

    def source_breaks(name: str, data: memoryview) -> None:
        raise PowerCutError

    lab.source.after_read = source_breaks
    with pytest.raises(PowerCutError):
        lab.copy_study()
    assert f"{path}.corrupt.partial" in lab.on_nas()
    lab.source.after_read = lambda *_: None
    lab.copy_study()
    lab.check_copied()


def test_the_digest_of_a_cut_upload_is_that_of_the_source(tmp_path: Path):
    lab = Lab(tmp_path, SHORT)
    run_cut_after(lab, 40)
    lab.copy_and_archive()
    for path in SHORT:
        whole = hashlib.sha256((lab.study / path).read_bytes()).hexdigest()
        assert f"{whole}  {path}\n" in lab.on_nas()[SIDECAR].decode()
