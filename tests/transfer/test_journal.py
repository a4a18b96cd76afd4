"""The journal of an unfinished copy: what can be read is used, what cannot is done again."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.transfer.journal import Journal, format_records, parse_journal
from fusion_assets.transfer.proof import FileProof
from resources.local import LocalStorage

PROOFS = st.builds(
    FileProof,
    path=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    size=st.integers(0, 1 << 50),
    mtime_ns=st.integers(-(1 << 60), 1 << 62),
    sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
    part_size=st.none() | st.integers(1, 1 << 40),
    composite=st.none() | st.just("c29tZQ==-3"),
)


@given(st.lists(PROOFS, unique_by=lambda proof: proof.path))
def test_what_was_recorded_is_known_again(proofs):
    assert parse_journal(format_records(proofs)) == {proof.path: proof for proof in proofs}


@given(st.lists(PROOFS, min_size=1, unique_by=lambda proof: proof.path), st.data())
def test_a_journal_cut_anywhere_keeps_every_whole_record(proofs, data):
    text = format_records(proofs)
    cut = data.draw(st.integers(0, len(text)))
    found = parse_journal(text[:cut])
    assert list(found.values()) == proofs[: len(found)]
    assert len(found) >= text[:cut].count(b"\n")


@given(st.binary())
def test_rubbish_is_no_record_and_no_error(data):
    parse_journal(data)


def test_lines_of_another_shape_are_no_records():
    good = json.loads(format_records([FileProof("a", 1, 2, "00")]))
    bad = [[], 1, None, {}, {**good, "more": 1}, {**good, "size": "1"}, {**good, "path": 3}]
    assert parse_journal("\n".join(json.dumps(line) for line in bad).encode()) == {}


def test_a_record_after_a_torn_one_is_not_lost(tmp_path):
    (tmp_path / "study").mkdir()
    journal = Journal(LocalStorage(tmp_path), "study")
    one, two = FileProof("one", 1, 2, "00"), FileProof("two", 1, 2, "00")
    journal.append([one])
    file = tmp_path / "study" / "_journal.jsonl.partial"
    file.write_bytes(file.read_bytes() + format_records([two])[:30])
    journal.append([two])
    assert journal.read() == {"one": one, "two": two}
    journal.remove()
    journal.remove()
    assert journal.read() == {}


def test_the_last_record_of_a_file_counts():
    old, new = FileProof("a", 1, 2, "00"), FileProof("a", 3, 4, "11")
    assert parse_journal(format_records([old, new])) == {"a": new}
