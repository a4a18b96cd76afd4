"""From what was seen to conditions: what each finding in the lab means."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fusion_assets.config import BackupSection
from fusion_assets.manifest.record import Record
from fusion_assets.manifest.record import Status as LedgerStatus
from fusion_assets.reconcile.conditions import Name, Status, Unseen
from fusion_assets.reconcile.facts import ArchiveFacts, CopyFacts, LockFacts, Present, SourceFacts, StudyFacts
from fusion_assets.reconcile.idle import Observation
from fusion_assets.reconcile.judge import judge_study
from fusion_assets.reconcile.plan import (
    COPY_PROVEN,
    EVICTED,
    KNOWN_INVALID,
    NAME_TAKEN,
    NOT_MIRRORED,
    PROVEN,
    SIDECAR_LOST,
    SOURCE_CHANGED,
    UNARCHIVED,
    Desired,
    ObservedStudy,
    Step,
    Verdict,
    plan_study,
    why_nothing,
)
from fusion_assets.reconcile.recap import recap_study
from fusion_assets.standard.listing import Listing
from fusion_assets.standard.report import StudyReport, Violation
from resources.storage import Entry

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
OLD = int((NOW - timedelta(days=90)).timestamp()) * 10**9
STUDY = "20260105_WW_HCC_run1"
FILES = (Entry("a.xpd", "file", 10, OLD), Entry("a/Scan1/a.qptiff", "file", 1000, OLD))
CHECKSUMS = {entry.path: hashlib.sha256(entry.path.encode()).hexdigest() for entry in FILES}
SIDECAR = b"sidecar"
SIDECAR_SHA256 = hashlib.sha256(SIDECAR).hexdigest()
BACKUP = BackupSection(idle_days=30, settle_minutes=30)

SOURCE = SourceFacts(
    listing=Listing(STUDY, FILES),
    report=StudyReport(STUDY, f"/instrument/{STUDY}"),
    observation=Observation(Listing(STUDY, FILES).fingerprint(), NOW - timedelta(hours=2)),
)
COPY = CopyFacts({entry.path: entry for entry in FILES}, CHECKSUMS, SIDECAR)
ARCHIVE = ArchiveFacts({entry.path: entry.size for entry in FILES}, SIDECAR_SHA256)
RECORD = Record(
    backup_name=STUDY,
    run_name=STUDY,
    source_path=f"/instrument/{STUDY}",
    truenas_path=f"/nas/{STUDY}",
    s3_uri=f"s3://bucket/{STUDY}",
    file_count=2,
    total_bytes=1010,
    started_at=NOW - timedelta(days=2),
    truenas_verified_at=NOW - timedelta(days=2),
    s3_verified_at=NOW - timedelta(days=2),
    completed_at=NOW - timedelta(days=2),
    source_deleted_at=None,
    status=LedgerStatus.COMPLETE,
    extra={"fingerprint": SOURCE.observation.fingerprint},
)
FACTS = StudyFacts(STUDY, STUDY, source=SOURCE, lock=None, copy=COPY, archive=ARCHIVE, record=RECORD)


def judged(**changes: object) -> ObservedStudy:
    return judge_study(replace(FACTS, **changes), BACKUP, NOW)


def reason(name: Name, **changes: object) -> tuple[Status, str]:
    condition = judged(**changes).conditions[name]
    return condition.status, condition.reason


def test_an_archived_study_has_all_conditions_but_the_release() -> None:
    conditions = judged().conditions
    assert [name for name in Name if not conditions[name].is_true] == [Name.SOURCE_RELEASED]


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("source", Name.IDLE),
        ("source", Name.VALIDATED),
        ("source", Name.SOURCE_RELEASED),
        ("lock", Name.UNLOCKED),
        ("copy", Name.ON_TRUENAS),
        ("archive", Name.ON_S3),
        ("record", Name.RECORDED),
    ],
)
def test_a_failed_listing_is_unknown_and_never_false(place: str, name: Name) -> None:
    assert reason(name, **{place: Unseen("the NAS did not answer")})[0] is Status.UNKNOWN


def test_a_study_that_breaks_the_standard_says_which_rule_first() -> None:
    broken = replace(SOURCE.report, violations=(Violation("R1", STUDY, "has 3 fields", "rename it"),))
    condition = judged(source=replace(SOURCE, report=broken)).conditions[Name.VALIDATED]
    assert (condition.status, condition.reason) == (Status.FALSE, "BreaksStandard")
    assert "[R1]" in condition.message


@pytest.mark.parametrize("known", [False, True])
def test_the_way_out_is_said_of_a_study_that_breaks_the_standard_however_often_it_is_seen(known: bool) -> None:
    first = Violation("R1", STUDY, "has 3 fields", "rename it")
    broken = replace(SOURCE, report=replace(SOURCE.report, violations=(first, replace(first, rule="R5"))))
    said = f"{first} (and 1 more: `fusion explain` lists them)"
    study = judged(source=broken, record=None, copy=None, archive=None, invalid=invalid(said) if known else {})
    assert study.conditions[Name.VALIDATED].message == said
    plan = plan_study(Desired(delete_source=True), study)
    if known:
        assert why_nothing(plan) == said, "a sentence for people, without the words of programs"
    else:
        assert plan.actions == (Step.VALIDATED,)


def test_words_that_were_bettered_since_do_not_make_an_invalid_study_news_again() -> None:
    first = Violation("R1", f"{STUDY}\n", "has 3 fields", "rename it")
    broken = replace(SOURCE, report=replace(SOURCE.report, violations=(first,)))
    said = invalid(str(replace(first, message="has three fields", hint="call it otherwise")))
    assert reason(Name.VALIDATED, source=broken, invalid=said) == (Status.FALSE, KNOWN_INVALID)


def test_a_broken_image_found_before_is_not_read_again_until_the_study_changes() -> None:
    why = f"[D2] {STUDY}/a/Scan1/a.qptiff: is cut short | hint: scan it again"
    assert reason(Name.VALIDATED, invalid=invalid(why)) == (Status.FALSE, KNOWN_INVALID)
    assert reason(Name.VALIDATED, invalid={"another": why}) == (Status.TRUE, "Conforms")


def invalid(why: str) -> dict[str, str]:
    """What the ledger has of this very state of the study after it failed validation."""
    return {SOURCE.observation.fingerprint: why}


def test_a_study_whose_names_are_right_by_now_is_not_invalid_for_ever_because_no_file_of_it_changed() -> None:
    stray = Violation("R5", f"{STUDY}/notes", "is an empty folder", "remove it")
    broken = replace(SOURCE, report=replace(SOURCE.report, violations=(stray,)))
    said = invalid(f"{stray} (and 1 more)")
    assert reason(Name.VALIDATED, source=broken, invalid=said) == (Status.FALSE, KNOWN_INVALID)
    assert reason(Name.VALIDATED, invalid=said) == (Status.TRUE, "Conforms")
    other = replace(SOURCE, report=replace(SOURCE.report, violations=(replace(stray, rule="R3"),)))
    assert reason(Name.VALIDATED, source=other, invalid=said) == (Status.FALSE, "BreaksStandard")


def test_a_new_acquisition_under_the_name_of_a_released_study_never_overwrites_the_only_copies() -> None:
    released = replace(RECORD, source_deleted_at=NOW, extra={"fingerprint": "another"})
    assert reason(Name.VALIDATED, record=released) == (Status.FALSE, "NameTaken")
    brought_back = replace(RECORD, source_deleted_at=NOW)
    assert reason(Name.VALIDATED, record=brought_back) == (Status.TRUE, "Conforms")


def test_an_alias_never_leads_into_the_archive_of_another_study() -> None:
    other = replace(RECORD, run_name="another study", extra={"fingerprint": "another"})
    assert reason(Name.VALIDATED, record=other) == (Status.FALSE, "NameTaken")


def test_a_link_in_a_study_keeps_its_source_and_says_so() -> None:
    entries = (*FILES, Entry("a/Scan1/link", "symlink", 0, OLD))
    source = replace(SOURCE, listing=Listing(STUDY, entries))
    assert reason(Name.SOURCE_RELEASED, source=source) == (Status.FALSE, UNARCHIVED)


def test_a_copy_without_its_sidecar_is_unfinished() -> None:
    assert reason(Name.ON_TRUENAS, copy=replace(COPY, checksums=None)) == (Status.FALSE, "CopyUnfinished")


BORN_BY_WHAT_ENDED_ONCE = ("sidecar_sha256", "adopted_at", "release_begun_at", "released_at")


def test_half_a_copy_whose_study_went_away_says_what_to_remove_unless_it_may_be_back() -> None:
    begun = replace(RECORD, status=LedgerStatus.IN_PROGRESS, truenas_verified_at=None, s3_verified_at=None)
    half = {
        "record": begun,
        "last_proven": None,
        "copy": replace(COPY, checksums=None, sidecar=b""),
        "archive": replace(ARCHIVE, sidecar_sha256=None),
        "source": None,
        "copy_begun": True,
        "archive_begun": True,
    }
    failed = replace(begun, status=LedgerStatus.FAILED_TRUENAS)
    last_there_is = (
        {"source": SOURCE},
        {"source": Unseen("it is away")},
        {"trash": Unseen("it is away")},
        {"copy": Unseen("it is away")},
        {"archive": Unseen("it is away")},
        {"copy": COPY},
        {"copy": replace(COPY, checksums=None, damage="garbled")},
        {"copy_begun": False},
        {"last_proven": RECORD},
        *({"record": replace(failed, extra={name: "a value"}), "copy": None} for name in BORN_BY_WHAT_ENDED_ONCE),
        {"record": replace(failed, source_deleted_at=NOW), "copy": None},
    )
    for name in (Name.ON_TRUENAS, Name.ON_S3):
        message = judged(**half).conditions[name].message
        assert f"remove /nas/{STUDY}, and what there is in s3://bucket/{STUDY}" in message
        assert "s3://" not in judged(**{**half, "archive_begun": False}).conditions[name].message
        for other in last_there_is:
            assert "remove" not in judged(**{**half, **other}).conditions[name].message, other


def test_a_file_missing_on_the_nas_is_noticed() -> None:
    files = {FILES[0].path: FILES[0]}
    assert reason(Name.ON_TRUENAS, copy=replace(COPY, files=files)) == (Status.FALSE, "FilesMissing")


def test_a_truncated_file_on_the_nas_is_noticed() -> None:
    files = {**COPY.files, FILES[1].path: FILES[1]._replace(size=999)}
    assert reason(Name.ON_TRUENAS, copy=replace(COPY, files=files)) == (Status.FALSE, "FilesDiffer")


def test_a_copy_truncated_after_the_release_is_noticed_by_its_recorded_size() -> None:
    files = {**COPY.files, FILES[1].path: FILES[1]._replace(size=999)}
    found = reason(Name.ON_TRUENAS, source=None, copy=replace(COPY, files=files))
    assert found == (Status.FALSE, "SizesDiffer")


def test_a_study_that_grew_after_it_was_copied_is_copied_again() -> None:
    grown = replace(SOURCE, listing=Listing(STUDY, (*FILES, Entry("b.xpd", "file", 1, OLD))))
    assert reason(Name.ON_TRUENAS, source=grown) == (Status.FALSE, "SourceHasMore")


def test_times_that_smb_keeps_to_100_ns_are_not_a_change() -> None:
    files = {path: entry._replace(mtime_ns=entry.mtime_ns - 99) for path, entry in COPY.files.items()}
    assert reason(Name.ON_TRUENAS, copy=replace(COPY, files=files))[0] is Status.TRUE


def test_a_strange_file_on_the_nas_is_named_and_does_not_undo_the_copy() -> None:
    files = {**COPY.files, "strange.txt": Entry("strange.txt", "file", 1, OLD)}
    condition = judged(copy=replace(COPY, files=files)).conditions[Name.ON_TRUENAS]
    assert condition.is_true
    assert "strange.txt" in condition.message


def test_an_evicted_copy_is_evicted_and_not_lost() -> None:
    evicted = replace(RECORD, extra={**RECORD.extra, "truenas_evicted_at": "2026-05-01T00:00:00Z"})
    assert reason(Name.ON_TRUENAS, copy=None, record=evicted) == (Status.FALSE, EVICTED)
    assert reason(Name.ON_TRUENAS, copy=None) == (Status.FALSE, "NotCopied")


@pytest.mark.parametrize("archive", [None, ArchiveFacts(ARCHIVE.sizes, None)])
def test_an_evicted_study_whose_archive_is_not_in_s3_says_that_and_where_it_was(archive: ArchiveFacts | None) -> None:
    evicted = replace(RECORD, extra={**RECORD.extra, "truenas_evicted_at": "2026-05-01T01:02:03.456789+00:00"})
    gone = judged(source=None, copy=None, record=evicted)
    settled = plan_study(Desired(delete_source=False), gone)
    assert (settled.verdict, why_nothing(settled)) == (Verdict.SETTLED, "evicted 2026-05-01 01:02 UTC")
    lost = judged(source=None, copy=None, record=evicted, archive=archive)
    plan = plan_study(Desired(delete_source=False), lost)
    assert plan.verdict is Verdict.FAILED
    assert f"it was archived in {RECORD.s3_uri}" in why_nothing(plan)
    assert "[s3] in config.toml" in why_nothing(plan)
    assert judged(record=None, archive=None).conditions[Name.ON_S3].message == ""


def test_an_object_missing_or_altered_in_s3_is_noticed() -> None:
    less = {FILES[0].path: FILES[0].size}
    assert reason(Name.ON_S3, archive=replace(ARCHIVE, sizes=less)) == (Status.FALSE, "ObjectsMissing")
    other = {**ARCHIVE.sizes, FILES[1].path: 1}
    assert reason(Name.ON_S3, archive=replace(ARCHIVE, sizes=other)) == (Status.FALSE, "ObjectsDiffer")
    assert reason(Name.ON_S3, archive=replace(ARCHIVE, sidecar_sha256=None)) == (Status.FALSE, "ArchiveUnfinished")
    assert reason(Name.ON_S3, archive=replace(ARCHIVE, sidecar_sha256="0" * 64)) == (Status.FALSE, "SidecarDiffers")
    assert reason(Name.ON_S3, archive=None) == (Status.FALSE, "NotArchived")


def test_an_archive_that_nothing_can_be_compared_with_is_unknown() -> None:
    assert reason(Name.ON_S3, copy=None, record=None, source=None) == (Status.UNKNOWN, "NothingToCompare")


def test_a_run_killed_before_its_last_line_in_the_ledger_only_has_that_line_to_write() -> None:
    unfinished = replace(RECORD, status=LedgerStatus.IN_PROGRESS, completed_at=None)
    assert reason(Name.RECORDED, record=unfinished) == (Status.FALSE, PROVEN)
    unproven = replace(unfinished, s3_verified_at=None)
    assert reason(Name.RECORDED, record=unproven) == (Status.FALSE, COPY_PROVEN)
    begun = replace(unproven, truenas_verified_at=None)
    assert reason(Name.RECORDED, record=begun) == (Status.FALSE, "NotComplete")


def test_a_mirror_that_is_behind_is_not_recorded_yet() -> None:
    assert reason(Name.RECORDED, mirrored=False) == (Status.FALSE, NOT_MIRRORED)


def test_a_lock_is_waited_for_while_its_owner_may_live_and_reported_when_it_is_gone() -> None:
    assert reason(Name.UNLOCKED, lock=LockFacts("by pid 1", owner_is_gone=False)) == (Status.FALSE, "Locked")
    assert reason(Name.UNLOCKED, lock=LockFacts("by pid 1", owner_is_gone=True)) == (Status.FALSE, "StaleLock")
    hangs = LockFacts("by pid 1", owner_is_gone=False, for_long=True)
    assert reason(Name.UNLOCKED, lock=hangs) == (Status.FALSE, "LockedForLong")


def test_a_released_study_needs_no_look_into_its_copies() -> None:
    released = replace(RECORD, source_deleted_at=NOW)
    study = judged(source=None, copy=Present(), archive=Present(), record=released)
    assert all(condition.is_true for condition in study.conditions.values())


def test_a_damaged_sidecar_says_how_the_copy_is_proven_again() -> None:
    damaged = replace(COPY, checksums=None, sidecar=b"", damage="line 1 is torn")
    known = replace(RECORD, extra={**RECORD.extra, "sidecar_sha256": SIDECAR_SHA256})
    found = judged(copy=damaged, record=known).conditions[Name.ON_TRUENAS]
    assert (found.status, found.reason) == (Status.FALSE, SIDECAR_LOST)
    assert "line 1 is torn" in found.message
    assert "fusion apply" in found.message
    assert reason(Name.ON_TRUENAS, copy=replace(damaged, damage=""), record=known) == (Status.FALSE, SIDECAR_LOST)
    unknown = judged(copy=damaged, record=None).conditions[Name.ON_TRUENAS]
    assert (unknown.reason, "fusion manifest restore" in unknown.message) == ("SidecarDamaged", True)


def test_objects_are_compared_with_a_source_whoever_knows_them() -> None:
    assert reason(Name.ON_S3, copy=None, record=None) == (Status.FALSE, "NotCompared")
    unfinished = replace(RECORD, status=LedgerStatus.FAILED_TRUENAS)
    assert reason(Name.ON_S3, copy=None, record=unfinished) == (Status.FALSE, "NotCompared")
    assert reason(Name.ON_S3, copy=None, record=unfinished, source=None) == (Status.UNKNOWN, "NothingToCompare")


def test_a_copy_is_compared_with_what_lies_in_the_trash() -> None:
    trash = {"source": None, "trash": SOURCE.listing}
    assert reason(Name.ON_TRUENAS, **trash) == (Status.TRUE, "Copied")
    cut = {**COPY.files, FILES[0].path: FILES[0]._replace(size=3)}
    assert reason(Name.ON_TRUENAS, **trash, copy=replace(COPY, files=cut)) == (Status.FALSE, "FilesDiffer")


def test_a_study_is_not_archived_over_one_of_its_name_that_lies_half_deleted_in_the_trash() -> None:
    other = replace(SOURCE, observation=replace(SOURCE.observation, fingerprint="another"))
    assert reason(Name.VALIDATED, source=other, trash=SOURCE.listing) == (Status.FALSE, "NameTaken")
    assert reason(Name.VALIDATED, source=other, trash=Unseen("away")) == (Status.FALSE, "NameTaken")
    assert reason(Name.VALIDATED, trash=SOURCE.listing) == (Status.TRUE, "Conforms")


def test_a_file_that_changed_in_the_trash_is_said_to_have_and_nothing_is_copied_from_there() -> None:
    files = (FILES[0]._replace(size=11), FILES[1])
    facts = {"source": None, "trash": Listing(f"{STUDY}@20260301", files), "last_proven": RECORD}
    study = judged(**facts)
    condition = study.conditions[Name.VALIDATED]
    assert condition.reason == SOURCE_CHANGED
    assert "a.xpd in .fusion-trash/20260105_WW_HCC_run1@20260301" in condition.message
    plan = plan_study(Desired(delete_source=True), study)
    assert (plan.actions, plan.verdict) == ((), Verdict.FAILED)
    moved_out = {**facts, "trash": Listing(STUDY, files[1:])}
    assert plan_study(Desired(delete_source=True), judged(**moved_out)).actions == (Step.SOURCE_RELEASED,)


def test_damage_on_the_nas_is_not_taken_for_a_change_in_the_trash() -> None:
    cut = {**COPY.files, FILES[0].path: FILES[0]._replace(size=3)}
    facts = {"source": None, "trash": SOURCE.listing, "copy": replace(COPY, files=cut), "last_proven": RECORD}
    assert reason(Name.VALIDATED, **facts)[0] is Status.TRUE
    assert Step.TRUENAS_COPY in plan_study(Desired(delete_source=True), judged(**facts)).actions


def test_a_study_in_the_trash_needs_a_person_where_sources_are_to_stay_by_now() -> None:
    study = judged(source=None, trash=Listing(f"{STUDY}@20260301", FILES))
    plan = plan_study(Desired(delete_source=False), study)
    assert (plan.actions, plan.verdict) == ((), Verdict.FAILED)
    assert f"move that back to {STUDY}" in why_nothing(plan)
    assert recap_study(Desired(delete_source=False), plan, {}).failed == 1
    assert plan_study(Desired(delete_source=True), study).actions == (Step.SOURCE_RELEASED,)


def test_an_alias_that_came_after_a_study_was_archived_does_not_archive_it_twice() -> None:
    before = {"record": None, "copy": None, "archive": None}
    condition = judged(**before, elsewhere=replace(RECORD, backup_name="old name")).conditions[Name.VALIDATED]
    assert (condition.reason, "archived as old name" in condition.message) == (NAME_TAKEN, True)
    trashed = {**before, "source": None, "trash": SOURCE.listing}
    assert reason(Name.VALIDATED, **trashed, elsewhere=RECORD) == (Status.FALSE, NAME_TAKEN)
    another = judged(**before, elsewhere=replace(RECORD, backup_name="old name", extra={"fingerprint": "another"}))
    assert another.conditions[Name.VALIDATED].is_true
    assert "old name" in another.conditions[Name.VALIDATED].message


def test_a_trash_that_cannot_be_seen_is_unknown_not_empty() -> None:
    assert reason(Name.SOURCE_RELEASED, source=None, trash=Unseen("away")) == (Status.UNKNOWN, "TrashUnseen")


def test_a_study_left_in_the_trash_by_a_crash_is_not_released_yet() -> None:
    assert reason(Name.SOURCE_RELEASED, source=None, trash=SOURCE.listing) == (Status.FALSE, "InTrash")
