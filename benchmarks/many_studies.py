"""Labs of thousands of small studies, made fast: what planning and validation are measured on.

What belongs here: directories that look like studies to a listing. What does not: measuring. The files hold a few bytes
or none: nothing that is measured on them reads images.
"""

from __future__ import annotations

import os
import shutil
from datetime import date, timedelta
from pathlib import Path

FIRST_DAY = date(2020, 1, 1)
OLD_NS = 1_700_000_000 * 1_000_000_000
"""When their files were last written: long enough ago to be idle."""


def study_names(count: int) -> list[str]:
    """Names that keep the standard, about one for each day from 2020 on, then again from the beginning."""
    days = 6 * 365
    return [f"{FIRST_DAY + timedelta(i % days):%Y%m%d}_WW_BENCH_n{i:05d}" for i in range(count)]


def study_files(study: str, files: int) -> list[str]:
    """The paths of a complete study of `files` files: a design, two scans with an image each, and their ``.temp``."""
    scans = [f"{study}/Scan{number}" for number in (1, 2)]
    paths = [f"{study}.xpd", *(f"{scan}/{study}_{scan[-5:]}.er.qptiff" for scan in scans)]
    raw = (f"{scans[i % 2]}/.temp/{study}_Cycle{i // 2 + 1}.raw.qptiff" for i in range(files))
    return [*paths, *(f"{scan}/.temp/MarkerList.txt" for scan in scans), *raw][:files]


def make_studies(root: Path, count: int, files: int, *, content: bytes = b"") -> None:
    """Make `count` studies of `files` files each, unless the folder has them already.

    Args:
        root: Where; made anew if it does not hold exactly this.
        count: Studies.
        files: Files in each.
        content: Of every file.
    """
    made = root.parent / f"{root.name}.made"
    recipe = f"{count} {files} {content!r}"
    if made.is_file() and made.read_text(encoding="utf-8") == recipe:
        return
    shutil.rmtree(root, ignore_errors=True)
    for study in study_names(count):
        make_study(root / study, study_files(study, files), content)
    made.write_text(recipe, encoding="utf-8")


def make_study(folder: Path, paths: list[str], content: bytes) -> None:
    """One study; plain strings and descriptors, for half a million files are made this way."""
    parents = {os.path.dirname(path) for path in paths}  # noqa: PTH120  # pathlib takes longer than the system call
    for parent in parents:
        (folder / parent).mkdir(parents=True, exist_ok=True)
    base = os.fspath(folder)
    for path in paths:
        full = f"{base}/{path}"
        descriptor = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        if content:
            os.write(descriptor, content)
        os.utime(descriptor, ns=(OLD_NS, OLD_NS))
        os.close(descriptor)
