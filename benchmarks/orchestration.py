"""What Dagster adds to a study: the same trivial studies with and without it, in turn, in one process.

What belongs here: the difference between running a study's steps and running its job in-process against a persistent
instance, and how long the definitions take to load. What does not: moving much data (`run`), looking (`planning`).

    python -m benchmarks.orchestration [--studies 10] [--markdown]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import dagster as dg

from benchmarks.command import Rows, make_parser, measure_and_publish
from benchmarks.measure import measure
from benchmarks.planning import archive_one, fresh, lab_config
from benchmarks.run import ROOT, s3_server
from cli.demo.study import Experiment, write_study
from cli.run import dagster_instance
from definitions import build_defs
from fusion_assets.config import Config
from fusion_assets.partitions import partition_key, studies
from fusion_assets.reconcile import steps
from fusion_assets.reconcile.lab import Lab, open_lab
from fusion_assets.reconcile.observe import observe_study
from fusion_assets.reconcile.plan import Desired, Step, StudyPlan, plan_study
from fusion_assets.studies.apply import Applier
from fusion_assets.studies.lab_resource import OpenLab

HEADINGS = ("", "s (median)", "range", "CPU s (median)")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
TINY = Experiment(channels=1, width=64, height=64)
Timing = tuple[float, float]


def make_lab(source: Path, count: int) -> list[str]:
    """Trivial studies that pass every check; returns their names."""
    names = [f"20260105_WW_BENCH_trivial{number:03d}" for number in range(count)]
    for number, name in enumerate(names):
        write_study(source / name, (TINY,), finished_at=datetime(2026, 1, 5, tzinfo=UTC), seed=number, extra={})
    return names


def without_dagster(lab: Lab, run_name: str) -> None:
    """A study's steps up to its ledger entry, one after the other."""
    steps.refuse_invalid(lab, run_name, steps.validate(lab, run_name))
    archive_one(lab, run_name)


def with_dagster(job: dg.JobDefinition, instance: dg.DagsterInstance, run_name: str) -> None:
    """The job of a study up to its ledger entry, as `fusion apply` runs it."""
    job.execute_in_process(
        instance=instance,
        partition_key=partition_key(run_name),
        asset_selection=[dg.AssetKey(step.value) for step in Step if step is not Step.SOURCE_RELEASED],
        run_config=QUIET,
    )


def timed(do: Callable[[], object]) -> Timing:
    """Wall and processor seconds of one call."""
    began, cpu_began = time.perf_counter(), time.process_time()
    do()
    return time.perf_counter() - began, time.process_time() - cpu_began


def applied(applier: Applier, plan: StudyPlan) -> None:
    """A study as `fusion apply` treats it: locks, the run, and a look afterwards whether all is as declared."""
    (recap,) = applier.apply((plan,)).values()
    assert not recap.failed


def measure_runs(config: Config, home: Path, names: list[str]) -> tuple[list[Timing], ...]:
    """Studies in turn without Dagster, as a run, and by `apply`; the first of each is not counted."""
    alone, orchestrated, whole = [], [], []
    with open_lab(config) as lab, dagster_instance(home) as instance:
        Path(lab.config.manifest_root).mkdir(exist_ok=True)
        definitions = build_defs(config, resources={"lab": OpenLab(lab)})
        job = definitions.resolve_job_def("archive_study")
        applier = Applier(definitions, instance, lab, {}, tell=lambda _: None, warn=print)
        instance.add_dynamic_partitions(str(studies.name), [partition_key(name) for name in names])
        for first, second, third in zip(names[::3], names[1::3], names[2::3], strict=True):
            plan = plan_study(Desired(delete_source=False), observe_study(lab, third, {}))
            alone.append(timed(partial(without_dagster, lab, first)))
            orchestrated.append(timed(partial(with_dagster, job, instance, second)))
            whole.append(timed(partial(applied, applier, plan)))
    return alone[1:], orchestrated[1:], whole[1:]


def loading(config: Path, log: Path) -> list[Timing]:
    """Seconds for a fresh Python to load the definitions, imports included."""
    argv = [sys.executable, "-c", "import definitions; definitions.defs().get_repository_def()"]
    usages = [measure(argv, env={"FUSION_CONFIG": str(config)}, cwd=ROOT, log=log) for _ in range(4)]
    return [(usage.wall, usage.cpu) for usage in usages[1:]]


def row(what: str, timings: list[Timing]) -> tuple[str, ...]:
    """One row of the table."""
    walls = [wall for wall, _ in timings]
    cpu = statistics.median(cpu for _, cpu in timings)
    return what, f"{statistics.median(walls):.3f}", f"{min(walls):.3f}-{max(walls):.3f}", f"{cpu:.3f}"


def measure_all(options: argparse.Namespace, work: Path) -> tuple[str, Rows]:
    """Studies with and without Dagster, the difference, and loading the definitions."""
    folder = fresh(work / "orchestration")
    names = make_lab(fresh(folder / "source"), 3 * (options.studies + 1))
    with s3_server() as server:
        config = lab_config(folder / "source", fresh(folder / "nas"), server.endpoint)
        alone, orchestrated, whole = measure_runs(config, folder / "home", names)
    overhead = [
        (with_wall - wall, with_cpu - cpu)
        for (wall, cpu), (with_wall, with_cpu) in zip(alone, orchestrated, strict=True)
    ]
    (folder / "config.toml").write_text(
        f'[source]\nroot = "{folder}/source"\n[truenas]\nroot = "{folder}/nas"\n[s3]\nbucket = "bench"\n',
        encoding="utf-8",
    )
    return f"{options.studies} studies of each kind", [
        row("a trivial study, steps alone", alone),
        row("the same as a Dagster run in-process", orchestrated),
        row("**what Dagster adds**", overhead),
        row("the same by `apply`: with locks and a look afterwards", whole),
        row("loading the definitions in a fresh Python", loading(folder / "config.toml", folder / "log")),
    ]


def main() -> None:
    """Measure, print, and write the table into the docs when asked."""
    parser = make_parser("What Dagster adds to a study.")
    parser.add_argument("--studies", type=int, default=10, help="of each kind (default 10)")
    measure_and_publish("orchestration", parser, HEADINGS, measure_all)


if __name__ == "__main__":
    main()
