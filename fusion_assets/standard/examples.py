"""Example studies for every rule and warning, as small trees: what the document shows and the tests run.

What belongs here: the examples, and making a listing of a list of paths. What does not: how they are shown
(`document`). Every one is judged by the real code, so an example that no longer shows its rule fails a test.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Literal

from fusion_assets.standard.listing import Listing
from fusion_assets.standard.report import RuleId, StudyReport
from fusion_assets.standard.rules import validate_listing
from resources.storage import Entry, Kind

# The examples are judged as of this day and for this NAS, so that they say the same for ever.
EXAMPLE_TODAY = date(2026, 2, 1)
EXAMPLE_NAS_ROOT = r"\\truenas.lab.example.edu\fusion\00_storage"
LINK_ARROW = " -> "

Verdict = Literal["fails", "passes", "warns"]


@dataclass(frozen=True, slots=True)
class Example:
    """One study that shows one rule.

    Attributes:
        rule: The rule it is about; the only one it breaks if it fails.
        verdict: Whether it fails, passes, or passes with a warning.
        note: What to see in it, half a sentence.
        study: The study's name.
        paths: What is in it, relative to the study: ``a/b`` a file, ``a/`` a directory, ``a -> b`` a symbolic link.
    """

    rule: RuleId
    verdict: Verdict
    note: str
    study: str
    paths: tuple[str, ...]


def listing_of(study: str, paths: Iterable[str]) -> Listing:
    """The listing of a tree written as paths; directories that are only implied are there too."""
    kinds: dict[str, Kind] = {}
    for written in paths:
        path, arrow, _ = written.partition(LINK_ARROW)
        name = path.rstrip("/")
        kinds[name] = "symlink" if arrow else "directory" if path.endswith("/") else "file"
        parent = name.rpartition("/")[0]
        while parent:
            kinds[parent] = "directory"
            parent = parent.rpartition("/")[0]
    return Listing(study, tuple(Entry(path, kind, 0, 0) for path, kind in sorted(kinds.items())))


def judge(example: Example) -> StudyReport:
    """What the rules say of an example."""
    listing = listing_of(example.study, example.paths)
    return validate_listing(listing, today=EXAMPLE_TODAY, nas_root=EXAMPLE_NAS_ROOT)


STUDY = "20260105_WW_HCC_run1"


def complete_scan(name: str, scan: str = "Scan1") -> tuple[str, ...]:
    """The paths of a directory in a study that holds one complete scan."""
    return (f"{name}/{scan}/{name}_{scan}.qptiff", f"{name}/{scan}/.temp/MarkerList.txt")


def _designed(name: str) -> tuple[str, ...]:
    return (f"{name}.xpd", *complete_scan(name))


def _named(study: str) -> tuple[str, tuple[str, ...]]:
    """A study that is complete whatever its name."""
    return study, _designed(study)


_PLAIN = _designed(STUDY)
_A, _B = f"{STUDY}_A", f"{STUDY}_B"
_LONG = "20260105_WW_HCC_a-custom-name-that-nobody-will-ever-want-to-type"

EXAMPLES: tuple[Example, ...] = (
    Example("R1", "passes", "four fields, a real date", *_named("20260105_WW_HCC_run1")),
    Example("R1", "fails", "three fields", *_named("20240611_LMS-TMA_Scan1")),
    Example("R1", "fails", "five fields", *_named("20260105_WW_HCC_run1_v2")),
    Example("R1", "fails", "an empty field", *_named("20260105_WW__HCC")),
    Example("R1", "fails", "there is no 30 February", *_named("20260230_WW_HCC_run1")),
    Example("R1", "fails", "the date written another way", *_named("2026-01-05_WW_HCC_run1")),
    Example("R1", "fails", "the day first", *_named("31122025_WW_HCC_run1")),
    Example("R2", "passes", "one experiment, named like the study", STUDY, _PLAIN),
    Example("R2", "passes", "two experiments with suffixes", STUDY, (*_designed(_A), *_designed(_B))),
    Example("R2", "fails", "an underscore in the suffix", STUDY, (*_PLAIN, *complete_scan(f"{STUDY}_S1_repeat"))),
    Example("R2", "fails", "a space in the suffix", STUDY, (*_PLAIN, *complete_scan(f"{STUDY}_slide 2"))),
    Example("R2", "fails", "no underscore before the suffix", STUDY, (*_PLAIN, *complete_scan(f"{STUDY}-A"))),
    Example("R2", "fails", "the case of letters differs", STUDY, (*_PLAIN, *complete_scan("20260105_ww_HCC_run1_A"))),
    Example("R2", "fails", "another study inside this one", STUDY, (*_PLAIN, *complete_scan("20260105_WW_HCC_run10"))),
    Example("R3", "passes", "hyphens are allowed", *_named("20260105_W-W_HCC-2_run-1")),
    Example("R3", "fails", "a space in a field", *_named("20260105_WW_HCC batch 2_run1")),
    Example("R3", "fails", "an accent", *_named("20260105_Müller_HCC_run1")),
    Example("R3", "fails", "a dot", *_named("20260105_WW_HCC_v1.2")),
    Example(
        "R3",
        "fails",
        "an experiment's name of more than 60 characters",
        STUDY,
        ("a.fpr", *complete_scan(f"{STUDY}_a-suffix-that-says-everything-about-the-slide")),
    ),
    Example("R4", "passes", "an .fpr alone is metadata enough", STUDY, (f"{STUDY}.fpr", *complete_scan(STUDY))),
    Example("R4", "fails", "no .xpd and no .fpr", STUDY, complete_scan(STUDY)),
    Example("R4", "fails", "no experiment directory", STUDY, (f"{STUDY}.fpr",)),
    Example("R4", "fails", "nothing at all", STUDY, ()),
    Example("R5", "passes", "this program's own files never count", STUDY, (*_PLAIN, ".fusion-toolkit.lock")),
    Example("R5", "fails", "a file that has no place", STUDY, (*_PLAIN, "notes.docx")),
    Example("R5", "fails", "litter", STUDY, (*_PLAIN, ".DS_Store")),
    Example("R5", "fails", "an unrelated directory", STUDY, (*_PLAIN, "H10/Scan1/.temp/")),
    Example("R5", "fails", "a scan outside of an experiment", STUDY, (*_PLAIN, "Scan2/.temp/")),
    Example("R5", "fails", "a directory called like a file", STUDY, (*_PLAIN, f"{_A}.xpd/")),
    Example("R5", "fails", "an extension without a name", STUDY, (*_PLAIN, ".fpr")),
    Example("R5", "fails", "a link", STUDY, (*_PLAIN, f"{_A} -> /data/{_A}")),
    Example("R5", "fails", "two names that differ in case", STUDY, (*_PLAIN, f"{STUDY}/scan1/")),
    Example("R6", "passes", "each .xpd beside its experiment", STUDY, (*_designed(_A), *_designed(_B))),
    Example("R6", "fails", "no experiment of that name", STUDY, (*_PLAIN, f"{_B}.xpd")),
    Example("R6", "fails", "the case differs", STUDY, (f"{STUDY}_a.xpd", *complete_scan(_A))),
    Example("R7", "passes", "any number of fields", STUDY, (*_PLAIN, "panel-3_HCC_final.fpr")),
    Example("R7", "fails", "spaces and parentheses", STUDY, (*_PLAIN, "panel 3 (final).fpr")),
    Example("R7", "fails", "an empty field", STUDY, (*_PLAIN, "panel__3.fpr")),
    Example(
        "R8",
        "passes",
        "one complete scan is enough",
        STUDY,
        (*_PLAIN, f"{STUDY}/Scan2/.temp/MarkerList.txt"),
    ),
    Example("R8", "fails", "no scan", STUDY, (f"{STUDY}.xpd", f"{STUDY}/")),
    Example("R8", "fails", "no .temp", STUDY, (f"{STUDY}.xpd", f"{STUDY}/Scan1/{STUDY}_Scan1.qptiff")),
    Example(
        "R8",
        "fails",
        "raw images only",
        STUDY,
        (f"{STUDY}.xpd", f"{STUDY}/Scan1/.temp/{STUDY}_Cycle1.raw.qptiff"),
    ),
    Example(
        "R8",
        "fails",
        "image and .temp in two different scans",
        STUDY,
        (f"{STUDY}.xpd", f"{STUDY}/Scan1/{STUDY}_Scan1.qptiff", f"{STUDY}/Scan2/.temp/"),
    ),
    Example("R1", "warns", "before 2015", *_named("20060105_WW_HCC_run1")),
    Example("R1", "warns", "more than a week ahead of 1 February 2026", *_named("20260501_WW_HCC_run1")),
    Example("R3", "warns", "no room for a suffix", *_named(_LONG[:59])),
    Example(
        "R3",
        "warns",
        "long paths on the NAS",
        _LONG[:58],
        (
            *_designed(_LONG[:58]),
            f"{_LONG[:58]}/Scan1/.temp/{_LONG[:58]}_Scan1_Cycle12.intermediate.qptiff",
        ),
    ),
    Example("R5", "warns", "a link inside", STUDY, (*_PLAIN, f"{STUDY}/Scan1/old.qptiff -> /data/old.qptiff")),
    Example("R6", "warns", "an experiment without its .xpd", STUDY, (*_designed(_A), *complete_scan(_B))),
    Example("R6", "warns", "an extension in capitals", STUDY, (f"{STUDY}.XPD", *complete_scan(STUDY))),
    Example("R8", "warns", "Scan spelled differently", STUDY, (f"{STUDY}.xpd", *complete_scan(STUDY, "SCAN1"))),
    Example("R8", "warns", "a leading zero", STUDY, (f"{STUDY}.xpd", *complete_scan(STUDY, "Scan01"))),
)
