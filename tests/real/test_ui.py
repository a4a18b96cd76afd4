"""`fusion ui` as a person uses it: new studies are listed, a backfill runs them, and Ctrl-C ends all of it."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from cli.ui import LOCATION
from tests.real.s3 import free_port
from tests.real.services import ROOM_ENOUGH
from tests.real.small_lab import STUDY, SmallLab, assert_completed

# Beside one other lab of services at the most: three of them leave none enough of two cores.
pytestmark = [pytest.mark.real, pytest.mark.timeout(900), pytest.mark.xdist_group("other services")]

OTHER = "20260106_WW_HCC_run2"
ARCHIVE = ("validated", "truenas_copy", "s3_archive", "manifest_entry")
LOCATIONS = "{ workspaceOrError { ... on Workspace { locationEntries { name } } } }"
LAUNCH = """mutation($backfill: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $backfill) {
    __typename ... on LaunchBackfillSuccess { backfillId } } }"""
STATUS = """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status runs(limit: 9) { status } } } }"""


def _ask(port: int, query: str, **variables: object) -> dict[str, Any]:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return next(iter(json.load(answer)["data"].values()))


def _until(what: Callable[[], Any], seconds: float = 240) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if found := what():
                return found
        except (urllib.error.URLError, ConnectionError, TimeoutError, StopIteration, KeyError):
            pass
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.5)


def test_a_backfill_from_the_ui_archives_studies_that_no_run_has_seen_yet(small_lab: SmallLab) -> None:
    for study in (STUDY, OTHER):
        small_lab.add_study(study)
    small_lab.write_config(delete_source=False)
    with small_lab.config.open("a") as file:
        file.write(ROOM_ENOUGH)
    port = free_port()
    process = small_lab.start("ui", "--port", str(port))
    try:
        assets = [{"path": [asset]} for asset in ARCHIVE]
        params = {"assetSelection": assets, "partitionNames": [STUDY, OTHER]}
        assert _until(lambda: _ask(port, LOCATIONS).get("locationEntries")) == [{"name": LOCATION}]
        launched = _ask(port, LAUNCH, backfill=params)  # once, whatever becomes of it
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        ended = _until(
            lambda: (
                (now := _ask(port, STATUS, id=launched["backfillId"])).get("status") not in ("REQUESTED", "FAILING")
                and now
            )
        )
        assert ended["status"] == "COMPLETED_SUCCESS", ended
        assert [run["status"] for run in ended["runs"]] == ["SUCCESS", "SUCCESS"]
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(120) == 0
        with pytest.raises(urllib.error.URLError):
            _ask(port, STATUS, id="")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    for study in (STUDY, OTHER):
        assert_completed(small_lab, study=study, released=False)
