"""The sensor of the NAS's capacity: it never fills, no more is evicted than needed, and a person hears when not."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import dagster as dg
import pytest

from definitions import build_defs
from fusion_assets.config import load_config
from fusion_assets.eviction.history import read_samples
from fusion_assets.eviction.store import StoreObservation, observe_store
from fusion_assets.reconcile.lab import Lab
from resources.errors import AccessDeniedError
from resources.local import LocalStorage
from resources.process import this_host, this_process
from resources.storage import Space
from tests.eviction.store_lab import carry_out
from tests.manifest.records import record
from tests.real.small_lab import STUDY, SmallLab
from tests.sensors.daemon import Daemon, Tick, until_quiet

pytestmark = pytest.mark.real

OTHER = "20260106_WW_HCC_run2"
THIRD = "20260107_WW_HCC_run3"
SIZE = 10_000_000


@pytest.fixture
def full(lab: SmallLab, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """Three released studies on a NAS of ten megabytes, of which what they take is all that is taken."""
    lab.add_study(OTHER)
    lab.add_study(THIRD)
    with lab.opened() as opened:
        for study in (STUDY, OTHER, THIRD):
            carry_out(opened, study)
    monkeypatch.setattr(LocalStorage, "space", lambda storage: Space(SIZE, SIZE - taken(Path(storage.root))))
    return daemon


def taken(nas: Path) -> int:
    return sum(file.stat().st_size for file in nas.rglob("*") if file.is_file() and "_manifest" not in file.parts)


def want_free(lab: SmallLab, percent: float, *, max_store_pct: int = 50) -> None:
    with lab.config.open("a") as file:
        file.write(f"[cleanup]\nfree_threshold_pct = {percent}\nmax_store_pct = {max_store_pct}\n")


def copies(lab: SmallLab) -> list[str]:
    return sorted(path.name for path in lab.nas.iterdir() if path.name[0].isdigit())


def subjects(daemon: Daemon) -> list[str]:
    return [mail.subject for mail in daemon.mailbox.waiting()]


def test_a_nas_with_room_enough_is_measured_and_left_alone(lab, full, tmp_path) -> None:
    want_free(lab, 10)
    tick = full.tick("truenas_capacity")
    assert tick.requested == []
    assert "10 % are wanted" in tick.skipped
    assert copies(lab) == [STUDY, OTHER, THIRD]
    (observed,) = full.instance.fetch_observations(dg.AssetKey("truenas_space"), limit=5).records
    assert observed.asset_observation.metadata["free bytes"].value == SIZE - taken(lab.nas)
    assert len(read_samples(Path(full.instance.root_directory))) == 1


def test_a_nas_that_fills_loses_its_oldest_backup_and_no_more_than_is_needed(lab, full) -> None:
    missing_a_little = 100 * (SIZE - taken(lab.nas) + 100) / SIZE
    want_free(lab, missing_a_little)
    ticks = until_quiet(lambda: full.tick("truenas_capacity"))
    assert [tick.requested for tick in ticks] == [[STUDY], []]
    assert copies(lab) == [OTHER, THIRD]
    assert {check.passed for check in ticks[0].runs[0].get_asset_check_evaluations()} == {True}
    idle = full.tick("idle_studies")
    assert idle.requested == [], "evicted is how it should be: nothing is copied back"
    assert subjects(full) == []


def test_a_pinned_study_stays_and_the_next_one_goes(lab, full) -> None:
    assert lab.fusion("pin", STUDY, "--reason", "reviewer 2").returncode == 0
    want_free(lab, 100 * (SIZE - taken(lab.nas) + 100) / SIZE)
    until_quiet(lambda: full.tick("truenas_capacity"))
    assert copies(lab) == [STUDY, THIRD]


def test_an_altered_archive_keeps_its_copy_and_the_next_one_goes_and_a_person_hears_of_it(lab, full) -> None:
    full.tick("alerts")
    key = next(key for key in lab.objects() if key.startswith(f"archive/{STUDY}/") and key.endswith(".xpd"))
    lab.server.client().delete_object(Bucket=lab.bucket, Key=key)
    want_free(lab, 100 * (SIZE - taken(lab.nas) + 100) / SIZE)
    first, second, *_ = until_quiet(lambda: full.tick("truenas_capacity"))
    assert first.failed == [STUDY]
    assert second.requested == [OTHER]
    assert copies(lab) == [STUDY, THIRD]
    full.tick("alerts")
    (subject,) = subjects(full)
    assert "cleanup" in subject, "its failed gate and its failed run are one cause"


@pytest.mark.parametrize("at_once", [1, 2])
def test_snapshots_that_hold_the_space_stop_everything_after_one_study_with_one_mail(
    lab, full, monkeypatch, at_once: int
) -> None:
    """Deleting until space is free would delete every backup; what was asked for beside the first is kept, unsaid."""
    monkeypatch.setattr("fusion_assets.eviction.evict.PAUSES", (0.0,))
    held = SIZE - taken(lab.nas)
    monkeypatch.setattr(LocalStorage, "space", lambda _: Space(SIZE, held))
    want_free(lab, 99, max_store_pct=50 * at_once - 5 * (at_once - 1))
    full.tick("alerts")
    for number in range(4):
        tick = full.tick("truenas_capacity")
        assert len(tick.requested) == (at_once if number == 0 else 0)
        full.tick("alerts")
    assert copies(lab) == [OTHER, THIRD]
    (subject,) = subjects(full)
    assert "did not rise" in subject


def test_space_that_only_new_backups_explain_is_not_told_of_again_when_the_next_does_not_come_back(
    lab, full, monkeypatch
) -> None:
    monkeypatch.setattr("fusion_assets.eviction.evict.PAUSES", (0.0,))
    held = SIZE - taken(lab.nas)
    monkeypatch.setattr(LocalStorage, "space", lambda _: Space(SIZE, held))
    want_free(lab, 99)
    for _ in range(2):
        full.tick("truenas_capacity")
    with lab.opened() as opened:
        opened.ledger.append(record(backup_name="20260201_WW_HCC_run9"))
    for _ in range(3):
        full.tick("truenas_capacity")
    assert copies(lab) == [THIRD]
    (subject,) = subjects(full)
    assert "did not rise" in subject


def test_the_lock_of_a_cleanup_whose_host_is_gone_is_mailed_once_with_its_way_out(lab, full) -> None:
    lock = {"hostname": "old-host", "pid": 77, "started_at": datetime.now(UTC).isoformat()}
    (lab.nas / ".cleanup.lock").write_text(json.dumps(lock))
    want_free(lab, 100 * (SIZE - taken(lab.nas) + 100) / SIZE)
    tick = full.tick("truenas_capacity")
    assert tick.requested == []
    assert "room is being made" in tick.skipped
    assert subjects(full) == [], "a cleanup of another host may take a while"
    lock["started_at"] = "2026-01-01T00:00:00Z"
    (lab.nas / ".cleanup.lock").write_text(json.dumps(lock))
    for _ in range(2):
        assert full.tick("truenas_capacity").requested == []
    assert [subject.partition("] ")[2] for subject in subjects(full)] == [f"no room can be made on {this_host()}"]
    (mail, _), *_ = full.mailbox._queue.waiting(datetime.now(UTC))
    assert str(lab.nas / ".cleanup.lock") in mail.message.text
    assert "fusion unlock --cleanup" in mail.message.text
    assert lab.fusion("unlock", "--cleanup").returncode == 0
    assert lab.fusion("unlock", "--cleanup").returncode == 1
    assert full.tick("truenas_capacity").requested == [STUDY]


def test_a_cleanup_that_hangs_for_a_day_is_mailed_once_with_the_process_to_end(lab, full) -> None:
    def lock(age: timedelta) -> None:
        owner = {"hostname": this_host(), "pid": os.getpid(), "process": this_process()}
        taken_at = {"started_at": (datetime.now(UTC) - age).isoformat()}
        (lab.nas / ".cleanup.lock").write_text(json.dumps({**owner, **taken_at}))

    want_free(lab, 100 * (SIZE - taken(lab.nas) + 100) / SIZE)
    lock(timedelta(hours=23))
    full.tick("truenas_capacity")
    assert subjects(full) == []
    lock(timedelta(hours=25))
    for _ in range(2):
        assert full.tick("truenas_capacity").requested == []
    assert [subject.partition("] ")[2] for subject in subjects(full)] == [f"no room can be made on {this_host()}"]
    (mail, _), *_ = full.mailbox._queue.waiting(datetime.now(UTC))
    assert f"process {os.getpid()} on {this_host()}" in mail.message.text
    assert "if that process does not get on, end it" in mail.message.text


def test_a_nas_filled_by_others_is_told_of_once_and_keeps_its_last_copy(lab, full, monkeypatch) -> None:
    others = SIZE // 2
    monkeypatch.setattr(LocalStorage, "space", lambda storage: Space(SIZE, SIZE - others - taken(Path(storage.root))))
    want_free(lab, 90)
    for _ in range(6):
        full.tick("truenas_capacity")
    assert copies(lab) == [THIRD]
    assert len([subject for subject in subjects(full) if "too full" in subject]) == 1


def test_a_full_nas_is_told_of_once_however_often_a_hopeless_eviction_is_tried_again(lab, full, monkeypatch) -> None:
    (lab.nas / STUDY / "segmentation.tif").write_bytes(b"a week of work")
    for study in (OTHER, THIRD):
        assert lab.fusion("pin", study, "--reason", "reviewer 2").returncode == 0
    want_free(lab, 99)
    full.tick("alerts")
    for day in range(2):
        at = datetime.now(UTC) + timedelta(days=day)
        assert tick_at(full, at, monkeypatch).failed == [STUDY]
        assert tick_at(full, datetime.now(UTC), monkeypatch).requested == []
        full.tick("alerts")
    assert len([subject for subject in subjects(full) if "too full" in subject]) == 1


def test_an_eviction_that_is_killed_while_it_waits_for_its_space_is_ended_before_the_next_begins(
    lab, full, monkeypatch
) -> None:
    def killed(_: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("fusion_assets.eviction.evict.time.sleep", killed)
        want_free(lab, 99)
        held = SIZE - taken(lab.nas)
        monkeypatch.setattr(LocalStorage, "space", lambda _: Space(SIZE, held))
        assert full.tick("truenas_capacity").failed == [STUDY]
    monkeypatch.setattr("fusion_assets.eviction.evict.PAUSES", (0.0,))
    assert subjects(full) == []
    assert full.tick("truenas_capacity").requested == [STUDY]
    assert subjects(full) == [], "it is not measured yet"
    assert full.tick("truenas_capacity").requested == []
    (subject,) = subjects(full)
    assert "did not rise" in subject
    assert copies(lab) == [OTHER, THIRD]


def tick_at(daemon: Daemon, at: datetime, monkeypatch: pytest.MonkeyPatch) -> Tick:
    class Then(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return at

    with monkeypatch.context() as patched:
        patched.setattr("sensors.truenas_capacity.datetime", Then)
        return daemon.tick("truenas_capacity")


def test_evictions_that_still_run_are_not_requested_again(lab, full) -> None:
    full.run_requested = False
    want_free(lab, 100 * (SIZE - taken(lab.nas) + 100) / SIZE)
    assert full.tick("truenas_capacity").requested == [STUDY]
    evict = build_defs(load_config(lab.config)).resolve_job_def("evict_study")
    full.instance.create_run_for_job(evict, status=dg.DagsterRunStatus.STARTED, tags={"fusion/kind": "eviction"})
    tick = full.tick("truenas_capacity")
    assert tick.requested == []
    assert "the next are chosen when they have ended" in tick.skipped


def test_space_that_an_eviction_gives_back_while_it_is_measured_makes_no_other_backup_go(
    lab, full, monkeypatch
) -> None:
    want_free(lab, 100 * (SIZE - taken(lab.nas) + 100) / SIZE)
    full.only_begin = True
    assert full.tick("truenas_capacity").requested == [STUDY]

    def look(lab: Lab, *, now: datetime) -> StoreObservation:
        observed = observe_store(lab, now=now)
        full.break_off_all()
        return observed

    monkeypatch.setattr("sensors.truenas_capacity.observe_store", look)
    during = full.tick("truenas_capacity")
    assert during.requested == []
    assert "the next are chosen when they have ended" in during.skipped


def test_a_nas_that_is_not_mounted_is_no_full_one_and_no_empty_one(lab, full, monkeypatch) -> None:
    want_free(lab, 99)
    hidden = lab.nas.with_name("unmounted")
    lab.nas.rename(hidden)
    lab.nas.mkdir()
    for hours in (0, 2):
        tick = tick_at(full, datetime.now(UTC) + timedelta(hours=hours), monkeypatch)
        assert tick.requested == []
        assert "cannot be measured" in tick.skipped
    assert list(lab.nas.iterdir()) == []
    assert subjects(full) == [], "the sensor of idle studies sees that, too, and tells"
    hidden.rename(lab.nas)
    assert json.dumps(copies(lab)) == json.dumps([STUDY, OTHER, THIRD])


def test_a_trash_that_cannot_be_read_for_an_hour_is_mailed_once_until_it_can(lab, full, monkeypatch) -> None:
    """No other sensor looks there: without a word nothing would be evicted, and the NAS would fill."""
    want_free(lab, 10)
    list_real, start = LocalStorage.list, datetime.now(UTC)

    def denied(storage: LocalStorage, path: str = "", *args: object) -> object:
        if (storage.root, path) == (str(lab.nas), ".fusion-trash"):
            raise AccessDeniedError("access denied", path=path)
        return list_real(storage, path, *args)

    mailed = []
    for days in (0, 2):
        with monkeypatch.context() as patched:
            patched.setattr(LocalStorage, "list", denied)
            for minutes in (0, 59, 60, 24 * 60):
                tick = tick_at(full, start + timedelta(days=days, minutes=minutes), monkeypatch)
                assert "access denied" in tick.skipped
                mailed.append(len(subjects(full)))
        full.tick("truenas_capacity")
    assert mailed == [0, 0, 1, 1, 1, 1, 2, 2]
    assert all("the NAS cannot be measured" in subject for subject in subjects(full))
