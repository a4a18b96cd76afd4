"""One eviction, against a real S3 server: what it removes, what it leaves, and every reason to leave it alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fusion_assets.eviction.gates import Gate, KeptError
from fusion_assets.eviction.store import observe_store
from fusion_assets.reconcile.conditions import Name
from fusion_assets.reconcile.observe import observe_lab
from fusion_assets.reconcile.plan import Desired, Verdict, plan_studies
from fusion_assets.reconcile.reserve import RESERVE
from fusion_assets.standard.listing import SIDECAR_NAME
from tests.eviction.store_lab import StoreLab, assert_evicted, assert_nothing_lost

OLD, NEW = "20260105_WW_HCC_run1", "20260106_WW_HCC_run2"


@pytest.fixture
def full(lab: StoreLab) -> StoreLab:
    """Two archived studies on a NAS that is nearly full."""
    lab.archive(OLD, NEW)
    lab.fill()
    return lab


def _closed(lab: StoreLab, study: str = OLD, **options: object) -> dict[Gate, str]:
    with pytest.raises(KeptError) as kept:
        lab.evict(study, **options)
    assert study in lab.on_nas()
    assert not lab.trash()
    assert_nothing_lost(lab)
    return {gate: condition.message for gate, condition in kept.value.closed.items()}


def test_an_evicted_copy_is_gone_and_nothing_of_s3_is_touched(full: StoreLab) -> None:
    before, free = full.s3(), full.volume.space().free
    done = full.evict(OLD)
    assert_evicted(full, OLD)
    assert full.s3() == before
    assert full.on_nas() == {NEW}
    assert done.space_came_back is True
    assert full.volume.space().free > free
    assert done.file_count == full.record(OLD)["file_count"]
    assert full.record(OLD)["free_before"] == done.free_before
    assert set(done.gates or {}) == set(Gate)


def test_an_evicted_study_is_as_it_should_be_and_not_lost(full: StoreLab) -> None:
    full.evict(OLD)
    with full.opened() as lab:
        plans = {plan.study: plan for plan in plan_studies(Desired(True), observe_lab(lab, {}).studies)}
    assert plans[OLD].verdict is Verdict.SETTLED
    assert plans[OLD].observed.conditions[Name.ON_TRUENAS].reason == "Evicted"


def test_a_nas_with_room_enough_keeps_everything(lab: StoreLab) -> None:
    lab.archive(OLD, NEW)
    assert _closed(lab).keys() == {Gate.NEEDS_SPACE}


def test_the_last_copy_stays_however_full_the_nas_is(full: StoreLab) -> None:
    full.evict(OLD)
    full.fill()
    assert _closed(full, NEW).keys() == {Gate.NOT_THE_LAST}


def test_a_pinned_study_stays_and_says_who_wants_it(full: StoreLab) -> None:
    full.pin(OLD)
    assert "pinned by ada" in _closed(full)[Gate.NOT_PINNED]
    assert "reviewers ask" in _closed(full)[Gate.NOT_PINNED]


def test_a_study_that_is_pinned_while_s3_is_asked_stays(full: StoreLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """To ask S3 about every object takes minutes, or hours where objects must be downloaded."""
    _while_s3_is_asked(monkeypatch, lambda: full.pin(OLD))
    assert _closed(full).keys() == {Gate.NOT_PINNED}
    assert "eviction_begun_at" not in full.record(OLD)


def test_space_that_came_back_while_s3_was_asked_keeps_the_copy(
    full: StoreLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    _while_s3_is_asked(monkeypatch, lambda: setattr(full.volume, "total", full.volume.total * 100))
    assert _closed(full).keys() == {Gate.NEEDS_SPACE}


def _while_s3_is_asked(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    from fusion_assets.transfer.check import check_archive

    def asked(*args: Any, **options: Any) -> Any:
        problems = check_archive(*args, **options)
        happens()
        return problems

    monkeypatch.setattr("fusion_assets.eviction.evict.check_archive", asked)


def test_a_pin_that_expired_keeps_nothing(full: StoreLab) -> None:
    full.pin(OLD, expires=datetime.now(UTC) - timedelta(days=1))
    full.evict(OLD)
    assert_evicted(full, OLD)


@pytest.mark.parametrize("damage", [b'{"backup_name": "x"}\n', b'{"backup_name"', b"\xff\xfe\n"])
def test_pins_that_cannot_be_understood_pin_every_study(full: StoreLab, damage: bytes) -> None:
    full.pin(NEW)
    file = full.small.nas / "_manifest" / "pins.jsonl"
    file.write_bytes(file.read_bytes() + damage)
    assert "not known" in _closed(full)[Gate.NOT_PINNED]


def test_pins_that_were_lost_while_s3_mirrors_them_pin_every_study(full: StoreLab) -> None:
    full.pin(NEW)
    (full.small.nas / "_manifest" / "pins.jsonl").unlink()
    assert "fusion manifest restore" in _closed(full)[Gate.NOT_PINNED]
    with full.opened() as lab:
        assert lab.ledger.restore_from_mirror() == ["pins"]
    full.evict(OLD)


def test_a_study_that_is_not_complete_stays(full: StoreLab) -> None:
    _append(full, OLD, status="in_progress", completed_at=None)
    assert "in_progress" in _closed(full)[Gate.COMPLETE]


def test_a_study_that_is_still_at_the_source_stays_until_it_is_released(lab: StoreLab) -> None:
    lab.archive(NEW)
    lab.archive(OLD, released=False)
    lab.fill()
    assert "still at the source" in _closed(lab)[Gate.RELEASED]


def test_a_lab_that_keeps_its_sources_evicts_all_the_same(lab: StoreLab) -> None:
    lab.small.write_config(delete_source=False)
    lab.archive(OLD, NEW, released=False)
    lab.fill()
    lab.evict(OLD)
    assert_evicted(lab, OLD)


def test_a_source_that_is_switched_off_does_not_keep_the_nas_full(full: StoreLab) -> None:
    shutil.rmtree(full.small.source)
    full.evict(OLD)
    assert_evicted(full, OLD)


def test_a_study_of_which_nobody_can_see_whether_it_is_at_the_source_stays(lab: StoreLab) -> None:
    lab.archive(OLD, NEW, released=False)
    lab.fill()
    shutil.rmtree(lab.small.source)
    with pytest.raises(KeptError) as kept:
        lab.evict(OLD)
    assert "cannot be seen" in kept.value.closed[Gate.RELEASED].message


@pytest.mark.parametrize("spoil", ["missing", "altered"])
def test_an_object_that_is_missing_or_altered_in_s3_keeps_the_copy_and_the_ledger_says_so(
    full: StoreLab, spoil: str
) -> None:
    client, key = full.small.server.client(), full.small.key(full.small.path_of("MarkerList.txt", OLD), OLD)
    if spoil == "missing":
        client.delete_object(Bucket=full.small.bucket, Key=key)
    else:
        body = b"x" * len(full.small.objects()[key])
        client.put_object(Bucket=full.small.bucket, Key=key, Body=body)
    assert "MarkerList.txt" in _closed(full)[Gate.EVERY_OBJECT_IN_S3]
    assert full.record(OLD)["status"] == "failed_s3"  # so that the next `apply` uploads it again


def test_the_objects_of_run10_are_none_of_run1(lab: StoreLab) -> None:
    ten = f"{OLD}0"
    lab.archive(OLD, ten)
    lab.fill()
    client = lab.small.server.client()
    for key in [key for key in lab.s3() if key.startswith(lab.small.key("", OLD))]:
        client.delete_object(Bucket=lab.small.bucket, Key=key)
    assert any(key.startswith(lab.small.key("", ten)) for key in lab.s3())
    assert Gate.EVERY_OBJECT_IN_S3 in _closed(lab)


def test_a_copy_without_its_sidecar_stays(full: StoreLab) -> None:
    (full.small.nas / OLD / SIDECAR_NAME).unlink()
    assert Gate.SIDECAR_PRESENT in _closed(full)


def test_a_copy_with_another_sidecar_than_the_recorded_one_stays(full: StoreLab) -> None:
    sidecar = full.small.nas / OLD / SIDECAR_NAME
    sidecar.write_bytes(sidecar.read_bytes().replace(b"  ", b" *", 1))
    assert "not the one" in _closed(full)[Gate.SIDECAR_PRESENT]


def test_a_copy_in_which_somebody_keeps_results_stays_and_names_them(full: StoreLab) -> None:
    (full.small.nas / OLD / "segmentation.tif").write_bytes(b"a week of work")
    assert "segmentation.tif" in _closed(full)[Gate.NOTHING_UNARCHIVED]


def test_what_a_file_browser_leaves_behind_keeps_no_copy(full: StoreLab) -> None:
    (full.small.nas / OLD / "Thumbs.db").write_bytes(b"thumbs")
    (full.small.nas / OLD / OLD / ".DS_Store").write_bytes(b"store")
    full.evict(OLD)
    assert_evicted(full, OLD)


def test_a_study_that_is_being_backed_up_or_restored_stays(full: StoreLab, tmp_path: object) -> None:
    _lock_elsewhere(full.small.nas / ".fusion-locks" / f"{OLD}.lock")
    assert "microscope-2" in _closed(full)[Gate.UNLOCKED]


def test_a_study_whose_lock_is_held_at_the_source_stays(lab: StoreLab) -> None:
    lab.small.write_config(delete_source=False)
    lab.archive(OLD, NEW, released=False)
    lab.fill()
    _lock_elsewhere(lab.small.source / OLD / ".fusion-toolkit.lock")
    assert "microscope-2" in _closed(lab)[Gate.UNLOCKED]


def test_nobody_evicts_while_somebody_else_makes_room(full: StoreLab) -> None:
    _lock_elsewhere(full.small.nas / ".cleanup.lock")
    assert "microscope-2" in _closed(full)[Gate.UNLOCKED]


def test_the_lock_that_a_crash_left_on_the_cleanup_is_taken_over(full: StoreLab) -> None:
    lock = {"hostname": _this_host(), "pid": 2**22 - 1, "started_at": datetime.now(UTC).isoformat(), "process": ""}
    (full.small.nas / ".cleanup.lock").write_text(json.dumps(lock))
    full.evict(OLD)
    assert not (full.small.nas / ".cleanup.lock").exists()


def test_no_lock_is_left_whatever_became_of_it(full: StoreLab) -> None:
    full.evict(OLD)
    _closed(full, NEW)
    assert not list((full.small.nas / ".fusion-locks").glob("*.lock"))
    assert not (full.small.nas / ".cleanup.lock").exists()


def test_space_that_does_not_come_back_stops_the_next_eviction_until_it_does(full: StoreLab) -> None:
    full.archive("20260107_WW_HCC_run3")
    snapshot = full.snapshot(OLD)
    full.fill()
    done = full.evict(OLD)
    assert done.space_came_back is False
    assert_evicted(full, OLD)
    assert "--despite-snapshots" in _closed(full, NEW)[Gate.SPACE_RISES]
    shutil.rmtree(snapshot)
    full.fill(free_pct=14)
    full.evict(NEW)
    assert_evicted(full, NEW)


def test_space_that_came_back_and_was_taken_by_new_backups_holds_nothing_up(full: StoreLab) -> None:
    """Else no eviction would ever go on, and the NAS would fill: free space never rises to where it once was."""
    snapshot = full.snapshot(OLD)
    full.fill(free_pct=14)
    assert full.evict(OLD).space_came_back is False
    total, full.volume.total = full.volume.total, full.volume.total * 1000  # what is copied wants 64 MiB to stay free
    full.archive("20260107_WW_HCC_run3")
    full.volume.total = total
    assert "--despite-snapshots" in _closed(full, NEW)[Gate.SPACE_RISES], "it is held still, whatever came since"
    shutil.rmtree(snapshot)
    full.evict(NEW)
    assert_evicted(full, NEW)


def test_a_copy_that_lay_on_the_nas_already_and_is_adopted_lets_no_further_eviction_through(full: StoreLab) -> None:
    """Else at a roll-out on a full NAS every adoption would cost a backup, while snapshots hold the space of all."""
    legacy = "20260115_WW_OLD_run1"
    full.small.add_study(legacy)
    full.small.write(f"{legacy}/Scan1/.temp/big.bin", bytes(2 * 1024**2), legacy)
    shutil.copytree(full.small.source / legacy, full.small.nas / legacy)
    _evict_in_vain(full, OLD)
    _archive_as_it_is(full, legacy)
    assert "adopted_at" in full.record(legacy)
    assert Gate.SPACE_RISES in _closed(full, NEW)


def test_a_copy_that_was_begun_before_an_eviction_lets_no_further_one_through(
    full: StoreLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written of it before the eviction was not free before the eviction either."""
    third = "20260107_WW_HCC_run3"
    full.small.add_study(third)
    full.small.write(f"{third}/Scan1/.temp/big.bin", bytes(2 * 1024**2), third)
    with monkeypatch.context() as patched:
        patched.setattr("fusion_assets.reconcile.transferring._copy", _killed_at_once)
        with pytest.raises(KeyboardInterrupt):
            _archive_as_it_is(full, third)
    _evict_in_vain(full, OLD)
    _archive_as_it_is(full, third)
    assert "adopted_at" not in full.record(third)
    assert Gate.SPACE_RISES in _closed(full, NEW)


