"""All definitions in one snapshot: what the lab sees in the UI changes only on purpose."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from definitions import build_defs
from fusion_assets.config import parse_config

SNAPSHOT = Path(__file__).with_name("definitions.json")
CONFIG = {
    "source": {"root": "smb://instrument/Fusion"},
    "truenas": {"root": "smb://nas/00_storage"},
    "s3": {"bucket": "our-lab-archive", "endpoint_url": "http://127.0.0.1:9"},
    "smb": {
        "instrument": {"host": "192.0.2.1", "username": "lab", "password_env": "NOT_SET_ANYWHERE"},
        "nas": {"host": "192.0.2.2", "username": "lab", "password_env": "NOT_SET_ANYWHERE"},
    },
    "schedules": {"timezone": "Europe/Berlin"},
}


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("the code location talked to the network while it was loaded")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def describe(definitions: dg.Definitions) -> dict[str, Any]:
    graph = definitions.resolve_asset_graph()
    assets = {
        key.to_user_string(): {
            "deps": sorted(parent.to_user_string() for parent in node.parent_keys),
            "group": node.group_name,
            "owners": sorted(node.owners),
            "kinds": sorted(node.kinds),
            "partitions": getattr(node.partitions_def, "name", None),
            "pools": sorted(node.pools or []),
            "description": node.description,
        }
        for key in sorted(graph.get_all_asset_keys(), key=str)
        for node in [graph.get(key)]
    }
    checks = {
        f"{check.asset_key.to_user_string()}:{check.name}": {
            "blocking": graph.get(check).blocking,
            "partitions": getattr(graph.get(check).partitions_def, "name", None),
        }
        for check in sorted(graph.asset_check_keys, key=str)
    }
    return {
        "assets": assets,
        "checks": checks,
        "jobs": sorted(job.name for job in definitions.jobs or []),
        "sensors": {
            sensor.name: {"seconds": sensor.minimum_interval_seconds, "runs": sensor.default_status.value}
            for sensor in sorted(definitions.sensors or [], key=lambda one: one.name)
        },
        "schedules": {
            schedule.name: {
                "cron": schedule.cron_schedule,
                "timezone": schedule.execution_timezone,
                "runs": schedule.default_status.value,
            }
            for schedule in sorted(definitions.schedules or [], key=lambda one: one.name)
        },
        "resources": sorted(definitions.resources or {}),
    }


def test_the_definitions_are_those_of_the_snapshot(no_network: None) -> None:
    definitions = build_defs(parse_config(CONFIG))
    dg.Definitions.validate_loadable(definitions)
    found = json.dumps(describe(definitions), indent=2) + "\n"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(found)
    assert found == SNAPSHOT.read_text(), "meant? then: UPDATE_SNAPSHOTS=1 make test"


def test_the_code_location_loads_while_every_server_is_down(no_network: None) -> None:
    job = build_defs(parse_config(CONFIG)).resolve_job_def("archive_study")
    assert {node.name for node in job.nodes} == {"validated", "copy_and_archive", "manifest_entry", "source_released"}
