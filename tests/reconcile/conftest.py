"""A small lab with a real S3 server, for what needs all places at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fusion_assets.reconcile.lab import Lab
from tests.real.s3 import no_aws, s3_server
from tests.real.small_lab import SmallLab, small_lab

__all__ = ["no_aws", "s3_server", "small_lab"]


@pytest.fixture
def lab(small_lab: SmallLab) -> SmallLab:
    """The lab with one good study at its source."""
    small_lab.add_study()
    return small_lab


@pytest.fixture
def opened(lab: SmallLab) -> Iterator[Lab]:
    with lab.opened() as opened:
        yield opened
