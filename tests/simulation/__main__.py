"""`make simulate`: a lab lives through a month in minutes; exit code 1, and the seed, if a promise was broken.

It lies with the tests because it is one: all of the product at once, on the test servers; CI runs a shortened one of
the same code (`test_simulation`).
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.simulation.incidents import FULL
from tests.simulation.lab import SimulatedLab
from tests.simulation.settings import Settings
from tests.simulation.simulate import Day, Told, simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--days", type=int, default=30, help=f"how many, {FULL} or more")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is left to chance")
    parser.add_argument("--keep", action="store_true", help="keep the lab to look at, whatever came of it")
    arguments = parser.parse_args()
    if arguments.days < FULL:
        parser.error(f"a lab needs {FULL} days for all that happens to it")
    console, folder, began = Console(), Path(tempfile.mkdtemp(prefix="simulated-lab-")), time.monotonic()
    try:
        told = _watch(console, folder, Settings(arguments.days, arguments.seed))
    except KeyboardInterrupt:
        console.print(f"broken off; the lab is kept in {folder}")
        return 130
    _show(console, told)
    console.print(f"{arguments.days} days in {time.monotonic() - began:.0f} s")
    if told.broken:
        for line in told.broken:
            console.print(line, style="red", markup=False, soft_wrap=True)
        console.print(f"seed {arguments.seed} broke a promise; the lab is kept in {folder}", style="bold red")
        return 1
    console.print(f"every promise was kept, whatever went wrong (seed {arguments.seed})", style="bold green")
    if arguments.keep:
        console.print(f"the lab is kept in {folder}")
    else:
        shutil.rmtree(folder)
    return 0


def _watch(console: Console, folder: Path, settings: Settings) -> Told:
    columns = (BarColumn(), TextColumn("{task.percentage:3.0f} %"), TextColumn("{task.description}"))
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("building the lab", total=1.0)

        def tell(lab: SimulatedLab, share: float) -> None:
            runs = sum(lab.daemon.started.values())
            what = f"{lab.now:%b %d %H:%M}, {len(lab.studies)} studies, {runs} runs"
            progress.update(task, completed=share, description=what)

        def tell_day(day: Day) -> None:
            counts = [f"{day.written} studies written"]
            if day.free is None:
                counts.append("NAS or S3 out of sight")
            else:
                counts += [f"{day.archived} archived, {day.evicted} evicted", f"NAS {day.free:.0f} % free"]
            said = f"{day.ends - timedelta(minutes=1):%b %d}: {', '.join([*counts, f'{day.mails} mails'])}"
            console.print(f"{said}; {', '.join(day.faults) or 'nothing went wrong'}", highlight=False, soft_wrap=True)

        return simulate(folder, settings, tell, tell_day)


def _show(console: Console, told: Told) -> None:
    for title, rows in (
        ("What happened", told.happened),
        ("What the lab did", told.numbers),
        ("What people were mailed", told.mails),
    ):
        table = Table(title=title, title_justify="left", show_header=False)
        for name, value in rows.items():
            table.add_row(name, str(value))
        console.print(table)
    table = Table("promise", "checked", "", title="What was promised", title_justify="left")
    for promise, times in told.promises.items():
        is_broken = any(f" {promise}: " in line for line in told.broken)
        table.add_row(promise, f"{times} times", "[red]BROKEN[/]" if is_broken else "[green]kept[/]")
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
