"""Making room on a NAS that is reached over SMB only, also while somebody looks at an image there."""

from __future__ import annotations

import subprocess

import pytest

from fusion_assets.standard.listing import SIDECAR_NAME
from resources import smb_packets as packets
from resources.smb_pool import Pool
from tests.real.samba import SHARE, SambaServer, mark_read_only
from tests.real.small_lab import STUDY, SmallLab, messages
from tests.real.test_pipeline_smb import _give_to_account, lab

__all__ = ["lab"]

pytestmark = pytest.mark.real

LATER = "20260206_WW_HCC_run2"


@pytest.fixture
def full(lab: SmallLab) -> SmallLab:
    """Two released studies on a NAS that is too full by the lab's settings."""
    assert lab.fusion("backup", "run").returncode == 0
    lab.add_study(LATER)
    _give_to_account(lab.source)
    assert lab.fusion("backup", "run").returncode == 0
    with lab.config.open("a") as file:
        file.write("[cleanup]\nfree_threshold_pct = 99.9\nmax_store_pct = 99\n")
    return lab


def test_the_oldest_backup_leaves_a_share_and_stays_in_s3(full: SmallLab) -> None:
    before = {key: data for key, data in full.objects().items() if "_manifest" not in key}
    assert_cleaned(full, full.fusion("cleanup", "run", "-f", "json"))
    assert (full.nas / LATER / SIDECAR_NAME).exists()
    assert not list((full.nas / ".fusion-trash").iterdir())
    assert {key: data for key, data in full.objects().items() if "_manifest" not in key} == before
    assert [line["status"] for line in full.ledger() if line["backup_name"] == STUDY][-1] == "complete"


def test_a_read_only_file_of_a_copy_does_not_keep_it_half_deleted(full: SmallLab, samba: SambaServer) -> None:
    client = Pool(samba.login(connections=1), SHARE)
    image = next(full.copy.rglob("*.qptiff"))
    mark_read_only(client.of_thread(), str(image.relative_to(samba.share)).replace("/", "\\"))
    client.close()
    assert_cleaned(full, full.fusion("cleanup", "run"))


def assert_cleaned(lab: SmallLab, done: subprocess.CompletedProcess[str]) -> None:
    """The copy is gone. Other tests write to this disk: their bytes look like a snapshot that holds the space."""
    assert done.returncode == 0 or "a snapshot or a recycle bin" in done.stdout, done.stdout + done.stderr
    assert not lab.copy.exists()


def test_an_image_that_somebody_views_keeps_its_study_whole_until_it_is_closed(
    full: SmallLab, samba: SambaServer
) -> None:
    viewer = Pool(samba.login(connections=1), SHARE)
    image = str(next(full.copy.rglob("*.qptiff")).relative_to(samba.share)).replace("/", "\\")
    viewer.of_thread().ask(
        packets.create(image, packets.READ_DATA, packets.OPEN, packets.FILE, share=packets.SHARE_READ)
    )
    files = sorted(full.copy.rglob("*"))
    assert full.fusion("pin", LATER, "--reason", "else it goes instead").returncode == 0
    first = full.fusion("cleanup", "run", "-f", "json")
    assert first.returncode == 0, first.stdout + first.stderr
    kept = next(line for line in messages(first) if line["type"] == "eviction" and line["study"] == STUDY)
    assert kept["result"] == "kept"
    assert "qptiff open" in kept["message"]
    assert sorted(full.copy.rglob("*")) == files
    viewer.close()
    second = full.fusion("cleanup", "run")
    assert second.returncode == 0, second.stdout + second.stderr
    assert not full.copy.exists()
