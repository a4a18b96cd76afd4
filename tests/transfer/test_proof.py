"""Whether what S3 says of an object proves it: never on a guess."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.transfer.proof import FileProof, composites_digest, judge_object, object_metadata
from resources.s3_objects import ObjectInfo

SHA, OTHER = "ab" * 32, "cd" * 32
SINGLE = FileProof("a", 100, 1_500_000_000_123_456_789, SHA)
MULTI = replace(SINGLE, part_size=60, composite="Q29tcG9zaXRl-2")
AS_SINGLE = ObjectInfo("k", 100, bytes.fromhex(SHA), None, {}, '"e"', None, "STANDARD")
AS_MULTI = replace(AS_SINGLE, sha256=None, composite=MULTI.composite, metadata={"sha256": SHA})


@pytest.mark.parametrize(
    ("info", "proof", "verdict"),
    [
        (AS_SINGLE, SINGLE, "proven"),
        (AS_MULTI, MULTI, "proven"),
        (AS_SINGLE, MULTI, "proven"),  # the part size was larger then
        (None, SINGLE, "missing"),
        (replace(AS_SINGLE, size=99), SINGLE, "other size"),
        (replace(AS_SINGLE, sha256=bytes.fromhex(OTHER)), SINGLE, "other checksum"),
        (replace(AS_SINGLE, sha256=None), SINGLE, "no checksum"),
        (replace(AS_SINGLE, sha256=None, metadata={"sha256": SHA}), SINGLE, "no checksum"),  # a label proves nothing
        (replace(AS_MULTI, composite="QW5kZXJz-2"), MULTI, "other checksum"),
        (replace(AS_MULTI, metadata={}), MULTI, "other checksum"),
        (replace(AS_MULTI, metadata={"sha256": OTHER}), MULTI, "other checksum"),
        (AS_MULTI, SINGLE, "composite unknown"),
    ],
)
def test_an_object_is_proven_only_by_a_checksum_s3_keeps(info, proof, verdict):
    assert judge_object(info, proof) == verdict


def test_metadata_carries_what_a_restore_and_a_later_proof_need():
    assert object_metadata(SINGLE) == {"writer": "fusion-toolkit", "mtime": "1500000000.123456789"}
    assert object_metadata(MULTI, 60) == {**object_metadata(SINGLE), "sha256": SHA, "part-size": "60"}


@given(
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.from_regex(r"[a-z]{4}-\d", fullmatch=True))
)
def test_the_digest_over_all_composites_does_not_depend_on_their_order(composites):
    backwards = dict(reversed(composites.items()))
    assert composites_digest(composites.items()) == composites_digest(backwards.items())
    if composites:
        path = next(iter(composites))
        assert composites_digest({**composites, path: "xxxx-9"}.items()) != composites_digest(composites.items())
