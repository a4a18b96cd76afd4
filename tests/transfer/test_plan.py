"""What a copy has to do, decided from listings and records alone."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fusion_assets.transfer.errors import CorruptCopyError
from fusion_assets.transfer.options import TransferOptions
from fusion_assets.transfer.plan import (
    LargeBatch,
    Records,
    SmallBatch,
    known_proofs,
    plan_batches,
    plan_copy,
    plan_kept,
    same_file,
)
from fusion_assets.transfer.proof import FileProof
from resources.storage import Entry

NAMES = st.sampled_from(["a.xpd", "b.tif", "Scan1/a.qptiff", "Scan1/.temp/x", "Scan2/y", "deep/er/z"])
OWN = st.sampled_from(["_checksums.sha256", ".fusion-toolkit.lock", "a.xpd.partial", "Scan1/a.qptiff.corrupt.partial"])
SHA = "0" * 64


def entries_of(names):
    entry = st.builds(Entry, names, st.just("file"), st.integers(0, 3), st.integers(0, 3).map(lambda n: n * 1000))
    return st.lists(entry, unique_by=lambda found: found.path)


ENTRIES = entries_of(NAMES | OWN)
HELD = entries_of(NAMES | OWN | st.just("_journal.jsonl.partial")).map(lambda found: {e.path: e for e in found})
JOURNAL = entries_of(NAMES).map(lambda found: {e.path: FileProof(e.path, e.size, e.mtime_ns, "1" * 64) for e in found})
RECORDS = st.builds(Records, st.dictionaries(NAMES, st.just(SHA)), JOURNAL)


def plan_or_skip(entries, held, records, distrusted=()):
    try:
        return plan_copy(entries, held, records, distrusted=distrusted)
    except CorruptCopyError:
        assume(False)


def is_ours(path: str) -> bool:
    return path in ("_checksums.sha256", ".fusion-toolkit.lock") or path.endswith(".partial")


@given(ENTRIES, HELD, RECORDS)
def test_every_file_of_the_source_is_either_copied_or_kept(entries, held, records):
    plan = plan_or_skip(entries, held, records)
    copied, kept = {entry.path for entry in plan.copy}, {proof.path for proof in plan.keep}
    assert not copied & kept
    assert {entry.path for entry in entries if not is_ours(entry.path)} <= copied | kept


@given(ENTRIES, HELD, RECORDS)
def test_nothing_is_kept_that_no_record_vouches_for_or_that_differs_from_the_source(entries, held, records):
    plan = plan_or_skip(entries, held, records)
    source = {entry.path: entry for entry in entries}
    for proof in plan.keep:
        assert proof.path in records.sidecar or proof.path in records.journal
        assert same_file(proof, held[proof.path])
        assert proof.path not in source or same_file(proof, source[proof.path])


@given(ENTRIES, HELD, RECORDS, st.sets(NAMES))
def test_a_copy_that_was_found_bad_is_not_kept_on_the_word_of_any_record(entries, held, records, distrusted):
    plan = plan_or_skip(entries, held, records, distrusted)
    kept = {proof.path for proof in plan.keep}
    assert not kept & distrusted
    at_source = {entry.path for entry in entries if not is_ours(entry.path)}
    assert at_source <= kept | {entry.path for entry in plan.copy}


@given(ENTRIES, HELD, RECORDS, st.sets(NAMES))
def test_a_file_that_may_have_other_bytes_is_kept_only_on_the_word_of_the_journal(entries, held, records, accepted):
    try:
        plan = plan_copy(entries, held, records, accepted=accepted)
    except CorruptCopyError:
        assume(False)
    assert {proof.path for proof in plan.keep} & accepted <= records.journal.keys()


@given(ENTRIES, HELD, RECORDS)
def test_what_only_the_journal_of_a_broken_off_run_vouches_for_is_read_again(entries, held, records):
    plan = plan_or_skip(entries, held, records)
    assert plan.unread == {p.path for p in plan.keep if records.sidecar.get(p.path) != p.sha256}


@given(ENTRIES, HELD, RECORDS)
def test_only_our_own_unfinished_files_are_ever_removed(entries, held, records):
    plan = plan_or_skip(entries, held, records)
    for path in plan.leftovers:
        assert path.endswith(".partial")
        assert path in held
        assert path != "_journal.jsonl.partial"
        assert not path.endswith(".corrupt.partial")
    assert set(plan.set_aside) == {path for path in held if path.endswith(".corrupt.partial")}


@given(ENTRIES, HELD, RECORDS)
def test_everything_on_the_nas_is_accounted_for(entries, held, records):
    plan = plan_or_skip(entries, held, records)
    accounted = {entry.path for entry in plan.copy} | {proof.path for proof in plan.keep}
    assert set(plan.extra) == {path for path in held if not is_ours(path) and path not in accounted}


@given(ENTRIES, HELD, RECORDS)
def test_after_the_copy_there_is_nothing_left_to_do(entries, held, records):
    plan = plan_or_skip(entries, held, records)
    proofs = {entry.path: FileProof(entry.path, entry.size, entry.mtime_ns, SHA) for entry in plan.copy}
    proofs |= {proof.path: proof for proof in plan.keep}
    after = {path: entry for path, entry in held.items() if path not in plan.leftovers + plan.set_aside}
    after |= {entry.path: entry for entry in plan.copy}
    after.pop("_journal.jsonl.partial", None)
    sidecar = {path: proof.sha256 for path, proof in proofs.items()}
    again = plan_copy(entries, after, Records(sidecar, {}))
    assert again.copy == again.leftovers == again.set_aside == ()
    assert {proof.path: proof.sha256 for proof in again.keep} == sidecar
    assert again.extra == plan.extra


@given(ENTRIES, HELD, RECORDS)
def test_what_the_sidecar_lists_is_never_forgotten(entries, held, records):
    plan = plan_or_skip(entries, held, records)
    assert set(records.sidecar) <= {entry.path for entry in plan.copy} | {proof.path for proof in plan.keep}


@given(ENTRIES, HELD, RECORDS)
def test_every_directory_is_created_after_its_parent(entries, held, records):
    directories = plan_or_skip(entries, held, records).directories
    for n, directory in enumerate(directories):
        assert directory == "" or directory.rpartition("/")[0] in directories[:n]
    for entry in entries:
        if not is_ours(entry.path):
            assert entry.path.rpartition("/")[0] in directories


def test_a_lost_file_is_an_error_and_not_a_shorter_archive():
    with pytest.raises(CorruptCopyError, match="gone"):
        plan_copy([], {}, Records({"a": SHA}, {}))


def test_a_newer_record_of_the_journal_wins_over_the_sidecar():
    entry = Entry("a", "file", 5, 1000)
    journal = {"a": FileProof("a", 5, 1000, "1" * 64)}
    assert known_proofs({"a": entry}, Records({"a": SHA}, journal))["a"].sha256 == "1" * 64
    before = entry._replace(mtime_ns=7000)
    assert known_proofs({"a": before}, Records({"a": SHA}, journal))["a"].sha256 == SHA


@pytest.mark.parametrize(("difference", "same"), [(0, True), (99, True), (101, False), (-101, False)])
def test_times_are_compared_as_exactly_as_smb_keeps_them(difference, same):
    assert same_file(Entry("a", "file", 5, 1000), Entry("a", "file", 5, 1000 + difference)) == same


OPTIONS = TransferOptions(buffer_size=100, batch_files=3, batch_bytes=500, part_size=300)


@given(st.lists(st.integers(0, 900)))
def test_every_file_is_in_one_batch_and_no_batch_is_too_large(sizes):
    files = [Entry(str(n), "file", size, 0) for n, size in enumerate(sizes)]
    batches = plan_batches(files, OPTIONS)
    assert sorted(entry.path for batch in batches for entry in batch.files) == sorted(entry.path for entry in files)
    for batch in batches:
        assert isinstance(batch, SmallBatch) == all(entry.size < 100 for entry in batch.files)
        assert isinstance(batch, LargeBatch) == all(entry.size >= 100 for entry in batch.files)
        assert 1 <= len(batch.files) <= 3
        assert len(batch.files) == 1 or sum(entry.size for entry in batch.files) <= 500


def test_large_and_small_batches_alternate():
    files = [Entry(f"l{n}", "file", 600, 0) for n in range(3)] + [Entry(f"s{n}", "file", 9, 0) for n in range(9)]
    kinds = [type(batch) for batch in plan_batches(files, OPTIONS)]
    assert kinds == [LargeBatch, SmallBatch] * 3


@given(st.lists(st.integers(0, 900)))
def test_every_kept_file_is_archived_in_one_batch(sizes):
    proofs = [FileProof(str(n), size, 0, SHA) for n, size in enumerate(sizes)]
    batches = plan_kept(proofs, OPTIONS)
    assert sorted(proof.path for batch in batches for proof in batch.files) == sorted(proof.path for proof in proofs)
    assert all(len(batch.files) == 1 or all(proof.size < 100 for proof in batch.files) for batch in batches)
