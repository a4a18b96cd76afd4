"""What looking costs: validating and planning many studies, and a second run that has nothing to do.

What belongs here: timing the reconciler's own functions on made-up labs, without Dagster. What does not: moving data
(`run`) and Dagster's overhead (`orchestration`).

    python -m benchmarks.planning [--studies 10000] [--archived 1000] [--files 50]

Each part runs in a process of its own, so that memory is that part's. "cold" means that all caches were dropped.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from benchmarks.command import Rows, make_parser, measure_and_publish
from benchmarks.contenders import BUCKET, PREFIX, program
from benchmarks.machine import drop_caches
from benchmarks.many_studies import make_studies
from benchmarks.measure import measure
from benchmarks.results import aligned
from benchmarks.run import s3_server
from fusion_assets.config import Config, parse_config
from fusion_assets.reconcile import steps, transferring
from fusion_assets.reconcile.lab import Lab, open_lab
from fusion_assets.reconcile.observe import LabObservation, observe_lab
from fusion_assets.reconcile.plan import Desired, plan_studies
from fusion_assets.standard.listing import read_listing
from fusion_assets.standard.rules import validate_listing
from fusion_assets.standard.validate import validate_root
from fusion_assets.transfer import TransferOptions
from resources.local import LocalStorage

T = TypeVar("T")
HEADINGS = ("", "studies", "s", "ms/study", "CPU s", "peak MB")
# A study that takes 50 files is over in a tenth of a second: what is waited for are answers and the disk.
ARCHIVERS = 4


class Stopwatch:
    """Collects the rows of a table."""

    def __init__(self) -> None:
        self.rows: Rows = []

    def time(self, what: str, studies: int, do: Callable[[], T]) -> T:
        """Time one thing done to `studies` studies."""
        began, cpu_began = time.perf_counter(), time.process_time()
        result = do()
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu_began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        each = f"{seconds / studies * 1000:.2f}"
        self.rows.append((what, f"{studies:,}", f"{seconds:.2f}", each, f"{cpu:.2f}", f"{peak:.0f}"))
        return result


def lab_config(source: Path, nas: Path, endpoint: str) -> Config:
    """A lab on this disk, every study idle at its first observation, sources kept."""
    return parse_config(
        {
            "source": {"root": str(source)},
            "truenas": {"root": str(nas)},
            "s3": {"bucket": BUCKET, "prefix": PREFIX, "endpoint_url": endpoint, "region": "us-east-1"},
            "backup": {"idle_days": 0, "settle_minutes": 0, "delete_source": False},
        }
    )


def validation(root: Path, count: int) -> Rows:
    """Listing and judging every study of a root."""
    watch = Stopwatch()
    storage = LocalStorage(root)
    names = [entry.name for entry in storage.list()]
    drop_caches(())
    report = watch.time("validate root, cold", count, lambda: validate_root(root))
    assert [study.ok for study in report.studies] == [True] * count
    watch.time("validate root, warm", count, lambda: validate_root(root))
    listings = watch.time("… of which listing", count, lambda: [read_listing(storage, name) for name in names])
    watch.time("… of which judging R1-R8", count, lambda: [validate_listing(listing) for listing in listings])
    return watch.rows


def first_plan(config: Config, count: int) -> Rows:
    """Observing and planning every study of a lab that has archived none."""
    watch = Stopwatch()
    with open_lab(config) as lab:
        Path(lab.config.manifest_root).mkdir(exist_ok=True)
        drop_caches(())
        watch.time("first plan, cold", count, lambda: planned(lab, expected=count))
        watch.time("first plan, warm", count, lambda: planned(lab, expected=count))
        observed = observe_lab(lab, {}).studies
        watch.time("… of which deciding", count, lambda: plan_studies(Desired(delete_source=False), observed))
    return watch.rows


def planned(lab: Lab, *, expected: int) -> LabObservation:
    """Observe and plan, as `fusion plan` and the first half of `fusion apply` do; checks how many studies need work."""
    observation = observe_lab(lab, {})
    plans = plan_studies(Desired(lab.config.backup.delete_source), observation.studies)
    pending = [plan for plan in plans if plan.actions]
    assert len(pending) == expected, pending[:1]
    return observation


def archive_all(config: Config) -> Rows:
    """Archive every study of a lab, for what follows."""
    watch = Stopwatch()
    with open_lab(config) as lab, ThreadPoolExecutor(ARCHIVERS) as pool:
        Path(lab.config.manifest_root).mkdir(exist_ok=True)
        names = [entry.name for entry in lab.source.list()]
        archived = pool.map(lambda name: archive_one(lab, name), names)
        watch.time(f"archiving and recording, {ARCHIVERS} at a time", len(names), lambda: list(archived))
    return watch.rows


def archive_one(lab: Lab, run_name: str) -> None:
    """The steps of one study, without Dagster."""
    done = transferring.transfer(
        lab, run_name, copying=True, archiving=True, options=TransferOptions(), progress=lambda _: None
    )
    transferring.refuse_unarchived(done)
    steps.record_entry(lab, run_name)


def second_run(config: Config, what: str, count: int) -> Rows:
    """A run with nothing to do over archived studies."""
    watch = Stopwatch()
    with open_lab(config) as lab:
        drop_caches(())
        watch.time(f"{what}, cold", count, lambda: planned(lab, expected=0))
        watch.time(f"{what}, warm", count, lambda: planned(lab, expected=0))
    return watch.rows


def alone(part: Callable[..., Rows], *arguments: object) -> Rows:
    """Run a part in a process of its own, so that its memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        rows = pool.submit(part, *arguments).result()
    print(aligned([HEADINGS, *rows]), flush=True)
    return rows


