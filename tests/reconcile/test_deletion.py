"""Deleting a source: only what was proven, whatever happens between the last look and the last file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.manifest.extra_fields import FINGERPRINT_FIELD
from fusion_assets.reconcile.conditions import Condition, Name, Status, true
from fusion_assets.reconcile.deletion import SOURCE_PROVEN, GateError, finish_release, release_gates, release_source
from fusion_assets.reconcile.lab import TRASH
from fusion_assets.reconcile.plan import RELEASE_GATES, ObservedStudy
from fusion_assets.standard.listing import LOCK_NAME, Listing, read_listing
from resources.errors import AlreadyExistsError, ResourceError
from resources.local import LocalStorage
from resources.storage import Entry
from tests.manifest.records import record

STUDY = "20260105_WW_HCC_run1"
FILES = {"a.xpd": b"design", f"{STUDY}/Scan1/image.qptiff": b"pixels", f"{STUDY}/Scan1/.temp/raw.bin": b""}


class Watched(LocalStorage):
    """A disk on which somebody else does something at the worst moment."""

    before_removal: Callable[[], None] = staticmethod(lambda: None)
    after_rename: Callable[[], None] = staticmethod(lambda: None)

    def remove_file(self, path: str) -> None:
        self.before_removal()
        super().remove_file(path)

    def rename(self, source: str, target: str) -> None:
        super().rename(source, target)
        self.after_rename()


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    for path, data in FILES.items():
        (tmp_path / STUDY / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / STUDY / path).write_bytes(data)
    return tmp_path


@pytest.fixture
def storage(disk: Path) -> Watched:
    return Watched(disk)


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def trashed(disk: Path) -> Path:
    (found,) = (disk / TRASH).iterdir()
    return found


def test_a_released_study_is_gone_with_its_lock_and_leaves_nothing_in_the_trash(storage, disk):
    (disk / STUDY / LOCK_NAME).write_bytes(b"{}")
    released = release_source(storage, STUDY, read_listing(storage, STUDY))
    assert (released.file_count, released.total_bytes) == (3, sum(map(len, FILES.values())))
    assert [path.name for path in disk.iterdir()] == [TRASH]
    assert list((disk / TRASH).iterdir()) == []


@pytest.mark.parametrize("change", ["gained a file", "grew", "lost a file"])
def test_a_study_that_changed_after_the_gates_were_asked_is_put_back_whole(storage, disk, change):
    listing = read_listing(storage, STUDY)
    if change == "gained a file":
        (disk / STUDY / "late.bin").write_bytes(b"one more frame")
    elif change == "grew":
        (disk / STUDY / "a.xpd").write_bytes(b"design, and more of it")
    else:
        (disk / STUDY / "a.xpd").unlink()
    now = files_below(disk / STUDY)
    with pytest.raises(GateError, match="changed at the last moment"):
        release_source(storage, STUDY, listing)
    assert files_below(disk / STUDY) == now
    assert list((disk / TRASH).iterdir()) == []


def leave(kind: str, at: Path) -> str:
    """What no copy holds: a link, or what another program has not finished."""
    if kind == "link":
        (at / "link").symlink_to("/etc/hostname")
    else:
        (at / "x.partial").write_bytes(b"acquired data")
    return "link" if kind == "link" else "x.partial"


@pytest.mark.parametrize("kind", ["link", "partial"])
def test_a_link_or_an_unfinished_file_that_came_after_the_gates_were_asked_brings_the_study_back(storage, disk, kind):
    listing = read_listing(storage, STUDY)
    stray = leave(kind, disk / STUDY)
    with pytest.raises(GateError, match=f"changed at the last moment: {stray}"):
        release_source(storage, STUDY, listing)
    assert (disk / STUDY / stray).exists()
    assert list((disk / TRASH).iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "partial"])
def test_a_link_or_an_unfinished_file_in_the_trash_is_named_with_a_way_out_before_anything_is_removed(
    storage, disk, kind
):
    proven = {entry.path: entry for entry in read_listing(storage, STUDY).files}
    path = f"{TRASH}/{STUDY}@20260301T000000000000"
    storage.make_directory(TRASH)
    storage.rename(STUDY, path)
    stray = leave(kind, disk / path)
    with pytest.raises(GateError, match=f"not proven: {stray} .*move them out"):
        finish_release(storage, STUDY, path, proven)
    assert FILES.items() <= files_below(disk / path).items()
    (disk / path / stray).unlink()
    finish_release(storage, STUDY, path, proven)
    assert list((disk / TRASH).iterdir()) == []


def test_a_study_that_changed_is_not_put_back_over_a_new_one_of_its_name(storage, disk):
    listing = read_listing(storage, STUDY)
    (disk / STUDY / "late.bin").write_bytes(b"one more frame")

    def begin_anew() -> None:
        (disk / STUDY).mkdir()
        (disk / STUDY / "new.xpd").write_bytes(b"another acquisition")

    storage.after_rename = begin_anew
    with pytest.raises(AlreadyExistsError):
        release_source(storage, STUDY, listing)
    assert files_below(disk / STUDY) == {"new.xpd": b"another acquisition"}
    assert files_below(trashed(disk)) == {**FILES, "late.bin": b"one more frame"}


@pytest.mark.parametrize("late", ["late.bin", f"{STUDY}/Scan1/.temp/raw.bin"], ids=["a new file", "one written again"])
def test_a_file_that_appears_while_its_study_is_deleted_is_kept_and_stops_the_next_run_too(storage, disk, late):
    listing = read_listing(storage, STUDY)

    def write() -> None:
        storage.before_removal = lambda: None
        (trashed(disk) / late).write_bytes(b"written a moment ago")

    storage.before_removal = write
    with pytest.raises(ResourceError):
        release_source(storage, STUDY, listing)
    assert files_below(trashed(disk))[late] == b"written a moment ago"

    proven = {entry.path: entry for entry in listing.files}
    path = trashed(disk).relative_to(disk).as_posix()
    with pytest.raises(GateError, match=f"not proven: {late}"):
        finish_release(storage, STUDY, path, proven)
    assert files_below(trashed(disk))[late] == b"written a moment ago"


def test_a_release_that_was_killed_goes_on_with_what_is_left(storage, disk):
    proven = {entry.path: entry for entry in read_listing(storage, STUDY).files}
    path = f"{TRASH}/{STUDY}@20260301T000000000000"
    storage.make_directory(TRASH)
    storage.rename(STUDY, path)
    (disk / path / "a.xpd").unlink()
    released = finish_release(storage, STUDY, path, proven)
    assert released.file_count == 2
    assert list((disk / TRASH).iterdir()) == []


@pytest.mark.parametrize("unlike", ["missing", "size", "time"])
def test_nothing_is_removed_from_the_trash_while_one_file_of_it_is_not_in_the_proven_copy(storage, disk, unlike):
    proven = {entry.path: entry for entry in read_listing(storage, STUDY).files}
    if unlike == "missing":
        del proven["a.xpd"]
    elif unlike == "size":
        proven["a.xpd"] = proven["a.xpd"]._replace(size=99)
    else:
        proven["a.xpd"] = proven["a.xpd"]._replace(mtime_ns=0)
    path = f"{TRASH}/{STUDY}@20260301T000000000000"
    storage.make_directory(TRASH)
    storage.rename(STUDY, path)
    with pytest.raises(GateError, match=r"a\.xpd"):
        finish_release(storage, STUDY, path, proven)
    assert files_below(disk / path) == FILES


LISTING = Listing(STUDY, (Entry("a.xpd", "file", 6, 10**18),))
RECORD = record(extra={FINGERPRINT_FIELD: LISTING.fingerprint()})
OBSERVED = ObservedStudy(
    STUDY,
    STUDY,
    at_source=True,
    conditions={name: true("Fine") for name in Name},
    fingerprint=LISTING.fingerprint(),
)
conditions = st.fixed_dictionaries(
    {name: st.builds(Condition, st.sampled_from(Status), st.just("Reason"), st.text(max_size=5)) for name in Name}
)


def test_every_gate_open_is_the_only_way_to_a_deletion() -> None:
    assert release_gates(OBSERVED, RECORD, LISTING, ()) == {}


@given(conditions)
def test_a_condition_that_is_false_or_unknown_closes_its_gate(found) -> None:
    closed = release_gates(replace(OBSERVED, conditions=found), RECORD, LISTING, ())
    assert set(closed) == {gate.value for gate in RELEASE_GATES if not found[gate].is_true}


def test_a_source_that_nobody_hashed_like_this_is_kept_even_if_it_was_observed_so_a_moment_ago() -> None:
    other = Listing(STUDY, (*LISTING.files, Entry("late.bin", "file", 1, 10**18)))
    observed = replace(OBSERVED, fingerprint=other.fingerprint())
    assert set(release_gates(observed, RECORD, other, ())) == {SOURCE_PROVEN}
    assert set(release_gates(OBSERVED, None, LISTING, ())) == {SOURCE_PROVEN}
    assert set(release_gates(OBSERVED, None, LISTING, (), ())) == {SOURCE_PROVEN}


def test_a_source_that_lost_a_file_may_go_only_when_what_is_left_of_it_was_read_again() -> None:
    more = Listing(STUDY, (*LISTING.files, Entry("lost.bin", "file", 1, 10**18)))
    recorded = record(extra={FINGERPRINT_FIELD: more.fingerprint()})
    assert set(release_gates(OBSERVED, recorded, LISTING, ())) == {SOURCE_PROVEN}
    assert release_gates(OBSERVED, recorded, LISTING, (), ()) == {}
    closed = release_gates(OBSERVED, recorded, LISTING, (), ("a.xpd: other bytes",))
    assert "a.xpd: other bytes" in closed[SOURCE_PROVEN]


def test_what_was_left_out_of_the_archive_and_what_s3_does_not_prove_keep_the_source() -> None:
    linked = Listing(STUDY, (*LISTING.files, Entry("link", "symlink", 0, 0)))
    assert set(release_gates(OBSERVED, RECORD, linked, ("a.xpd: missing",))) == {"NothingUnarchived", "EveryObject"}


def test_a_kept_source_says_every_reason() -> None:
    error = GateError(STUDY, {"Idle": "HeldOpen", "OnS3": "S3Unseen"})
    assert str(error) == f"{STUDY} is kept at the source: Idle: HeldOpen; OnS3: S3Unseen"
