r"""What a line of Fusion.log means: named regexes, with defaults, changed in ``[monitor] patterns``.

The real format is not public, so the defaults are wide: several forms of timestamps, the usual names of an error level,
and the phrases in which programs name samples and cycles. What belongs here: these regexes, and the one clear error a
wrong one gives. What does not: reading a log (`blocks`).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from fusion_assets.config import ConfigError
from fusion_assets.monitor.words import Words, words_of

AUTOMATIC = "auto"
ENCODING = "encoding"

_WITHOUT_ASCII = frozenset({AUTOMATIC, "utf-16-le", "utf-16-be"})
_SAME_AS = {AUTOMATIC: AUTOMATIC, "utf-16": "utf-16-le", "utf-8-sig": "utf-8"}

_TIME = r"\d{1,2}:\d{2}(?::\d{2})?(?:[.,]\d{1,9})?(?:\s?[AaPp][Mm]\b)?(?:\s?(?:Z\b|[+-]\d{2}:?\d{2}\b))?"
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*"
_MOMENT = "|".join(
    (
        rf"\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}}[T _,-]{{0,2}}{_TIME}",
        rf"\d{{1,2}}[-/.]\d{{1,2}}[-/.]\d{{2,4}}[ ,-]{{1,2}}{_TIME}",
        rf"\d{{1,2}}[ -]{_MONTH}[ -]\d{{4}}[ ,:-]{{1,2}}{_TIME}",
        rf"{_MONTH} +\d{{1,2}},? +(?:\d{{4}},? +)?{_TIME}",
        r"\d{8}[ T_-]?\d{6}(?:[.,]\d{1,9})?",
        r"\d{2}:\d{2}:\d{2}[.,]\d{1,9}",
    )
)
MOMENT = re.compile(_MOMENT)
"""A moment in any of the forms that are known by default, wherever it stands."""

DEFAULTS: Mapping[str, str] = {
    # At the beginning of a line, after a bracket or the name of a level at the most.
    "timestamp": rf"^\W{{0,3}}(?:[A-Za-z]{{3,9}}\W{{1,4}})?(?:{_MOMENT})",
    "error": r"\b(?:ERROR|FATAL|CRITICAL|SEVERE)\b|\[(?:ERR|FTL)\]",
    "sample": (
        r"""(?i)\bsample(?:[ _-]?(?:name|id))?["']?\s*(?:[:=]\s*["']?|["'])([^"',;|\]\[()\s][^"',;|\]\[()]{0,79})"""
    ),
    "cycle": r"""(?i)\bcycle(?:[ _-]?(?:number|index|no\.?|id))?["']?\s*[:=#]?\s*["']?(\d{1,4})\b""",
}


@dataclass(frozen=True, slots=True)
class Pattern:
    """One named regex.

    Attributes:
        regex: What a line is searched for.
        words: One of these is in every line it matches, in ASCII; empty if every line has to be tried.
        any_case: Whether the words count in upper and lower case alike; then they are lower case here.
    """

    regex: re.Pattern[str]
    words: tuple[bytes, ...] = ()
    any_case: bool = False

    def matches(self, line: str) -> bool:
        """Whether a line has it."""
        return self.regex.search(line) is not None

    def value(self, line: str) -> str | None:
        """What the last match in a line says: its first group that took part, or all of it; None without a match."""
        said = None
        for match in self.regex.finditer(line):
            said = next((group for group in match.groups() if group), match[0]).strip() or said
        return said


@dataclass(frozen=True, slots=True)
class Patterns:
    """How one lab's Fusion.log is read.

    Attributes:
        timestamp: Begins a new entry; what follows without one belongs to the entry before it.
        error: Makes an entry an error.
        sample: Names the sample being worked on.
        cycle: Names the cycle.
        encoding: A Python codec, or ``auto`` to find out from the file's first bytes.
        own_timestamp: Whether the lab set `timestamp` itself.
    """

    timestamp: Pattern
    error: Pattern
    sample: Pattern
    cycle: Pattern
    encoding: str = AUTOMATIC
    own_timestamp: bool = False


def compile_patterns(said: Mapping[str, str] | None = None) -> Patterns:
    """The patterns of a lab: the defaults, and what ``[monitor] patterns`` sets in their place.

    Args:
        said: By name: timestamp, error, sample, cycle (regexes, Python's ``re``) and encoding.

    Raises:
        ConfigError: An unknown name, a regex that is none, one that matches every line, or an unknown encoding.
    """
    said = said or {}
    for name in said:
        if name not in DEFAULTS and name != ENCODING:
            nearest = get_close_matches(name, [*DEFAULTS, ENCODING], n=1, cutoff=0.4)
            hint = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join([*DEFAULTS, ENCODING])}"
            raise ConfigError(f"monitor.patterns: unknown pattern {name} | hint: {hint}")
    compiled = {name: _compiled(name, said.get(name, default)) for name, default in DEFAULTS.items()}
    return Patterns(
        **compiled, encoding=_known_encoding(said.get(ENCODING, AUTOMATIC)), own_timestamp="timestamp" in said
    )


def _compiled(name: str, regex: str) -> Pattern:
    hint = "| hint: in TOML, write regexes in 'single quotes'; fusion monitor learn FILE shows what they match"
    try:
        compiled = re.compile(regex)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigError(f"monitor.patterns.{name}: {regex!r} is not a regex: {error} {hint}") from error
    if compiled.search(""):
        raise ConfigError(f"monitor.patterns.{name}: {regex!r} matches every line, even an empty one {hint}")
    any_case = bool(compiled.flags & re.IGNORECASE) or "i:" in regex  # ``(?i:…)`` is enough to look at both cases
    words: Words = words_of(compiled)
    return Pattern(compiled, tuple((word.lower() if any_case else word).encode() for word in words), any_case)


def _known_encoding(name: str) -> str:
    try:
        codec = _SAME_AS.get(name) or _SAME_AS.get(found := codecs.lookup(name).name, found)
        is_accepted = codec in _WITHOUT_ASCII or "ERROR\n".encode(codec) == b"ERROR\n"
    except (LookupError, ValueError):
        is_accepted = False
    if not is_accepted:
        raise ConfigError(
            f"monitor.patterns.encoding: {name!r} is no encoding a log can have | hint: auto, utf-8, utf-16-le, "
            "cp1252, gb18030, …"
        )
    return codec
