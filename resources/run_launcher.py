"""Dagster's own way to start runs, and an answer to whether the process of a run still lives.

Named by dagster.yaml. When a host loses power or a code server is killed, Dagster's own launcher leaves its runs
"started" until they exceed their longest time, a day; for so long, a study would wait for a run that nobody works on.
What belongs here: that one question. What does not: what follows from the answer (Dagster marks the run as failed),
and starting it again (the sensors).
"""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime

import dagster as dg

# Dagster has no public names for these; its version is pinned exactly.
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value

from resources.process import is_alive, this_host, this_process

PROCESS_TAG = "fusion/process"
"""Borne by a run that a command carries out in its own process: which one that is."""

_STARTED = re.compile(r"Started process for run \(pid: (\d+)\)")
_LIVES = CheckRunHealthResult(WorkerStatus.RUNNING)
_GONE = CheckRunHealthResult(WorkerStatus.NOT_FOUND, "its process is gone")
_HERE = ("localhost", "127.0.0.1", this_host())


class RunLauncher(DefaultRunLauncher):
    """Starts runs in the code server; notices within a minute when the process of one is gone."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Whether `check_run_worker_health` says anything: it does."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the process of a run lives; one that cannot be seen from here does.

        Args:
            run: A run that has started.
        """
        if process := run.tags.get(PROCESS_TAG):
            return _GONE if _ended(process) else _LIVES
        server = json.loads(run.tags.get(GRPC_INFO_TAG, "{}"))
        if server.get("host") not in _HERE or not self._worker_ended(run.run_id):
            return _LIVES
        return _LIVES if self._server_has(run.run_id) else _GONE

    def _worker_ended(self, run_id: str) -> bool:
        for entry in self._instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
            if found := _STARTED.match(entry.dagster_event.message or "" if entry.dagster_event else ""):
                seen_at = datetime.fromtimestamp(entry.timestamp, UTC)
                return is_alive(this_host(), int(found[1]), seen_at=seen_at) is False
        return False

    def _server_has(self, run_id: str) -> bool:
        """Whether the code server knows the worker: in another container, its process cannot be seen from here."""
        client = self._get_grpc_client_for_termination(run_id)  # type: ignore[no-untyped-call]
        try:
            answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run_id))
        except DagsterUserCodeUnreachableError:
            return False
        return bool(deserialize_value(answer, CanCancelExecutionResult).can_cancel)


def process_tag(now: datetime) -> str:
    """The value of `PROCESS_TAG` for a run in this process.

    Args:
        now: The time, UTC.
    """
    return json.dumps({"host": this_host(), "pid": os.getpid(), "at": now.isoformat(), "process": this_process()})


def _ended(process: str) -> bool:
    told = json.loads(process)
    seen_at = datetime.fromisoformat(told["at"])
    return is_alive(told["host"], told["pid"], seen_at=seen_at, identity=told["process"]) is False
