"""What befalls files in a lab: bits that rot, a ledger that is lost, a release that breaks off."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from fusion_assets.reconcile.lab import TRASH
from tests.real.small_lab import PREFIX, STUDY, SmallLab


def flip_bit(file: Path) -> None:
    """As a bad disk does it: the size and the time stay; a second time heals it."""
    _change_byte(file, lambda byte: byte ^ 1)


def rot(file: Path) -> None:
    """As `flip_bit` does, but however often it happens, it heals nothing; an empty file stays as it is."""
    _change_byte(file, lambda byte: (byte + 1) % 256)


def _change_byte(file: Path, change: Callable[[int], int]) -> None:
    status, data = file.stat(), bytearray(file.read_bytes())
    if data:
        data[len(data) // 2] = change(data[len(data) // 2])
        file.write_bytes(data)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def forget_ledger(lab: SmallLab) -> None:
    """As if both the ledger and its mirror had been lost."""
    shutil.rmtree(lab.nas / "_manifest")
    for key in [key for key in lab.objects() if key.startswith(f"{PREFIX}/_manifest/")]:
        lab.server.client().delete_object(Bucket=lab.bucket, Key=key)


def break_off_release(lab: SmallLab, *deleted: str) -> Path:
    """The study is in the trash, these files of it deleted already."""
    trashed = lab.source / TRASH / f"{STUDY}@20260301T000000000000"
    trashed.parent.mkdir(exist_ok=True)
    lab.study.rename(trashed)
    for path in deleted:
        (trashed / path).unlink()
    return trashed


def archived_objects(lab: SmallLab) -> dict[str, bytes]:
    """Every object of every study: what a ledger that goes on does not change."""
    return {key: data for key, data in lab.objects().items() if "/_manifest/" not in key}
