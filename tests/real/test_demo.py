"""The demonstration as a new user meets it: what it prints can be typed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.demo.servers import ENVIRONMENT_FILE, free_port

# Beside one other lab of services at the most: three of them leave none enough of two cores.
pytestmark = [pytest.mark.real, pytest.mark.timeout(900), pytest.mark.xdist_group("other services")]

FUSION = Path(sys.executable).with_name("fusion")
_SECONDS = 600


def clean_environment(home: Path) -> dict[str, str]:
    ours = ("AWS_", "FUSION_", "DAGSTER_HOME")
    return {**{n: v for n, v in os.environ.items() if not n.startswith(ours)}, "HOME": str(home)}


def typed(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", command],
        env={**clean_environment(folder), "AWS_EC2_METADATA_DISABLED": "true"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_commands_a_demonstration_names_work_while_its_servers_run_and_say_so_when_they_do_not(
    tmp_path: Path,
) -> None:
    lab, log = tmp_path / "my lab", tmp_path / "demo.log"
    plan = f"{FUSION} plan --config '{lab}/config.toml'"
    with log.open("w") as output:
        demo = subprocess.Popen(
            [FUSION, "demo", lab, "--serve", "--port", str(free_port())],
            env=clean_environment(tmp_path),
            cwd=tmp_path,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + _SECONDS
        while "Dagster UI: http" not in log.read_text():
            assert demo.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        printed = log.read_text()
        prepare = re.search(r"in another terminal +(set -a; .*; set \+a)$", printed, re.MULTILINE)
        assert prepare, printed
        without = typed(plan, tmp_path)
        assert without.returncode == 2, without.stderr
        assert f"in another terminal    {prepare[1]}" in without.stderr
        done = typed(f"{prepare[1]}; {plan}", tmp_path)
        assert done.returncode == 0, done.stderr
    finally:
        os.killpg(demo.pid, signal.SIGINT)
        demo.wait(120)
    ended = typed(f"{prepare[1]}; {plan}", tmp_path)
    assert ended.returncode == 3, ended.stderr
    assert "this is a demonstration's lab; its servers run only as long as that does | hint: " in ended.stderr
    assert (lab / ENVIRONMENT_FILE).is_file()
