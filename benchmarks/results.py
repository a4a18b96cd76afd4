"""Results of runs -> medians, ratios and the table.

What belongs here: the arithmetic and the wording of the table. What does not: running anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import Usage

BASELINE = "rclone"
HEADINGS = (
    "",
    "wall s (range)",
    "wall/rclone",
    "MB/s",
    "files/s",
    "CPU s",
    "CPU/rclone",
    "peak MB",
    "read/byte",
    "disk read/byte",
    "disk write/byte",
    "S3 CPU s",
    "unflushed s",
    "other cores",
)


@dataclass(frozen=True, slots=True)
class Result:
    """One run of one contender on one set.

    Attributes:
        dataset: ``A``, ``B`` or ``C``.
        title: What the set is.
        files: Its files.
        bytes: Their bytes.
        contender: Its name.
        contender_title: What it is.
        usage: What it cost.
        steps: The wall seconds of its commands, by name.
        server_cpu: Processor seconds of the S3 server.
        unflushed: Seconds a ``sync`` took afterwards: what the contender had left in memory.
        other_cores: Processors everybody else used meanwhile, the kernel's own write-back included.
        checked: Checksum headers S3 compared with the bytes -> how many requests had them.
    """

    dataset: str
    title: str
    files: int
    bytes: int
    contender: str
    contender_title: str
    usage: Usage
    steps: dict[str, float]
    server_cpu: float
    unflushed: float
    other_cores: float
    checked: dict[str, int]


def save(result: Result, path: Path) -> None:
    """Add a result to a file of JSON lines, so that an interrupted benchmark keeps what it measured."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(result)) + "\n")


def load(path: Path) -> list[Result]:
    """The results in such a file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [from_json(json.loads(line)) for line in lines if not line.startswith('{"machine"')]


def from_json(data: dict[str, Any]) -> Result:
    """A result as `save` wrote it."""
    return Result(**data | {"usage": Usage(**data["usage"])})


def tables(results: list[Result]) -> str:
    """One Markdown table per set, medians over its runs."""
    parts = []
    for dataset in sorted({result.dataset for result in results}):
        of_set = [result for result in results if result.dataset == dataset]
        by_contender: dict[str, list[Result]] = {}
        for result in of_set:
            by_contender.setdefault(result.contender, []).append(result)
        runs = max(map(len, by_contender.values()))
        rows = [row(group, by_contender.get(BASELINE)) for group in by_contender.values()]
        notes = [note(group) for group in by_contender.values()]
        heading = f"**{dataset}: {of_set[0].title}** ({of_set[0].bytes / 1e6:,.0f} MB, runs: {runs})"
        parts.append("\n".join([heading, "", aligned([HEADINGS, *rows]), "", *notes]))
    return "\n\n".join(parts)


def row(group: list[Result], baseline: list[Result] | None) -> tuple[str, ...]:
    """One contender on one set."""
    first = group[0]
    walls = [result.usage.wall for result in group]
    wall, cpu = median(walls), median(result.usage.cpu for result in group)
    base_wall = median(result.usage.wall for result in baseline) if baseline else 0
    base_cpu = median(result.usage.cpu for result in baseline) if baseline else 0
    return (
        first.contender_title,
        f"{wall:.1f} ({min(walls):.1f}-{max(walls):.1f})",
        ratio(wall, base_wall),
        f"{first.bytes / 1e6 / wall:,.0f}",
        f"{first.files / wall:,.0f}" if first.files > 1 else "",
        f"{cpu:.1f}",
        ratio(cpu, base_cpu),
        f"{max(result.usage.rss for result in group) / 1e6:.0f}",
        per_byte(group, "read"),
        per_byte(group, "device_read"),
        per_byte(group, "device_written"),
        f"{median(result.server_cpu for result in group):.1f}",
        f"{median(result.unflushed for result in group):.1f}",
        f"{median(result.other_cores for result in group):.2f}",
    )


def note(group: list[Result]) -> str:
    """Where a contender's time went, and what S3 checked of what it sent."""
    steps = " + ".join(f"{name} {median(result.steps[name] for result in group):.1f} s" for name in group[0].steps)
    checked = ", ".join(f"{name} of {count:,} requests" for name, count in sorted(group[0].checked.items()))
    return f"- {group[0].contender_title}: {steps}; S3 compared {checked}."


def ratio(value: float, base: float) -> str:
    """How many times the baseline."""
    return f"{value / base:.2f}" if base else ""


def per_byte(group: list[Result], field: str) -> str:
    """A count of bytes as a multiple of the set's."""
    return f"{median(getattr(result.usage, field) / result.bytes for result in group):.2f}"


def aligned(rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table whose columns line up in a terminal too."""
    cells = list(rows)
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    rule = tuple("-" * width if i == 0 else "-" * (width - 1) + ":" for i, width in enumerate(widths))
    lines = [cells[0], rule, *cells[1:]]
    return "\n".join(
        "| "
        + " | ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        + " |"
        for line in lines
    )


def replace_between_markers(document: str, name: str, text: str) -> str:
    """A document with what is between its two markers replaced.

    Args:
        document: Must hold both markers, each on a line of its own.
        name: Of the table: the markers are ``<!-- name:begin -->`` and ``<!-- name:end -->``.
        text: What goes between them.

    Raises:
        ValueError: A marker is missing.
    """
    first, last = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, begin, rest = document.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"the document lacks the markers {first} and {last}")
    return f"{before}{first}\n{text}\n{last}{after}"
