"""What a killed run holds of a pool: two such runs, and nothing would ever be archived again."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
import time_machine
from dagster._daemon.monitoring.concurrency import execute_concurrency_slots_iteration

from cli.run import dagster_instance
from resources.run_launcher import PROCESS_TAG, process_tag

ROOT = Path(__file__).parents[2]
SLOTS = 2
"""Of each pool, as dagster.yaml has it."""


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The lab's instance, as a command opens it."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dagster_instance(tmp_path) as opened:
        yield opened


def working(instance: dg.DagsterInstance, tag: str) -> str:
    """A run that copies to the NAS, in the process that `tag` names."""
    run = dg.DagsterRun(job_name="archive_study", status=dg.DagsterRunStatus.STARTED, tags={PROCESS_TAG: tag})
    instance.add_run(run)
    instance.event_log_storage.initialize_concurrency_limit_to_default("truenas")
    assert instance.event_log_storage.claim_concurrency_slot("truenas", run.run_id, "copy").is_claimed
    return run.run_id


def killed() -> str:
    """The tag of a process that is gone."""
    program = "from resources.run_launcher import *; print(process_tag(datetime.now(UTC)))"
    argv = [sys.executable, "-c", program]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def test_commands_that_were_killed_keep_no_later_one_waiting(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    tag = killed()
    dead = {working(instance, tag) for _ in range(SLOTS - 1)}
    living = working(instance, process_tag(datetime.now(UTC)))
    assert instance.event_log_storage.get_concurrency_run_ids() == dead | {living}
    with dagster_instance(tmp_path) as later:
        assert later.event_log_storage.get_concurrency_run_ids() == {living}
        working(later, process_tag(datetime.now(UTC)))


def test_the_daemon_frees_what_a_run_held_whose_process_was_killed(instance: dg.DagsterInstance) -> None:
    for _ in range(SLOTS):
        run = instance.get_run_by_id(working(instance, process_tag(datetime.now(UTC))))
        assert run
        instance.report_run_failed(run, "its process is gone")
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=3)):
        list(execute_concurrency_slots_iteration(SimpleNamespace(instance=instance), logging.getLogger("daemon")))
    assert not instance.event_log_storage.get_concurrency_run_ids()
