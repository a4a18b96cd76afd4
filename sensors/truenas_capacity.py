"""The sensor that measures the NAS, and makes room when too little of it is free; thin: `eviction` judges and chooses.

What it measures is an observation of `truenas_space`, which the UI plots over time. A batch of evictions stays within
the bounds of one cleanup, and the next one is chosen only when all of it has ended: by then the NAS was measured again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from fusion_assets.config import Config
from fusion_assets.eviction.cleaning import plan_cleanup
from fusion_assets.eviction.forecast import Forecast, NotEnough
from fusion_assets.eviction.history import Sample
from fusion_assets.eviction.outlook import measure
from fusion_assets.eviction.policy import Copy, EvictionPlan, missing_bytes
from fusion_assets.eviction.store import StoreObservation, observe_store
from fusion_assets.manifest.extra_fields import EVICTION_BEGUN_FIELD
from fusion_assets.notify.mailbox import Mailbox
from fusion_assets.partitions import partition_key, studies
from fusion_assets.reconcile.lab import check_places
from fusion_assets.reconcile.launch import Tries, again_at
from fusion_assets.reconcile.surroundings import look_around
from fusion_assets.studies.eviction import evict_study
from fusion_assets.studies.lab_resource import LabSource
from fusion_assets.studies.tags import EVICTION, KIND_TAG, STATE_TAG
from resources.errors import ResourceError, described
from sensors.capacity_mail import tell_of_capacity, tell_of_lock, tell_of_measured, tell_of_unmeasured
from sensors.outages import WELL, outage_since
from sensors.run_tries import runs_since, tries_of

TRUENAS_SPACE = "truenas_space"
# As for the idle studies: a tick with more requests than this takes too long.
EVICTIONS_A_TICK = 25

truenas_space = dg.AssetSpec(
    TRUENAS_SPACE,
    group_name="capacity",
    kinds={"smb"},
    owners=["team:microscopy"],
    description="How much of the NAS is free, measured again and again, and when it will be full.",
)


def build_truenas_capacity(config: Config) -> dg.SensorDefinition:
    """The sensor of one lab.

    Args:
        config: What the lab declares.
    """

    @dg.sensor(
        name="truenas_capacity",
        job=evict_study,
        minimum_interval_seconds=config.sensors.capacity_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Measures the free space of the NAS, and evicts the oldest backups when too little of it is free.",
    )
    def truenas_capacity(
        context: dg.SensorEvaluationContext, lab: dg.ResourceParam[LabSource], mailbox: dg.ResourceParam[Mailbox]
    ) -> dg.SensorResult:
        now = datetime.now(UTC)
        try:
            here = lab.open(config)
            store = observe_store(here, now=now)
        except ResourceError as error:
            why, since = described(error), outage_since(context.cursor, now)
            if not _is_told_by_idle_studies(config, lab, now):
                tell_of_unmeasured(config, mailbox, why, since=since, now=now)
            return dg.SensorResult(skip_reason=f"the NAS cannot be measured: {why}", cursor=since.isoformat())
        tell_of_measured(mailbox)
        context.update_cursor(WELL)
        outlook = measure(config, store.ledger, Sample(store.at, store.space.total, store.space.free))
        observed = [_observation(config, store, outlook)]
        # What one that ended meanwhile has freed, the look may have missed.
        if in_flight := runs_since(context.instance, now, {KIND_TAG: EVICTION}):
            why = f"{len(in_flight)} evictions are queued or at work; the next are chosen when they have ended"
            return dg.SensorResult(skip_reason=why, asset_events=observed)
        if lock := store.cleanup_lock:
            tell_of_lock(config, mailbox, store, lock, outlook)
            return dg.SensorResult(skip_reason=str(lock), asset_events=observed)
        states = {*map(_state_of, store.copies), *(_state_of_unfinished(store, study) for study in store.unfinished)}
        tries = tries_of(context.instance, states)
        plan = plan_cleanup(here, _resting(store, tries, now))
        due = _due(store, plan, tries, now)
        ends_others = not due.keys().isdisjoint(store.unfinished)
        tell_of_capacity(config, mailbox, store, plan, outlook, ends_others=ends_others)
        return dg.SensorResult(
            run_requests=[_request(study, state, tries.get(state)) for study, state in due.items()],
            skip_reason=None if due else _why_nothing(config, store, plan),
            dynamic_partitions_requests=[studies.build_add_request([partition_key(study) for study in due])]
            if due
            else [],
            asset_events=observed,
        )

    return truenas_capacity


def _is_told_by_idle_studies(config: Config, lab: LabSource, now: datetime) -> bool:
    """Whether the other sensor cannot look at the lab either: one outage is one mail."""
    try:
        here = lab.open(config)
        look_around(here, check_places(here), now)
    except ResourceError:
        return config.sensors.idle_studies
    return False


def _observation(config: Config, store: StoreObservation, outlook: Forecast | NotEnough) -> dg.AssetObservation:
    space = store.space
    metadata: dict[str, Any] = {
        "free bytes": space.free,
        "free %": 100 * space.free / space.total if space.total else 0.0,
        "copies": len(store.copies),
    }
    if isinstance(outlook, Forecast):
        metadata["GiB a day"] = outlook.bytes_per_day / 1024**3
        reach = outlook.until_full
        named = {"days until full": reach.likely, "at the earliest": reach.earliest, "at the latest": reach.latest}
        metadata |= {name: days for name, days in named.items() if days is not None}
    metadata |= {"threshold %": config.cleanup.free_threshold_pct, "forecast": str(outlook)}
    return dg.AssetObservation(TRUENAS_SPACE, metadata=metadata)


def _state_of(copy: Copy) -> str:
    """What an eviction is about: this backup of the study; another one is another matter."""
    return _digest("evict", copy.backup_name, str(copy.completed_at))


def _state_of_unfinished(store: StoreObservation, study: str) -> str:
    begun = [str(r.extra.get(EVICTION_BEGUN_FIELD)) for r in store.ledger.records.values() if r.run_name == study]
    return _digest("finish", study, *begun)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _resting(store: StoreObservation, tries: Mapping[str, Tries], now: datetime) -> StoreObservation:
    """The store without copies whose eviction did not succeed a short while ago: meanwhile the next one goes."""
    return replace(store, copies=tuple(_rested(copy, tries.get(_state_of(copy)), now) for copy in store.copies))


def _rested(copy: Copy, tried: Tries | None, now: datetime) -> Copy:
    again = again_at(tried)
    if copy.kept or again <= now:
        return copy
    return replace(copy, kept=f"its eviction did not succeed; tried again at {again:%Y-%m-%d %H:%M} UTC")


def _due(store: StoreObservation, plan: EvictionPlan, tries: Mapping[str, Tries], now: datetime) -> dict[str, str]:
    """The studies whose eviction is to be started, each with its state: those that were broken off come first."""
    begun = {study: _state_of_unfinished(store, study) for study in store.unfinished}
    unfinished = {study: state for study, state in begun.items() if again_at(tries.get(state)) <= now}
    chosen = {copy.run_name: _state_of(copy) for copy in plan.evictions if copy.run_name not in begun}
    return dict(list({**unfinished, **chosen}.items())[:EVICTIONS_A_TICK])


def _request(study: str, state: str, tried: Tries | None) -> dg.RunRequest:
    key = partition_key(study)
    return dg.RunRequest(
        run_key=f"evict:{key}:{state}:{tried.ended if tried else 0}", partition_key=key, tags={STATE_TAG: state}
    )


def _why_nothing(config: Config, store: StoreObservation, plan: EvictionPlan) -> str:
    percent = 100 * store.space.free / store.space.total if store.space.total else 0.0
    free = f"{percent:.1f} % of the NAS is free, {config.cleanup.free_threshold_pct:g} % are wanted"
    if not missing_bytes(store.space, config.cleanup.free_threshold_pct):
        return free
    reasons = list(dict.fromkeys([*([store.held_back] if store.held_back else []), *plan.left_out.values()]))
    return "\n".join([f"{free}, but no copy may go", *reasons[:10]])
