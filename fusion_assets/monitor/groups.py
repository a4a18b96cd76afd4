"""Which blocks are one and the same error: the key, and the errors of one look gathered by it.

What belongs here: the key (the first 200 characters with moments replaced), and what keeps a storm of errors that
differ in a number small. What does not: for how long a key is remembered (`state`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from fusion_assets.monitor.blocks import Block
from fusion_assets.monitor.patterns import MOMENT, Patterns

KEY_LENGTH = 200
MOMENT_MARK = "<TS>"
NUMBER_MARK = "<N>"

# Twenty errors that differ in nothing but numbers ("frame 4711 dropped") are a storm: all further ones count as one.
STORM = 20
# How many errors one look gives at the most, and how many blocks it counts (4 s of work); the next look goes on.
MAX_GROUPS = 1000
MAX_BLOCKS = 200_000

_NUMBER = re.compile(r"\d+")
_READ_FOR_KEY = 4 * KEY_LENGTH  # moments are longer than their mark, but not four times


def error_key(block: Block, patterns: Patterns) -> str:
    """What is the same in two reports of one error.

    Args:
        block: The error.
        patterns: A lab's own timestamp is replaced beside those known by default.

    Returns:
        Its first `KEY_LENGTH` characters with moments replaced by ``<TS>``; lines are separated by a line feed.
    """
    text = "\n".join(line.strip() for line in block.lines)[:_READ_FOR_KEY]
    if patterns.own_timestamp:
        text = patterns.timestamp.regex.sub(MOMENT_MARK, text)
    return MOMENT.sub(MOMENT_MARK, text)[:KEY_LENGTH]


def shape(key: str) -> str:
    """A key with its numbers replaced, too: what a storm of numbered errors has in common."""
    return _NUMBER.sub(NUMBER_MARK, key)


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """One error, as often as one look found it.

    Attributes:
        key: What its blocks have in common; `shape` of them if they are a storm.
        block: The first of them.
        count: How many.
        last: Where the last one begins in the file.
        known: Whether the key was reported within the days for which it is kept.
    """

    key: str
    block: Block
    count: int
    last: int
    known: bool


@dataclass(slots=True)
class _Counted:
    block: Block
    count: int
    last: int


class Gathering:
    """The errors of one look.

    Args:
        patterns: How the log is read.
        is_known: Whether a key was reported already.
    """

    def __init__(self, patterns: Patterns, is_known: Callable[[str], bool]) -> None:
        self._patterns, self._is_known = patterns, is_known
        self._groups: dict[str, _Counted] = {}
        self._shapes: defaultdict[str, int] = defaultdict(int)
        self._blocks = 0

    @property
    def is_full(self) -> bool:
        """Whether there are as many errors as one look may give."""
        return len(self._groups) >= MAX_GROUPS or self._blocks >= MAX_BLOCKS

    def add(self, block: Block) -> None:
        """Count a block."""
        self._blocks += 1
        key = error_key(block, self._patterns)
        if key not in self._groups and not self._is_known(key):
            common = shape(key)
            if common in self._groups or self._shapes[common] >= STORM or self._is_known(common):
                key = common
            else:
                self._shapes[common] += 1
        group = self._groups.setdefault(key, _Counted(block, 0, 0))
        group.count, group.last = group.count + 1, block.offset

    def groups(self) -> tuple[ErrorGroup, ...]:
        """What was gathered, in the order of the log."""
        return tuple(
            ErrorGroup(key, group.block, group.count, group.last, self._is_known(key))
            for key, group in self._groups.items()
        )
