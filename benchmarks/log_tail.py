"""What reading a backlog of the instrument's log costs: the monitor's looks beside `grep -c ERROR` on the same bytes.

What belongs here: synthetic logs of several kinds (the real format is not public), and measuring. What does not: what
the monitor finds in them, beyond that it found what was put there.

    python -m benchmarks.log_tail [--size 1000] [--runs 3] [--markdown]
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.measure import Usage, measure
from fusion_assets.monitor.patterns import compile_patterns
from fusion_assets.monitor.place import LogPlace
from fusion_assets.monitor.state import MonitorState, Position
from fusion_assets.monitor.tail import read_new_blocks
from resources.local import LocalStorage

HEADINGS = ("log", "MB", "errors", "s (range)", "MB/s", "wall/grep", "CPU s", "CPU/grep", "peak MB")
NAME = "Fusion.log"
READ = "--read"  # what the process that is measured is started with
BLOCK_LINES = 200_000
STORM_LINES = 100_000


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of log.

    Attributes:
        name: For the table.
        error_every: Lines between two errors; 0 for none.
        named: Whether lines name samples and cycles now and then.
        encoding: Its encoding.
        storm: Whether it is nothing but errors, and only `STORM_LINES` of them.
    """

    name: str
    error_every: int = 100_000
    named: bool = True
    encoding: str = "utf-8"
    storm: bool = False


KINDS = (
    Kind("an error in 100,000 lines"),
    Kind("the same in UTF-16", encoding="utf-16-le"),
    Kind("no errors, no sample or cycle named", error_every=0, named=False),
    Kind("an error in 1,000 lines", error_every=1000),
    Kind("a storm: nothing but 100,000 errors", storm=True),
)


def lines(kind: Kind) -> Iterator[str]:
    """The lines of one block of a log: 130 bytes on average, with CRLF."""
    dice = random.Random(2026)
    for number in range(STORM_LINES if kind.storm else BLOCK_LINES):
        at = f"2026-01-05 {number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02},{number % 1000:03}"
        if kind.storm or (kind.error_every and number % kind.error_every == kind.error_every - 1):
            yield f"{at} [17] ERROR Akoya.Stage - axis {dice.choice('XYZ')} did not reach its target\r\n"
        elif kind.named and number % 1000 == 0:
            yield f"{at} [4] INFO Akoya.Run - Sample: Tonsil-{number // 5000}, cycle {number // 1000 % 40}\r\n"
        else:
            x, y = dice.uniform(0, 90_000), dice.uniform(0, 30_000)
            yield f"{at} [{number % 30}] DEBUG Akoya.Stage - moved to X={x:.3f} um, Y={y:.3f} um, {number % 97} ms\r\n"


def write(file: Path, kind: Kind, megabytes: int) -> int:
    """Write a log; gives how many errors are in it."""
    text = "".join(lines(kind))
    block = text.encode(kind.encoding)
    times = 1 if kind.storm else max(1, megabytes * 1_000_000 // len(block))
    with file.open("wb") as log:
        for _ in range(times):
            log.write(block)
    return times * text.count(" ERROR ")


def read(file: Path) -> int:
    """Read a log to its end, look after look, as the monitor does; gives how many errors it found."""
    place, patterns = LogPlace(LocalStorage(str(file.parent)), file.name, str(file)), compile_patterns()
    state, now, found, goes_on = MonitorState(str(file), Position(file.name)), datetime.now(UTC), 0, True
    while goes_on:
        tailed = read_new_blocks(place, state, patterns, now=now, keep=timedelta(days=30))
        found += sum(group.count for group in (*tailed.groups, *tailed.known))
        state, goes_on = tailed.state, tailed.more or tailed.waits
        now += timedelta(seconds=0 if tailed.more else 6)
    return found


# The process that is measured imports no more than the monitor does.
Rows = list[tuple[str, ...]]


def compare(folder: Path, kind: Kind, options: argparse.Namespace) -> tuple[str, ...]:
    """One row: the monitor and grep take turns; both read from memory, so that the disk does not decide."""
    file = folder / NAME
    errors = write(file, kind, options.size)
    size = file.stat().st_size
    subprocess.run(["cat", file], stdout=subprocess.DEVNULL, check=True)
    ours, greps = list[Usage](), list[Usage]()
    for _ in range(options.runs):
        argv = [sys.executable, "-m", "benchmarks.log_tail", READ, str(file), str(errors)]
        ours.append(measure(argv, env={}, cwd=Path.cwd(), log=folder / "log"))
        # grep ends with 1 when it finds nothing, and cannot read UTF-16: what it counts is not compared.
        argv = ["sh", "-c", 'grep -c ERROR "$0" || true', str(file)]
        greps.append(measure(argv, env={}, cwd=Path.cwd(), log=folder / "log"))
    wall, grep_wall = (statistics.median(usage.wall for usage in each) for each in (ours, greps))
    cpu, grep_cpu = (statistics.median(usage.cpu for usage in each) for each in (ours, greps))
    walls = [usage.wall for usage in ours]
    return (
        kind.name,
        f"{size / 1e6:,.0f}",
        f"{errors:,}",
        f"{wall:.2f} ({min(walls):.2f}-{max(walls):.2f})",
        f"{size / wall / 1e6:,.0f}",
        f"{wall / grep_wall:.2f}",
        f"{cpu:.2f}",
        f"{cpu / grep_cpu:.2f}",
        f"{max(usage.rss for usage in ours) / 1e6:.0f}",
    )


def measure_all(options: argparse.Namespace, work: Path) -> tuple[str, Rows]:
    """One row for each kind of log."""
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        rows = [compare(Path(folder), kind, options) for kind in KINDS]
    grep = subprocess.run(["grep", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    return f"Medians of {options.runs} runs, from memory, the start of Python included; beside {grep}", rows


def main() -> None:
    """Measure, print, and write the table into the docs when asked."""
    if sys.argv[1:2] == [READ]:
        found, expected = read(Path(sys.argv[2])), int(sys.argv[3])
        sys.exit(None if found == expected else f"found {found} errors of {expected}")
    from benchmarks.command import make_parser, measure_and_publish

    parser = make_parser("What reading a backlog of the instrument's log costs.")
    parser.add_argument("--size", type=int, default=1000, help="MB of each log (default 1000)")
    parser.add_argument("--runs", type=int, default=3, help="of each (default 3)")
    measure_and_publish("log", parser, HEADINGS, measure_all)


if __name__ == "__main__":
    main()
