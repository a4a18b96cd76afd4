"""What the sensor last decided about each study, kept where `fusion explain` finds it.

What belongs here: the file, its words, and keeping it small. What does not: deciding (`launch`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from fusion_assets.state import replace_text

_FILE = "decisions.json"


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about a study.

    Attributes:
        at: When that was decided first, if it was decided the same way ever since; ISO 8601, UTC.
        started: Whether a run was requested.
        why: Why none was; what was begun if one was.
    """

    at: str
    started: bool
    why: str


def load_decisions(folder: Path) -> dict[str, Decision]:
    """The last decision about each study that is not settled.

    Args:
        folder: The lab's state folder.

    Returns:
        By study; nothing if no sensor ever looked, or the file cannot be read: it only explains, and is made anew.
    """
    try:
        entries = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        return {study: Decision(**entry) for study, entry in entries.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def save_decisions(
    folder: Path, *, looked_at: Collection[str], started: Mapping[str, str], held_back: Mapping[str, str], now: datetime
) -> None:
    """Write down what was decided, keeping what was said of studies that were not looked at this time.

    Args:
        folder: The lab's state folder.
        looked_at: The studies that were looked at.
        started: What was begun, by study.
        held_back: Why nothing was, by study.
        now: The time, UTC.

    Raises:
        OSError: It cannot be written.
    """
    before = load_decisions(folder)
    made = [(study, True, steps) for study, steps in started.items()]
    made += [(study, False, why) for study, why in held_back.items()]
    said = {study: decision for study, decision in before.items() if study not in looked_at}
    for study, begun, why in made:
        last = before.get(study)
        unchanged = last is not None and (last.started, last.why) == (begun, why)
        said[study] = last if last and unchanged else Decision(now.isoformat(timespec="seconds"), begun, why)
    if said != before:
        entries = {study: asdict(decision) for study, decision in sorted(said.items())}
        replace_text(folder / _FILE, json.dumps(entries, indent=1))
