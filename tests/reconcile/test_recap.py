"""The recap: what is counted as failed is told, in words, to somebody who can do something about it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.reconcile.conditions import Condition, Name, Status, false, true, unknown
from fusion_assets.reconcile.plan import Desired, ObservedStudy, Step, Verdict, plan_study
from fusion_assets.reconcile.recap import recap_study, standing_failure

STUDY = "20260101_a_b_c"
conditions = st.builds(Condition, st.sampled_from(Status), st.sampled_from(["Whatever", "Evicted"]), st.just(""))
studies = st.builds(
    ObservedStudy,
    st.just(STUDY),
    st.just(STUDY),
    at_source=st.booleans(),
    conditions=st.fixed_dictionaries(dict.fromkeys(Name, conditions)),
)
results = st.dictionaries(st.sampled_from(Step), st.sampled_from(["ok", "changed", "failed"]))


@given(st.builds(Desired, delete_source=st.booleans()), studies, results)
def test_no_study_is_counted_as_failed_without_a_word_about_why(desired, study, done) -> None:
    done = {step: result for step, result in done.items() if desired.delete_source or step is not Step.SOURCE_RELEASED}
    plan = plan_study(desired, study)
    counted = recap_study(desired, plan, done).failed
    told = standing_failure(desired, plan, done)
    assert bool(counted) == ("failed" in done.values() or told is not None)
    if told:
        assert told.message.strip()
        assert told.study == STUDY


def test_a_study_that_could_not_be_looked_at_is_no_success() -> None:
    states = {**{name: true("Fine") for name in Name}, Name.SOURCE_RELEASED: false("AtSource")}
    study = ObservedStudy(STUDY, STUDY, at_source=True, conditions={**states, Name.ON_S3: unknown("S3Unseen", "away")})
    plan = plan_study(Desired(delete_source=True), study)
    assert plan.verdict is Verdict.UNKNOWN
    assert recap_study(Desired(delete_source=True), plan, {}).failed == 1
    told = standing_failure(Desired(delete_source=True), plan, {})
    assert told is not None
    assert "away" in told.message
