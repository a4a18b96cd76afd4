"""A daemon in this process that ticks sensors and schedules in simulated time and runs what they request.

What belongs here: what dagster-daemon and its code server do: cursors, run keys, the calendar, runs, dead workers.
What does not: what happens to it (`incidents`), and any expectation. `tests/sensors/daemon.py` is the one for a single
sensor; the real one has its own tests.
"""

from __future__ import annotations

import json
import logging
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import time_machine
from dagster._daemon.monitoring.concurrency import execute_concurrency_slots_iteration
from dagster._utils.schedules import schedule_execution_time_iterator  # no public name

from definitions import build_defs
from fusion_assets.config import load_config
from schedules.calendar import APPOINTMENTS
from tests.simulation.surroundings import REPOSITORY, Nas, child_argv, child_environment

RUN_KEY_TAG = "dagster/run_key"
PARTITION_TAG = "dagster/partition"
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
# What Dagster's monitoring writes within a minute (`resources.run_launcher`).
_MONITORED = timedelta(minutes=5)
_LOG = logging.getLogger("simulated daemon")
_WORKER_IS_GONE = "Detected run worker status NOT_FOUND: 'its process is gone'. Marking run as failed."


@dataclass(frozen=True)
class Request:
    """A run to start."""

    job: str
    partition: str | None = None
    assets: list[str] | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


def load(config: Path) -> dg.Definitions:
    """A code location, as a code server loads it once in its life."""
    return build_defs(load_config(config), retry_seconds=0.01)


def execute(definitions: dg.Definitions, instance: dg.DagsterInstance, request: Request) -> dg.ExecuteInProcessResult:
    """Do a run, to its end."""
    result = definitions.resolve_job_def(request.job).execute_in_process(
        instance=instance,
        partition_key=request.partition,
        asset_selection=[dg.AssetKey(asset) for asset in request.assets] if request.assets else None,
        tags=dict(request.tags),
        run_config=_QUIET,
        raise_on_error=False,
    )
    errors = [event.job_failure_data.error for event in result.all_events if event.is_job_failure]
    if any(error and error.cls_name == dg.DagsterExecutionInterruptedError.__name__ for error in errors):
        raise KeyboardInterrupt  # which Dagster takes for the end of this run alone
    return result


def _ready(definitions: dg.Definitions) -> dict[str, dg.ResourceDefinition]:
    """Resources that sensors are given as they are: Dagster configures all of them for each tick, in 0.05 s."""
    with dg.build_resources(dict(definitions.resources or {})) as ready:
        return {name: dg.ResourceDefinition.hardcoded_resource(one) for name, one in ready._asdict().items()}


