"""A study that was complete once: what may be copied over what was proven, and what only a person may decide."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.config import BackupSection
from fusion_assets.manifest.extra_fields import (
    ACCEPTED_FIELD,
    FINGERPRINT_FIELD,
    RELEASE_BEGUN_FIELD,
    RELEASED_FIELD,
    SIDECAR_FIELD,
)
from fusion_assets.manifest.record import Record
from fusion_assets.manifest.record import Status as LedgerStatus
from fusion_assets.reconcile.conditions import Name, Status, Unseen
from fusion_assets.reconcile.facts import ArchiveFacts, CopyFacts, SourceFacts, StudyFacts
from fusion_assets.reconcile.idle import Observation
from fusion_assets.reconcile.judge import judge_study
from fusion_assets.reconcile.overwrite import last_proven, name_taken, release_broke_off
from fusion_assets.reconcile.plan import SOURCE_CHANGED, Desired, ObservedStudy, Verdict, plan_study
from fusion_assets.standard.listing import Listing
from fusion_assets.standard.report import StudyReport
from resources.storage import Entry
from tests.manifest.records import NAME, record

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
OLD = int((NOW - timedelta(days=90)).timestamp()) * 10**9
SIDECAR = b"sidecar"
Files = Mapping[str, Entry]


def entry(path: str, size: int = 10, mtime_ns: int = OLD) -> Entry:
    return Entry(path, "file", size, mtime_ns)


paths = st.sampled_from([f"a/{name}.bin" for name in "abcdefgh"])
proven_files = st.dictionaries(paths, st.integers(0, 1000), min_size=1).map(
    lambda sizes: {path: entry(path, size) for path, size in sizes.items()}
)
gains = st.dictionaries(paths.map(lambda path: f"new/{path}"), st.integers(0, 9), max_size=3).map(
    lambda sizes: {path: entry(path, size) for path, size in sizes.items()}
)


def resized(one: Entry) -> Entry:
    return one._replace(size=one.size + 1)


def touched(one: Entry) -> Entry:
    return one._replace(mtime_ns=one.mtime_ns + 10**9)


def complete(proven: Files, **changes: object) -> Record:
    fingerprint = Listing(NAME, tuple(proven.values())).fingerprint()
    extra = {FINGERPRINT_FIELD: fingerprint, SIDECAR_FIELD: hashlib.sha256(SIDECAR).hexdigest()}
    return replace(record(extra=extra), **changes)


def facts(proven: Files, source: Files, copy: Files | None = None, **changes: object) -> StudyFacts:
    """A study that was complete once, with the files it has now at the source and on the NAS."""
    listing = Listing(NAME, tuple(source.values()))
    checksums = {path: hashlib.sha256(path.encode()).hexdigest() for path in proven}
    seen = SourceFacts(
        listing, StudyReport(NAME, f"/instrument/{NAME}"), Observation(listing.fingerprint(), NOW - timedelta(days=1))
    )
    study = StudyFacts(
        NAME,
        NAME,
        source=seen,
        lock=None,
        copy=CopyFacts(proven if copy is None else copy, checksums, SIDECAR),
        archive=ArchiveFacts({p: e.size for p, e in proven.items()}, hashlib.sha256(SIDECAR).hexdigest()),
        record=complete(proven),
        last_proven=complete(proven),
    )
    return replace(study, **changes)


def judged(study: StudyFacts) -> ObservedStudy:
    return judge_study(study, BackupSection(idle_days=30, settle_minutes=30), NOW)


def refused(study: StudyFacts) -> bool:
    observed = judged(study)
    plan = plan_study(Desired(delete_source=True), observed)
    changed = observed.conditions[Name.VALIDATED].reason == SOURCE_CHANGED
    assert (plan.verdict is Verdict.FAILED and plan.actions == ()) or not changed
    return changed


def pick(data: st.DataObject, files: Files) -> set[str]:
    return set(data.draw(st.sets(st.sampled_from(sorted(files)), min_size=1)))


@given(proven_files, gains, st.sampled_from([resized, touched]), st.data())
def test_a_proven_file_that_changed_is_never_copied_over_what_was_proven_whatever_else_happened(
    proven, new, change, data
) -> None:
    changed = pick(data, proven)
    gone = set(data.draw(st.sets(st.sampled_from(sorted(proven))))) - changed
    source = {path: change(one) if path in changed else one for path, one in proven.items() if path not in gone}
    lost = set(data.draw(st.sets(st.sampled_from(sorted(proven)))))
    study = facts(proven, {**source, **new}, {path: one for path, one in proven.items() if path not in lost})
    assert refused(study)
    message = judged(study).conditions[Name.VALIDATED].message
    assert not changed - lost or min(changed - lost) in message
    assert f'fusion apply --accept-changes "{NAME}"' in message


@given(proven_files, gains, st.data())
def test_a_study_that_only_gained_or_lost_files_needs_no_person(proven, new, data) -> None:
    gone = set(data.draw(st.sets(st.sampled_from(sorted(proven)))))
    source = {path: one for path, one in proven.items() if path not in gone}
    assert not refused(facts(proven, {**source, **new}))


@given(proven_files, gains, st.data())
def test_damage_on_the_nas_is_not_taken_for_a_change_at_the_source(proven, new, data) -> None:
    damaged = pick(data, proven)
    gone = set(data.draw(st.sets(st.sampled_from(sorted(damaged)))))
    copy = {path: resized(one) if path in damaged else one for path, one in proven.items() if path not in gone}
    observed = judged(facts(proven, {**proven, **new}, copy))
    assert observed.conditions[Name.VALIDATED].is_true
    assert not observed.conditions[Name.ON_TRUENAS].is_true


@given(
    proven=proven_files, source=proven_files, left=st.sets(paths), sidecar=st.sampled_from([SIDECAR, b"unknown", b""])
)
def test_a_study_is_judged_whatever_its_copy_lacks_of_what_its_sidecar_lists(proven, source, left, sidecar) -> None:
    """Somebody made the sidecar anew, or it is newer than the ledger, and files of the copy are lost."""
    study = facts(proven, source, {path: touched(each) for path, each in proven.items() if path in left})
    assert isinstance(study.copy, CopyFacts)
    copy = replace(study.copy, sidecar=sidecar, checksums=study.copy.checksums if sidecar else None)
    for last in (study.last_proven, None):
        judged(replace(study, copy=copy, last_proven=last))


@given(proven_files, st.data())
def test_a_person_accepts_one_state_of_the_source_and_no_later_one(proven, data) -> None:
    changed = pick(data, proven)
    source = {path: resized(one) if path in changed else one for path, one in proven.items()}
    seen = Listing(NAME, tuple(source.values())).fingerprint()
    accepted = complete(proven, extra={**complete(proven).extra, ACCEPTED_FIELD: seen})
    study = facts(proven, source, record=accepted, last_proven=accepted)
    assert not refused(study)
    assert plan_study(Desired(delete_source=True), judged(study)).actions
    later = {path: touched(one) for path, one in source.items()}
    assert refused(facts(proven, later, record=accepted, last_proven=accepted))


@pytest.mark.parametrize("status", [s for s in LedgerStatus if s is not LedgerStatus.COMPLETE])
def test_a_later_run_that_failed_does_not_make_proven_files_fair_game(status: LedgerStatus) -> None:
    proven = {"a.bin": entry("a.bin")}
    failed = complete(proven, status=status, completed_at=None, s3_verified_at=None)
    source = {"a.bin": resized(proven["a.bin"])}
    assert refused(facts(proven, source, record=failed))
    assert last_proven([complete(proven), failed]) == complete(proven)


def test_a_study_that_was_never_complete_is_still_being_written() -> None:
    proven = {"a.bin": entry("a.bin"), "b.bin": entry("b.bin")}
    unfinished = complete(proven, status=LedgerStatus.IN_PROGRESS, completed_at=None, s3_verified_at=None)
    for changed, is_refused in (
        (touched(resized(proven["a.bin"])), False),
        (touched(proven["a.bin"]), False),
        (resized(proven["a.bin"]), True),  # it grew, and its time did not
        (touched(proven["a.bin"])._replace(size=9), True),
    ):
        study = facts(proven, {**proven, "a.bin": changed}, record=unfinished, last_proven=last_proven([unfinished]))
        assert refused(study) is is_refused


def test_a_name_that_was_used_again_before_the_first_study_was_archived_is_not_copied_over_it() -> None:
    proven = {"a.bin": entry("a.bin")}
    unfinished = complete(proven, status=LedgerStatus.IN_PROGRESS, completed_at=None, s3_verified_at=None)
    source = {"a.bin": resized(proven["a.bin"]), "new.bin": entry("new.bin")}
    assert refused(facts(proven, source, record=unfinished, last_proven=last_proven([unfinished])))


def test_what_was_proven_counts_even_if_the_run_was_killed_before_it_said_complete() -> None:
    proven = {"a.bin": entry("a.bin")}
    killed = complete(proven, status=LedgerStatus.IN_PROGRESS, completed_at=None)
    begun = replace(killed, truenas_verified_at=None, s3_verified_at=None)
    source = {"a.bin": resized(proven["a.bin"])}
    assert refused(facts(proven, source, record=begun, last_proven=last_proven([killed, begun])))


@pytest.mark.parametrize("trace", [RELEASED_FIELD, RELEASE_BEGUN_FIELD])
def test_the_name_of_a_study_stays_taken_while_its_backup_is_repaired_or_its_release_was_not_recorded(
    trace: str,
) -> None:
    record = complete({"a.bin": entry("a.bin")}, status=LedgerStatus.FAILED_TRUENAS, completed_at=None)
    gone = replace(record, extra={**record.extra, trace: "2026-05-01T00:00:00+00:00"})
    assert name_taken(record, NAME, "another", in_trash=False) is None
    assert "is another" in (name_taken(gone, NAME, "another", in_trash=False) or "")
    assert name_taken(gone, NAME, str(record.extra[FINGERPRINT_FIELD]), in_trash=False) is None


def test_damage_is_told_at_once_and_not_when_the_study_is_idle_again() -> None:
    proven = {"a.bin": entry("a.bin")}
    source = {"a.bin": proven["a.bin"]._replace(mtime_ns=int(NOW.timestamp()) * 10**9)}
    study = judged(facts(proven, source))
    assert not study.conditions[Name.IDLE].is_true
    assert plan_study(Desired(delete_source=True), study).verdict is Verdict.FAILED


def test_a_changed_source_whose_copy_cannot_be_seen_is_unknown() -> None:
    proven = {"a.bin": entry("a.bin")}
    study = facts(proven, {"a.bin": resized(proven["a.bin"])})
    away = judged(replace(study, copy=Unseen("the NAS does not answer")))
    assert away.conditions[Name.VALIDATED].status is Status.UNKNOWN


def test_a_changed_source_without_a_copy_is_not_copied_anew_as_if_the_copy_had_only_been_lost() -> None:
    proven = {"a.bin": entry("a.bin")}
    assert not refused(replace(facts(proven, proven), copy=None))
    changed = replace(facts(proven, {"a.bin": resized(proven["a.bin"])}), copy=None)
    assert refused(changed)
    assert "nobody can say which" in judged(changed).conditions[Name.VALIDATED].message


def test_changes_accepted_after_the_copy_was_evicted_bring_a_copy_back() -> None:
    proven = {"a.bin": entry("a.bin")}
    source = {"a.bin": resized(proven["a.bin"])}
    evicted = {**complete(proven).extra, "truenas_evicted_at": "2026-05-01T00:00:00Z"}
    study = replace(facts(proven, source), copy=None, record=complete(proven, extra=evicted))
    assert refused(study)
    seen = Listing(NAME, tuple(source.values())).fingerprint()
    accepted = replace(study, record=complete(proven, extra={**evicted, ACCEPTED_FIELD: seen}))
    assert not refused(accepted)
    assert judged(accepted).conditions[Name.ON_TRUENAS].reason == "NotCopied"


def test_a_record_without_a_fingerprint_is_compared_file_by_file() -> None:
    proven = {"a.bin": entry("a.bin"), "b.bin": entry("b.bin")}
    adopted = complete(proven, extra={})
    assert not refused(facts(proven, {**proven, "c.bin": entry("c.bin")}, record=adopted, last_proven=adopted))
    source = {**proven, "b.bin": touched(proven["b.bin"])}
    assert refused(facts(proven, source, record=adopted, last_proven=adopted))


@given(proven_files, gains)
def test_a_study_that_was_moved_back_out_of_the_trash_and_gained_files_is_no_other_one(
    proven: Files, gained: Files
) -> None:
    begun = complete(proven, extra={**complete(proven).extra, RELEASE_BEGUN_FIELD: NOW.isoformat()})
    study = facts(proven, {**proven, **gained}, record=begun, last_proven=begun)
    assert judged(study).conditions[Name.VALIDATED].is_true


@given(proven_files, proven_files)
def test_a_study_that_came_after_a_release_was_finished_is_another_one_unless_all_it_shares_is_as_it_was(
    proven: Files, other: Files
) -> None:
    begun = complete(proven, extra={**complete(proven).extra, RELEASE_BEGUN_FIELD: NOW.isoformat()})
    study = facts(proven, other, record=begun, last_proven=begun)
    shared = proven.keys() & other.keys()
    same = bool(shared) and all(proven[path] == other[path] for path in shared)
    assert isinstance(study.source, SourceFacts)
    assert isinstance(study.copy, CopyFacts)
    assert release_broke_off(begun, study.source.listing, study.copy) is same
    assert judged(study).conditions[Name.VALIDATED].is_true is same
