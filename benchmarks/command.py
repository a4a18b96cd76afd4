"""What the benchmarks' commands share: the options they all have, and where a finished table goes.

What belongs here: parsing, printing, the document. What does not: measuring, and the wording of a table (`results`).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from benchmarks.contenders import CREDENTIALS
from benchmarks.datasets import WORK
from benchmarks.machine import describe
from benchmarks.measure import Others
from benchmarks.results import aligned, replace_between_markers

DOCUMENT = Path(__file__).parent.parent / "docs" / "benchmarks.md"

Rows = list[tuple[str, ...]]


def make_parser(description: str) -> argparse.ArgumentParser:
    """A command line with the options of every benchmark."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--work", type=Path, default=WORK, help="folder for data and copies")
    parser.add_argument("--markdown", action="store_true", help="write the table into docs/benchmarks.md too")
    return parser


def measure_and_publish(
    name: str,
    parser: argparse.ArgumentParser,
    headings: tuple[str, ...],
    measure_all: Callable[[argparse.Namespace, Path], tuple[str, Rows]],
) -> None:
    """Measure, and publish the table with the machine it was measured on.

    Args:
        name: Of the table in the document.
        parser: From `make_parser`, with the benchmark's own options.
        headings: Of the table's columns.
        measure_all: Takes the options and the folder to work in; gives what was measured, in words, and its rows.
    """
    options = parser.parse_args()
    os.environ.update(CREDENTIALS)
    others = Others()
    work = options.work.absolute()
    what, rows = measure_all(options, work)
    machine = f"{describe(work)}; others used {others.cores():.2f} cores meanwhile"
    publish(name, f"{what}; {machine}.\n\n{aligned([headings, *rows])}", into_document=options.markdown)


def publish(name: str, text: str, *, into_document: bool) -> None:
    """Print a table, and put it into its place in the document when asked."""
    print(f"\n{text}")
    if into_document:
        document = replace_between_markers(DOCUMENT.read_text(encoding="utf-8"), name, text)
        DOCUMENT.write_text(document, encoding="utf-8")
