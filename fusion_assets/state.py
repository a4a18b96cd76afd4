"""Where a lab's own state lives on this host, and how a file of it is replaced without ever being half written.

What belongs here: the state folder, and writing small files into it. What does not: what is in them (their rooms say),
and anything that must outlive this host (that is the ledger, on the NAS).
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from fusion_assets.config import Config

HOME_VARIABLE = "DAGSTER_HOME"
STATE_FOLDER = ".fusion"


def state_folder(config: Config) -> Path:
    """Where a lab's own state lives: Dagster's history, what was seen of each study, mails that wait to be sent.

    Args:
        config: The lab; without a file of its own, the current folder counts as its place.

    Returns:
        ``$DAGSTER_HOME`` if set, else ``.fusion`` beside config.toml.
    """
    if home := os.environ.get(HOME_VARIABLE):
        return Path(home).expanduser()
    beside = config.path.parent if config.path else Path.cwd()
    return beside / STATE_FOLDER


def replace_text(path: Path, text: str) -> None:
    """Replace a file of the state folder, atomically and durably: two writers at once cannot leave half a file.

    Args:
        path: The file; its folder is made if it is not there.
        text: The whole content.

    Raises:
        OSError: It cannot be written; the old file is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".partial")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
