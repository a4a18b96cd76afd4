"""Better names, where one can be derived: what the hints propose to type instead.

What belongs here: pure functions from a bad name to a good one. The promise: a suggestion, when there is one, keeps the
rule that the name broke; where the name does not say enough (no date, two ways to read one, letters we cannot spell in
ASCII) there is none, because a wrong suggestion is worse than none. What does not belong here: deciding what is wrong.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date

from fusion_assets.standard.names import (
    MAX_EXPERIMENT_LENGTH,
    STUDY_FIELDS,
    experiment_suffix,
    fpr_problem,
    is_field,
    parse_date,
    study_name_problems,
)

# Letters that Unicode does not take apart into an ASCII letter and an accent; the Greek ones as in TNFα and NFκB.
# ruff: noqa: RUF001, RUF003 - look-alikes are what this table is about
_SPELLINGS = str.maketrans(
    {
        "ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D",
        "ł": "l", "Ł": "L", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "ı": "i", "μ": "u", "α": "alpha",
        "β": "beta", "γ": "gamma", "δ": "delta", "κ": "kappa", "λ": "lambda",
    }
)  # fmt: skip
_FIRST_PLAUSIBLE_YEAR, _LAST_PLAUSIBLE_YEAR = 2000, 2099
_YEAR_FIRST = re.compile(r"([0-9]{4})([-_]?)([0-9]{2})\2([0-9]{2})(?:_+|-|\Z)")
_YEAR_LAST = re.compile(r"([0-9]{2})([-_]?)([0-9]{2})\2([0-9]{4})(?:_+|-|\Z)")


def suggest_study_name(name: str) -> str | None:
    """A study name that says the same as `name` and keeps R1 and R3, or None.

    Accents are dropped, spaces and other foreign characters become ``-``, so do underscores beyond the third; a date
    as 2026-01-05, or as 31-12-2025 where only one reading is possible, becomes YYYYMMDD; a name of four fields whose
    date is not the first gets it moved there.
    """
    fields = plain_fields(name)
    if fields is None:
        return None
    dated = _leading_date("_".join(fields)) or _moved_date(fields)
    if dated is None:
        return None
    day, rest = dated
    parts = _three_parts(rest)
    if parts is None:
        return None
    suggestion = "_".join([day, *parts])
    if suggestion == name or len(suggestion) > MAX_EXPERIMENT_LENGTH or study_name_problems(suggestion):
        return None
    return suggestion


def suggest_experiment_name(directory: str, study: str) -> str | None:
    """A name ``<study>_<suffix>`` for a directory that should be an experiment of `study`, or None.

    Args:
        directory: The name it has now.
        study: The study's name; kept as it is.
    """
    if suggest_study_name(directory) == study:
        return study  # the study bore that name, too, before it was renamed as its hint said
    same_start = directory[: len(study)].casefold() == study.casefold()
    fields = plain_fields(directory[len(study) :] if same_start else directory)
    if fields is None:
        return None
    suffix = "-".join(fields).strip("-")
    suggestion = f"{study}_{suffix}" if suffix else study
    if suggestion == directory or len(suggestion) > MAX_EXPERIMENT_LENGTH:
        return None
    return suggestion if experiment_suffix(suggestion, study) is not None else None


def suggest_fpr_name(stem: str) -> str | None:
    """A file name that keeps R7 for an ``.fpr`` file of this stem (its name without the extension), or None."""
    fields = plain_fields(stem)
    if not fields:
        return None
    suggestion = "_".join(fields)
    return None if fpr_problem(suggestion) else f"{suggestion}.fpr"


def plain_fields(name: str) -> list[str] | None:
    """The non-empty ``_``-separated fields of `name`, each spelled with the characters R3 allows.

    Returns:
        The fields; None when a letter or digit in them has no ASCII spelling, so that leaving it out would lose it.
    """
    fields = [_plain(field) for field in name.split("_")]
    return None if None in fields else [field for field in fields if field]


def _plain(field: str) -> str | None:
    if is_field(field):
        return field
    decomposed = unicodedata.normalize("NFKD", field.translate(_SPELLINGS))
    spelled = "".join(c for c in decomposed if not unicodedata.combining(c)).translate(_SPELLINGS)
    if any(character.isalnum() and not character.isascii() for character in spelled):
        return None
    return re.sub(r"[^A-Za-z0-9]+", "-", spelled).strip("-")


def _leading_date(text: str) -> tuple[str, list[str]] | None:
    """The date `text` begins with as YYYYMMDD, and the fields after it."""
    for pattern in (_YEAR_FIRST, _YEAR_LAST):
        if match := pattern.match(text):
            first, _, second, third = match.groups()
            if day := _only_reading(first + second + third):
                return day, [field for field in text[match.end() :].split("_") if field]
    return None


def _moved_date(fields: list[str]) -> tuple[str, list[str]] | None:
    """The one date of a name of four fields, wherever it is; with more fields nobody knows which is which."""
    days = [(number, day) for number, field in enumerate(fields) if (day := _only_reading(field.replace("-", "")))]
    if len(fields) != len(STUDY_FIELDS) or len(days) != 1:
        return None
    number, day = days[0]
    return day, fields[:number] + fields[number + 1 :]


def _only_reading(digits: str) -> str | None:
    """Eight digits as YYYYMMDD, if only one order (year first; or year last, either way) gives a likely date."""
    if parse_date(digits) and _is_plausible(digits):
        return digits
    readings = {
        reading
        for reading in (digits[4:] + digits[2:4] + digits[:2], digits[4:] + digits[:2] + digits[2:4])
        if _is_plausible(reading)
    }
    return readings.pop() if len(readings) == 1 else None


def _is_plausible(digits: str) -> bool:
    day: date | None = parse_date(digits)
    return day is not None and _FIRST_PLAUSIBLE_YEAR <= day.year <= _LAST_PLAUSIBLE_YEAR


def _three_parts(fields: list[str]) -> list[str] | None:
    """User, project and custom name out of what follows the date; None when it is not clear which is which."""
    if len(fields) == 1:
        fields = fields[0].split("-")  # the whole name was written with hyphens or spaces
        return fields if len(fields) == len(STUDY_FIELDS) - 1 else None
    if len(fields) < len(STUDY_FIELDS) - 1:
        return None
    user, project, *custom = fields
    return [user, project, "-".join(custom)]
