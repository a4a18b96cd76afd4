"""What deploy/ has an operator install: its commands, really started, with Postgres; its files held to each other."""

from __future__ import annotations

import json
import shlex
import shutil
import socket
import subprocess
import sys
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.ui import DAEMON_LOCK, LOCATION
from tests.notify.mail_servers import Inbox, free_port, make_authority, starttls_server
from tests.real.postgres import postgres
from tests.real.requirements import require
from tests.real.services import CODE_SERVER, DAEMON, HEARTBEAT, REPOSITORY, WEBSERVER, installed
from tests.real.small_lab import SmallLab, assert_completed

# Beside one other lab of services at the most: three of them leave none enough of two cores.
pytestmark = [pytest.mark.real, pytest.mark.timeout(600), pytest.mark.xdist_group("other services")]

DEPLOY = REPOSITORY / "deploy"
_LISTEN = "0A"  # in /proc/net/tcp
UNITS = sorted(file.name for file in DEPLOY.iterdir() if file.suffix in (".service", ".target", ".timer"))


def read_yaml(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def test_postgres_and_sqlite_differ_in_nothing_but_where_history_is_kept() -> None:
    sqlite, on_postgres = read_yaml(REPOSITORY / "dagster.yaml"), read_yaml(DEPLOY / "dagster.postgres.yaml")
    assert on_postgres.pop("storage")["postgres"]["postgres_db"]["scheme"] == "postgresql+psycopg2"
    del sqlite["storage"]
    assert on_postgres == sqlite


def test_the_services_and_fusion_ui_hold_the_same_lock_and_nothing_touches_the_history_without_it() -> None:
    commands = [line for line in (DEPLOY / DAEMON).read_text().splitlines() if line.startswith("Exec")]
    (argv,) = (shlex.split(line.partition("=")[2]) for line in commands)
    assert argv[0].endswith("/flock")
    assert "--nonblock" in argv
    assert f"/var/lib/fusion/{DAEMON_LOCK}" in argv


def test_whoever_starts_dagster_calls_the_code_location_the_same_so_that_sensors_and_runs_stay_the_same() -> None:
    (on_host,) = read_yaml(DEPLOY / "workspace.yaml")["load_from"]
    (in_checkout,) = read_yaml(REPOSITORY / "workspace.yaml")["load_from"]
    assert on_host["grpc_server"]["location_name"] == in_checkout["python_module"]["location_name"] == LOCATION
    assert f" --location-name {LOCATION} " in (DEPLOY / CODE_SERVER).read_text()


@pytest.mark.parametrize("unit", [CODE_SERVER, DAEMON, WEBSERVER, HEARTBEAT])
def test_every_service_has_the_account_and_the_environment_of_the_others(unit: str) -> None:
    lines = (DEPLOY / unit).read_text().splitlines()
    for line in ("User=fusion", "EnvironmentFile=/etc/fusion/fusion.env", "NoNewPrivileges=yes"):
        assert line in lines


def test_systemd_understands_the_units(tmp_path: Path) -> None:
    require(available=shutil.which("systemd-analyze") is not None, what="systemd-analyze (apt install systemd)")
    for name in UNITS:
        text = (DEPLOY / name).read_text().replace("/opt/fusion-toolkit/.venv/bin", str(Path(sys.executable).parent))
        (tmp_path / name).write_text(text)
    argv = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in UNITS)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if "fusion" in line] == []


def test_the_units_on_postgres_bring_a_study_to_its_end_once_though_the_daemon_is_killed_and_show_it_to_this_host_only(
    small_lab: SmallLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_lab.add_study(large_mib=8)
    small_lab.write_config(bandwidth_mib=4)
    authority, mail_port = make_authority(tmp_path), free_port()
    with (
        postgres("fusion") as sockets,
        installed(
            small_lab, authority, mail_port, settings="postgres", moved={"/run/postgresql": str(sockets)}
        ) as services,
        starttls_server(authority, Inbox(mail_port)) as inbox,
    ):
        monkeypatch.setenv("DAGSTER_HOME", str(services.home))
        services.start(CODE_SERVER, DAEMON, WEBSERVER)
        services.until(lambda: any(small_lab.copy.rglob("*.partial")), "the transfer began")
        services.kill(DAEMON)
        services.set_clock_back(timedelta(days=400))
        services.start(DAEMON)
        services.until(lambda: not small_lab.study.exists(), "the study was released")
        services.until(lambda: all(run.is_finished for run in services.runs()), "all runs ended")
        assert_completed(small_lab)
        seen = services.until(lambda: runs_in_ui(services.port), "the UI shows the runs", 60)
        assert seen == [("SUCCESS", "archive_study")] * 2
        assert listening(services.port) == {"127.0.0.1"}
        assert services.fusion("status").stdout.startswith("daemon     alive")
        assert services.call(HEARTBEAT).returncode == 0
        services.kill(DAEMON)
        services.kill(CODE_SERVER)  # whose last tick may still give a sign of life
        (services.home / "heartbeat").write_text("2026-01-01T00:00:00+00:00\n")
        for _ in range(2):
            assert services.call(HEARTBEAT).returncode == 1
    (mail,) = inbox.mails
    assert "the daemon does not go on" in str(mail["Subject"])


def runs_in_ui(port: int) -> list[tuple[str, str]]:
    """The runs that have ended, as the UI shows them; empty while it does not answer or one has not."""
    query = {"query": "{ runsOrError { ... on Runs { results { status jobName } } } }"}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql", json.dumps(query).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            runs = json.load(answer)["data"]["runsOrError"]["results"]
    except OSError:
        return []
    ended = [(run["status"], run["jobName"]) for run in runs]
    return ended if all(status in ("SUCCESS", "FAILURE") for status, _ in ended) else []


def listening(port: int) -> set[str]:
    """The addresses at which something listens on a port."""
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            address, _, number = local.partition(":")
            if state == _LISTEN and int(number, 16) == port:
                words = [bytes.fromhex(address)[i : i + 4][::-1] for i in range(0, len(address) // 2, 4)]
                found.add(socket.inet_ntop(family, b"".join(words)))
    return found
