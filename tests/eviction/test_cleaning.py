"""The loop of a cleanup: when it chooses anew, and when it ends."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from fusion_assets.eviction.cleaning import Cleaned, Outcome, clean
from fusion_assets.eviction.pins import Pins
from fusion_assets.eviction.policy import Copy
from fusion_assets.eviction.store import StoreObservation
from fusion_assets.manifest.fold import LedgerView
from resources.storage import Space
from tests.eviction.store_lab import StoreLab

NOW = datetime(2026, 6, 1, tzinfo=UTC)
TOTAL = 1000


def _store(count: int, free: int, **fields: object) -> StoreObservation:
    copies = tuple(Copy(f"run{n}", f"backup{n}", 50, NOW + timedelta(days=n)) for n in range(count))
    given = {"unfinished": (), "leftovers": (), "held_back": ""} | fields
    return StoreObservation(NOW, Space(TOTAL, free), copies, pins=Pins(), ledger=LedgerView(), **given)


@pytest.fixture
def make_room(lab: StoreLab) -> Callable[..., Cleaned]:
    """Clean a store in which evicting gives back what was recorded, unless `results` says otherwise of a study."""

    def run(store: StoreObservation, results: dict[str, Outcome] | None = None, **options: bool) -> Cleaned:
        free = store.space.free

        def evict_one(study: str) -> Outcome:
            nonlocal free
            outcome = (results or {}).get(study) or (results or {}).get("*") or Outcome(study, "evicted", "", 50)
            free += outcome.total_bytes
            return Outcome(study, outcome.result, outcome.message, outcome.total_bytes, outcome.space_held)

        lab.want(free_threshold_pct=15, max_store_pct=99)
        lab.volume.space = lambda: Space(TOTAL, free)
        with lab.opened() as opened:
            opened.truenas._measure = lambda: Space(TOTAL, free)
            return clean(opened, store, evict_one, **options)

    return run


def _studies(cleaned: Cleaned) -> list[str]:
    return [outcome.study for outcome in cleaned.outcomes]


def test_it_ends_when_there_is_room_enough(make_room: Callable[..., Cleaned]) -> None:
    cleaned = make_room(_store(10, free=60))
    assert _studies(cleaned) == ["run0", "run1"]
    assert cleaned.still_missing == 0


def test_the_next_oldest_goes_for_one_that_could_not(make_room: Callable[..., Cleaned]) -> None:
    cleaned = make_room(
        _store(10, free=60), {"run0": Outcome("", "kept", "pinned"), "run1": Outcome("", "failed", "x")}
    )
    assert _studies(cleaned) == ["run0", "run1", "run2", "run3"]
    assert cleaned.left_out["backup0"] == "pinned"
    assert not cleaned.stopped


def test_what_was_broken_off_is_ended_first_even_where_nothing_is_needed(make_room: Callable[..., Cleaned]) -> None:
    cleaned = make_room(_store(3, free=900, unfinished=("gone",)))
    assert _studies(cleaned) == ["gone"]


def test_what_only_a_broken_off_eviction_held_back_goes_on_once_that_is_ended(
    make_room: Callable[..., Cleaned],
) -> None:
    cleaned = make_room(_store(10, free=60, unfinished=("gone",), held_back="its space was not measured"))
    assert _studies(cleaned) == ["gone", "run0"]
    assert not cleaned.stopped


def test_space_that_is_held_ends_it_at_once(make_room: Callable[..., Cleaned]) -> None:
    held = {"run0": Outcome("", "evicted", "a snapshot holds it", 0, space_held=True)}
    assert _studies(make_room(_store(10, free=60), held)) == ["run0"]
    assert "snapshot" in make_room(_store(10, free=60), held).stopped


def test_space_that_is_held_since_an_earlier_cleanup_keeps_it_from_beginning(
    make_room: Callable[..., Cleaned],
) -> None:
    cleaned = make_room(_store(10, free=60, held_back="a snapshot holds it"))
    assert _studies(cleaned) == []
    assert cleaned.stopped == "a snapshot holds it"


def test_despite_snapshots_no_more_goes_than_was_missing(make_room: Callable[..., Cleaned]) -> None:
    held = {"*": Outcome("", "evicted", "a snapshot holds it", 0, space_held=True)}
    cleaned = make_room(_store(10, free=60, held_back="held"), held, despite_snapshots=True)
    assert _studies(cleaned) == ["run0", "run1"]


def test_an_archive_that_is_away_does_not_fail_a_thousand_studies_in_turn(make_room: Callable[..., Cleaned]) -> None:
    cleaned = make_room(_store(10, free=60), {"*": Outcome("", "failed", "S3 does not answer")})
    assert _studies(cleaned) == ["run0", "run1", "run2"]
    assert "S3 does not answer" in cleaned.stopped
