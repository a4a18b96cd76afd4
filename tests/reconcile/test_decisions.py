"""What `fusion explain` is told of a study: the last word about it, whenever it was looked at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fusion_assets.reconcile.decisions import load_decisions, save_decisions

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def save(folder, *, looked_at=(), started=None, held_back=None, now=NOW) -> None:
    save_decisions(folder, looked_at=looked_at, started=started or {}, held_back=held_back or {}, now=now)


def test_a_look_at_some_studies_forgets_nothing_of_the_others(tmp_path) -> None:
    save(tmp_path, looked_at=["a"], held_back={"a": "too young"})
    save(tmp_path, looked_at=["b"], started={"b": "validated"})
    assert {name: one.why for name, one in load_decisions(tmp_path).items()} == {"a": "too young", "b": "validated"}


def test_a_study_that_is_settled_by_now_is_not_explained_with_an_old_reason(tmp_path) -> None:
    save(tmp_path, looked_at=["a"], held_back={"a": "too young"})
    save(tmp_path, looked_at=["a"])
    assert load_decisions(tmp_path) == {}


def test_an_idle_hour_does_not_rewrite_the_file_every_tick(tmp_path) -> None:
    save(tmp_path, looked_at=["a"], held_back={"a": "too young"})
    written = (tmp_path / "decisions.json").stat().st_ino
    save(tmp_path, looked_at=["a"], held_back={"a": "too young"}, now=NOW + timedelta(hours=1))
    assert (tmp_path / "decisions.json").stat().st_ino == written
    assert load_decisions(tmp_path)["a"].at == NOW.isoformat()


def test_a_damaged_file_is_made_anew(tmp_path) -> None:
    (tmp_path / "decisions.json").write_text('{"a": [')
    save(tmp_path, looked_at=["a"], held_back={"a": "too young"})
    assert load_decisions(tmp_path)["a"].why == "too young"
