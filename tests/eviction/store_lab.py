"""A lab with archived studies on a NAS whose volume is measured exactly: for making room on it.

What belongs here: building it, and the one promise of an eviction (`assert_nothing_lost`). What does not: any fault.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fusion_assets.eviction.evict import Evicted, evict
from fusion_assets.eviction.pins import Pin, add_pin
from fusion_assets.reconcile import steps, transferring
from fusion_assets.reconcile.holding import locked
from fusion_assets.reconcile.lab import TRASH, Lab
from fusion_assets.reconcile.releasing import release
from fusion_assets.reconcile.reserve import keep_reserve
from fusion_assets.standard.listing import SIDECAR_NAME
from fusion_assets.transfer.options import TransferOptions
from fusion_assets.transfer.sidecar import parse_sidecar
from resources.storage import Space
from tests.real.small_lab import PREFIX, SmallLab

DISK_BYTES = 10 * 1024**3
_OPTIONS = TransferOptions(part_size=5 * 1024**2, workers=2)


@dataclass
class Volume:
    """A volume of a size of its own: what is free follows from the files in its folders, each inode counted once.

    A snapshot is a folder of hard links beside the NAS: it holds the blocks of what is deleted, as ZFS does.

    Attributes:
        folders: All that lies on the volume: the NAS root, and the snapshots beside it.
        total: Its size, bytes.
    """

    folders: list[Path]
    total: int

    def space(self) -> Space:
        inodes: dict[int, int] = {}
        for path in (path for folder in self.folders for path in folder.rglob("*")):
            try:
                found = path.lstat()
            except FileNotFoundError:
                continue
            if path.is_file():
                inodes[found.st_ino] = found.st_size
        return Space(self.total, max(0, self.total - sum(inodes.values())))


class MeasuredNas:
    """The NAS, its space as `measure` says; all else is the storage's own."""

    def __init__(self, storage: Any, measure: Callable[[], Space]) -> None:
        self._storage = storage
        self._measure = measure

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def space(self) -> Space:
        return self._measure()


@dataclass
class StoreLab:
    """A small lab whose NAS lies on a `Volume`."""

    small: SmallLab
    volume: Volume

    @contextmanager
    def opened(self) -> Iterator[Lab]:
        with self.small.opened() as lab:
            yield replace(lab, truenas=MeasuredNas(lab.truenas, self.volume.space))

    def archive(self, *studies: str, kib: int = 64, released: bool = True) -> None:
        """Archive studies, one after the other, and release them: the first is the oldest backup."""
        for study in studies:
            self.small.add_study(study)
            self.small.write(f"{study}/Scan1/.temp/big.bin", bytes([len(study) % 251]) * (kib * 1024), study)
            archive(self, study, released=released)

    def archive_written(self, study: str) -> None:
        """Archive a study as it was written, and release it."""
        archive(self, study)

    def pin(self, study: str, reason: str = "reviewers ask", **fields: Any) -> None:
        from datetime import UTC, datetime

        with self.opened() as lab:
            add_pin(lab.ledger, Pin(study, True, reason, "ada", datetime.now(UTC), **fields))

    def want(self, **cleanup: Any) -> None:
        """Set [cleanup] of config.toml."""
        lines = "\n".join(f"{name} = {value}" for name, value in cleanup.items())
        text = self.small.config.read_text().split("[cleanup]", maxsplit=1)[0]
        self.small.config.write_text(f"{text}[cleanup]\n{lines}\n")

    def fill(self, free_pct: float = 5.0) -> None:
        """Make the volume so small that this much of it is free."""
        with self.opened() as lab:
            keep_reserve(lab.truenas)
        used = self.volume.total - self.volume.space().free
        self.volume.total = int(used / (1 - free_pct / 100))

    def snapshot(self, study: str) -> Path:
        """Hold the blocks of a copy, as a snapshot does."""
        kept = self.small.folder / "snapshot"
        shutil.copytree(self.small.nas / study, kept, copy_function=os.link)
        self.volume.folders.append(kept)
        return kept

    def evict(self, study: str, **options: Any) -> Evicted:
        with self.opened() as lab:
            return evict(lab, study, pauses=(0.0,), **options)

    def record(self, study: str) -> dict[str, Any]:
        return [line for line in self.small.ledger() if line["backup_name"] == study][-1]

    def on_nas(self) -> set[str]:
        return {path.name for path in self.small.nas.iterdir() if path.is_dir() and path.name[0].isdigit()}

    def trash(self) -> list[Path]:
        return self.small.in_folder(self.small.nas / TRASH)

    def s3(self) -> dict[str, bytes]:
        """Everything in the bucket but the ledger's mirror: what must never change."""
        mirror = f"{PREFIX}/_manifest/"
        return {key: data for key, data in self.small.objects().items() if not key.startswith(mirror)}


def archive(lab: StoreLab, study: str, *, released: bool = True) -> None:
    """Archive one study without Dagster."""
    lab.volume.total = DISK_BYTES
    with lab.opened() as opened:
        carry_out(opened, study, released=released)


def carry_out(opened: Lab, study: str, *, released: bool = True) -> None:
    """Copy, archive, record and release a study: what takes seconds as runs of Dagster."""
    with locked(opened, study):
        transferring.transfer(opened, study, copying=True, archiving=True, options=_OPTIONS, progress=lambda _: None)
        steps.record_entry(opened, study)
        if released:
            release(opened, study, {})


def assert_nothing_lost(lab: StoreLab) -> None:
    """Every file that ever was is in S3 as it was, or else is on the NAS, in its place or in the trash."""
    objects = lab.s3()
    for (study, path), data in lab.small.originals.items():
        if objects.get(lab.small.key(path, study)) == data:
            continue
        places = [
            lab.small.source / study,
            lab.small.nas / study,
            *(each for each in lab.trash() if study in each.name),
        ]
        files = [place / path for place in places]
        assert any(file.is_file() and file.read_bytes() == data for file in files), f"{study}/{path} is lost"


def assert_evicted(lab: StoreLab, study: str) -> None:
    """The copy is gone without a trace on the NAS, whole in S3, and the ledger says so."""
    assert study not in lab.on_nas()
    assert not [path for path in lab.trash() if path.name.startswith(f"{study}@")]
    objects = lab.s3()
    sidecar = parse_sidecar(objects[lab.small.key(SIDECAR_NAME, study)])
    for path, sha256 in sidecar.items():
        assert hashlib.sha256(objects[lab.small.key(path, study)]).hexdigest() == sha256, path
    record = lab.record(study)
    assert record["status"] == "complete"
    assert record["truenas_evicted_at"]
    assert "eviction_begun_at" not in record
