"""The lab of these sequences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.reconcile.memory_lab import MemoryLab


@pytest.fixture
def lab(tmp_path: Path) -> MemoryLab:
    return MemoryLab(tmp_path / "lab")


@pytest.fixture
def archived(lab: MemoryLab) -> MemoryLab:
    assert lab.apply() is None
    return lab


@pytest.fixture
def rolled_back_ledger(archived: MemoryLab) -> Callable[[], None]:
    """Puts the ledger and its mirror back as they were after the study was archived first."""
    files = archived.ledger_files()

    def put_back() -> None:
        archived.forget_ledger()
        archived.put_ledger(files)

    return put_back
