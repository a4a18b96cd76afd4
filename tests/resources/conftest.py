"""The storages the conformance suite runs over: a local directory, and a share of a real Samba."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from resources.local import LocalStorage
from resources.storage import Storage


@dataclass(frozen=True)
class Place:
    """A storage, and the directory behind it, so that a test can look and meddle from outside."""

    storage: Storage
    disk: Path


@pytest.fixture(params=["local"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    disk = tmp_path / "disk"
    disk.mkdir()
    return Place(LocalStorage(disk), disk)
