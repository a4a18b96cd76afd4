"""The storages the conformance suite runs over: a local directory, and a share of a real Samba."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.local import LocalStorage
from tests.real.samba import Place, samba, share_of

__all__ = ["samba"]


@pytest.fixture(params=["local", pytest.param("smb", marks=pytest.mark.real)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """An empty root, in a local directory and on a share."""
    if request.param == "local":
        disk = tmp_path / "disk"
        disk.mkdir()
        yield Place(LocalStorage(disk), disk)
    else:
        yield from share_of(request.getfixturevalue("samba"))
