"""A contender's cost must be the cost of everything it started, or the one that forks most looks cheapest."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.measure import CommandError, Usage, measure

MIB = 1 << 20
GRANDCHILD = """
import time
data = bytearray(b"x") * {mib} * 2**20
open({path!r}, "wb").write(data)
began = time.process_time()
while time.process_time() - began < 0.3: pass
"""


def run(tmp_path: Path, code: str) -> Usage:
    argv = ["bash", "-c", 'python="$1"; shift; "$python" -c "$1"; true', "bash", sys.executable, code]
    return measure(argv, env={}, cwd=tmp_path, log=tmp_path / "log")


def test_what_a_grandchild_costs_is_counted(tmp_path: Path) -> None:
    usage = run(tmp_path, GRANDCHILD.format(mib=64, path=str(tmp_path / "written")))
    assert usage.cpu >= 0.3
    assert usage.wall >= 0.3
    assert usage.rss >= 64 * MIB
    assert 64 * MIB <= usage.written < 66 * MIB
    assert usage.device_written >= 64 * MIB or not usage.device_written  # 0: a file system without a device (tmpfs)


def test_bytes_read_from_memory_and_from_the_device_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "warm").write_bytes(bytes(32 * MIB))
    usage = run(tmp_path, f"open({str(tmp_path / 'warm')!r}, 'rb').read()")
    assert usage.read >= 32 * MIB
    assert usage.device_read < 16 * MIB


def test_a_command_that_fails_is_not_a_fast_command(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"(?s)ended with 3.*no space"):
        measure(["bash", "-c", "echo no space; exit 3"], env={}, cwd=tmp_path, log=tmp_path / "log")
