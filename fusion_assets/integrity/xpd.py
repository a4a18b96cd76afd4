"""D1 and half of D3: what an experiment's ``.xpd`` says, and whether it says it properly.

What belongs here: reading the Experiment Designer's JSON (``formatVersion``, ``name``, ``wells[].items[].markerName``).
What does not: opening the file, and comparing it with an image (`structure`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

SIZE_LIMIT = 8 * 1024 * 1024  # bytes; a design of 60 markers has about 30 KB
EMPTY_SLOT = "--"


@dataclass(frozen=True, slots=True)
class Design:
    """An ``.xpd``, judged.

    Attributes:
        name: What it calls itself; empty if it does not say.
        markers: The markers of all wells, in order, each once, without empty slots.
        problems: What is wrong with it, one clause each; empty: nothing.
    """

    name: str = ""
    markers: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def read_design(raw: bytes, stem: str) -> Design:
    """Judge the content of a design. Total: whatever the bytes are, the answer is a `Design`.

    Args:
        raw: The whole file.
        stem: Its name without ``.xpd``, which is also the experiment's.
    """
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        return Design(problems=(_not_json(raw, error),))
    if not isinstance(content, dict):
        return Design(problems=("is JSON, but not a design: it is no object with wells",))
    name = content.get("name")
    name = name if isinstance(name, str) else ""
    markers, problems = _markers(content.get("wells"))
    if not name:
        problems.insert(0, "does not say its name")
    elif name != stem:
        problems.insert(0, f"calls itself '{name}', the file is called '{stem}'")
    return Design(name=name, markers=markers, problems=tuple(problems))


def _not_json(raw: bytes, error: ValueError | RecursionError) -> str:
    if not raw.strip():
        return "is empty"
    if not any(raw):
        return "holds only zeros"
    reason = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
    where = f" in line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
    return f"is not JSON ({reason}{where})"


def _markers(wells: object) -> tuple[tuple[str, ...], list[str]]:
    """The markers of the wells, and what is wrong with them."""
    if not isinstance(wells, list):
        return (), ["has no list of wells"]
    markers: dict[str, None] = {}
    unnamed = 0
    for well in wells:
        items = well.get("items") if isinstance(well, dict) else None
        for item in items if isinstance(items, list) else ():
            marker = item.get("markerName") if isinstance(item, dict) else None
            if isinstance(marker, str) and marker.strip():
                markers[marker.strip()] = None
            else:
                unnamed += 1
    problems = [f"has {unnamed} items without a marker name"] if unnamed else []
    named = tuple(marker for marker in markers if marker != EMPTY_SLOT)
    if not named:
        problems.append("names no marker")
    return named, problems
