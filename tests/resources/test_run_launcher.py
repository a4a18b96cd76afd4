"""Whether the process of a run is gone: then it must be said within minutes; and never of one that lives."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

from resources.process import this_host
from resources.run_launcher import PROCESS_TAG, RunLauncher, process_tag

HERE = {"host": "localhost", "socket": "/nowhere/code-server.sock"}


@pytest.fixture
def launcher():
    with dg.instance_for_test() as instance:
        made = RunLauncher()
        made.register_instance(instance)
        yield made


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def lives(launcher: RunLauncher, tags: dict[str, str], pid: int | None = None) -> bool:
    run = dg.DagsterRun(job_name="archive_study", status=dg.DagsterRunStatus.STARTED, tags=tags)
    launcher._instance.add_run(run)
    if pid is not None:
        launcher._instance.report_engine_event(f"Started process for run (pid: {pid}).", run)
    return launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING


def test_a_run_whose_process_ended_without_a_word_is_gone(launcher) -> None:
    assert not lives(launcher, {GRPC_INFO_TAG: json.dumps(HERE)}, ended_process())


def test_a_run_whose_process_lives_is_left_alone_although_its_code_server_is_gone(launcher) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert lives(launcher, {GRPC_INFO_TAG: json.dumps(HERE)}, process.pid)
    finally:
        process.communicate()


@pytest.mark.parametrize("tags", [{}, {GRPC_INFO_TAG: json.dumps({"host": "another", "port": 4000})}])
def test_a_run_that_cannot_be_seen_from_here_is_left_alone(launcher, tags: dict[str, str]) -> None:
    assert lives(launcher, tags, ended_process())


def test_a_run_that_has_not_said_its_process_yet_is_left_alone(launcher) -> None:
    assert lives(launcher, {GRPC_INFO_TAG: json.dumps(HERE)})


def test_a_command_that_was_killed_leaves_no_run_behind_that_seems_to_work(launcher) -> None:
    assert lives(launcher, {PROCESS_TAG: process_tag(datetime.now(UTC))})
    program = "from resources.run_launcher import *; print(process_tag(datetime.now(UTC)))"
    tag = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert json.loads(tag)["host"] == this_host()
    assert not lives(launcher, {PROCESS_TAG: tag})
    elsewhere = json.dumps({**json.loads(tag), "host": "another-host"})
    assert lives(launcher, {PROCESS_TAG: elsewhere}), "whether it lives is seen only there"