@dataclass
class SimulatedDaemon:
    """The daemon of one lab.

    Attributes:
        config: The lab's config.toml.
        instance: Its history.
        nas: For the processes it starts.
        intervals: Between two ticks of each sensor, in the order in which they tick.
        before_run: Told of each run of a study right before it begins, with its partition key and job; what it says is
            the change on a disk before which its worker is killed, or 0.
        resources: For its sensors.
        cursors: Of the sensors.
        skipped: What each sensor said at its last tick, when it requested nothing.
        due: When each sensor ticks next.
        scheduled_until: Up to when the calendar was looked at.
        started: Runs by job.
        resources: For its sensors.
        dead: Runs whose worker was killed, and that were not found dead yet.
    """

    config: Path
    instance: dg.DagsterInstance
    nas: Nas
    intervals: Mapping[str, timedelta]
    before_run: Callable[[str, str], int] = lambda _key, _job: 0
    cursors: dict[str, str | None] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    due: dict[str, datetime] = field(default_factory=dict)
    scheduled_until: datetime | None = None
    started: Counter[str] = field(default_factory=Counter)
    dead: list[str] = field(default_factory=list)
    definitions: dg.Definitions | None = None
    resources: Mapping[str, dg.ResourceDefinition] = field(default_factory=dict)

    def kill(self) -> None:
        """End it as a power cut does: what only its memory held is gone."""
        self.definitions = None

    def look(self, now: datetime) -> tuple[str, ...]:
        """Do what is due.

        Args:
            now: The simulated time; the clock may be wrong.

        Returns:
            The sensors that ticked.
        """
        self._bury_the_dead()
        if self.definitions is None:
            self.definitions = load(self.config)
            self.resources = _ready(self.definitions)
        self._keep_appointments(now)
        ticked = tuple(name for name in self.intervals if self.due.get(name, now) <= now)
        for name in ticked:
            self.due[name] = now + self.intervals[name]
            self._tick(name)
        return ticked

    def run(self, request: Request, kill_at: int = 0) -> bool:
        """Do a run, in a process of its own when that is to be killed.

        Returns:
            Whether it ended well.
        """
        self._bury_the_dead()
        self.started[request.job] += 1
        if kill_at:
            return self._run_and_kill(request, kill_at)
        return execute(self.definitions or load(self.config), self.instance, request).success

    def _tick(self, name: str) -> None:
        assert self.definitions is not None
        sensor = self.definitions.resolve_sensor_def(name)
        with dg.build_sensor_context(
            instance=self.instance,
            instance_ref=self.instance.get_ref(),
            cursor=self.cursors.get(name),
            definitions=self.definitions,
            resources=self.resources,
            sensor_name=name,
        ) as context:
            context.log.setLevel(logging.CRITICAL)  # what it says goes to people as mails
            data = sensor.evaluate_tick(context)
        for change in data.dynamic_partitions_requests or []:
            self.instance.add_dynamic_partitions(change.partitions_def_name, list(change.partition_keys))
        for event in data.asset_events:
            self.instance.report_runless_asset_event(event)
        self.cursors[name] = data.cursor
        self.skipped[name] = data.skip_message or ""
        for request in data.run_requests or []:
            self._start(request, sensor.job_name)

    def _start(self, request: dg.RunRequest, job: str) -> None:
        key = request.run_key
        if key and self.instance.get_runs(dg.RunsFilter(tags={RUN_KEY_TAG: key})):
            return
        assets = [asset.to_user_string() for asset in request.asset_selection] if request.asset_selection else None
        tags = {**request.tags, **({RUN_KEY_TAG: key} if key else {})}
        kill_at = self.before_run(request.partition_key, job) if request.partition_key else 0
        self.run(Request(job, request.partition_key, assets, tags), kill_at)

    def _keep_appointments(self, now: datetime) -> None:
        assert self.definitions is not None
        since, self.scheduled_until = self.scheduled_until or now, max(now, self.scheduled_until or now)
        for appointment in APPOINTMENTS:
            schedule = self.definitions.resolve_schedule_def(appointment.name)
            moments = schedule_execution_time_iterator(
                since.timestamp(), schedule.cron_schedule, schedule.execution_timezone
            )
            for moment in moments:
                if moment >= self.scheduled_until:
                    break
                with dg.build_schedule_context(self.instance, scheduled_execution_time=moment) as context:
                    requests = schedule.evaluate_tick(context).run_requests or []
                for _ in requests:
                    self.run(Request(appointment.job))

    def _run_and_kill(self, request: Request, kill_at: int) -> bool:
        before = {run.run_id for run in self._in_flight()}
        order = json.dumps({"config": str(self.config), **asdict(request)})
        argv = child_argv(self.nas, "run", order, kill_at=kill_at)
        code = subprocess.run(argv, env=child_environment(), cwd=REPOSITORY, check=False, timeout=120).returncode
        for run in self._in_flight():
            if run.run_id not in before:
                self.dead.append(run.run_id)
        return code == 0

    def _in_flight(self) -> list[dg.DagsterRun]:
        return list(self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])))

    def _bury_the_dead(self) -> None:
        """What Dagster's monitoring does within minutes: until then a run that needs what the dead hold just waits."""
        for run_id in self.dead:
            if run := self.instance.get_run_by_id(run_id):
                self.instance.report_run_failed(run, _WORKER_IS_GONE)
        if self.dead:
            with time_machine.travel(datetime.now(UTC) + _MONITORED):
                list(execute_concurrency_slots_iteration(SimpleNamespace(instance=self.instance), _LOG))
        self.dead.clear()
