"""The fixtures of evictions: a real S3 server, and a NAS on a volume that is measured exactly."""

from __future__ import annotations

import pytest

from tests.eviction.store_lab import DISK_BYTES, StoreLab, Volume
from tests.real.s3 import no_aws, s3_server
from tests.real.small_lab import SmallLab, small_lab

__all__ = ["no_aws", "s3_server", "small_lab"]


@pytest.fixture
def lab(small_lab: SmallLab) -> StoreLab:
    """A lab without studies, its NAS on a volume of 10 GiB."""
    small_lab.source.mkdir()
    (small_lab.source / "20990101_ZZ_KEEP_busy").mkdir()  # an empty source would pass for one that is not mounted
    return StoreLab(small_lab, Volume([small_lab.nas], DISK_BYTES))
