"""The instrument: writes studies over hours, most of them as they should be, and now and then one that is not.

What belongs here: what is written when, and what must never be lost of it. What does not: what becomes of it.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from cli.demo.study import Experiment, Scan, write_study

_EDGE = 96  # pixels; a tile of 256 is what a channel takes on the disk all the same: 0.3 MB
_PIECES = 4  # in which an image grows


class Fate(StrEnum):
    """What is wrong with a study, or what befalls it."""

    GOOD = "good"
    BAD_NAME = "bad name"
    ODD_NAME = "odd characters"
    TRUNCATED = "truncated image"
    RENAMED = "bad name, then renamed by a person"
    RETITLED = "renamed by a person right before its run"
    DELETED = "deleted by hand right before its run"
    KILLED = "worker killed in the middle of its run"
    UNLUCKY = "S3 stopped right before its run"


VALID = frozenset({Fate.GOOD, Fate.RENAMED, Fate.RETITLED, Fate.KILLED, Fate.UNLUCKY})
"""Those that must be archived in the end."""


@dataclass(frozen=True)
class Write:
    """A file, or a piece more of it, at a moment."""

    at: datetime
    path: str
    size: int


@dataclass
class SimulatedStudy:
    """One study.

    Attributes:
        name: Of its directory at the source now.
        fate: What is wrong with it.
        complete: All of it, in the instrument's memory.
        writes: What is still to be written, in order.
        finished_at: When the last of it is written.
        files: SHA-256 of what was written completely, by path.
        total_bytes: Of all files.
        struck: Whether what befalls it right before its run has befallen it.
        first_name: That the instrument gave it.
    """

    name: str
    fate: Fate
    complete: Path
    writes: list[Write]
    finished_at: datetime
    files: dict[str, str] = field(default_factory=dict)
    total_bytes: int = 0
    struck: bool = False
    first_name: str = field(init=False)

    def __post_init__(self) -> None:
        self.first_name = self.name


@dataclass
class Plan:
    """A study that is to be written."""

    name: str
    inner_name: str
    fate: Fate
    begins_at: datetime
    seed: int


def plan_studies(random_: random.Random, start: datetime, end: datetime, a_day: float) -> list[Plan]:
    """What the instrument will write in a month: at random moments, every kind of trouble at least once.

    Args:
        random_: Of the seed.
        start: When it begins.
        end: When the last study begins at the latest.
        a_day: How many there are.
    """
    days = (end - start) / timedelta(days=1)
    count = max(12, round(days * a_day))
    moments = sorted(start + (end - start) * random_.random() for _ in range(count))
    trouble = [fate for fate in Fate if fate is not Fate.GOOD]
    # One of each for sure, a second of each in a month; all of them early enough to see what becomes of them.
    fates = trouble * (2 if days > 15 else 1)
    fates += [Fate.GOOD] * (count * 3 // 4 - len(fates))
    random_.shuffle(fates)
    fates += [Fate.GOOD] * (count - len(fates))
    return [_plan(number, fate, at, random_) for number, (fate, at) in enumerate(zip(fates, moments, strict=True))]


def _plan(number: int, fate: Fate, at: datetime, random_: random.Random) -> Plan:
    user, project = random_.choice(["WW", "AB", "LK"]), random_.choice(["HCC", "CRC", "Lung"])
    good = f"{at:%Y%m%d}_{user}_{project}_run-{number + 1:03d}"
    name = {
        Fate.BAD_NAME: f"{at:%Y%m%d}_{user}_run{number + 1:03d}",
        Fate.ODD_NAME: f"{at:%Y%m%d}_{user}_{project}_run #{number + 1:03d} 100% (\u00b5, \u809d) 'x'",
        Fate.RENAMED: f"{at:%Y%m%d}_{user}_{project}_run {number + 1:03d}",
    }.get(fate, good)
    return Plan(name, good, fate, at, random_.randrange(2**31))


def compose(plan: Plan, workshop: Path) -> SimulatedStudy:
    """Make a study in the instrument's memory, and say when which part of it reaches the disk.

    Args:
        plan: What is to be made.
        workshop: The memory.
    """
    random_ = random.Random(plan.seed)
    complete = workshop / plan.inner_name
    scan = Scan(cycles=0, kept=0.6 if plan.fate is Fate.TRUNCATED else 1.0)
    experiment = Experiment(channels=random_.choice([1, 2]), width=_EDGE, height=_EDGE, scans=(scan,))
    write_study(complete, (experiment,), finished_at=plan.begins_at, seed=plan.seed, extra={})
    sizes = {file.relative_to(complete).as_posix(): file.stat().st_size for file in _files(complete)}
    hours = timedelta(hours=random_.uniform(1, 6))
    order = [*sorted(path for path in sizes if not path.endswith(".qptiff")), *(p for p in sizes if "_Scan1.er" in p)]
    pieces = [(path, size) for path in order for size in _pieces(path, sizes[path])]
    writes = [
        Write(plan.begins_at + hours * (number + 1) / len(pieces), path, size)
        for number, (path, size) in enumerate(pieces)
    ]
    return SimulatedStudy(plan.name, plan.fate, complete, writes, writes[-1].at, total_bytes=sum(sizes.values()))


def _pieces(path: str, size: int) -> list[int]:
    grows = path.endswith(".qptiff")
    return [size * number // _PIECES for number in range(1, _PIECES + 1)] if grows else [size]


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.rglob("*")) if file.is_file())


def write_until(study: SimulatedStudy, source: Path, now: datetime) -> None:
    """Write what a study has to have by now.

    Args:
        study: The study.
        source: The instrument's disk; while it is not mounted, the instrument writes all the same, which is why this is
            where it really lies.
        now: The time.
    """
    while study.writes and study.writes[0].at <= now:
        write = study.writes.pop(0)
        target = source / study.name / write.path
        target.parent.mkdir(parents=True, exist_ok=True)
        data = (study.complete / write.path).read_bytes()
        target.write_bytes(data[: write.size])
        os.utime(target, (write.at.timestamp(), write.at.timestamp()))
        if write.size == len(data):
            study.files[write.path] = hashlib.sha256(data).hexdigest()
    if not study.writes and study.complete.exists():
        shutil.rmtree(study.complete)


def retitle(study: SimulatedStudy, source: Path) -> None:
    """Give a finished study another name, with all that is named after it, as a person does who finds a typing error.

    Args:
        study: The study.
        source: The instrument's disk.
    """
    old, new = study.name, f"{study.name}-corrected"
    for path in sorted((source / old).rglob(f"*{old}*"), key=lambda path: len(path.parts), reverse=True):
        path.rename(path.with_name(path.name.replace(old, new)))
    (source / old).rename(source / new)
    study.files = {path.replace(old, new): sha256 for path, sha256 in study.files.items()}
    study.name = new