def measure_new(work: Path, count: int, files: int) -> Rows:
    """Validation and the first plan."""
    source, nas = work / f"new-{count}", fresh(work / "planning-nas")
    make_studies(source, count, files)
    rows = alone(validation, source, count)
    with s3_server() as server:
        return rows + alone(first_plan, lab_config(source, nas, server.endpoint), count)


def measure_archived(work: Path, count: int, files: int) -> Rows:
    """Archiving, then runs with nothing to do: with the sources still there, and with the sources released."""
    source, nas, released = work / f"archived-{count}", fresh(work / "planning-nas"), fresh(work / "released")
    make_studies(source, count, files, content=b"a few bytes")
    # A root without anything in it would be taken for a share that is not mounted.
    (released / ".kept").mkdir()
    with s3_server() as server:
        config = lab_config(source, nas, server.endpoint)
        rows = alone(archive_all, config)
        rows += alone(second_run, config, "second run, sources kept", count)
        rows += [whole_command(work, source, nas, server.endpoint, count)]
        return rows + alone(
            second_run, lab_config(released, nas, server.endpoint), "second run, sources released", count
        )


def whole_command(work: Path, source: Path, nas: Path, endpoint: str, count: int) -> tuple[str, ...]:
    """`fusion apply` with nothing to do, as a user types it: Python's start and the recap included."""
    home = fresh(work / "planning-home")
    (home / "config.toml").write_text(
        f'[source]\nroot = "{source}"\n[truenas]\nroot = "{nas}"\n'
        f'[s3]\nbucket = "{BUCKET}"\nprefix = "{PREFIX}"\nendpoint_url = "{endpoint}"\nregion = "us-east-1"\n'
        "[backup]\nidle_days = 0\nsettle_minutes = 0\ndelete_source = false\n",
        encoding="utf-8",
    )
    argv = [program("fusion"), "apply", "--yes", "--config", str(home / "config.toml")]
    usage = measure(argv, env={}, cwd=home, log=home / "log")
    each = f"{usage.wall / count * 1000:.2f}"
    what = "… as the command `fusion apply`, warm"
    return what, f"{count:,}", f"{usage.wall:.2f}", each, f"{usage.cpu:.2f}", f"{usage.rss / 1e6:.0f}"


def fresh(folder: Path) -> Path:
    """An empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def measure_all(options: argparse.Namespace, work: Path) -> tuple[str, Rows]:
    """New studies, then archived ones."""
    rows = measure_new(work, options.studies, options.files) + measure_archived(work, options.archived, options.files)
    return f"{options.files} files a study", rows


def main() -> None:
    """Measure, print, and write the table into the docs when asked."""
    parser = make_parser("What looking at many studies costs.")
    parser.add_argument("--studies", type=int, default=10_000, help="new studies (default 10000)")
    parser.add_argument("--archived", type=int, default=1000, help="archived studies (default 1000)")
    parser.add_argument("--files", type=int, default=50, help="files in each (default 50)")
    measure_and_publish("planning", parser, HEADINGS, measure_all)


if __name__ == "__main__":
    main()
