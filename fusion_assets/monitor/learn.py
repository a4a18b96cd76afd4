"""What a set of patterns sees in a log, and what it may miss: so that an operator can adapt it in minutes.

What belongs here: reading a log once from beginning to end for what matched, and proposing patterns. What does not:
following a log (`tail`), and showing the result (`cli.monitor`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from fusion_assets.monitor.blocks import Block, Parser
from fusion_assets.monitor.encodings import Piece, decoder, lines_of
from fusion_assets.monitor.groups import KEY_LENGTH, error_key, shape
from fusion_assets.monitor.patterns import DEFAULTS, Patterns
from fusion_assets.monitor.tail import codec_of, feed
from resources.storage import Reader

# How much of the log's end is looked at line by line: 150,000 lines, in 2 s.
LOOKED_AT_BYTES = 16 << 20
MAX_EXAMPLES = 10
# Below this share of lines with a timestamp, their form is most likely unknown: stack traces are rare.
FEW = 0.5
_MAX_KEYS = 10_000

_SUSPICIOUS = re.compile(r"(?i)error|err\b|fail|exception|fatal|abort|critical|timed? ?out|alarm|fault|panic")
_LEVEL = re.compile(
    r"\b(?:ERR|Err|Error|error|FAIL|Fail|FAILED|Failed|FAILURE|Failure|Fatal|fatal|Critical|ALARM|Alarm)\b"
)
_BEGINNING = re.compile(r"\W{0,3}\d[\d:./,_TZ +-]{5,30}")


@dataclass(frozen=True, slots=True)
class Learned:
    """What one reading of a log showed.

    Attributes:
        encoding: Its encoding.
        size: Its length in bytes.
        lines: How many lines at its end were looked at one by one.
        with_timestamp: How many of these have a timestamp.
        blocks: How many errors the whole log has.
        errors: The most frequent errors, by key, with how often.
        different: How many different errors there are; counted up to 10,000.
        samples: The samples that were named before an error or in the last lines, latest first.
        cycles: The same of cycles.
        missed: Lines that look like errors and are none, one of each kind, with how often.
        proposals: Patterns by name that would see more; to be judged by a person.
    """

    encoding: str
    size: int
    lines: int
    with_timestamp: int
    blocks: int
    errors: tuple[tuple[str, int], ...]
    different: int
    samples: tuple[str, ...]
    cycles: tuple[str, ...]
    missed: tuple[tuple[str, int], ...]
    proposals: Mapping[str, str]

    @property
    def share_with_timestamp(self) -> float:
        """Between 0 and 1; of a log without lines, 1."""
        return self.with_timestamp / self.lines if self.lines else 1.0


@dataclass(slots=True)
class _Seen:
    """What is counted on the way."""

    patterns: Patterns
    lines: int = 0
    with_timestamp: int = 0
    blocks: int = 0
    in_block: bool = False
    errors: Counter[str] = field(default_factory=Counter)
    samples: dict[str, None] = field(default_factory=dict)
    cycles: dict[str, None] = field(default_factory=dict)
    missed: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    beginnings: Counter[str] = field(default_factory=Counter)

    def error(self, block: Block) -> None:
        self.blocks += 1
        key = error_key(block, self.patterns)
        if key in self.errors or len(self.errors) < _MAX_KEYS:
            self.errors[key] += 1
        self.named(block.context.sample, block.context.cycle)

    def named(self, sample: str | None, cycle: str | None) -> None:
        for name, names in ((sample, self.samples), (cycle, self.cycles)):
            if name:
                names.pop(name, None)
                names[name] = None

    def line(self, text: str) -> None:
        if not text.strip():
            return
        self.lines += 1
        begins = self.patterns.timestamp.matches(text)
        self.with_timestamp += begins
        is_error = self.patterns.error.matches(text)
        self.in_block = is_error or (self.in_block and not begins)
        self.named(self.patterns.sample.value(text), self.patterns.cycle.value(text))
        if not begins and (beginning := _BEGINNING.match(text)):
            self.beginnings[_digits_as_regex(beginning[0])] += 1
        if not is_error and not self.in_block and _SUSPICIOUS.search(text):
            kind = shape(error_key(Block(0, (text,)), self.patterns))
            if kind in self.missed or len(self.missed) < _MAX_KEYS:
                self.missed[kind] += 1
                self.examples.setdefault(kind, text[: 2 * KEY_LENGTH])


def learn(reader: Reader, patterns: Patterns) -> Learned:
    """Read a log once.

    Args:
        reader: The open log.
        patterns: How to read it.

    Raises:
        ResourceError: It cannot be read.
    """
    size = reader.stat().size
    codec, begin = codec_of(reader, "", patterns)
    decode, seen = decoder(codec), _Seen(patterns)
    parser = Parser(patterns, decode, seen.error, begin)

    def take(piece: Piece) -> None:
        parser.feed(piece)
        if piece.end > size - LOOKED_AT_BYTES:
            for line in lines_of(piece.data):
                seen.line(decode(line))

    feed(reader, take, codec, begin, size)
    parser.finish()
    missed = seen.missed.most_common(MAX_EXAMPLES)
    return Learned(
        codec,
        size,
        seen.lines,
        seen.with_timestamp,
        seen.blocks,
        tuple(seen.errors.most_common(MAX_EXAMPLES)),
        len(seen.errors),
        tuple(reversed(seen.samples))[:MAX_EXAMPLES],
        tuple(reversed(seen.cycles))[:MAX_EXAMPLES],
        tuple((seen.examples[kind], count) for kind, count in missed),
        _proposals(seen),
    )


def as_toml(patterns: Mapping[str, str]) -> str:
    """Patterns as they can be pasted into config.toml."""
    return "\n".join(["[monitor.patterns]", *(f"{name} = {_quoted(regex)}" for name, regex in patterns.items())])


def _proposals(seen: _Seen) -> dict[str, str]:
    proposals = {}
    if seen.lines and seen.with_timestamp < FEW * seen.lines and seen.beginnings:
        beginning, count = seen.beginnings.most_common(1)[0]
        if count > (seen.lines - seen.with_timestamp) / 5:
            proposals["timestamp"] = f"^{beginning}"
    levels = Counter(level for kind in seen.missed for level in _LEVEL.findall(seen.examples[kind])[:1])
    if levels:
        words = "|".join(sorted(levels))
        proposals["error"] = rf"{seen.patterns.error.regex.pattern}|\b(?:{words})\b"
    return {name: regex for name, regex in proposals.items() if name in DEFAULTS}


def _digits_as_regex(beginning: str) -> str:
    text = re.escape(beginning.rstrip(" -"))
    return re.sub(r"\d+", lambda digits: rf"\d{{{len(digits[0])}}}", text).replace("\\ ", " ")


def _quoted(regex: str) -> str:
    return f"'''{regex}'''" if "'" in regex else f"'{regex}'"
