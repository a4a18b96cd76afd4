"""What a validation says: violations, warnings and reports, as text for a person and as JSON for a program.

What belongs here: the plain data and its two fixed forms. What does not: deciding what is a violation (`rules`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

RuleId = Literal["R1", "R2", "R3", "R4", "R5", "R6", "R7", "R8"]
# Not a rule of the lab: the study could not be listed, so no rule could be judged.
UNREADABLE: Literal["listing"] = "listing"


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong (or, among a report's warnings, unwise) with one path.

    Attributes:
        rule: The rule it breaks, ``R1`` to ``R8``; ``listing`` where the study could not be listed.
        path: Relative to the directory the study is in, so it begins with the study's name.
        message: What is wrong.
        hint: What to do about it; a concrete better name where one can be derived.
    """

    rule: RuleId | Literal["listing"]
    path: str
    message: str
    hint: str

    @property
    def subject(self) -> str:
        """How its sentence begins: what is wrong with what, in whatever words the rest is said."""
        return printable(f"[{self.rule}] {self.path}: ")

    def __str__(self) -> str:
        return self.subject + printable(f"{self.message} | hint: {self.hint}")


def printable(text: str) -> str:
    """`text` on one line that every terminal and log can show: what cannot be printed is escaped.

    A name may hold a line break, a terminal's escape sequence, or bytes that are no text at all.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def summarized(problems: Sequence[str]) -> str:
    """Of all that is wrong with a study the first, how many there are beside it, and what lists them.

    Args:
        problems: A sentence each; at least one.
    """
    first, *more = problems
    return f"{first} (and {len(more)} more: `fusion explain` lists them)" if more else first


@dataclass(frozen=True, slots=True)
class StudyReport:
    """What the naming standard says of one study.

    Attributes:
        study: Its name where it was listed.
        path: Where that is, in full, as a person would type it.
        violations: All of them, sorted by path; none when the study keeps the standard.
        warnings: What is allowed but unwise, sorted the same way.
    """

    study: str
    path: str
    violations: tuple[Violation, ...] = ()
    warnings: tuple[Violation, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the study keeps the standard; warnings do not count."""
        return not self.violations

    @property
    def readable(self) -> bool:
        """Whether the study could be listed; where it could not, nothing is known about its names."""
        return all(violation.rule != UNREADABLE for violation in self.violations)


@dataclass(frozen=True, slots=True)
class RootReport:
    """What the naming standard says of all studies in one directory.

    Attributes:
        root: The directory, as a person would type it.
        studies: One report a study, sorted by name.
        info: What else was seen there and left alone, one sentence each.
    """

    root: str
    studies: tuple[StudyReport, ...] = ()
    info: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every study keeps the standard."""
        return all(study.ok for study in self.studies)


def violation_json(violation: Violation) -> dict[str, str]:
    """A violation or warning in the fixed JSON form: ``rule``, ``path``, ``message``, ``hint``."""
    return {
        "rule": violation.rule,
        "path": violation.path,
        "message": violation.message,
        "hint": violation.hint,
    }


def study_json(report: StudyReport) -> dict[str, Any]:
    """What ``validate study -f json`` prints: ``study``, ``path``, ``ok``, ``violations``, ``warnings``."""
    return {
        "study": report.study,
        "path": report.path,
        "ok": report.ok,
        "violations": [violation_json(violation) for violation in report.violations],
        "warnings": [violation_json(warning) for warning in report.warnings],
    }


def root_json(report: RootReport) -> dict[str, Any]:
    """What ``validate root -f json`` prints: ``root``, ``ok``, ``studies``."""
    return {"root": report.root, "ok": report.ok, "studies": [study_json(study) for study in report.studies]}
