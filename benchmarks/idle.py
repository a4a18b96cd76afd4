"""What an hour costs in which nothing happens, and how fast runs go when something does: the services of deploy/.

What belongs here: starting exactly the units' commands on a lab whose studies are all archived, reading the kernel's
accounts of each process, and the rate of runs from the sensor of idle studies. What does not: what a tick costs by
itself (`ticks`), or a study (`orchestration`).

    python -m benchmarks.idle [--studies 200] [--minutes 10] [--runs 30] [--markdown]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from benchmarks.command import Rows, make_parser, measure_and_publish
from benchmarks.contenders import BUCKET, CREDENTIALS, PREFIX
from benchmarks.measure import TICKS, children_cpu
from benchmarks.orchestration import make_lab
from benchmarks.planning import archive_one, fresh
from benchmarks.run import s3_server
from fusion_assets.config import load_config
from fusion_assets.reconcile.lab import open_lab
from tests.real.services import CODE_SERVER, DAEMON, HEARTBEAT, WEBSERVER, Services

HEADINGS = ("", "CPU s an hour", "% of a core", "PSS MB", "RSS MB")
UNITS = {CODE_SERVER: "code server", DAEMON: "daemon", WEBSERVER: "webserver"}
PROC = Path("/proc")
WARM_UP_SECONDS = 90.0
HEARTBEATS_AN_HOUR = 12  # fusion-heartbeat.timer
BUSY_SECONDS = 5
ARCHIVERS = 4


@dataclass(frozen=True, slots=True)
class Account:
    """What a service has used and holds.

    Attributes:
        cpu: Seconds of processor time since it began, of children that ended, too.
        pss: Its memory, where what processes share is counted once, in bytes.
        rss: Its memory, where that is counted for each.
    """

    cpu: float
    pss: int
    rss: int


@contextmanager
def new_lab(folder: Path, studies: int, *, idle_seconds: int = 300) -> Iterator[Path]:
    """A lab of trivial studies with a server of its own: as installed, but that every study is idle at once.

    Args:
        folder: Emptied.
        studies: How many are at the source.
        idle_seconds: Between two looks of the sensor of idle studies.

    Yields:
        Its config.toml.
    """
    make_lab(fresh(folder / "source"), studies)
    (fresh(folder / "nas") / "_manifest").mkdir()
    (fresh(folder / "recipients") / "default.txt").write_text("ops@lab.example\n", encoding="utf-8")
    (folder / "Fusion.log").write_text("2026-01-05 12:00:00,000 INFO started\n", encoding="utf-8")
    with s3_server() as server:
        yield write_config(folder, server.endpoint, idle_seconds)


def write_config(folder: Path, endpoint: str, idle_seconds: int) -> Path:
    """Write the lab's config.toml."""
    config = folder / "config.toml"
    config.write_text(
        f"""
[source]
root = '{folder}/source'
log = '{folder}/Fusion.log'
[truenas]
root = '{folder}/nas'
[s3]
bucket = '{BUCKET}'
prefix = '{PREFIX}'
endpoint_url = '{endpoint}'
region = 'us-east-1'
[backup]
idle_days = 0
settle_minutes = 0
delete_source = false
[notify]
enabled = true
[sensors]
idle_interval_seconds = {idle_seconds}
""",
        encoding="utf-8",
    )
    return config


def archive_all(config: Path) -> None:
    """Archive what is at the source, without Dagster."""
    with open_lab(load_config(config)) as lab, ThreadPoolExecutor(ARCHIVERS) as pool:
        list(pool.map(lambda entry: archive_one(lab, entry.name), lab.source.list()))


@contextmanager
def started(config: Path) -> Iterator[Services]:
    """Code server, daemon and webserver with an empty history, until their first sign of life; ended at the end."""
    with tempfile.TemporaryDirectory(prefix="fusion-", ignore_cleanup_errors=True) as name:
        services = Services(config, Path(name), CREDENTIALS)
        services.install()
        os.environ["DAGSTER_HOME"] = str(services.home)
        try:
            services.start(*UNITS)
            services.until((services.home / "heartbeat").exists, "the daemon gave a sign of life")
            yield services
        finally:
            services.end()


