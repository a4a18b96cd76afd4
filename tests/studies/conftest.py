"""The fixtures of the Dagster face: a lab on a real S3 server, and its jobs run in this process."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from tests.real.s3 import no_aws, s3_server
from tests.real.small_lab import SmallLab, small_lab
from tests.studies.face import Face

__all__ = ["no_aws", "s3_server", "small_lab"]


@pytest.fixture
def face(small_lab: SmallLab) -> Iterator[Face]:
    """A lab of one good study that keeps its source, and a new Dagster."""
    small_lab.add_study()
    small_lab.write_config(delete_source=False)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Face(small_lab, instance)
