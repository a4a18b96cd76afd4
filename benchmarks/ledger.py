"""What a study costs as the ledger grows: the steps of trivial studies beside 100 to 10,000 records of two years.

What belongs here: the share of the ledger in a study's time. What does not: many studies at once (`planning`), Dagster
(`orchestration`).

    python -m benchmarks.ledger [--studies 10] [--markdown]
"""

from __future__ import annotations

import argparse
import statistics
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks.command import Rows, make_parser, measure_and_publish
from benchmarks.orchestration import Timing, make_lab, timed, without_dagster
from benchmarks.planning import fresh, lab_config
from benchmarks.run import s3_server
from fusion_assets.manifest.record import Record, Status
from fusion_assets.manifest.table import check_table
from fusion_assets.reconcile.lab import Lab, open_lab

HEADINGS = (
    "records in the ledger",
    "ms/study",
    "range",
    "CPU ms/study",
    "read, first ms",
    "read, again ms",
    "check ms",
)
SIZES = (100, 1000, 10_000)
MONTHS = 24


def fill(folder: Path, count: int) -> None:
    """Write `count` complete backups, spread over two years that are over."""
    folder.mkdir(parents=True)
    for month in range(MONTHS):
        when = datetime(2024 + month // 12, month % 12 + 1, 1, tzinfo=UTC)
        numbers = range(month * count // MONTHS, (month + 1) * count // MONTHS)
        lines = [old_record(f"{when:%Y%m%d}_WW_BENCH_old{number:05d}", when).to_line() for number in numbers]
        (folder / f"{when:%Y-%m}.jsonl").write_bytes(b"".join(lines))


def old_record(name: str, when: datetime) -> Record:
    """A complete backup with the fields that the steps write."""
    places = (f"/instrument/{name}", f"/nas/{name}", f"s3://bench/archive/{name}")
    extra = {"fingerprint": "f" * 64, "sidecar_sha256": "a" * 64, "host": "instrument"}
    return Record(name, name, *places, 50, 10**9, when, when, when, when, when, Status.COMPLETE, extra)


def measure_size(work: Path, count: int, studies: int) -> tuple[str, ...]:
    """One row: the steps of `studies` studies one after the other, the first two not counted; then reading alone."""
    names = make_lab(fresh(work / "source"), studies + 2)
    nas = fresh(work / "nas")
    with s3_server() as server, open_lab(lab_config(work / "source", nas, server.endpoint)) as lab:
        fill(Path(lab.config.manifest_root), count)
        # A NAS without any copy that the ledger knows would be taken for one that is not mounted.
        (nas / next(iter(lab.ledger.read().records))).mkdir()
        for month in lab.ledger.stale_mirrors():
            lab.ledger.mirror(month)
        timings = [timed(partial(without_dagster, lab, name)) for name in names][2:]
    with open_lab(lab.config) as again:
        return (f"{count:,}", *whole(timings), *reading(again))


def whole(timings: list[Timing]) -> tuple[str, str, str]:
    """Median, range and processor time of whole studies, in milliseconds."""
    walls = [1000 * wall for wall, _ in timings]
    cpu = 1000 * statistics.median(cpu for _, cpu in timings)
    return f"{statistics.median(walls):.0f}", f"{min(walls):.0f}-{max(walls):.0f}", f"{cpu:.0f}"


def reading(lab: Lab) -> tuple[str, str, str]:
    """Reading the ledger for the first time, reading it again, and checking it as a table, in milliseconds."""
    first, _ = timed(lab.ledger.read)
    again = statistics.median(timed(lab.ledger.read)[0] for _ in range(5))
    check = statistics.median(timed(lambda: check_table(lab.ledger.read()))[0] for _ in range(5))
    return tuple(f"{1000 * seconds:.1f}" for seconds in (first, again, check - again))  # type: ignore[return-value]  # three


def measure_all(options: argparse.Namespace, work: Path) -> tuple[str, Rows]:
    """One row for each size of the ledger."""
    rows = [measure_size(fresh(work / "ledger"), count, options.studies) for count in SIZES]
    return f"{MONTHS} months, {options.studies} studies at each size", rows


def main() -> None:
    """Measure, print, and write the table into the docs when asked."""
    parser = make_parser("What a study costs as the ledger grows.")
    parser.add_argument("--studies", type=int, default=10, help="at each size (default 10)")
    measure_and_publish("ledger", parser, HEADINGS, measure_all)


if __name__ == "__main__":
    main()