def account(services: Services, unit: str) -> Account:
    """What the processes of a unit have used and hold together."""
    cpu, pss, rss = 0, 0, 0
    for pid in services.pids(unit):
        after_name = (PROC / str(pid) / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        cpu += sum(map(int, after_name[11:15]))  # utime, stime, cutime, cstime
        rollup = (PROC / str(pid) / "smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
        kilobytes = {line.partition(":")[0]: int(line.split()[1]) for line in rollup}
        pss, rss = pss + kilobytes["Pss"] * 1024, rss + kilobytes["Rss"] * 1024
    return Account(cpu / TICKS, pss, rss)


def idle(services: Services, seconds: float) -> Rows:
    """The services after their first looks, for so long, as of an hour."""
    time.sleep(WARM_UP_SECONDS)
    before, began = {unit: account(services, unit) for unit in UNITS}, time.monotonic()
    time.sleep(seconds)
    after, hours = {unit: account(services, unit) for unit in UNITS}, (time.monotonic() - began) / 3600
    assert not services.runs(), "nothing was to be done"
    used = {unit: (after[unit].cpu - before[unit].cpu) / hours for unit in UNITS}
    rows = [row(name, used[unit], after[unit].pss, after[unit].rss) for unit, name in UNITS.items()]
    looks = HEARTBEATS_AN_HOUR * one_look(services)
    rows.append(row("`fusion status --heartbeat` every 5 minutes", looks, None, None))
    pss, rss = (sum(getattr(each, kind) for each in after.values()) for kind in ("pss", "rss"))
    return [*rows, row("**together**", sum(used.values()) + looks, pss, rss)]


def one_look(services: Services) -> float:
    """CPU seconds of the service that looks for the heartbeat."""
    before = children_cpu()
    assert services.call(HEARTBEAT).returncode == 0
    return children_cpu() - before


def row(what: str, cpu_an_hour: float, pss: int | None, rss: int | None) -> tuple[str, ...]:
    """One row of the table."""
    megabytes = ("" if each is None else f"{each / 1e6:.0f}" for each in (pss, rss))
    return (what, f"{cpu_an_hour:.0f}", f"{cpu_an_hour / 36:.1f}", *megabytes)


def runs_a_minute(services: Services, count: int) -> str:
    """From the first request of the sensor to the end of the last run, all by itself."""
    services.until(lambda: ended(services) == count, f"{count} runs ended well", seconds=60 + 10 * count)
    with services.instance() as instance:
        records = instance.get_run_records()
    began = min(record.create_timestamp.timestamp() for record in records)
    last = max(record.end_time or 0.0 for record in records)
    return f"{60 * count / (last - began):.0f}"


def ended(services: Services) -> int:
    """How many runs there were; none may fail."""
    runs = services.runs()
    assert not [run for run in runs if run.status is dg.DagsterRunStatus.FAILURE], services.logs()
    return sum(run.is_success for run in runs)


def measure_all(options: argparse.Namespace, work: Path) -> tuple[str, Rows]:
    """An idle hour, then a burst of runs."""
    folder = fresh(work / "idle")
    with new_lab(folder, options.studies) as config:
        archive_all(config)
        with started(config) as services:
            rows = idle(services, 60 * options.minutes)
    with new_lab(folder, options.runs, idle_seconds=BUSY_SECONDS) as config, started(config) as services:
        rate = runs_a_minute(services, options.runs)
    what = (
        f"{options.studies} archived studies, still at the source, measured for {options.minutes:g} minutes. "
        f"{options.runs} tiny studies that become idle at once: {rate} runs a minute"
    )
    return what, rows


def main() -> None:
    """Measure, print, and write the table into the docs when asked."""
    parser = make_parser("What the services cost while nothing happens.")
    parser.add_argument("--studies", type=int, default=200, help="archived ones (default 200)")
    parser.add_argument("--minutes", type=float, default=10, help="to measure for (default 10)")
    parser.add_argument("--runs", type=int, default=30, help="studies that become idle at once (default 30)")
    measure_and_publish("idle", parser, HEADINGS, measure_all)


if __name__ == "__main__":
    main()
