"""A daemon in this process: ticks sensors, and runs at once what they request, as dagster-daemon does.

What belongs here: cursors, partitions, run keys, runs. What does not: any expectation. The real daemon has its
own tests (tests/real); this one is for what would take that one days.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, SensorInstigatorData
from dagster._daemon.sensor import is_under_min_interval

from definitions import build_defs
from fusion_assets.config import load_config
from fusion_assets.notify.mailbox import Mailbox
from fusion_assets.partitions import partition_key, studies
from resources.tick_times import take_back_tick_times

RUN_KEY_TAG = "dagster/run_key"
_MOMENT = 1e-9
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class Tick:
    """What one tick gave.

    Attributes:
        requested: Studies for which a run was requested, by partition key.
        runs: What came of those that were new.
        skipped: Why nothing was requested.
        waited: Whether Dagster did not tick it at all: its last tick was at a time that is yet to come.
    """

    requested: list[str]
    runs: list[dg.ExecuteInProcessResult]
    skipped: str = ""
    waited: bool = False

    @property
    def failed(self) -> list[str]:
        return [run.dagster_run.tags.get("dagster/partition", "") for run in self.runs if not run.success]


@dataclass
class Daemon:
    """One lab's code location, loaded anew at every tick, and an instance."""

    config: Path
    instance: dg.DagsterInstance
    cursors: dict[str, str | None] = field(default_factory=dict)
    run_requested: bool = True
    only_begin: bool = False
    before_run: Callable[[], object] | None = None

    @property
    def mailbox(self) -> Mailbox:
        return Mailbox(load_config(self.config))

    def tick(self, sensor: str) -> Tick:
        """Tick a sensor once, if Dagster would, and run what it requests, one after the other."""
        if not self._is_ticked(sensor):
            return Tick([], [], waited=True)
        definitions = build_defs(load_config(self.config), retry_seconds=0.01)
        with dg.build_sensor_context(
            instance=self.instance,
            instance_ref=self.instance.get_ref(),
            cursor=self.cursors.get(sensor),
            definitions=definitions,
            resources=definitions.resources,
            sensor_name=sensor,
        ) as context:
            data = definitions.resolve_sensor_def(sensor).evaluate_tick(context)
        for change in data.dynamic_partitions_requests or []:
            self.instance.add_dynamic_partitions(change.partitions_def_name, list(change.partition_keys))
        for event in data.asset_events:
            self.instance.report_runless_asset_event(event)
        requests = [request for request in data.run_requests or [] if not self._is_known(request)]
        job = definitions.resolve_sensor_def(sensor).job_name if requests else ""
        if self.only_begin:
            self._begin(requests, job, definitions.resolve_job_def(job).tags if job else {})
        runs = [self._run(request, job) for request in requests] if self.run_requested and not self.only_begin else []
        self.cursors[sensor] = data.cursor or self.cursors.get(sensor)  # Dagster ignores an empty one
        return Tick([request.partition_key or "" for request in requests], runs, data.skip_message or "")

    def restart(self) -> None:
        """As its unit does."""
        take_back_tick_times(self.instance, datetime.now(UTC))

    def _is_ticked(self, sensor: str) -> bool:
        """Whether Dagster ticks it now, and a note of it if so; between two ticks a moment is long enough."""
        now = datetime.now(UTC).timestamp()
        (state,) = [one for one in self.instance.all_instigator_state() if one.name == sensor] or [None]
        if state is None:
            self.instance.add_instigator_state(instigator(sensor, SensorInstigatorData(now, min_interval=60)))
            return True
        if is_under_min_interval(state, SimpleNamespace(min_interval_seconds=_MOMENT)):
            return False
        self.instance.update_instigator_state(state.with_data(state.instigator_data._replace(last_tick_timestamp=now)))
        return True

    def _begin(self, requests: Sequence[dg.RunRequest], job: str, job_tags: Mapping[str, str]) -> None:
        """As on a host on which all of them take days."""
        for request in requests:
            tags = {**job_tags, **request.tags, **({RUN_KEY_TAG: request.run_key} if request.run_key else {})}
            partition = {"dagster/partition": request.partition_key} if request.partition_key else {}
            self.instance.add_run(dg.DagsterRun(job, status=dg.DagsterRunStatus.STARTED, tags={**tags, **partition}))

    def break_off_all(self) -> None:
        """All runs that were only begun fail now."""
        for run in self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
            self.instance.report_run_failed(run)

    def _is_known(self, request: dg.RunRequest) -> bool:
        if request.run_key is None:
            return False
        return bool(self.instance.get_runs(dg.RunsFilter(tags={RUN_KEY_TAG: request.run_key})))

    def run(self, study: str, *assets: str, tags: Mapping[str, str] | None = None) -> dg.ExecuteInProcessResult:
        """Run assets of a study, as a backfill does."""
        self.instance.add_dynamic_partitions(str(studies.name), [partition_key(study)])
        selection = [dg.AssetKey(asset) for asset in assets]
        return self._run(
            dg.RunRequest(partition_key=partition_key(study), asset_selection=selection, tags=tags), "archive_study"
        )

    def run_job(self, job: str) -> dg.ExecuteInProcessResult:
        """Run a job of no study, as a schedule does."""
        return self._run(dg.RunRequest(), job)

    def _run(self, request: dg.RunRequest, job: str) -> dg.ExecuteInProcessResult:
        if self.before_run:
            self.before_run()
        definitions = build_defs(load_config(self.config), retry_seconds=0.01)
        return definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=request.partition_key,
            asset_selection=list(request.asset_selection) if request.asset_selection else None,
            tags={**request.tags, **({RUN_KEY_TAG: request.run_key} if request.run_key else {})},
            run_config=_QUIET,
            raise_on_error=False,
        )


def instigator(
    name: str,
    data: SensorInstigatorData,
    status: InstigatorStatus = InstigatorStatus.RUNNING,
    location_name: str = "fusion",
) -> InstigatorState:
    """What Dagster knows of a sensor."""
    location = GrpcServerCodeLocationOrigin(host="localhost", port=4000, location_name=location_name)
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "fusion"), name)
    return InstigatorState(origin, InstigatorType.SENSOR, status, data)


def until_quiet(tick: Callable[[], Tick], at_most: int = 10) -> list[Tick]:
    """Tick until nothing is requested any more."""
    ticks: list[Tick] = []
    while len(ticks) < at_most:
        ticks.append(tick())
        if not ticks[-1].requested:
            return ticks
    raise AssertionError(f"still busy after {at_most} ticks: {ticks[-1].requested}")
