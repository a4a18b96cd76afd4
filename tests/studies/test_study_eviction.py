"""The eviction as Dagster shows it: gates as checks, kept studies in green runs, a word on the copy that left."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from definitions import build_defs
from fusion_assets.eviction.gates import Gate
from fusion_assets.eviction.store import observe_store
from fusion_assets.studies.eviction import TRUENAS_EVICTED, gate_check
from fusion_assets.studies.lab_resource import OpenLab
from tests.eviction.store_lab import StoreLab, Volume, assert_evicted
from tests.real.small_lab import SmallLab

OLD, NEW = "20260105_WW_HCC_run1", "20260106_WW_HCC_run2"


@pytest.fixture
def lab(small_lab: SmallLab) -> StoreLab:
    small_lab.source.mkdir()
    (small_lab.source / "20990101_ZZ_KEEP_busy").mkdir()
    lab = StoreLab(small_lab, Volume([small_lab.nas], 10 * 1024**3))
    lab.archive(OLD, NEW)
    lab.fill()
    return lab


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("studies", [OLD, NEW])
        yield instance


def _run(lab: StoreLab, instance: dg.DagsterInstance, study: str) -> dg.ExecuteInProcessResult:
    with lab.opened() as opened:
        job = build_defs(opened.config, resources={"lab": OpenLab(opened)}).resolve_job_def("evict_study")
        return job.execute_in_process(instance=instance, partition_key=study, raise_on_error=False)


def _checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {check.check_name: check.passed for check in result.get_asset_check_evaluations()}


def _was_made(result: dg.ExecuteInProcessResult) -> bool:
    keys = [event.asset_key for event in result.get_asset_materialization_events()]
    return dg.AssetKey(TRUENAS_EVICTED) in keys


def test_every_gate_of_an_eviction_is_a_passed_check(lab: StoreLab, instance: dg.DagsterInstance) -> None:
    result = _run(lab, instance, OLD)
    assert result.success
    assert _was_made(result)
    assert _checks(result) == {gate_check(gate): True for gate in Gate}
    assert_evicted(lab, OLD)


def test_the_copy_that_left_is_shown_as_evicted_and_not_lost(lab: StoreLab, instance: dg.DagsterInstance) -> None:
    _run(lab, instance, OLD)
    (seen,) = instance.fetch_observations(dg.AssetKey("truenas_copy"), limit=5).records
    assert seen.partition_key == OLD
    assert "not lost" in str(seen.asset_observation.metadata["why"].value)


def test_a_study_that_is_kept_as_it_should_be_leaves_a_green_run_without_an_eviction(
    lab: StoreLab, instance: dg.DagsterInstance
) -> None:
    lab.pin(OLD)
    result = _run(lab, instance, OLD)
    assert result.success
    assert not _was_made(result)
    failed = [check for check in result.get_asset_check_evaluations() if not check.passed]
    assert [check.check_name for check in failed] == ["not_pinned"]
    assert failed[0].severity is dg.AssetCheckSeverity.WARN
    assert OLD in lab.on_nas()


def test_a_copy_that_s3_does_not_prove_fails_the_run_and_the_check(lab: StoreLab, instance: dg.DagsterInstance) -> None:
    key = lab.small.key(lab.small.path_of("big.bin", OLD), OLD)
    lab.small.server.client().delete_object(Bucket=lab.small.bucket, Key=key)
    result = _run(lab, instance, OLD)
    assert not result.success
    assert _checks(result)["every_object_in_s3"] is False
    assert OLD in lab.on_nas()


def test_an_eviction_that_is_asked_for_twice_is_done_once(lab: StoreLab, instance: dg.DagsterInstance) -> None:
    _run(lab, instance, OLD)
    said = lab.small.ledger()
    assert _run(lab, instance, OLD).success
    assert lab.small.ledger() == said


def test_two_thousand_copies_are_observed_in_seconds_without_a_look_into_any(lab: StoreLab) -> None:
    import json
    import time

    month = next((lab.small.nas / "_manifest").glob("????-??.jsonl"))
    lines = []
    for number in range(2000):
        name = f"20250101_WW_HCC_many{number}"
        (lab.small.nas / name).mkdir()
        lines.append(json.dumps(lab.record(OLD) | {"backup_name": name, "run_name": name}))
    month.write_text(month.read_text() + "\n".join(lines) + "\n")
    with lab.opened() as opened:
        opened.ledger.mirror(month.stem)
        started = time.process_time()
        store = observe_store(opened)
        spent = time.process_time() - started
    assert len([copy for copy in store.copies if not copy.kept]) == 2002
    assert spent < 6, f"{spent:.2f} s of CPU; 0.8 where it was measured while coverage is recorded"
