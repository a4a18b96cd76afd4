"""What the sensor of idle studies costs a tick: labs of many studies that all wait, on a disk and over SMB.

What belongs here: evaluating the real sensor again and again, as the daemon does, until all studies were seen. What
does not: Dagster's own cost of a tick and of runs.

    python -m benchmarks.ticks [--local 100 1000 10000] [--smb 100 2000] [--files 50] [--delay-ms 5] [--markdown]

Over SMB, a real Samba answers through a wire that holds each answer back for `--delay-ms`; it needs root, as the tests
against it do.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Self

import dagster as dg

from benchmarks.command import Rows, make_parser, measure_and_publish
from benchmarks.contenders import BUCKET, PREFIX
from benchmarks.many_studies import make_studies
from benchmarks.planning import fresh
from benchmarks.results import aligned
from benchmarks.run import s3_server
from definitions import build_defs
from fusion_assets.config import Config, parse_config
from sensors.idle_cursor import cursor_from_text
from tests.real.samba import PASSWORD, SHARE, USERNAME, running
from tests.real.wire import Wire

HEADINGS = (
    "",
    "studies",
    "ticks for all",
    "longest tick, s",
    "median tick, s",
    "CPU s for all",
    "peak MB",
    "cursor kB",
)


@contextmanager
def slow_samba(delay: float) -> Iterator[tuple[Path, int]]:
    """A share's directory, and the port of a wire to it that holds each answer back for `delay` seconds."""
    for server in running("if_required"):
        wire = Wire(server.port)
        wire.seen = _Nothing()

        def late(data: bytes) -> bytes:
            time.sleep(delay)
            return data

        wire.alter = late
        yield server.share, wire.port


class _Nothing(bytearray):
    """Keeps nothing of what passes: here it would be gigabytes."""

    def __iadd__(self, _other: object) -> Self:
        return self


def waiting_lab(source: str, nas: Path, endpoint: str, smb: dict[str, object]) -> Config:
    """A lab in which every study is old enough and was not seen twice yet."""
    return parse_config(
        {
            "source": {"root": source},
            "truenas": {"root": str(nas)},
            "s3": {"bucket": BUCKET, "prefix": PREFIX, "endpoint_url": endpoint, "region": "us-east-1"},
            "backup": {"idle_days": 1, "settle_minutes": 600},
            "smb": smb,
        }
    )


def _alone(config: Config, count: int, what: str) -> Rows:
    """In a process of its own, so that its memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        rows = pool.submit(sweep, config, count, what).result()
    print(aligned([HEADINGS, *rows]), flush=True)
    return rows


def sweep(config: Config, count: int, what: str) -> Rows:
    """Tick until every study was seen, after a first round that the caches and the partitions are warm from."""
    Path(config.manifest_root).mkdir(exist_ok=True)
    with dg.instance_for_test() as instance:
        cursor = _round(config, instance, None)[1]
        began = time.process_time()
        seconds, cursor = _round(config, instance, cursor)
        cpu = time.process_time() - began
    assert len(cursor_from_text(cursor).memory) == count
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return [
        (
            what,
            f"{count:,}",
            f"{len(seconds)}",
            f"{max(seconds):.2f}",
            f"{statistics.median(seconds):.2f}",
            f"{cpu:.1f}",
            f"{peak:.0f}",
            f"{len(cursor) / 1000:.0f}",
        )
    ]


def _round(config: Config, instance: dg.DagsterInstance, cursor: str | None) -> tuple[list[float], str]:
    """Ticks until the sensor begins again with the first study; their seconds, and the cursor."""
    seconds: list[float] = []
    while True:
        definitions = build_defs(config)
        context = dg.build_sensor_context(
            instance=instance,
            instance_ref=instance.get_ref(),
            cursor=cursor,
            definitions=definitions,
            resources=definitions.resources,
            sensor_name="idle_studies",
        )
        began = time.perf_counter()
        with context:
            data = definitions.resolve_sensor_def("idle_studies").evaluate_tick(context)
        seconds.append(time.perf_counter() - began)
        for change in data.dynamic_partitions_requests or []:
            instance.add_dynamic_partitions(change.partitions_def_name, list(change.partition_keys))
        assert not data.run_requests, "every study was to wait"
        cursor = data.cursor or ""
        if not cursor_from_text(cursor).after:
            return seconds, cursor


def measure_all(options: argparse.Namespace, work: Path) -> tuple[str, Rows]:
    """All sizes on this disk, then over SMB."""
    rows: Rows = []
    with s3_server() as server:
        for count in options.local:
            source = fresh(work / "ticks-source")
            make_studies(source, count, options.files)
            config = waiting_lab(str(source), fresh(work / "ticks-nas"), server.endpoint, {})
            rows += _alone(config, count, "on a local disk")
        if options.smb:
            rows += _over_smb(options, work, server.endpoint)
    return f"{options.files} files a study, all of them waiting for their second look", rows


def _over_smb(options: argparse.Namespace, work: Path, endpoint: str) -> Rows:
    rows: Rows = []
    with slow_samba(options.delay_ms / 1000) as (share, port):
        os.environ["BENCH_SMB_PASSWORD"] = PASSWORD
        smb: dict[str, object] = {
            "instrument": {
                "host": "127.0.0.1",
                "port": port,
                "username": USERNAME,
                "password_env": "BENCH_SMB_PASSWORD",
            }
        }
        for count in options.smb:
            make_studies(share / f"studies{count}", count, options.files)
            root = f"smb://instrument/{SHARE}/studies{count}"
            config = waiting_lab(root, fresh(work / "ticks-nas"), endpoint, smb)
            rows += _alone(config, count, f"over SMB, {options.delay_ms:g} ms an answer")
    return rows


def main() -> None:
    """Measure, print, and write the table into the docs when asked."""
    parser = make_parser("What a tick of the sensor of idle studies costs.")
    parser.add_argument("--local", type=int, nargs="*", default=[100, 1000, 10_000], help="studies on a local disk")
    parser.add_argument("--smb", type=int, nargs="*", default=[100, 2000], help="studies over SMB")
    parser.add_argument("--files", type=int, default=50, help="files in each (default 50)")
    parser.add_argument("--delay-ms", type=float, default=5.0, help="before each answer over SMB (default 5)")
    measure_and_publish("ticks", parser, HEADINGS, measure_all)


if __name__ == "__main__":
    main()
