"""What the files of a study must be when the ledger, the NAS and S3 say different things: pure, so for any of them."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.manifest.extra_fields import (
    ACCEPTED_PATHS_FIELD,
    ADOPTED_ARCHIVE_FIELD,
    ANNOUNCED_FIELD,
    ARCHIVE_BEGUN_FIELD,
    SIDECAR_FIELD,
)
from fusion_assets.manifest.record import Record
from fusion_assets.reconcile.proven import accepted_since, agreed, archive_was_begun, is_named
from tests.manifest.records import record

PATHS = st.sampled_from(["a", "b", "c", "d"])
CHECKSUMS = st.dictionaries(PATHS, st.sampled_from(["1" * 64, "2" * 64]))
SHA256 = st.sampled_from(["v1", "v2", "v3"])
RECORD = st.fixed_dictionaries(
    {},
    optional={
        SIDECAR_FIELD: SHA256,
        ANNOUNCED_FIELD: SHA256,
        ADOPTED_ARCHIVE_FIELD: st.sampled_from(["v1", "v2", "v3", ""]),
        ACCEPTED_PATHS_FIELD: st.lists(PATHS),
    },
)
HISTORY = st.lists(RECORD, max_size=6).map(lambda extras: [says(extra) for extra in extras])


def says(extra: Mapping[str, object], **fields: object) -> Record:
    return record(extra=dict(extra), s3_verified_at=None, **fields)


@given(CHECKSUMS, CHECKSUMS, st.frozensets(PATHS))
def test_no_file_is_forgotten_and_none_in_s3_is_replaced_unless_a_person_said_so(held, archived, accepted) -> None:
    both = agreed(held, archived, accepted)
    assert both.keys() == held.keys() | archived.keys()
    for path, sha256 in both.items():
        if path in archived and path not in accepted:
            assert sha256 == archived[path]
        else:
            assert sha256 == held.get(path, archived.get(path))


@given(CHECKSUMS, st.frozensets(PATHS))
def test_an_archive_that_only_lacks_files_changes_nothing_of_what_is_held(held, lacking) -> None:
    archived = {path: sha256 for path, sha256 in held.items() if path not in lacking}
    assert agreed(held, archived, ()) == held


@given(HISTORY, SHA256)
def test_nobody_accepted_anything_over_an_archive_that_the_ledger_never_named(history, sha256) -> None:
    if not is_named(history, sha256):
        assert accepted_since(history, sha256) == frozenset()


@given(HISTORY, HISTORY, SHA256)
def test_what_was_accepted_before_an_archive_was_made_explains_no_difference_from_it(before, after, sha256) -> None:
    made = says({SIDECAR_FIELD: sha256})
    assert accepted_since([*before, made, *after], sha256) == accepted_since([made, *after], sha256)


def test_an_archive_in_another_bucket_is_not_one_that_was_begun_here() -> None:
    elsewhere = says({ARCHIVE_BEGUN_FIELD: {"s3://old/run1 at AWS": "2026-11-01T00:00:00+00:00"}})
    assert archive_was_begun([elsewhere], "s3://old/run1 at AWS")
    assert not archive_was_begun([elsewhere], "s3://old/run1 at http://minio:9000")
    assert not archive_was_begun([says({ARCHIVE_BEGUN_FIELD: "s3://old/run1 at AWS"})], "s3://old/run1 at AWS")
