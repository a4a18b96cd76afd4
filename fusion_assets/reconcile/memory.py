"""What was seen of each study, kept between two looks: idleness takes two observations.

For the command line and the daily inventory; the sensor of idle studies keeps its own, in its cursor.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fusion_assets.reconcile.idle import Observation, memory_from_json, memory_to_json
from fusion_assets.state import replace_text

_FILE = "observations.json"


def load_memory(folder: Path) -> dict[str, Observation]:
    """What was remembered; nothing if there is no memory yet, or none that can be read.

    Args:
        folder: The lab's state folder.
    """
    try:
        return memory_from_json((folder / _FILE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return {}


def save_memory(folder: Path, memory: Mapping[str, Observation]) -> None:
    """Replace what was remembered, atomically, so that two runs at once cannot leave half a memory.

    Args:
        folder: The lab's state folder; made if it is not there.
        memory: What to remember.
    """
    replace_text(folder / _FILE, memory_to_json(memory))
