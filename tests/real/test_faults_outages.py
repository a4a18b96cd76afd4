"""A place that goes away or fills up in the middle of the work: the source stays, and the next run completes."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.requirements import require
from tests.real.s3 import S3Server, make_ministack, running
from tests.real.small_lab import STUDY, SmallLab, assert_completed, assert_nothing_lost, make_lab

pytestmark = pytest.mark.real

MIB = 1024**2


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[S3Server]:
    """A server that may be stopped, and has its objects again afterwards."""
    with running(make_ministack(tmp_path / "s3", persist=True)) as server:
        yield server


@pytest.fixture
def lab(tmp_path: Path, own_server: S3Server, no_aws: None, monkeypatch: pytest.MonkeyPatch) -> SmallLab:
    folder = tmp_path / "lab"
    folder.mkdir()
    lab = make_lab(folder, own_server, monkeypatch)
    lab.add_study(large_mib=6)
    lab.write_config(bandwidth_mib=6)
    return lab


def test_an_s3_server_that_dies_in_the_middle_costs_the_archive_but_not_the_copy(
    lab: SmallLab, own_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As many attempts of each request, but without the seconds between them.
    monkeypatch.setattr("resources.s3_requests._LONGEST_PAUSE", 0.1)

    def die(_: object) -> None:
        if own_server.process and any(lab.copy.rglob("*.partial")):
            own_server.kill()

    first = lab.apply(on_progress=die)

    assert own_server.process is None, "the server was never stopped"
    assert first.failed
    assert own_server.url in first.errors
    own_server.start()
    assert lab.study.is_dir()
    assert_nothing_lost(lab)
    assert "complete" not in [line["status"] for line in lab.ledger()]
    copied = {path: path.stat().st_ino for path in lab.copy.rglob("*") if path.is_file()}
    second = lab.apply()
    assert second.failed == 0, second.errors
    assert_completed(lab)
    assert {path: path.stat().st_ino for path in copied} == copied, "what was proven on the NAS was copied again"


def test_an_s3_server_that_comes_back_before_the_last_try_costs_only_time(lab: SmallLab, own_server: S3Server) -> None:
    back = threading.Timer(4.0, own_server.start)

    def restart(_: object) -> None:
        if not back.ident and any(lab.copy.rglob("*.partial")):
            own_server.kill()
            back.start()

    done = lab.apply(retry_seconds=6, on_progress=restart)
    assert back.ident, "the server was never stopped"
    back.join()
    assert done.failed == 0, done.errors
    assert_completed(lab)


@pytest.fixture
def small_nas(lab: SmallLab) -> Iterator[SmallLab]:
    """The lab with a NAS that is a volume of its own, and small: 80 MiB, 64 of which a copy leaves free."""
    require(available=os.geteuid() == 0, what="root, to mount a small volume")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", str(lab.nas)], capture_output=True, text=True, check=False
    )
    require(available=mounted.returncode == 0, what=f"the right to mount a volume ({mounted.stderr.strip()})")
    yield lab
    subprocess.run(["umount", str(lab.nas)], check=True)


def _resize(lab: SmallLab, mib: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={mib}m", str(lab.nas)], check=True)


def test_a_nas_without_room_for_a_study_is_told_before_a_byte_is_written(small_nas: SmallLab) -> None:
    _resize(small_nas, 66)
    first = small_nas.apply()
    assert first.failed
    assert "free" in first.errors
    assert "missing" in first.errors
    assert not any(path.is_file() for path in small_nas.copy.rglob("*"))
    assert_nothing_lost(small_nas)
    _resize(small_nas, 80)
    second = small_nas.apply()
    assert second.failed == 0, second.errors
    assert_completed(small_nas)


def test_a_nas_that_fills_up_while_a_study_is_copied_keeps_the_source_and_the_next_run_completes(
    small_nas: SmallLab,
) -> None:
    full = False

    def fill(_: object) -> None:
        nonlocal full
        if full or not any(small_nas.copy.rglob("*.partial")):
            return
        full = True
        with (small_nas.nas / "somebody-elses.bin").open("wb", buffering=0) as file:
            try:
                while file.write(bytes(MIB)) == MIB:
                    pass
            except OSError:
                pass

    first = small_nas.apply(on_progress=fill)

    assert full
    assert first.failed, "the disk was not full, after all"
    assert "no space or quota is left" in first.errors
    assert str(small_nas.nas) in first.errors
    assert small_nas.study.is_dir()
    assert_nothing_lost(small_nas)
    assert "complete" not in [line["status"] for line in small_nas.ledger()]
    _resize(small_nas, 160)
    second = small_nas.apply()
    assert second.failed == 0, second.errors
    assert_completed(small_nas)
    assert STUDY not in [path.name for path in small_nas.source.iterdir()]
