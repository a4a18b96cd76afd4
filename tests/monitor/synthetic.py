"""SYNTHETIC logs: the real format of Fusion.log is not public; these only look as such logs commonly do.

What belongs here: making such logs, and reading one the slow, obvious way, to compare with.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fusion_assets.monitor.blocks import MAX_BYTES, MAX_LINES, NOTHING, Block, Context
from fusion_assets.monitor.patterns import Patterns, compile_patterns
from fusion_assets.monitor.place import LogPlace
from fusion_assets.monitor.state import MonitorState, Position
from fusion_assets.monitor.tail import BUDGET_BYTES, Tailed, read_new_blocks
from resources.local import LocalStorage

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
KEEP = timedelta(days=30)
DEFAULT = compile_patterns()
NAME = "Fusion.log"


def info(text: str, at: str = "2026-01-05 11:59:01,123") -> str:
    return f"{at} [12] INFO  Stage - {text}"


def error(text: str, at: str = "2026-01-05 11:59:02,456") -> str:
    return f"{at} [12] ERROR Stage - {text}"


class Watched:
    """A log on disk, and the monitor that looks at it, its state going through JSON as it does in life."""

    def __init__(self, folder: Path, patterns: Patterns = DEFAULT, name: str = NAME) -> None:
        self.file = folder / name
        self.patterns = patterns
        self.place = LogPlace(LocalStorage(str(folder)), name, str(self.file))
        self.state = MonitorState(str(self.file), Position(name))
        self.now = NOW
        self.reported: list[str] = []

    def write(self, *lines: str, encoding: str = "utf-8", end: str = "\n") -> None:
        with self.file.open("ab") as log:
            log.write("".join(line + end for line in lines).encode(encoding))

    def look(self, *, after: float = 0, budget: int = BUDGET_BYTES, save: bool = True) -> Tailed:
        self.now += timedelta(seconds=after)
        tailed = read_new_blocks(self.place, self.state, self.patterns, now=self.now, keep=KEEP, budget=budget)
        if save:
            self.state = tailed.state
            self.reported += [line for group in tailed.groups for line in group.block.lines[:1]]
        return tailed

    def look_until_quiet(self) -> list[str]:
        """Look as often as it takes until all is read, and nothing at the end waits any more; gives what is new."""
        begin = len(self.reported)
        for _ in range(60):
            tailed = self.look(after=6)
            if not tailed.more and not tailed.waits:
                return self.reported[begin:]
        raise AssertionError("it never comes to an end")


def first_lines(tailed: Tailed) -> list[str]:
    return [group.block.lines[0] for group in tailed.groups]


def read_slowly(text: str, patterns: Patterns = DEFAULT) -> list[tuple[tuple[str, ...], Context]]:
    """The blocks of a whole log, line by line as the documentation says it: what the fast parser is held against."""
    blocks: list[tuple[tuple[str, ...], Context]] = []
    lines: list[str] | None = None
    size = 0
    context = latest = NOTHING
    for whole in re.findall(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+", text):
        line = whole.rstrip("\r\n")
        if lines is not None:
            size += len(whole.encode())
            if patterns.timestamp.matches(line) or len(lines) >= MAX_LINES or size > MAX_BYTES:
                blocks.append((tuple(lines), context))
                lines = None
            elif line.strip():
                lines.append(line)
        sample, cycle = patterns.sample.value(line), patterns.cycle.value(line)
        latest = Context(sample or latest.sample, cycle or latest.cycle)
        if lines is None and patterns.error.matches(line):
            lines, context, size = [line], latest, len(whole.encode())
    if lines is not None:
        blocks.append((tuple(lines), context))
    return blocks


def as_read(block: Block) -> tuple[tuple[str, ...], Context]:
    return block.lines, block.context
