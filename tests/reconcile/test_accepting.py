"""What a person accepts: files that differ to the eye from what was proven, in the state that the person saw."""

from __future__ import annotations

import os

import pytest

from fusion_assets.reconcile.accepting import accept_changes
from fusion_assets.reconcile.errors import LedgerError
from fusion_assets.reconcile.lab import Lab, create_ledger
from fusion_assets.reconcile.steps import record_entry
from fusion_assets.standard.listing import read_listing
from tests.damage import flip_bit
from tests.real.small_lab import STUDY, SmallLab
from tests.reconcile.test_steps import transfer

pytestmark = pytest.mark.real


@pytest.fixture
def complete(opened: Lab) -> Lab:
    transfer(opened)
    record_entry(opened, STUDY)
    return opened


def fingerprint(lab: Lab) -> str:
    return read_listing(lab.source, STUDY).fingerprint()


def test_changes_of_a_study_that_was_never_proven_cannot_be_accepted(opened):
    create_ledger(opened)
    with pytest.raises(LedgerError, match="was ever proven"):
        accept_changes(opened, STUDY, fingerprint(opened))


def test_changes_that_came_after_the_person_looked_are_not_accepted(complete, lab):
    seen = fingerprint(complete)
    lab.write(lab.path_of("focus003.bin"), b"changed after that")
    with pytest.raises(LedgerError, match="changed again"):
        accept_changes(complete, STUDY, seen)


def test_accepting_changes_leaves_the_record_of_what_is_proven_as_it_was(complete, lab):
    lab.write(lab.path_of("focus003.bin"), b"right new bytes")
    accept_changes(complete, STUDY, fingerprint(complete))
    before, after = lab.ledger()[-2:]
    assert after.pop("accepted_fingerprint") == fingerprint(complete)
    assert after.pop("accepted_at")
    assert after.pop("accepted_paths") == [lab.path_of("focus003.bin")]
    assert after.pop("accepted_over") == before["sidecar_sha256"]
    assert after == before


@pytest.mark.parametrize("copy", ["good", "gone", "of other lengths"])
def test_only_what_differs_to_the_eye_is_accepted_whatever_became_of_the_copy(
    complete: Lab, lab: SmallLab, copy: str
) -> None:
    changed, touched, rotten = (lab.path_of(f"focus00{n}.bin") for n in (1, 2, 3))
    lab.write(changed, b"right new bytes")
    os.utime(lab.study / touched, (10**9, 10**9))
    flip_bit(lab.study / rotten)
    for path in (changed, touched, rotten):
        if copy == "gone":
            (lab.copy / path).unlink()
        elif copy == "of other lengths":
            os.truncate(lab.copy / path, 10)
    accept_changes(complete, STUDY, fingerprint(complete))
    assert lab.ledger()[-1]["accepted_paths"] == [changed, touched]


def test_what_was_accepted_is_over_when_it_is_proven(complete: Lab, lab: SmallLab) -> None:
    lab.write(lab.path_of("focus003.bin"), b"right new bytes")
    accept_changes(complete, STUDY, fingerprint(complete))
    transfer(complete, archiving=False)
    assert "accepted_fingerprint" in lab.ledger()[-1], "the object in S3 is still to be replaced"
    transfer(complete)
    assert not [name for name in lab.ledger()[-1] if name.startswith("accepted")]
