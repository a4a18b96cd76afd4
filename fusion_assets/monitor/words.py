"""Words one of which is in every line that a regex matches: by them a gigabyte of innocent lines is skipped unread.

Searching for plain words runs at the speed of memory, a regex line by line at 50 MB/s. What belongs here: finding such
words in a regex. What does not: what the regexes are for (`patterns`).
"""

from __future__ import annotations

import re
import re._parser as parser  # type: ignore[import-not-found]  # Python's own reader of regexes, without typed stubs
from collections.abc import Iterable
from typing import Any

_SHORTEST = 3  # shorter words stand in every line and save nothing
_MOST = 12

Words = tuple[str, ...]


def words_of(regex: re.Pattern[str]) -> Words:
    """Words one of which is in every line the regex matches, in the regex's own case.

    Args:
        regex: Any.

    Returns:
        The words; empty when there are none: then every line has to be tried.
    """
    found = frozenset(_required(parser.parse(regex.pattern, regex.flags)))
    shortest = sorted(word for word in found if not any(other in word for other in found - {word}))
    return tuple(shortest) if len(shortest) <= _MOST else ()


def _required(sequence: Iterable[tuple[Any, Any]]) -> Words:
    """The best words of one sequence: those whose shortest is longest."""
    offers: list[Words] = []
    run = ""
    for operation, argument in sequence:
        if operation is parser.LITERAL and argument < 128:  # noqa: PLR2004 - ASCII: one byte in every encoding
            run += chr(argument)
            continue
        offers += [(run,), _inside(operation, argument)]
        run = ""
    offers.append((run,))
    usable = [offer for offer in offers if offer and min(map(len, offer)) >= _SHORTEST]
    return max(usable, key=lambda offer: (min(map(len, offer)), -len(offer)), default=())


def _inside(operation: object, argument: Any) -> Words:  # noqa: ANN401 - as the parser gives it
    """The words of a group, of alternatives or of something repeated; none of what may be missing."""
    if operation is parser.SUBPATTERN:
        return _required(argument[-1])
    if operation is parser.BRANCH:
        branches = [_required(branch) for branch in argument[1]]
        return tuple(word for words in branches for word in words) if all(branches) else ()
    if operation in {parser.MAX_REPEAT, parser.MIN_REPEAT} and argument[0] >= 1:
        return _required(argument[2])
    return ()
