"""From lines to error blocks: an error's line, what follows it, and the sample and cycle named last before it.

What belongs here: the parser, pure, fed with pieces of a log however they are cut. What does not: files (`tail`), and
which blocks are one and the same error (`groups`).

A gigabyte of innocent lines must not be decoded: the parser searches a piece for the words an error must hold
(`words`), and decodes only the lines with one of them. The last sample and cycle are searched backwards from there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from fusion_assets.monitor.encodings import LONGEST_LINE, Piece, line_end, line_start
from fusion_assets.monitor.patterns import Pattern, Patterns

# A stack trace has some dozen lines. A block this long has lost its end: no line after it has a timestamp we know.
MAX_LINES = 500
MAX_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Context:
    """What the instrument was working on, as far as the log said so: the last sample and cycle that were named."""

    sample: str | None = None
    cycle: str | None = None


NOTHING = Context()


@dataclass(frozen=True, slots=True)
class Block:
    """One error.

    Attributes:
        offset: Where its first line begins in the file, in bytes.
        lines: The error's line and all that belongs to it, without line ends and empty lines.
        context: The sample and cycle named last before it, or in its first line.
        is_cut: Whether it was longer than a block may be; the rest is not in `lines`.
    """

    offset: int
    lines: tuple[str, ...]
    context: Context = NOTHING
    is_cut: bool = False


@dataclass(slots=True)
class _Open:
    """A block whose end has not been seen."""

    offset: int
    before: Context
    context: Context
    lines: list[str]
    size: int


class Parser:
    """Reads one log from one place on.

    Args:
        patterns: What lines mean.
        decode: Makes text of a line's bytes.
        found: Called with each block when its end was seen.
        offset: Where the first piece will begin in the file.
        context: What was named before that.

    Attributes:
        offset: Up to where everything is done: reading may begin here again. An open block is not done.
        context: The context there.
    """

    def __init__(
        self,
        patterns: Patterns,
        decode: Callable[[bytes], str],
        found: Callable[[Block], None],
        offset: int = 0,
        context: Context = NOTHING,
    ) -> None:
        self._patterns, self._decode, self._found = patterns, decode, found
        self.offset, self.context = offset, context
        self._end, self._latest = offset, context
        self._open: _Open | None = None

    @property
    def is_open(self) -> bool:
        """Whether a block waits for its end."""
        return self._open is not None

    def feed(self, piece: Piece) -> None:
        """Read on.

        Args:
            piece: Whole lines, beginning where the last piece ended.
        """
        lines = _Lines(piece.data, self._decode)
        at, known = self._continue(lines, 0), 0
        while not self._open and (error := lines.first(self._patterns.error, at)):
            start, end, following = error
            before = self._name(lines, known, start)
            context, known = self._name(lines, start, end), end
            self._open = _Open(piece.offset(start), before, context, [lines.text(start, end)], following - start)
            at = self._continue(lines, following)
        self._name(lines, known, len(piece.data))
        self._end = piece.end
        self._settle()

    def finish(self) -> None:
        """Take an open block for complete: nothing follows."""
        if self._open:
            self._close(is_cut=False)
        self._settle()

    def drop_open(self) -> None:
        """Leave out the block that waits for its end, with its lines."""
        self._open = None
        self._settle()

    def _continue(self, lines: _Lines, at: int) -> int:
        """Add lines to the open block until the next entry begins; gives where that is."""
        while self._open and at < len(lines.data):
            end, following = line_end(lines.data, at)
            text = lines.text(at, end)
            begins = self._patterns.timestamp.matches(text)
            self._open.size += following - at
            is_cut = len(self._open.lines) >= MAX_LINES or self._open.size > MAX_BYTES
            if begins or is_cut:
                self._close(is_cut=not begins)
                break
            if text.strip():
                self._open.lines.append(text)
            at = following
        return at

    def _close(self, *, is_cut: bool) -> None:
        if self._open:
            self._found(Block(self._open.offset, tuple(self._open.lines), self._open.context, is_cut))
        self._open = None

    def _name(self, lines: _Lines, start: int, end: int) -> Context:
        """Take in what the lines from `start` to `end` name; gives the latest context."""
        sample = lines.last(self._patterns.sample, start, end)
        cycle = lines.last(self._patterns.cycle, start, end)
        if sample or cycle:
            self._latest = Context(sample or self._latest.sample, cycle or self._latest.cycle)
        return self._latest

    def _settle(self) -> None:
        if self._open:
            self.offset, self.context = self._open.offset, self._open.before
        else:
            self.offset, self.context = self._end, self._latest


class _Lines:
    """The lines of one piece, searched without taking it apart."""

    def __init__(self, data: bytes, decode: Callable[[bytes], str]) -> None:
        self.data, self._decode = data, decode
        self._found: dict[Pattern, re.Pattern[bytes] | None] = {}

    @cached_property
    def _lower(self) -> bytes:
        return self.data.lower()

    def _searched(self, pattern: Pattern) -> bytes:
        return self._lower if pattern.any_case else self.data

    def _words(self, pattern: Pattern) -> re.Pattern[bytes] | None:
        """What finds the pattern's words; None if none of them is in the piece.

        Asked of a MB without them, `rfind` runs at 3.5 to 9 GB/s, `find` at 2, and a regex of five words at 0.3; a
        regex of those that are in it, mostly one, at 4.
        """
        if pattern not in self._found:
            searched = self._searched(pattern)
            there = [re.escape(word) for word in pattern.words if searched.rfind(word) >= 0]
            self._found[pattern] = re.compile(b"|".join(there)) if there or not pattern.words else None
        return self._found[pattern]

    def text(self, start: int, end: int) -> str:
        """A line."""
        return self._decode(self.data[start : min(end, start + LONGEST_LINE)])

    def first(self, pattern: Pattern, at: int) -> tuple[int, int, int] | None:
        """The first line from `at` on that matches: its beginning, its end, and where the next one begins."""
        words = self._words(pattern)
        if words is None:
            return None
        searched = self._searched(pattern)
        while at < len(searched) and (word := words.search(searched, at)):
            start = line_start(self.data, word.start(), at)
            end, following = line_end(self.data, word.start())
            if pattern.matches(self.text(start, end)):
                return start, end, following
            at = following
        return None

    def last(self, pattern: Pattern, start: int, end: int) -> str | None:
        """What the last line that matches between `start` and `end` says."""
        searched = self._searched(pattern)
        while start < end:
            at = max((searched.rfind(word, start, end) for word in pattern.words), default=end - 1)
            if at < 0:
                return None
            begins = line_start(self.data, at, start)
            said = pattern.value(self.text(begins, line_end(self.data, at)[0]))
            if said:
                return said
            end = begins
        return None
