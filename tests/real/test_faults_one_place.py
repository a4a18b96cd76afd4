"""A NAS that is the instrument's own disk, reached in another way than by its path: what a copy there would prove."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.real.requirements import require
from tests.real.small_lab import STUDY, SmallLab
from tests.real.test_pipeline_smb import _give_to_account
from tests.real.test_pipeline_smb import lab as lab_over_smb

__all__ = ["lab_over_smb"]

pytestmark = pytest.mark.real


def refused(lab: SmallLab, *arguments: str) -> None:
    """It says so and ends with exit code 2; the study is untouched."""
    done = lab.fusion(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "is on the instrument's own disk, reached in another way" in done.stderr
    for (study, path), data in lab.originals.items():
        assert (lab.source / study / path).read_bytes() == data


@pytest.fixture(params=["Backup", ""])
def mounted_twice(request: pytest.FixtureRequest, small_lab: SmallLab) -> Iterator[SmallLab]:
    """The NAS is a folder of the instrument's disk, or all of it, mounted a second time."""
    require(available=os.geteuid() == 0, what="root, to mount a folder a second time")
    small_lab.add_study()
    folder = small_lab.source / request.param
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "--bind", folder, small_lab.nas], capture_output=True, text=True, check=False)
    require(available=mounted.returncode == 0, what=f"the right to mount a folder ({mounted.stderr.strip()})")
    yield small_lab
    subprocess.run(["umount", small_lab.nas], check=True)


def test_a_nas_that_is_the_instrument_s_disk_mounted_a_second_time_is_refused(mounted_twice: SmallLab) -> None:
    refused(mounted_twice, "apply", "--yes")
    refused(mounted_twice, "plan")
    assert len(list(mounted_twice.folder.rglob("*.qptiff"))) <= 2, "one file, seen twice where all is mounted twice"
    assert not list(mounted_twice.nas.rglob("_checksums.sha256"))


def test_a_source_is_never_released_to_a_nas_on_its_own_disk_by_asking_for_the_steps_alone(
    mounted_twice: SmallLab,
) -> None:
    lab = mounted_twice
    for asset in ("truenas_copy", "s3_archive", "manifest_entry", "source_released"):
        lab.run_assets(asset)
    for (study, path), data in lab.originals.items():
        assert (lab.source / study / path).read_bytes() == data


def test_a_nas_that_is_a_folder_of_the_share_the_source_is_reached_by_is_refused(lab_over_smb: SmallLab) -> None:
    lab = lab_over_smb
    folder = lab.source / "Backup"
    folder.mkdir()
    _give_to_account(folder)
    text = lab.config.read_text()
    line = next(line for line in text.splitlines() if "smb://nas/" in line)
    lab.config.write_text(text.replace(line, f"root = '{folder}'"))
    refused(lab, "apply", "--yes")
    assert not (folder / STUDY).exists()
    refused(lab, "plan")
