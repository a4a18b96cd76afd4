"""A NAS that fills up while a study is copied: a real volume that is really too small."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusion_assets.transfer import copy_study
from resources.errors import StorageFullError
from resources.local import LocalStorage
from resources.storage import Space
from tests.real.requirements import require
from tests.real.transfer_lab import MIB, OPTIONS, RUN, check_copy_on_disk, list_study, make_study

pytestmark = pytest.mark.real


class Optimist(LocalStorage):
    """A storage that says it has room for everything: as when others fill it up meanwhile, or a quota is not told."""

    def space(self) -> Space:
        return Space(1 << 50, 1 << 50)


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A volume of its own of 20 MiB."""
    require(available=os.geteuid() == 0, what="root, to mount a tmpfs of 20 MiB")
    mount = tmp_path / "nas"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", mount], check=True)
    yield mount
    subprocess.run(["umount", "--lazy", mount], check=True)


@pytest.mark.parametrize("study", ["large files", "small files"])
def test_a_full_volume_is_an_error_that_leaves_room_and_the_next_run_completes(tmp_path, volume, study):
    sizes = {"a.qptiff": 12 * MIB, "b.qptiff": 12 * MIB} if study == "large files" else {}
    sizes |= {f"tile{n}.tif": 300_000 for n in range(80)} if study == "small files" else {}
    files = make_study(tmp_path / "source", sizes)
    source = LocalStorage(tmp_path / "source")
    with pytest.raises(StorageFullError, match="missing"):
        copy_study(source, LocalStorage(volume), list_study(source), options=OPTIONS)
    assert list(volume.iterdir()) == [], "known before the first byte"
    with pytest.raises(StorageFullError):
        copy_study(source, Optimist(volume), list_study(source), options=OPTIONS)
    left = [path for path in volume.rglob("*.partial") if "_journal" not in path.name]
    assert left == [], "what is unfinished does not fill the NAS for everybody else"
    subprocess.run(["mount", "-o", "remount,size=60m", volume], check=True)
    copy_study(source, LocalStorage(volume), list_study(source), options=OPTIONS)
    check_copy_on_disk(volume / RUN, files, tmp_path / "source")
