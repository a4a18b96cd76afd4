"""What follows from one listing: the data files, their sum, and the fingerprint that says "unchanged"."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.standard.listing import Listing, is_own_file, read_listing
from resources.errors import NotFoundError
from resources.local import LocalStorage
from resources.storage import Entry
from tests.standard.trees import MemoryStorage, odd_listings

STUDY = "20260105_WW_HCC_run1"
OWN = (".fusion-toolkit.lock", "_checksums.sha256", f"{STUDY}/Scan1/x.qptiff.partial")


def write(root, paths):
    for path in paths:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.encode())
        os.utime(target, ns=(10**18, 10**18))


def test_paths_are_relative_to_the_study_and_sizes_and_times_are_the_disks(tmp_path):
    write(tmp_path / "deep" / STUDY, ["a.xpd", "A/Scan1/x.qptiff"])
    listing = read_listing(LocalStorage(tmp_path), f"deep/{STUDY}")
    assert listing.name == STUDY
    assert [(entry.path, entry.kind) for entry in listing.entries] == [
        ("A", "directory"),
        ("A/Scan1", "directory"),
        ("A/Scan1/x.qptiff", "file"),
        ("a.xpd", "file"),
    ]
    assert listing.file_count == 2
    assert listing.total_bytes == len("a.xpd") + len("A/Scan1/x.qptiff")
    assert listing.newest_mtime_ns == 10**18


def test_our_own_files_are_not_data(tmp_path):
    write(tmp_path / STUDY, ["a.xpd", *OWN])
    listing = read_listing(LocalStorage(tmp_path), STUDY)
    assert [entry.path for entry in listing.files] == ["a.xpd"]
    assert len([entry for entry in listing.entries if entry.kind == "file"]) == 4


def test_somebodys_own_checksum_file_in_an_experiment_is_data_and_must_not_be_lost():
    assert not is_own_file(f"{STUDY}/_checksums.sha256")
    assert not is_own_file(f"{STUDY}/.fusion-toolkit.lock")
    assert all(map(is_own_file, OWN))


def test_taking_the_lock_does_not_make_an_idle_study_look_changed(tmp_path):
    write(tmp_path / STUDY, ["a.xpd", f"{STUDY}/Scan1/x.qptiff"])
    storage = LocalStorage(tmp_path)
    before = read_listing(storage, STUDY)
    storage.create_exclusive(f"{STUDY}/.fusion-toolkit.lock", b"{}")
    after = read_listing(storage, STUDY)
    assert after.fingerprint() == before.fingerprint()
    assert after.newest_mtime_ns == before.newest_mtime_ns


@given(odd_listings, st.randoms(use_true_random=False))
def test_a_fingerprint_does_not_depend_on_the_order_of_the_listing(listing, rng: random.Random):
    shuffled = list(listing.entries)
    rng.shuffle(shuffled)
    assert Listing(listing.name, tuple(shuffled)).fingerprint() == listing.fingerprint()


@given(odd_listings, st.data())
def test_a_fingerprint_changes_with_every_name_size_and_time_of_a_data_file(listing, data):
    if not listing.files:
        return
    entry = data.draw(st.sampled_from(listing.files))
    changed = data.draw(
        st.sampled_from(
            [
                entry._replace(size=entry.size + 1),
                entry._replace(mtime_ns=entry.mtime_ns + 1),
                entry._replace(path=f"{entry.path}x"),
            ]
        )
    )
    others = [other for other in listing.entries if other is not entry]
    assert Listing(listing.name, (*others, changed)).fingerprint() != listing.fingerprint()
    assert Listing(listing.name, tuple(others)).fingerprint() != listing.fingerprint()


def test_a_fingerprint_is_the_same_in_every_run_and_version():
    listing = Listing(STUDY, (Entry("a.xpd", "file", 3, 10**18), Entry("é\udcff", "file", 0, 1)))
    assert listing.fingerprint() == "9e3bf0e7eeee6ef4377ded1c40dccf694ec0233c4c07695b1be8705e068fa42d"


def test_a_failed_listing_is_an_error_not_an_empty_study():
    with pytest.raises(NotFoundError):
        read_listing(MemoryStorage({}), STUDY)


def test_a_study_is_listed_by_one_walk_and_nothing_else():
    storage = MemoryStorage({STUDY: Listing(STUDY, ())})
    assert read_listing(storage, STUDY).entries == ()
    assert storage.calls == {"walk": 1}
