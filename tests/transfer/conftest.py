"""The lab that most tests of this room begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.transfer.lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)
