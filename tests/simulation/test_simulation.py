"""The shortened twin of `make simulate`: three days instead of thirty, with the worst of what happens in a month."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.simulation.settings import Settings
from tests.simulation.simulate import simulate

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

SETTINGS = Settings(days=3, seed=1, studies_a_day=4, storm=20_000, step=timedelta(hours=1))
WORST = {"S3 stopped", "mail server stopped", "daemon killed", "worker killed", "error storm", "bit flipped on the NAS"}


def test_a_lab_left_to_itself_for_days_keeps_every_promise_whatever_fails_in_it(tmp_path: Path) -> None:
    told = simulate(tmp_path, SETTINGS)
    assert not told.broken, "\n".join([f"seed {SETTINGS.seed}:", *told.broken])
    assert told.happened.keys() >= WORST
    assert max(told.promises.values()) == SETTINGS.days + 1, "the promises were checked every night and at the end"
    assert not told.numbers["evicted from the NAS"].startswith("0"), "a NAS that never fills proves nothing"
