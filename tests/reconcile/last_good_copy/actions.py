"""What is done to the lab in sequences that once destroyed the last good copy of a file, and what is asked of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fusion_assets.manifest.record import Record
from fusion_assets.reconcile.accepting import accept_changes
from fusion_assets.reconcile.plan import Step
from fusion_assets.standard.listing import SIDECAR_NAME
from tests.reconcile.memory_lab import RAW, STUDY, MemoryLab
from tests.transfer.memory_bucket import Stored

FILE, OTHER, NEW = f"{RAW}/raw0.bin", f"{RAW}/raw1.bin", f"{RAW}/new.bin"
ARCHIVING = (Step.VALIDATED, Step.TRUENAS_COPY, Step.S3_ARCHIVE, Step.MANIFEST_ENTRY)


def record(lab: MemoryLab) -> Record:
    return lab.opened().ledger.read().records[STUDY]


def bytes_of(lab: MemoryLab, path: str = FILE) -> bytes:
    return (lab.study / path).read_bytes()


def accept(lab: MemoryLab) -> None:
    opened = lab.opened()
    plan = lab.plan(opened)
    assert plan is not None
    accept_changes(opened, STUDY, plan.observed.fingerprint)


def keep_snapshot(lab: MemoryLab) -> Path:
    """The copy as it is now, for `roll_back`."""
    return Path(shutil.copytree(lab.copy, lab.root / "snapshot"))


def roll_back(lab: MemoryLab, snapshot: Path) -> None:
    shutil.rmtree(lab.copy)
    shutil.copytree(snapshot, lab.copy)


def copied_while_s3_is_away(lab: MemoryLab) -> None:
    assert lab.run(Step.VALIDATED, Step.TRUENAS_COPY) is None


def sync_to_s3(lab: MemoryLab) -> None:
    """As somebody does who copies the NAS to the bucket, sidecar and all."""
    for path in [FILE, SIDECAR_NAME]:
        lab.bucket.objects[f"{STUDY}/{path}"] = Stored((lab.copy / path).read_bytes(), {})


def flip_back(file: Path, good: bytes) -> None:
    status = file.stat()
    file.write_bytes(good)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def left(lab: MemoryLab) -> list[Path]:
    return [path for path in lab.here().rglob("*") if path.is_file()] if lab.here() != lab.study else []


def sums(lab: MemoryLab) -> list[str]:
    return lab.sidecar.read_text().splitlines()
