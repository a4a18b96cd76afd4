"""An instrument's disk: about eight studies that look like the real thing, among them what goes wrong in real labs.

What belongs here: which studies there are and when they were made, and never making the same one twice. What does not:
what is in a study (`study`), the NAS, the servers and the reconciling (the demo command).

What has been built is recorded beside the disk, not on it: a study that was archived and released is gone from the
disk for good, and building again must not bring it back.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from cli.demo.study import Experiment, Scan, write_study

SEED = 7
Role = Literal["whole", "misnamed", "truncated", "being written"]


class LabError(Exception):
    """The lab's record cannot be used; the message says which file, and the way out."""


@dataclass(frozen=True, slots=True)
class DemoStudy:
    """One study of the demonstration.

    Attributes:
        name: Its directory.
        role: ``whole`` ones can be archived; the others show what stops a study.
        story: What it shows, in one clause.
    """

    name: str
    role: Role
    story: str


@dataclass(frozen=True, slots=True)
class Instrument:
    """The instrument's disk.

    Attributes:
        root: The directory of the studies.
        studies: All that were ever built there, oldest first, whether they still are there or not.
        built: The names of those built by this call.
    """

    root: Path
    studies: tuple[DemoStudy, ...]
    built: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Recipe:
    """A study to build: its name with ``{date}``, its age in days, and what is in it."""

    name: str
    age: float
    role: Role
    story: str
    experiments: tuple[Experiment, ...]
    extra: dict[str, bytes] = field(default_factory=dict)


_RECIPES = (
    _Recipe(
        "cHL_revision_1_{date}",
        95,
        "misnamed",
        "a name from before the standard: its date comes last (R1)",
        (Experiment(channels=4, width=512, height=512),),
    ),
    _Recipe(
        "{date}_WW_HCC_run1",
        82,
        "whole",
        "one experiment, one scan",
        (Experiment(channels=8, width=1024, height=1024, scans=(Scan(cycles=3),)),),
    ),
    _Recipe(
        "{date}_YZ_cHL_revision1",
        71,
        "whole",
        "two experiments, each with its design",
        (
            Experiment("TMA1", channels=6, width=1024, scans=(Scan(cycles=2),)),
            Experiment("TMA2", channels=6, width=1024, scans=(Scan(cycles=2),)),
        ),
    ),
    _Recipe(
        "{date}_LC_Periodontal_S8",
        64,
        "whole",
        "one experiment that was scanned again",
        (Experiment(scans=(Scan(1), Scan(2))),),
    ),
    _Recipe(
        "{date}_MH_Spleen_pilot",
        55,
        "whole",
        "two experiments under one .fpr, without designs",
        (
            Experiment("A", channels=4, design=False, image_ending=".qptiff"),
            Experiment("B", channels=4, design=False, image_ending=".qptiff"),
        ),
        # What a real .fpr holds is not public; the program never looks into one.
        {"{study}.fpr": b"synthetic: stands in for the instrument's own format\r\n"},
    ),
    _Recipe(
        "{date}_WW_NBM_H10-citrate",
        46,
        "truncated",
        "its image was cut off at 60 % and still opens in a viewer (D2)",
        (Experiment(scans=(Scan(cycles=1, kept=0.6),)),),
    ),
    _Recipe(
        "{date}_YZ_TMA_JAN1",
        38,
        "misnamed",
        "a design whose experiment is missing (R6), and litter of the operating system (R5)",
        (
            Experiment("A", channels=4, width=512, height=512, scans=(Scan(cycles=1),)),
            Experiment("B", channels=4, scans=()),
        ),
        {"Thumbs.db": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)},
    ),
    _Recipe(
        "{date}_LC_HCC_batch2",
        1 / 1440,
        "being written",
        "its second scan is still running",
        (Experiment(channels=4, scans=(Scan(1), Scan(2, cycles=1, finished=False))),),
    ),
)


def build_instrument(root: Path, *, seed: int = SEED, now: datetime | None = None) -> Instrument:
    """Build the instrument's disk, or what is still missing of it.

    Args:
        root: The directory of the studies. What was built is recorded in ``<root>.built.json`` beside it.
        seed: Of the pixels. Like `now`, it counts for the first call only: later ones go by the record.
        now: The time of the building, with a time zone; the studies' names and times follow from it. All studies were
            finished at least 31 days before, but for the one being written.

    Raises:
        LabError: The record is not ours.
        OSError: The disk is full, or may not be written.
    """
    root = root.resolve()
    record = root.with_name(f"{root.name}.built.json")
    seed, now, done = _read_record(record, seed, now or datetime.now(UTC))
    root.mkdir(parents=True, exist_ok=True)
    workshop = root.with_name(f".{root.name}.building")
    shutil.rmtree(workshop, ignore_errors=True)  # what a building that was killed left behind
    _write_record(record, seed, now, done)
    studies: list[DemoStudy] = []
    built: list[str] = []
    for number, recipe in enumerate(_RECIPES):
        finished_at = now - timedelta(days=recipe.age)
        study = DemoStudy(recipe.name.format(date=f"{finished_at:%Y%m%d}"), recipe.role, recipe.story)
        studies.append(study)
        if study.name in done:
            continue
        if not (root / study.name).exists():  # else it was moved there just before a crash
            _build(workshop / study.name, recipe, finished_at, seed=seed * 100 + number)
            (workshop / study.name).rename(root / study.name)
        done = [*done, study.name]
        _write_record(record, seed, now, done)
        built.append(study.name)
    shutil.rmtree(workshop, ignore_errors=True)
    return Instrument(root, tuple(studies), tuple(built))


def _build(directory: Path, recipe: _Recipe, finished_at: datetime, *, seed: int) -> None:
    """Build a study beside the disk; it is moved there whole, so that a building broken off leaves no half study."""
    extra = {file.format(study=directory.name): content for file, content in recipe.extra.items()}
    write_study(directory, recipe.experiments, finished_at=finished_at, seed=seed, extra=extra)


def _read_record(record: Path, seed: int, now: datetime) -> tuple[int, datetime, list[str]]:
    if not record.exists():
        return seed, now, []
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        return int(content["seed"]), datetime.fromisoformat(content["now"]), [str(name) for name in content["built"]]
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(
            f"{record}: not a record of a demonstration lab | hint: build the lab in a new folder, or remove this file "
            "and the studies beside it"
        ) from error


def _write_record(record: Path, seed: int, now: datetime, done: list[str]) -> None:
    partial = record.with_name(f"{record.name}.partial")
    partial.write_text(json.dumps({"seed": seed, "now": now.isoformat(), "built": done}, indent=2), encoding="utf-8")
    partial.replace(record)
