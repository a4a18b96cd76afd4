"""Which copies broke off when a scrub read them last, kept in the lab's state folder from one week to the next.

What belongs here: the file. What does not: whose turn it is (`scrub`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from fusion_assets.state import replace_text

_FILE = "scrub.json"


def load_broken_off(folder: Path) -> dict[str, str]:
    """Why each broke off, by backup name, in the order in which they were tried.

    Args:
        folder: The lab's state folder.

    Returns:
        Nothing if none did, or the file cannot be read: then they are found anew.
    """
    try:
        entries = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        return {name: str(why) for name, why in entries.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def save_broken_off(folder: Path, broken_off: Mapping[str, str]) -> None:
    """Write them down.

    Args:
        folder: The lab's state folder.
        broken_off: As `load_broken_off` gives them.

    Raises:
        OSError: It cannot be written.
    """
    replace_text(folder / _FILE, json.dumps(broken_off, indent=1))
