"""Looking at a lab whose places answer, do not answer, or answer only in part: unknown is never no."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fusion_assets.reconcile import observe
from fusion_assets.reconcile.conditions import Name, Status
from fusion_assets.reconcile.idle import Observation
from fusion_assets.reconcile.lab import Lab, create_ledger
from fusion_assets.reconcile.observe import observe_lab, observe_study
from fusion_assets.reconcile.plan import Desired, ObservedStudy, Verdict, plan_study
from fusion_assets.reconcile.surroundings import twins_of
from resources.errors import UnavailableError
from resources.local import LocalStorage
from resources.storage import Storage
from tests.manifest.records import record
from tests.real.small_lab import STUDY, SmallLab

pytestmark = pytest.mark.real

OTHER = "20260106_WW_HCC_run2"
Observe = Callable[[Lab], ObservedStudy]


@pytest.fixture
def lab(small_lab: SmallLab) -> SmallLab:
    small_lab.add_study()
    small_lab.write_config(delete_source=False)
    return small_lab


@pytest.fixture
def archived(lab: SmallLab) -> SmallLab:
    assert lab.apply().failed == 0
    return lab


def away(storage: Storage, *methods: str, below: str = "") -> LocalStorage:
    """The same storage; these methods fail for paths that begin with `below`, as when a server goes away."""

    def failing(method: str) -> Callable[..., object]:
        original = getattr(LocalStorage, method)

        def fail(self: LocalStorage, path: str = "", *more: object, **named: object) -> object:
            if path.startswith(below):
                raise UnavailableError(f"{method}: the server does not answer")
            return original(self, path, *more, **named)

        return fail

    return type("Away", (LocalStorage,), {method: failing(method) for method in methods})(storage.root)


def observed(lab: Lab, study: str = STUDY) -> ObservedStudy:
    return {one.run_name: one for one in observe_lab(lab, {}).studies}[study]


def status(study: ObservedStudy, name: Name) -> Status:
    return study.conditions[name].status


looks = pytest.mark.parametrize(
    "look", [observed, lambda lab: observe_study(lab, STUDY, {})], ids=["all studies", "one study"]
)


@looks
def test_an_archived_study_is_seen_in_all_places(archived: SmallLab, look: Observe) -> None:
    with archived.opened() as opened:
        study = look(opened)
        assert [name for name in Name if status(study, name) is not Status.TRUE] == [Name.SOURCE_RELEASED]


@looks
@pytest.mark.parametrize("method", ["walk", "read_file"])
def test_a_nas_that_does_not_answer_is_unknown_and_stops_everything(
    archived: SmallLab, look: Observe, method: str
) -> None:
    with archived.opened() as opened:
        study = look(replace(opened, truenas=away(opened.truenas, method, below=STUDY)))
    condition = study.conditions[Name.ON_TRUENAS]
    assert condition.status is Status.UNKNOWN
    assert "does not answer" in condition.message
    assert plan_study(Desired(delete_source=True), study).actions == ()


@looks
def test_an_s3_that_does_not_answer_is_unknown_and_stops_everything(
    archived: SmallLab, look: Observe, monkeypatch: pytest.MonkeyPatch
) -> None:
    with archived.opened() as opened:

        def refuse(*_: object) -> None:
            raise UnavailableError("S3 does not answer")

        listed = opened.bucket.list
        monkeypatch.setattr(opened.bucket, "list_directories", refuse)
        monkeypatch.setattr(opened.bucket, "list", lambda p="": listed(p) if p.startswith("_manifest") else refuse())
        study = look(opened)
    assert status(study, Name.ON_S3) is Status.UNKNOWN
    assert status(study, Name.ON_TRUENAS) is Status.TRUE
    assert plan_study(Desired(delete_source=True), study).actions == ()


def test_a_mirror_that_cannot_be_listed_is_unknown_and_not_up_to_date(
    archived: SmallLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    with archived.opened() as opened:

        def refuse() -> None:
            raise UnavailableError("S3 does not answer")

        monkeypatch.setattr(opened.ledger, "stale_mirrors", refuse)
        assert status(observed(opened), Name.RECORDED) is Status.UNKNOWN


def test_one_study_that_cannot_be_listed_is_unknown_and_the_others_are_seen(lab: SmallLab) -> None:
    lab.add_study(OTHER)
    with lab.opened() as opened:
        broken = replace(opened, source=away(opened.source, "walk", below=STUDY))
        study, other = observed(broken), observed(broken, OTHER)
    for name in (Name.IDLE, Name.VALIDATED, Name.SOURCE_RELEASED):
        assert status(study, name) is Status.UNKNOWN
    assert plan_study(Desired(delete_source=True), study).actions == ()
    assert status(other, Name.VALIDATED) is Status.TRUE
    assert plan_study(Desired(delete_source=True), other).actions


@pytest.mark.parametrize(("place", "below"), [("source", f"{STUDY}/.fusion"), ("truenas", ".fusion-locks")])
def test_a_lock_that_cannot_be_seen_is_not_called_free(lab: SmallLab, place: str, below: str) -> None:
    with lab.opened() as opened:
        broken = replace(opened, **{place: away(getattr(opened, place), "read_file", "list", below=below)})
        study = observed(broken)
    assert status(study, Name.UNLOCKED) is Status.UNKNOWN
    assert plan_study(Desired(delete_source=True), study).actions == ()


def test_a_ledger_that_cannot_be_read_is_no_empty_ledger(archived: SmallLab, monkeypatch: pytest.MonkeyPatch) -> None:
    with archived.opened() as opened:
        monkeypatch.setattr(opened.ledger, "_storage", away(LocalStorage(archived.nas / "_manifest"), "read_file"))
        with pytest.raises(UnavailableError):
            observe_lab(opened, {})


def test_studies_released_long_ago_cost_no_walk_however_many_there_are(archived: SmallLab) -> None:
    archived.study.rename(archived.folder / "released")
    (archived.source / OTHER).mkdir()  # else the source looks as if it were not mounted
    with archived.opened() as opened:
        study = observed(replace(opened, truenas=away(opened.truenas, "walk")))
    assert [status(study, name) for name in (Name.ON_TRUENAS, Name.ON_S3)] == [Status.TRUE, Status.TRUE]


def test_a_limit_looks_at_no_other_study_and_forgets_none(lab: SmallLab) -> None:
    lab.add_study(OTHER)
    before = {
        name: Observation("seen before", datetime.now(UTC) - timedelta(days=1)) for name in (STUDY, OTHER, "gone")
    }
    with lab.opened() as opened:
        found = observe_lab(opened, before, limit="*run2")
        assert [study.run_name for study in found.studies] == [OTHER]
        assert found.memory[STUDY] == before[STUDY]
        assert found.memory[OTHER].fingerprint == found.studies[0].fingerprint
        assert "gone" not in found.memory
        assert observe_lab(opened, {}, limit="no such study").studies == ()


def test_two_studies_that_would_become_one_at_the_destinations_are_both_refused(lab: SmallLab) -> None:
    twin = STUDY.upper()
    lab.add_study(twin)
    with lab.opened() as opened:
        assert twins_of(opened, [STUDY, twin, OTHER]) == {STUDY: [twin], twin: [STUDY]}
        for study in (observed(opened), observed(opened, twin)):
            assert status(study, Name.VALIDATED) is Status.FALSE
            assert "same name" in study.conditions[Name.VALIDATED].message


def test_a_study_that_was_renamed_as_its_hint_said_is_not_reported_for_ever(lab: SmallLab) -> None:
    with lab.opened() as opened:
        create_ledger(opened)
        opened.ledger.append(record(backup_name="badly named", run_name="badly named", s3_verified_at=None))
        opened.ledger.append(record(backup_name="archived once", run_name="archived once"))
        (lab.nas / "archived once").mkdir()
        assert {study.run_name for study in observe_lab(opened, {}).studies} == {STUDY, "archived once"}


def test_what_lies_in_both_places_without_a_record_is_seen_under_its_name_at_the_source(archived: SmallLab) -> None:
    archived.study.rename(archived.folder / "released")
    (archived.source / OTHER).mkdir()
    (archived.nas / "somebody elses").mkdir()
    config = archived.config.read_text() + f"[alias]\n'run 1 of Monday' = '{STUDY}'\n"
    archived.config.write_text(config)
    client = archived.server.client()
    for month in (archived.nas / "_manifest").iterdir():
        client.delete_object(Bucket=archived.bucket, Key=f"archive/_manifest/{month.name}")
        month.unlink()
    with archived.opened() as opened:
        found = {study.run_name: study.backup_name for study in observe_lab(opened, {}).studies}
    assert found == {OTHER: OTHER, "run 1 of Monday": STUDY}


def test_backups_that_are_older_than_this_program_are_none_of_its_business(lab: SmallLab) -> None:
    ours = "20250101_WW_HCC_old"
    for name, files in {ours: ("a.xpd", "_checksums.sha256"), "by robocopy": ("a.xpd",)}.items():
        for file in files:
            (lab.nas / name).mkdir(exist_ok=True)
            (lab.nas / name / file).write_bytes(b"")
            lab.server.client().put_object(Bucket=lab.bucket, Key=lab.key(file, name), Body=b"")
    with lab.opened() as opened:
        assert {study.run_name for study in observe_lab(opened, {}).studies} == {STUDY, ours}
    (lab.nas / ours / "_checksums.sha256").unlink()  # lost on the NAS: S3 still shows whose it is
    with lab.opened() as opened:
        assert {study.run_name for study in observe_lab(opened, {}).studies} == {STUDY, ours}


@pytest.mark.parametrize("change", ["came", "went"])
def test_a_study_is_one_line_and_is_not_archived_twice_when_its_alias_came_or_went(lab: SmallLab, change: str) -> None:
    plain, aliased = lab.config.read_text(), f"{lab.config.read_text()}[alias]\n'{STUDY}' = '{OTHER}'\n"
    lab.config.write_text(plain if change == "came" else aliased)
    assert lab.apply().failed == 0
    lab.config.write_text(aliased if change == "came" else plain)
    with lab.opened() as opened:
        (study,) = observe_lab(opened, {}).studies
    old_name = STUDY if change == "came" else OTHER
    assert f"archived as {old_name}" in study.conditions[Name.VALIDATED].message
    plan = plan_study(Desired(delete_source=False), study)
    assert (plan.actions, plan.verdict) == ((), Verdict.FAILED)
    lab.config.write_text(plain if change == "came" else aliased)
    assert lab.apply().changed == 0


def test_the_other_host_that_works_on_a_backup_is_named(archived: SmallLab) -> None:
    locks = archived.nas / ".fusion-locks"
    owner = '{"hostname": "microscope-2", "pid": 7, "started_at": "2026-01-05T10:00:00Z"}'
    (locks / f"{STUDY}.lock").write_text(owner)
    with archived.opened() as opened:
        for study in (observed(opened), observe_study(opened, STUDY, {})):
            assert study.conditions[Name.UNLOCKED].reason == "LockedForLong"
            assert "process 7 on microscope-2" in study.conditions[Name.UNLOCKED].message


def test_a_lab_too_big_for_one_look_is_seen_whole_over_several_and_no_study_twice(
    lab: SmallLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.add_study(OTHER)
    lab.add_study("20260107_WW_HCC_run3")
    monkeypatch.setattr(observe, "_TRIED_ALONE", 1)
    with lab.opened() as opened:
        seen, after, memory = [], "", {}
        for _ in range(3):
            looked = observe.observe_next(opened, memory, after=after, until=0.0)
            seen += [one.run_name for one in looked.seen.studies]
            after, memory = looked.reached, looked.seen.memory
            assert looked.at_source == (STUDY, OTHER, "20260107_WW_HCC_run3")
        assert seen == [STUDY, OTHER, "20260107_WW_HCC_run3"]
        assert after == ""
        assert set(memory) == set(seen)


def test_a_file_is_not_asked_whether_it_is_held_open_while_its_study_is_not_idle_anyway(
    lab: SmallLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each question is a round trip over SMB: 2,000 studies times 32 files at 5 ms would be five minutes."""
    asked: list[str] = []
    monkeypatch.setattr(LocalStorage, "is_held_open", lambda _, path: bool(asked.append(path)))
    lab.config.write_text(lab.config.read_text().replace("settle_minutes = 0", "settle_minutes = 30"))
    with lab.opened() as opened:
        assert observed(opened).conditions[Name.IDLE].reason == "NotSettled"
        assert asked == []
        hour_ago = {STUDY: Observation(observed(opened).fingerprint, datetime.now(UTC) - timedelta(hours=1))}
        assert observe_study(opened, STUDY, hour_ago).conditions[Name.IDLE].is_true
        assert asked
