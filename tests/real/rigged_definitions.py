"""The code location on a NAS of a size of its own, of which a worker dies at the last gate of an eviction if told to.

The file system of a test has more room than any test may fill, and no process can be killed at a gate from outside.
What belongs here: these two, for a code server that is started with this module instead of `definitions`.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import dagster as dg

from definitions import build_defs
from fusion_assets.config import load_config
from fusion_assets.eviction import evict
from fusion_assets.reconcile.found_lock import LOCKS
from resources.local import LocalStorage
from resources.storage import Space

SIZE = 10_000_000_000
KILL = "kill-at-gate"
"""A file beside config.toml: whoever stands at the gate takes it away, and dies."""


def taken(nas: Path) -> int:
    """Bytes of the copies on the NAS, of which runs may write or remove some at this moment."""
    walked = (Path(folder, name) for folder, _, names in os.walk(nas) for name in names)
    return sum(_size(file) for file in walked if not {"_manifest", LOCKS}.intersection(file.parts))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


@dg.definitions
def defs() -> dg.Definitions:
    """Those of the lab, in a process that is rigged from now on."""
    config, check_archive = load_config(), evict.check_archive
    assert config.path is not None
    order = config.path.with_name(KILL)

    def check_or_die(*args: Any, **kwargs: Any) -> Any:
        if order.exists():
            order.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return check_archive(*args, **kwargs)

    def space(storage: LocalStorage) -> Space:
        return Space(SIZE, SIZE - taken(Path(storage.root)))

    evict.check_archive = check_or_die
    LocalStorage.space = space
    return build_defs(config)
