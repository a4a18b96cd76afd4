"""The planner: total, deterministic, never eager to delete, and done when it is done."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.reconcile.conditions import Condition, Name, Status, false, true
from fusion_assets.reconcile.plan import (
    BREAKS_STANDARD,
    COPY_PROVEN,
    EVICTED,
    IN_TRASH,
    KNOWN_INVALID,
    LOCKED,
    RELEASE_GATES,
    SIDECAR_LOST,
    UNARCHIVED,
    Desired,
    ObservedStudy,
    Step,
    Verdict,
    plan_studies,
    plan_study,
    summarize,
)

reasons = st.sampled_from(
    [BREAKS_STANDARD, EVICTED, IN_TRASH, KNOWN_INVALID, LOCKED, SIDECAR_LOST, UNARCHIVED, "Whatever"]
)
any_condition = st.builds(Condition, st.sampled_from(Status), reasons, st.text(max_size=5))
any_study = st.builds(
    ObservedStudy,
    run_name=st.sampled_from(["20260101_a_b_c", "20260102_a_b_c", "20260103_a_b_c"]),
    backup_name=st.just("20260101_a_b_c"),
    at_source=st.booleans(),
    conditions=st.fixed_dictionaries(dict.fromkeys(Name, any_condition)),
    newest_mtime_ns=st.integers(0, 10),
)
any_desired = st.builds(Desired, delete_source=st.booleans())

# What a step that did its work leaves behind.
EFFECTS = {
    Step.VALIDATED: {},
    Step.TRUENAS_COPY: {Name.ON_TRUENAS: true("Copied")},
    Step.S3_ARCHIVE: {Name.ON_S3: true("Archived")},
    Step.MANIFEST_ENTRY: {Name.RECORDED: true("Complete")},
    Step.SOURCE_RELEASED: {Name.SOURCE_RELEASED: true("Released")},
}


def study_with(**changes: Condition) -> ObservedStudy:
    conditions = {name: true("Fine") for name in Name}
    conditions[Name.SOURCE_RELEASED] = false("AtSource")
    conditions.update({Name(name): condition for name, condition in changes.items()})
    return ObservedStudy("20260101_a_b_c", "20260101_a_b_c", at_source=True, conditions=conditions)


@given(any_desired, any_study)
def test_a_source_is_never_deleted_while_one_gate_is_not_true(desired: Desired, study: ObservedStudy) -> None:
    plan = plan_study(desired, study)
    if Step.SOURCE_RELEASED in plan.actions:
        assert desired.delete_source
        assert all(study.conditions[gate].is_true for gate in RELEASE_GATES)
        assert plan.actions == (Step.SOURCE_RELEASED,)


@given(any_desired, any_study, st.sampled_from([name for name in Name if name is not Name.SOURCE_RELEASED]))
def test_what_could_not_be_observed_stops_every_action(desired: Desired, study: ObservedStudy, name: Name) -> None:
    unseen = {**study.conditions, name: Condition(Status.UNKNOWN, "ListingFailed")}
    assert plan_study(desired, replace(study, conditions=unseen)).actions == ()


@given(any_desired, any_study)
def test_a_second_run_has_nothing_to_do(desired: Desired, study: ObservedStudy) -> None:
    for _ in range(3):
        plan = plan_study(desired, study)
        done = {name: condition for step in plan.actions for name, condition in EFFECTS[step].items()}
        if plan.actions == (Step.VALIDATED,):
            done = {Name.VALIDATED: false(KNOWN_INVALID)}
        study = replace(study, conditions={**study.conditions, **done})
    assert plan_study(desired, study).actions == ()


@given(any_desired, st.lists(any_study, max_size=6))
def test_the_oldest_study_is_made_safe_first_whatever_the_order_of_the_listing(
    desired: Desired, studies: list[ObservedStudy]
) -> None:
    plans = plan_studies(desired, studies)
    ages = [plan.observed.newest_mtime_ns for plan in plans]
    assert ages == sorted(ages)
    assert summarize(plans)["studies"] == len(studies)
    assert sum(summarize(plans)[verdict.value] for verdict in Verdict) == len(studies)


@given(any_desired, any_study)
def test_a_study_is_pending_exactly_when_there_is_something_to_do(desired: Desired, study: ObservedStudy) -> None:
    plan = plan_study(desired, study)
    assert (plan.verdict is Verdict.PENDING) == bool(plan.actions)


def test_a_new_idle_study_is_copied_archived_and_recorded_before_its_release_is_even_planned() -> None:
    study = study_with(OnTruenas=false("NotCopied"), OnS3=false("NotArchived"), Recorded=false("NotRecorded"))
    plan = plan_study(Desired(delete_source=True), study)
    assert plan.actions == (Step.VALIDATED, Step.TRUENAS_COPY, Step.S3_ARCHIVE, Step.MANIFEST_ENTRY)


def test_a_proven_study_is_released() -> None:
    assert plan_study(Desired(delete_source=True), study_with()).actions == (Step.SOURCE_RELEASED,)


def test_a_lab_that_keeps_its_sources_never_releases_one() -> None:
    plan = plan_study(Desired(delete_source=False), study_with())
    assert (plan.actions, plan.verdict) == ((), Verdict.SETTLED)


def test_an_evicted_copy_is_not_copied_back_which_would_fight_the_eviction() -> None:
    plan = plan_study(Desired(delete_source=False), study_with(OnTruenas=false(EVICTED)))
    assert (plan.actions, plan.verdict) == ((), Verdict.SETTLED)


def test_a_source_whose_nas_copy_was_evicted_is_copied_again_before_it_may_go_because_one_copy_is_not_two() -> None:
    evicted = study_with(OnTruenas=false(EVICTED))
    assert plan_study(Desired(delete_source=True), evicted).actions == (
        Step.VALIDATED,
        Step.TRUENAS_COPY,
        Step.S3_ARCHIVE,
        Step.MANIFEST_ENTRY,
    )
    kept = plan_study(Desired(delete_source=False), evicted)
    assert (kept.actions, kept.verdict) == ((), Verdict.SETTLED)


def test_an_archive_that_lost_an_object_is_completed_from_the_nas_without_touching_the_instrument() -> None:
    plan = plan_study(Desired(delete_source=False), study_with(OnS3=false("ObjectsMissing")))
    assert plan.actions == (Step.S3_ARCHIVE, Step.MANIFEST_ENTRY)


def test_a_copy_whose_run_was_killed_before_it_was_recorded_is_proven_again_before_it_is_archived() -> None:
    killed = study_with(OnS3=false("NotArchived"), Recorded=false("NotComplete"))
    plan = plan_study(Desired(delete_source=True), killed)
    assert plan.actions == (Step.VALIDATED, Step.TRUENAS_COPY, Step.S3_ARCHIVE, Step.MANIFEST_ENTRY)
    recorded = study_with(OnS3=false("NotArchived"), Recorded=false(COPY_PROVEN))
    assert plan_study(Desired(delete_source=True), recorded).actions == (Step.S3_ARCHIVE, Step.MANIFEST_ENTRY)


def test_an_invalid_study_is_validated_once_so_that_its_violations_can_be_seen_and_then_waits_for_a_person() -> None:
    invalid = study_with(Validated=false(BREAKS_STANDARD), Recorded=false("NotRecorded"))
    assert plan_study(Desired(delete_source=True), invalid).actions == (Step.VALIDATED,)
    known = study_with(Validated=false(KNOWN_INVALID), Recorded=false("NotComplete"))
    plan = plan_study(Desired(delete_source=True), known)
    assert (plan.actions, plan.verdict) == ((), Verdict.FAILED)


def test_a_copy_that_vanished_after_the_release_is_a_failure_and_not_silence() -> None:
    lost = study_with(OnTruenas=false("NotCopied"), SourceReleased=true("Released"))
    plan = plan_study(Desired(delete_source=True), replace(lost, at_source=False))
    assert (plan.actions, plan.verdict) == ((), Verdict.FAILED)


def test_a_study_in_work_is_waited_for_and_a_crashed_one_is_reported() -> None:
    desired = Desired(delete_source=True)
    assert plan_study(desired, study_with(Unlocked=false(LOCKED))).verdict is Verdict.WAITING
    assert plan_study(desired, study_with(Unlocked=false("StaleLock"))).verdict is Verdict.FAILED


def test_a_damaged_copy_of_a_study_in_the_trash_is_made_whole_from_there_before_anything_more_is_deleted() -> None:
    trashed = study_with(OnTruenas=false("FilesMissing"), SourceReleased=false(IN_TRASH))
    actions = plan_study(Desired(delete_source=True), replace(trashed, at_source=False)).actions
    assert actions == (Step.TRUENAS_COPY, Step.S3_ARCHIVE, Step.MANIFEST_ENTRY)


def test_a_copy_that_lost_its_sidecar_is_proven_from_itself_when_there_is_no_source_any_more() -> None:
    gone = {"OnS3": false("SidecarDiffers"), "Recorded": false("NotComplete"), "SourceReleased": true("Gone")}
    lost = replace(study_with(OnTruenas=false(SIDECAR_LOST), **gone), at_source=False)
    assert plan_study(Desired(delete_source=True), lost).actions == (Step.S3_ARCHIVE, Step.MANIFEST_ENTRY)
    missing = replace(study_with(OnTruenas=false("FilesMissing"), **gone), at_source=False)
    plan = plan_study(Desired(delete_source=True), missing)
    assert (plan.actions, plan.verdict) == ((), Verdict.FAILED)
