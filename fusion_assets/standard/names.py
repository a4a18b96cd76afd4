r"""The grammar of names: what R1, R2, R3 and R7 demand of one name, said without any listing.

What belongs here: pure functions from a name to its parts or to what is wrong with it. Everything is ASCII on purpose
(`[0-9]` and `\Z`, never `\d` and `$`): `\d` takes Arabic-Indic digits and `$` a trailing newline, and neither
survives the way to Windows, ZFS and S3. What does not belong here: better names (that is `suggest`), and rules about
several names at once (that is `rules`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Literal

STUDY_FIELDS = ("date", "user", "project", "customname")
STUDY_FORM = "YYYYMMDD_<user>_<project>_<customname>"
FIELD_ALPHABET = "A-Z a-z 0-9 -"
MAX_EXPERIMENT_LENGTH = 60
# An experiment of the shortest suffix is two characters longer than its study: "_" and one more.
MAX_STUDY_LENGTH = MAX_EXPERIMENT_LENGTH - 2

_FIELD = re.compile(r"[A-Za-z0-9-]+\Z")
_FOREIGN = re.compile(r"[^A-Za-z0-9-]")
_EIGHT_DIGITS = re.compile(r"[0-9]{8}\Z")
_SCAN = re.compile(r"[Ss][Cc][Aa][Nn]([0-9]+)\Z")
_LITTER = frozenset({".ds_store", "thumbs.db", "desktop.ini"})


@dataclass(frozen=True, slots=True)
class NameProblem:
    """One thing wrong with a name: the rule it breaks, and what is wrong, as a clause without a subject."""

    rule: Literal["R1", "R3"]
    message: str


def is_field(text: str) -> bool:
    """Whether `text` may stand between two underscores: one or more of the ASCII letters, digits and ``-``."""
    return _FIELD.match(text) is not None


def foreign_characters(text: str) -> str:
    """The characters of `text` that no field may hold, each once, in order of appearance."""
    return "".join(dict.fromkeys(_FOREIGN.findall(text)))


def parse_date(text: str) -> date | None:
    """The day that eight ASCII digits YYYYMMDD name; None if they are not eight digits or there is no such day."""
    if not _EIGHT_DIGITS.match(text):
        return None
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None


def study_date(name: str) -> date | None:
    """The date a study's name begins with; None where its first field is not one."""
    return parse_date(name.partition("_")[0])


def study_name_problems(name: str) -> tuple[NameProblem, ...]:
    """Everything wrong with a study's name by itself: R1 (fields, date) before R3 (characters).

    A name's length is no problem of the study: R3 limits the experiments, whose names begin with it.
    """
    fields = name.split("_")
    problems: list[NameProblem] = []
    if len(fields) != len(STUDY_FIELDS):
        count = f"{len(fields)} field" + "s" * (len(fields) != 1)
        problems.append(NameProblem("R1", f"has {count} separated by _ where {STUDY_FORM} has {len(STUDY_FIELDS)}"))
    empty = [str(number) for number, field in enumerate(fields, start=1) if not field]
    if empty:
        problems.append(NameProblem("R1", f"has nothing in field {' and '.join(empty)}"))
    if fields[0]:
        problems.extend(_date_problems(fields[0]))
    problems.extend(_character_problems(fields))
    return tuple(problems)


def _date_problems(field: str) -> list[NameProblem]:
    if not _EIGHT_DIGITS.match(field):
        return [NameProblem("R1", f"begins with '{field}' where eight digits YYYYMMDD belong")]
    if parse_date(field) is None:
        return [NameProblem("R1", f"begins with '{field}', which is no day of the calendar")]
    return []


def _character_problems(fields: list[str]) -> list[NameProblem]:
    # Field 1 is left out: what is not eight digits there is already R1's business.
    return [
        NameProblem(
            "R3", f"has {quote_characters(foreign)} in field {number} '{field}' where only {FIELD_ALPHABET} may be"
        )
        for number, field in enumerate(fields[1:], start=2)
        if (foreign := foreign_characters(field))
    ]


def quote_characters(characters: str) -> str:
    """Characters as a message names them: ``'é' and ' '``."""
    return " and ".join(f"'{character}'" for character in characters)


def experiment_suffix(directory: str, study: str) -> str | None:
    """What makes `directory` an experiment of `study` (R2).

    Returns:
        The suffix; ``""`` when the experiment is named like the study; None when the directory is no experiment of it.
    """
    if directory == study:
        return ""
    suffix = directory.removeprefix(f"{study}_")
    return suffix if suffix != directory and is_field(suffix) else None


def fpr_problem(stem: str) -> str | None:
    """What is wrong with the name of an ``.fpr`` file without its extension (R7); None if nothing is."""
    fields = stem.split("_")
    if foreign := foreign_characters(stem.replace("_", "")):
        return f"has {quote_characters(foreign)} in its name where only {FIELD_ALPHABET} and _ may be"
    if not all(fields):
        return "has an underscore with nothing before or after it"
    return None


def scan_number(name: str) -> str | None:
    """The digits of a scan directory's name, ``Scan`` in any case; None if the name is not that of a scan."""
    match = _SCAN.match(name)
    return match.group(1) if match else None


def split_extension(name: str) -> tuple[str, str]:
    """A name in two, before and from its last dot on: ``("a.b", ".xpd")``; ``("", ".xpd")`` for ``.xpd``."""
    stem, dot, extension = name.rpartition(".")
    return (stem, dot + extension) if dot else (name, "")


def has_extension(name: str, extension: str) -> bool:
    """Whether `name` is a stem and this extension, in any case; an extension alone is no name."""
    stem, found = split_extension(name)
    return bool(stem) and found.isascii() and found.lower() == extension


def is_litter(name: str) -> bool:
    """Whether operating systems leave such files behind: ``.DS_Store``, ``Thumbs.db``, ``desktop.ini``, ``._*``."""
    return name.lower() in _LITTER or name.startswith("._")
