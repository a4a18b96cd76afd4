"""The eviction of a study as a Dagster asset: its gates as checks, its job, and what it reports.

Thin: `fusion_assets.eviction` does the work. What belongs here: specs, and turning what came of it into events. A study
that is kept as it should be (pinned, locked, space enough by now) leaves the run green without a materialization; where
a person has to look, the run fails.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of assets as objects, not as text.

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from fusion_assets.config import Config
from fusion_assets.eviction.evict import Evicted, evict
from fusion_assets.eviction.gates import MEANINGS, Gate, KeptError, is_fault
from fusion_assets.partitions import studies
from fusion_assets.reconcile.conditions import Condition
from fusion_assets.reconcile.lab import Lab
from fusion_assets.studies.checks import MANIFEST_ENTRY, S3_ARCHIVE, TRUENAS_COPY, check_result, check_spec
from fusion_assets.studies.lab_resource import LabSource
from fusion_assets.studies.report import CHANGED
from fusion_assets.studies.tags import DESPITE_SNAPSHOTS_TAG, EVICTION, KIND_TAG
from fusion_assets.studies.working import RETRY_SECONDS, retrying

TRUENAS_EVICTED = "truenas_evicted"
GROUP = "capacity"
OBSERVED = "observed"

_OWNERS = ["team:microscopy"]


def gate_check(gate: Gate) -> str:
    """The name of the check of a gate, e.g. ``every_object_in_s3``.

    Args:
        gate: The gate.
    """
    return gate.name.lower()


# None of them is blocking: nothing comes after an eviction, and a closed gate has kept the copy already.
GATE_CHECKS = tuple(check_spec(TRUENAS_EVICTED, gate_check(gate), MEANINGS[gate], blocking=False) for gate in Gate)

evict_study = dg.define_asset_job(
    "evict_study",
    selection=dg.AssetSelection.groups(GROUP),
    executor_def=dg.in_process_executor,
    tags={KIND_TAG: EVICTION},
    description="Delete a study's copy on the NAS to make room, if every gate is open at that moment; S3 keeps it.",
)


def build_eviction_asset(config: Config, *, retry_seconds: float = RETRY_SECONDS) -> dg.AssetsDefinition:
    """The eviction of a study, for one lab.

    Args:
        config: What the lab declares.
        retry_seconds: How long to wait before it is tried again after a place did not answer.
    """

    @dg.multi_asset(
        name=TRUENAS_EVICTED,
        specs=[
            dg.AssetSpec(
                TRUENAS_EVICTED,
                deps=[TRUENAS_COPY, S3_ARCHIVE, MANIFEST_ENTRY],
                partitions_def=studies,
                kinds={"smb"},
                skippable=True,
                group_name=GROUP,
                owners=_OWNERS,
                description="The copy has left the NAS to make room, every file of it proven in S3 at that moment.",
            )
        ],
        check_specs=GATE_CHECKS,
        can_subset=True,  # Dagster's only way to allow that a gate is not looked at, because one before it is closed
        # In no pool: a day of long transfers must not keep the NAS full. One eviction at a time is what its tag says.
    )
    def truenas_evicted(context: dg.AssetExecutionContext, lab: dg.ResourceParam[LabSource]) -> Iterator[Any]:
        with retrying(context, retry_seconds) as run_name:
            lab.prepare(config.hooks.cleanup, context.log.info)
            here = lab.open(config)
            try:
                done = evict(
                    here, run_name, context.log.info, despite_snapshots=DESPITE_SNAPSHOTS_TAG in context.run.tags
                )
            except KeptError as kept:
                yield from _gate_results(kept.gates)
                if kept.is_fault:
                    raise dg.Failure(str(kept), allow_retries=False) from kept
                context.log.info(str(kept))
                return
            yield from _results(here, run_name, context.partition_key, done)

    return truenas_evicted


def _gate_results(gates: Mapping[Gate, Condition]) -> Iterator[dg.AssetCheckResult]:
    for gate, condition in gates.items():
        yield check_result(
            TRUENAS_EVICTED,
            gate_check(gate),
            passed=condition.is_true,
            warn=not is_fault(gate),
            metadata={"reason": condition.reason, OBSERVED: condition.message},
        )


def _results(lab: Lab, run_name: str, key: str, done: Evicted) -> Iterator[Any]:
    """The gates, the materialization, and the word to whoever looks at the copy that it is evicted, not lost."""
    gates = dict(done.gates or {})
    rises = gates.pop(Gate.SPACE_RISES, None)
    yield from _gate_results(gates)
    if rises is not None:
        rose = done.space_came_back is not False
        yield check_result(
            TRUENAS_EVICTED,
            gate_check(Gate.SPACE_RISES),
            passed=rose,
            metadata={"reason": rises.reason if rose else "SpaceHeld", OBSERVED: spoken_space(done)},
        )
    archive = lab.bucket.object_uri(lab.config.backup_name(run_name))
    yield dg.AssetObservation(
        TRUENAS_COPY,
        partition=key,
        metadata={"evicted": True, "why": "moved out to make room, not lost", "archive": dg.MetadataValue.url(archive)},
    )
    yield dg.MaterializeResult(
        asset_key=TRUENAS_EVICTED,
        data_version=dg.DataVersion(done.sidecar_sha256) if done.sidecar_sha256 else None,
        metadata={
            CHANGED: done.file_count > 0,
            "files": done.file_count,
            "bytes": done.total_bytes,
            "GiB": done.total_bytes / 1024**3,
            "free bytes before": done.free_before if done.free_before is not None else "not measured",
            "free bytes after": done.free_after if done.free_after is not None else "not measured",
            "archive": dg.MetadataValue.url(archive),
            "left in the trash": ", ".join(done.left) or "nothing",
        },
    )


def spoken_space(done: Evicted) -> str:
    """What became of the space of an eviction, in a sentence.

    Args:
        done: The eviction.
    """
    if done.space_came_back is None:
        return "its space was not measured: an eviction that was broken off was finished"
    words = f"{done.total_bytes} bytes were removed, free space went from {done.free_before} to {done.free_after} bytes"
    if done.space_came_back:
        return words
    return f"{words}: a snapshot or a recycle bin on the NAS holds them, and nothing more is evicted"
