"""A small lab: an instrument disk, a NAS and a bucket, and a study to move between them."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from pathlib import Path

from fusion_assets.transfer import Study, TransferOptions, archive_copy, copy_and_archive, copy_study
from resources.storage import Entry
from tests.transfer.memory_bucket import MemoryBucket
from tests.transfer.watched_storage import WatchedStorage

RUN, BACKUP = "20260105_WW_HCC_run1", "20260105_WW_HCC_backup"
MTIME_NS = 1_767_600_000_123_456_700
SIDECAR = "_checksums.sha256"

# Parts and buffers so small that a few KB make many of them; the code paths are those of 16 and 4 MiB.
TINY = TransferOptions(
    part_size=10_000,
    workers=3,
    upload_workers=3,
    buffer_size=4096,
    memory=1 << 20,
    batch_files=5,
    batch_bytes=30_000,
    space_reserve=0,
    part_size_for=lambda size, part_size: max(part_size, -(-size // 50)),
)

STUDY = {
    f"{RUN}.xpd": 700,
    f"{RUN}/Scan1/{RUN}.qptiff": 45_678,
    f"{RUN}/Scan1/.temp/MarkerList.txt": 55,
    f"{RUN}/Scan1/.temp/empty.bin": 0,
    f"{RUN}/Scan1/.temp/one part.raw.qptiff": 10_000,
    f"{RUN}/Scan1/.temp/just more.raw.qptiff": 10_001,
    f"{RUN}/Scan1/.temp/one buffer.bin": 4096,
    f"{RUN}/Scan1/.temp/µ+é & 50%.tif": 3000,
    **{f"{RUN}/Scan2/tile{n:02}.tif": 1000 + n for n in range(12)},
}


class Lab:
    def __init__(self, root: Path, study: dict[str, int] | None = None) -> None:
        for name in ("source", "nas"):
            (root / name).mkdir(parents=True)
        self.source = WatchedStorage(root / "source")
        self.nas = WatchedStorage(root / "nas")
        self.bucket = MemoryBucket()
        self.study = self.source.path / RUN
        self.copy = self.nas.path / BACKUP
        self.study.mkdir()
        for n, (path, size) in enumerate((STUDY if study is None else study).items()):
            self.write(path, random.Random(f"{path} {size}").randbytes(size), mtime_ns=MTIME_NS + n * 1000)

    def write(self, path: str, data: bytes, *, mtime_ns: int = MTIME_NS) -> None:
        file = self.study / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        os.utime(file, ns=(mtime_ns, mtime_ns))

    def entries(self) -> list[Entry]:
        prefix = f"{RUN}/"
        return [
            Entry(entry.path.removeprefix(prefix), entry.kind, entry.size, entry.mtime_ns)
            for entry in self.source.walk(RUN)
        ]

    def listed(self, **known) -> Study:
        return Study(RUN, BACKUP, self.entries(), **known)

    def copy_study(self, study: Study | None = None, **options):
        return copy_study(self.source, self.nas, study or self.listed(), **{"options": TINY, **options})

    def copy_and_archive(self, study: Study | None = None, **options):
        study = study or self.listed()
        return copy_and_archive(self.source, self.nas, self.bucket, study, **{"options": TINY, **options})

    def archive_copy(self, **options):
        return archive_copy(self.nas, self.bucket, backup_name=BACKUP, **{"options": TINY, **options})

    def forget_counts(self) -> None:
        for place in (self.source, self.nas):
            place.read.clear()
            place.written.clear()
            place.calls.clear()
        self.bucket.requests.clear()
        self.bucket.received = 0

    def on_nas(self) -> dict[str, bytes]:
        return read_tree(self.copy)

    def in_s3(self) -> dict[str, bytes]:
        return {key.removeprefix(f"{BACKUP}/"): stored.data for key, stored in self.bucket.objects.items()}

    def check_copied(self) -> None:
        """The NAS holds exactly the study's files and a sidecar that coreutils accepts; times are kept."""
        files = read_tree(self.study)
        held = self.on_nas()
        sidecar = held.pop(SIDECAR)
        assert held == files
        lines = [f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n" for path in sorted(files)]
        assert sidecar.decode() == "".join(lines)
        subprocess.run(["sha256sum", "--check", "--quiet", "--strict", SIDECAR], cwd=self.copy, check=True)
        for path in files:
            assert (self.copy / path).stat().st_mtime_ns == (self.study / path).stat().st_mtime_ns

    def check_archived(self) -> None:
        """S3 holds exactly what the NAS holds, nothing is half uploaded, and large objects name their SHA-256."""
        assert self.in_s3() == self.on_nas()
        assert self.bucket.uploads == {}
        for stored in self.bucket.objects.values():
            if stored.composite:
                assert stored.metadata["sha256"] == hashlib.sha256(stored.data).hexdigest()


def read_tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def flip_bit_of(file: Path) -> None:
    """What a bad disk does: one bit, and neither size nor time tells."""
    before = file.stat()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    with file.open("r+b") as opened:
        opened.write(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
