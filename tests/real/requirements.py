"""When a test that needs something this machine lacks may be skipped: on a laptop, never in CI."""

from __future__ import annotations

import os

import pytest


def require(*, available: bool, what: str) -> None:
    """Skip the test unless `available`; where ``CI=true`` a missing requirement is a failure, not a skip.

    Args:
        available: Whether the test can run here.
        what: What is needed, and how to get it.
    """
    if available:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must run this test, which needs {what}", pytrace=False)
    pytest.skip(f"needs {what}")
