"""A study with files in real parts, moved between real places, and what must be true of it afterwards."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Mapping
from pathlib import Path

from fusion_assets.transfer import Study, TransferOptions
from resources.s3 import S3Bucket
from resources.storage import Entry, Storage

RUN = "20260105_WW_HCC_run1"
SIDECAR = "_checksums.sha256"
MIB = 1 << 20

OPTIONS = TransferOptions(part_size=5 * MIB, buffer_size=MIB, memory=24 * MIB, batch_files=20, space_reserve=0)
"""S3's smallest parts, so that a file of 11 MiB has three."""

STUDY = {
    f"{RUN}.xpd": 700,
    f"{RUN}/Scan1/{RUN}.qptiff": 11 * MIB + 17,
    f"{RUN}/Scan1/.temp/exactly two parts.raw.qptiff": 10 * MIB,
    f"{RUN}/Scan1/.temp/one part.raw.qptiff": 5 * MIB,
    f"{RUN}/Scan1/.temp/empty": 0,
    f"{RUN}/Scan1/.temp/µ+é & 50%=#1 (a).tif": 20_000,
    **{f"{RUN}/Scan2/tile{n:03}.tif": 15_000 + n for n in range(50)},
}


def make_study(root: Path, study: Mapping[str, int] = STUDY) -> dict[str, bytes]:
    """Put a study below `root`; returns its files."""
    files = {path: random.Random(f"{path} {size}").randbytes(size) for path, size in study.items()}
    for n, (path, data) in enumerate(files.items()):
        file = root / RUN / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        mtime_ns = 1_767_600_000_123_456_700 + n * 1000  # SMB keeps 100 ns
        os.utime(file, ns=(mtime_ns, mtime_ns))
    return files


def list_study(source: Storage) -> Study:
    prefix = f"{RUN}/"
    entries = [
        Entry(entry.path.removeprefix(prefix), entry.kind, entry.size, entry.mtime_ns) for entry in source.walk(RUN)
    ]
    return Study(RUN, RUN, entries)


def check_copy_on_disk(disk: Path, files: Mapping[str, bytes], source: Path) -> None:
    """The directory holds exactly these files, with their times, and the sidecar."""
    held = {path.relative_to(disk).as_posix(): path for path in disk.rglob("*") if path.is_file()}
    assert set(held) == {*files, SIDECAR}
    for path, data in files.items():
        assert held[path].read_bytes() == data
        assert held[path].stat().st_mtime_ns == (source / RUN / path).stat().st_mtime_ns
    lines = [f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n" for path in sorted(files)]
    assert held[SIDECAR].read_text() == "".join(lines)


def check_objects(bucket: S3Bucket, client, files: Mapping[str, bytes]) -> None:
    """Another program finds exactly these objects, and no upload in progress."""
    prefix = f"{bucket.prefix}/{RUN}/"
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket.bucket, Prefix=prefix)
    sizes = {item["Key"].removeprefix(prefix): item["Size"] for page in pages for item in page.get("Contents", [])}
    assert sizes.pop(SIDECAR)
    assert sizes == {path: len(data) for path, data in files.items()}
    for path, data in files.items():
        answer = client.get_object(Bucket=bucket.bucket, Key=prefix + path)
        assert answer["Body"].read() == data
        if len(data) > OPTIONS.part_size:
            assert answer["Metadata"]["sha256"] == hashlib.sha256(data).hexdigest()
    uploads = client.list_multipart_uploads(Bucket=bucket.bucket).get("Uploads", [])
    assert [upload for upload in uploads if upload["Key"].startswith(prefix)] == []
