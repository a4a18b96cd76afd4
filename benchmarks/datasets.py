"""The data the contenders move: sets A, B and C, made once and kept in the work folder.

What belongs here: what each set consists of, and how its bytes are made (fast, incompressible, the same on every
machine). What does not: moving, measuring or verifying it.

    python -m benchmarks.datasets --set A,B,C --scale 0.02
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

WORK = Path(__file__).parent / ".work"
GIB = 1 << 30
SMALL_FILE = 20_000
FILES_PER_FOLDER = 1000
CHUNK = 4 << 20
ZEROS = bytes(CHUNK)


@dataclass(frozen=True, slots=True)
class Dataset:
    """One data set on disk.

    Attributes:
        name: ``A``, ``B`` or ``C``.
        title: What it is, for the table.
        source: The folder that stands for the instrument's disk; it holds one study.
        study: That study's name.
        files: Every file: POSIX path inside the study -> (bytes, SHA-256 in hex).
    """

    name: str
    title: str
    source: Path
    study: str
    files: dict[str, tuple[int, str]]

    @property
    def total_bytes(self) -> int:
        """The bytes of all files."""
        return sum(size for size, _ in self.files.values())


def planned_files(name: str, scale: float) -> dict[str, int]:
    """What a set consists of.

    Args:
        name: ``A``, ``B`` or ``C``.
        scale: 1 for the real thing; large files shrink by it, small files become fewer.

    Returns:
        Path inside the study -> bytes.
    """
    study = study_name(name)
    if name == "A":
        return {f"{study}/Scan1/{study}_Scan1.er.qptiff": round(4 * GIB * scale)}
    if name == "B":
        return small_files(f"{study}/Scan1/.temp", round(20_000 * scale))
    if name == "C":
        files: dict[str, int] = {}
        for experiment in (f"{study}_s1", f"{study}_s2", f"{study}_s3"):
            files[f"{experiment}/Scan1/{experiment}_Scan1.er.qptiff"] = round(2 * GIB * scale)
            files |= small_files(f"{experiment}/Scan1/.temp", round(3000 * scale))
        return files
    raise ValueError(f"no data set {name!r}: choose from A, B, C")


def small_files(folder: str, count: int) -> dict[str, int]:
    """`count` files of 20 KB in folders of a thousand."""
    return {f"{folder}/Cycle{i // FILES_PER_FOLDER + 1:02d}/tile_{i:05d}.tif": SMALL_FILE for i in range(count)}


def study_name(name: str) -> str:
    """The name of the set's study; it keeps the naming standard."""
    return f"20260105_WW_BENCH_set{name}"


def title(name: str, scale: float) -> str:
    """What the set is, in words."""
    count = {"B": round(20_000 * scale), "C": round(3000 * scale)}
    return {
        "A": f"one file of {4 * scale:g} GiB",
        "B": f"{count['B']:,} files of 20 KB",
        "C": f"three experiments, each one file of {2 * scale:g} GiB and {count['C']:,} of 20 KB",
    }[name]


def prepare(name: str, scale: float, work: Path = WORK) -> Dataset:
    """The set, made if it is not there yet.

    Args:
        name: ``A``, ``B`` or ``C``.
        scale: See `planned_files`.
        work: The work folder; a set at full size needs up to 6.2 GiB in it.
    """
    folder = work / "data" / f"{name}-{scale:g}"
    index = folder / "index.json"
    if not index.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        digests = make_files(folder / "source" / study_name(name), planned_files(name, scale))
        index.write_text(json.dumps(digests), encoding="utf-8")
    files = {path: (size, digest) for path, (size, digest) in json.loads(index.read_text(encoding="utf-8")).items()}
    return Dataset(name, title(name, scale), folder / "source", study_name(name), files)


def make_files(study: Path, planned: dict[str, int]) -> dict[str, tuple[int, str]]:
    """Write the files of a study; returns their sizes and digests."""
    digests = {}
    for path, size in planned.items():
        target = study / path
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with target.open("wb", buffering=0) as file:
            for chunk in keystream(path, size):
                file.write(chunk)
                digest.update(chunk)
        digests[path] = (size, digest.hexdigest())
    return digests


def keystream(seed: str, size: int) -> Iterator[bytes]:
    """`size` incompressible bytes that depend only on `seed`: AES in counter mode, over 1 GB/s with AES-NI."""
    encryptor = Cipher(AES(hashlib.sha256(seed.encode()).digest()[:16]), CTR(bytes(16))).encryptor()
    for offset in range(0, size, CHUNK):
        yield encryptor.update(ZEROS[: min(CHUNK, size - offset)])


def main() -> None:
    """Make the sets named on the command line."""
    parser = argparse.ArgumentParser(description="Make the benchmark's data sets.")
    parser.add_argument("--set", default="A,B,C", help="comma-separated, default A,B,C")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--work", type=Path, default=WORK)
    options = parser.parse_args()
    for name in options.set.split(","):
        dataset = prepare(name, options.scale, options.work)
        print(f"{name}: {dataset.title}: {len(dataset.files):,} files, {dataset.total_bytes / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
