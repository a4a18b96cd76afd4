"""Evict one study in a process of its own that is killed (SIGKILL) right before its n-th change on the NAS.

    python killed_eviction.py CONFIG STUDY N

What counts is every change, the lock files and the ledger's lines among them. The process ends with exit code 0 if it
made fewer changes than N, that is, if it was not killed.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from fusion_assets.config import load_config
from fusion_assets.eviction.evict import evict
from fusion_assets.reconcile.lab import open_lab
from resources.local import LocalStorage

CHANGES = (
    "append",
    "create_exclusive",
    "make_directory",
    "remove_directory",
    "remove_file",
    "rename",
    "replace",
    "write_file",
)


def main() -> None:
    config, study, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    left = count

    def counted(change: Any) -> Any:
        def before(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*args, **kwargs)

        return before

    for name in CHANGES:
        setattr(LocalStorage, name, counted(getattr(LocalStorage, name)))
    with open_lab(load_config(config)) as lab:
        evict(lab, study, pauses=())


if __name__ == "__main__":
    main()
