"""The loop one writes first: copy and hash, read back and hash, compare, `upload_file`; one file after the other.

What belongs here: that loop, honestly written (1 MiB pieces, S3 told to check SHA-256, boto3's own ten threads for
large files). What does not: anything that would make it clever.

    python -m benchmarks.plain_loop SOURCE NAS ENDPOINT BUCKET PREFIX
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

import boto3

PIECE = 1 << 20


def main() -> None:
    """Copy, verify and upload every file of a study."""
    source, copy = Path(sys.argv[1]), Path(sys.argv[2])
    endpoint, bucket, prefix = sys.argv[3:6]
    client = boto3.client("s3", endpoint_url=endpoint)
    for path in sorted(source.rglob("*")):
        if not path.is_file():
            continue
        target = copy / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if copy_hashing(path, target) != digest_of(target):
            raise SystemExit(f"{target} is not what was read from {path}")
        key = f"{prefix}/{path.relative_to(source).as_posix()}"
        client.upload_file(str(target), bucket, key, ExtraArgs={"ChecksumAlgorithm": "SHA256"})


def copy_hashing(source: Path, target: Path) -> str:
    """Copy a file; returns the SHA-256 of what was read."""
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("wb") as writer:
        while piece := reader.read(PIECE):
            digest.update(piece)
            writer.write(piece)
    shutil.copystat(source, target)
    return digest.hexdigest()


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