def _killed_at_once(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def _evict_in_vain(lab: StoreLab, study: str) -> None:
    lab.snapshot(study)
    lab.fill()
    assert lab.evict(study).space_came_back is False


def _archive_as_it_is(lab: StoreLab, study: str) -> None:
    """Archive a study on a volume that has room for it, and is as large as before afterwards."""
    total = lab.volume.total
    lab.archive_written(study)
    lab.volume.total = total


def test_a_clock_that_was_ahead_hides_no_later_eviction_whose_space_is_held(full: StoreLab) -> None:
    third, fourth = "20260107_WW_HCC_run3", "20260108_WW_HCC_run4"
    full.archive(third, fourth)
    full.fill()
    assert full.evict(OLD, clock=lambda: datetime.now(UTC) + timedelta(hours=2)).space_came_back is True
    full.snapshot(NEW)
    full.fill()
    assert full.evict(NEW).space_came_back is False
    assert NEW in _closed(full, third)[Gate.SPACE_RISES]


def test_a_clock_that_was_ahead_makes_no_later_copy_an_older_one(full: StoreLab) -> None:
    """What came to the NAS since counts as free; else an eviction under a clock that was ahead would stop all."""
    snapshot = full.snapshot(OLD)
    full.fill(free_pct=14)
    assert full.evict(OLD, clock=lambda: datetime.now(UTC) + timedelta(hours=2)).space_came_back is False
    total, full.volume.total = full.volume.total, full.volume.total * 1000
    full.archive("20260107_WW_HCC_run3")
    full.volume.total = total
    shutil.rmtree(snapshot)
    full.evict(NEW)
    assert_evicted(full, NEW)


def test_an_eviction_that_is_killed_while_it_waits_for_its_space_is_measured_before_the_next(
    full: StoreLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = "20260107_WW_HCC_run3"
    full.archive(third)
    full.snapshot(OLD)
    full.fill()
    with monkeypatch.context() as patched:
        patched.setattr("fusion_assets.eviction.evict.time.sleep", _killed)
        with pytest.raises(KeyboardInterrupt):
            full.evict(OLD)
    with full.opened() as lab:
        assert "broken off" in observe_store(lab).held_back
    assert "broken off" in _closed(full, NEW)[Gate.SPACE_RISES]
    done = full.evict(OLD)
    assert done.space_came_back is False
    assert_evicted(full, OLD)
    assert full.record(OLD)["free_after"] == done.free_after
    assert "--despite-snapshots" in _closed(full, NEW)[Gate.SPACE_RISES]


def _killed(_: float) -> None:
    raise KeyboardInterrupt


def test_a_person_may_go_on_in_spite_of_snapshots(full: StoreLab) -> None:
    full.archive("20260107_WW_HCC_run3")
    full.snapshot(OLD)
    full.fill()
    full.evict(OLD)
    full.evict(NEW, despite_snapshots=True)
    assert_evicted(full, NEW)


def test_a_full_nas_gives_its_reserve_up_so_that_room_can_be_made(full: StoreLab, monkeypatch: object) -> None:
    from resources.errors import StorageFullError

    full.archive(OLD.replace("run1", "run3"), kib=16 * 1024)
    full.fill(free_pct=1)
    reserve = full.small.nas / RESERVE
    assert reserve.stat().st_size == 1024**2

    with full.opened() as lab:
        create = lab.truenas._storage.create_exclusive

        def full_disk(path: str, data: bytes) -> None:
            if reserve.exists():
                raise StorageFullError("no space left")
            create(path, data)

        lab.truenas.create_exclusive = full_disk
        from fusion_assets.eviction.evict import evict

        evict(lab, NEW, pauses=())
    assert_evicted(full, NEW)
    assert reserve.exists()


def test_a_copy_made_again_after_its_eviction_is_one_that_can_be_lost(lab: StoreLab) -> None:
    from tests.eviction.store_lab import archive

    lab.small.write_config(delete_source=False)
    lab.archive(OLD, NEW, released=False)
    lab.fill()
    lab.evict(OLD)
    lab.volume.total *= 1000
    archive(lab, OLD, released=False)
    assert "truenas_evicted_at" not in lab.record(OLD)


def test_a_record_older_than_this_program_is_believed_only_as_far_as_it_agrees(full: StoreLab) -> None:
    fields = {name: full.record(OLD)[name] for name in list(full.record(OLD))[:13]}
    _append(full, OLD, replace=fields | {"file_count": 1})
    assert "recorded are 1 files" in _closed(full)[Gate.SIDECAR_PRESENT]
    _append(full, OLD, replace=fields)
    full.evict(OLD)
    assert_evicted(full, OLD)


def test_observing_names_every_copy_and_why_it_stays(full: StoreLab) -> None:
    full.pin(NEW)
    with full.opened() as lab:
        store = observe_store(lab)
    assert {copy.backup_name: bool(copy.kept) for copy in store.copies} == {OLD: False, NEW: True}
    assert store.unfinished == ()
    assert store.held_back == ""


def _lock_elsewhere(file) -> None:
    file.parent.mkdir(exist_ok=True)
    lock = {"hostname": "microscope-2", "pid": 7, "started_at": "2026-01-05T00:00:00Z", "run_name": OLD}
    file.write_text(json.dumps(lock))


def _this_host() -> str:
    from resources.process import this_host

    return this_host()


def _append(lab: StoreLab, study: str, replace: dict | None = None, **fields: object) -> None:
    from fusion_assets.manifest.record import parse_record

    with lab.opened() as opened:
        opened.ledger.append(parse_record((replace or lab.record(study)) | fields))
