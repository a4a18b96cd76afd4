"""What a simulated lab's processes find around them beside time: a small NAS that fills, and nothing to wait for.

What belongs here: what has to be put in the place of the real world, in this process and in those it starts. All of it
is listed here; everything else is the product as it is shipped.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from botocore.loaders import JSONFileLoader, Loader

from fusion_assets.transfer.options import TransferOptions
from resources.command import stream_command
from resources.local import LocalStorage
from resources.storage import Space
from tests.simulation.clock import seconds_ahead

REPOSITORY = Path(__file__).parents[2]
_LOADER = JSONFileLoader()


@dataclass(frozen=True)
class Nas:
    """A NAS of few megabytes.

    Attributes:
        root: What the lab sees of it.
        total: Its size, bytes.
        snapshot: Where it is written down which files a snapshot holds; no file while there is none.
    """

    root: Path
    total: int
    snapshot: Path

    def space(self) -> Space:
        return Space(self.total, max(0, self.total - sum(self._files().values()) - self._held()))

    def take_snapshot(self) -> None:
        self.snapshot.write_text(json.dumps(self._files()))

    def drop_snapshot(self) -> None:
        self.snapshot.unlink()

    def _held(self) -> int:
        """Bytes of files that are gone, or in another place, and that a snapshot still holds."""
        if not self.snapshot.exists():
            return 0
        there = self._files()
        held: dict[str, int] = json.loads(self.snapshot.read_text())
        return sum(size for file, size in held.items() if file not in there)

    def _files(self) -> dict[str, int]:
        """Every file by inode, which a rename keeps; the ledger and our own few files count as nothing."""
        found = {}
        for folder, _, names in os.walk(self.root):
            if "_manifest" in folder or ".fusion-locks" in folder:
                continue
            for name in names:
                status = os.stat(os.path.join(folder, name))  # noqa: PTH116, PTH118 - a thousand times a simulated day
                found[str(status.st_ino)] = status.st_size
        return found


@contextmanager
def surrounded(nas: Nas) -> Iterator[None]:
    """Put a NAS that fills in the place of this machine's disk, and wait for nothing that time alone brings."""
    real_space = LocalStorage.space

    def space(storage: LocalStorage) -> Space:
        return nas.space() if Path(storage.root) == nas.root else real_space(storage)

    with ExitStack() as patches:
        patches.enter_context(patch.object(LocalStorage, "space", space))
        # A minute for ZFS to give space back, and up to 20 s between two tries to reach S3: neither changes by waiting.
        patches.enter_context(patch("fusion_assets.eviction.evict.PAUSES", (0.0,)))
        patches.enter_context(patch("resources.s3_requests.pause_seconds", lambda *_, **__: 0.001))
        patches.enter_context(patch("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None, time=time.time)))
        # 64 MiB are kept free for what others write: more than this NAS has.
        options = partial(TransferOptions, space_reserve=64 * 1024)
        for module in ("fusion_assets.studies.assets", "fusion_assets.reconcile.room"):
            patches.enter_context(patch(f"{module}.TransferOptions", options))
        # Every look of a sensor opens its lab anew, and reads what S3 is from 3 MB of JSON: 0.1 s, once in 15 minutes.
        read, services = cache(JSONFileLoader.load_file), Loader.list_available_services
        available = cache(lambda paths, kind: services(Loader(extra_search_paths=list(paths)), kind))
        patches.enter_context(patch.object(JSONFileLoader, "load_file", lambda self, path: read(_LOADER, path)))
        listed = lambda self, type_name: available(tuple(self.search_paths), type_name)  # noqa: E731 - a method
        patches.enter_context(patch.object(Loader, "list_available_services", listed))
        patches.enter_context(patch("fusion_assets.studies.commands.stream_command", _stream_in_simulated_time(nas)))
        yield


def child_argv(nas: Nas, *arguments: str, kill_at: int = 0) -> list[str]:
    """A Python process of its own in this lab's time and surroundings.

    Args:
        nas: As for `surrounded`.
        arguments: ``cli …`` for the command line, ``run …`` for a run of Dagster's.
        kill_at: The change on a disk, from 1, before which it is killed; 0: none.
    """
    world = {
        "ahead": seconds_ahead(),
        "kill_at": kill_at,
        "nas": {"root": str(nas.root), "total": nas.total, "snapshot": str(nas.snapshot)},
    }
    return [sys.executable, "-m", "tests.simulation.child", json.dumps(world), *arguments]


def child_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "NO_COLOR": "1"}


def _stream_in_simulated_time(nas: Nas) -> Any:
    """What the calendar starts is a process of its own, and has to live in the same month."""

    def stream(argv: list[str], tell: Any, *, environment: Mapping[str, str]) -> int:
        module = argv.index("-m")
        return stream_command(
            child_argv(nas, *argv[module + 1 :]),
            tell,
            environment={**environment, "PYTHONPATH": str(REPOSITORY)},
        )

    return stream
