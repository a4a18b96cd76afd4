"""R1-R8, judged on one listing: every violation, each path with one primary rule.

What belongs here: the pure judgement of names and kinds. What does not: taking the listing (`listing`, `validate`),
what is allowed but unwise (`warning_rules`), and the content of files (the integrity room).

One path, one rule: a name that breaks several is reported under the first that must be put right (R1 before R3 for a
study; a link, then a clash of upper and lower case, then the entry's own rule in a study). R4 (the study as a whole)
and R8 (what is in an experiment) are not about a name and may come on top.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from fusion_assets.standard.anatomy import Anatomy, Experiment, Role, Scan, read_anatomy
from fusion_assets.standard.listing import Listing, is_own_file
from fusion_assets.standard.names import (
    FIELD_ALPHABET,
    MAX_EXPERIMENT_LENGTH,
    MAX_STUDY_LENGTH,
    STUDY_FORM,
    experiment_suffix,
    fpr_problem,
    scan_number,
    split_extension,
    study_name_problems,
)
from fusion_assets.standard.report import RuleId, StudyReport, Violation
from fusion_assets.standard.suggest import suggest_experiment_name, suggest_fpr_name, suggest_study_name
from fusion_assets.standard.table import RULES, Rule
from fusion_assets.standard.warning_rules import study_warnings
from resources.names import find_collisions
from resources.storage import Entry

__all__ = ["RULES", "Rule", "StudyReport", "Violation", "validate_listing"]


@dataclass(frozen=True, slots=True)
class _Study:
    """A study ready to be judged: its listing sorted out, and the names it goes by."""

    name: str
    judged_name: str
    anatomy: Anatomy

    def violation(self, rule: RuleId, entry: Entry | None, message: str, hint: str) -> Violation:
        path = self.name if entry is None else f"{self.name}/{entry.path}"
        return Violation(rule, path, message, hint)

    def better_experiment_name(self, directory: str) -> str | None:
        """What `directory` could be called: the experiment name nearest to it, unless that is taken."""
        return self.unless_taken(self.respelled(directory), directory)

    def unless_taken(self, better: str | None, present: str) -> str | None:
        """The name `better` for the entry `present`, unless another entry has it already, in any case of letters."""
        names = {entry.name.casefold() for _, entry in self.anatomy.top if entry.name != present}
        return None if better is None or better.casefold() in names else better

    def respelled(self, directory: str) -> str | None:
        """The experiment name nearest to `directory`, after whichever of the study's names it begins with already."""
        begins_with_alias = directory.casefold().startswith(self.judged_name.casefold())
        study = self.judged_name if begins_with_alias else self.name
        return suggest_experiment_name(directory, study)


def validate_listing(
    listing: Listing,
    *,
    path: str = "",
    name: str | None = None,
    today: date | None = None,
    nas_root: str | None = None,
) -> StudyReport:
    """Judge a study by its listing. Pure, total, and the same for any order of the entries.

    Args:
        listing: The study's listing.
        path: Where the study is, in full, for the report; its name if not given.
        name: The name it has at its destinations, if an alias renames it: R1 and R3 judge that one, and experiments
            may begin with either.
        today: For the warning about dates in the future; without it there is none.
        nas_root: The NAS root as Windows would write it (UNC, or ``smb://…``), for the warning about long paths;
            without it there is none.
    """
    anatomy = read_anatomy(listing, alias=name)
    judged_name = listing.name if name is None else name
    study = _Study(name=listing.name, judged_name=judged_name, anatomy=anatomy)
    violations = [
        *_study_name(study),
        *_missing_parts(study),
        *_clashes_and_top_entries(study, listing),
        *_incomplete_experiments(study),
    ]
    warnings = study_warnings(listing, anatomy, judged_name=judged_name, today=today, nas_root=nas_root)
    return StudyReport(
        study=listing.name,
        path=path or listing.name,
        violations=tuple(sorted(violations, key=_by_path)),
        warnings=tuple(sorted(warnings, key=_by_path)),
    )


def _by_path(violation: Violation) -> tuple[str, str, str]:
    return violation.path, violation.rule, violation.message


# R1, R3: the study's own name.


def _study_name(study: _Study) -> Iterator[Violation]:
    problems = study_name_problems(study.judged_name)
    if not problems:
        return
    aliased = study.judged_name != study.name
    subject = f"its name at the destinations, '{study.judged_name}', " if aliased else ""
    better = suggest_study_name(study.judged_name)
    form = f"{STUDY_FORM}, each field of {FIELD_ALPHABET}"
    if aliased:
        hint = f"change its [alias] in config.toml to {better or form}"
    else:
        inside = any(_bears_name(entry.name, study.name) for _, entry in study.anatomy.top)
        hint = f"rename it to {better or form}{', and what in it bears its name likewise' * inside}"
    message = subject + "; ".join(problem.message for problem in problems)
    yield study.violation(problems[0].rule, None, message, hint)


def _bears_name(name: str, study: str) -> bool:
    return name.startswith((f"{study}.", f"{study}_")) or name == study


# R4: the study as a whole.


def _missing_parts(study: _Study) -> Iterator[Violation]:
    lacks, hints = [], []
    if not study.anatomy.having("xpd", "fpr"):
        lacks.append("metadata (no .xpd or .fpr file)")
        hints.append("put the run's .xpd or .fpr file directly in it")
    if not study.anatomy.experiments:
        lacks.append("data (no experiment directory)")
        hints.append(f"put the scans in {study.name}/{study.name}, or one {study.name}_<suffix> for each experiment")
    if lacks:
        yield study.violation("R4", None, f"has no {' and no '.join(lacks)}", "; ".join(hints))


# R2, R3, R5, R6, R7: one rule for each entry directly in the study.


def _clashes_and_top_entries(study: _Study, listing: Listing) -> Iterator[Violation]:
    links = {entry.path for entry in study.anatomy.having("link", "special")}
    clashes = {path: other for path, other in _find_clashes(listing).items() if path not in links}
    for path, other in clashes.items():
        yield Violation(
            "R5",
            f"{study.name}/{path}",
            f"is the same name as '{other}' wherever upper and lower case are not told apart",
            "rename or merge one of the two; a restore onto Windows would mix them up",
        )
    for role, entry in study.anatomy.top:
        violation = None if entry.path in clashes else _judge(role, entry, study)
        if violation:
            yield violation


def _find_clashes(listing: Listing) -> dict[str, str]:
    """Each path that clashes with one beside it, and that one; of a group the first, in order, is left in peace."""
    paths = [entry.path for entry in listing.entries if not (entry.kind == "file" and is_own_file(entry.path))]
    clashes: dict[str, str] = {}
    for group in find_collisions(paths):
        # Below two clashing directories everything clashes again; only names in one directory are worth a report.
        beside: defaultdict[str, list[str]] = defaultdict(list)
        for path in group:
            beside[path.rpartition("/")[0]].append(path)
        for first, *others in beside.values():
            clashes.update(dict.fromkeys(others, first))
    return clashes


def _judge(role: Role, entry: Entry, study: _Study) -> Violation | None:
    match role:
        case "own":
            return None
        case "experiment":
            return _experiment_length(entry, study)
        case "misnamed":
            return _misnamed(entry, study)
        case "xpd":
            return _unmatched_design(entry, study)
        case "fpr":
            return _fpr_name(entry, study)
        case _:
            return study.violation("R5", entry, *_out_of_place(role, entry, study))


def _experiment_length(entry: Entry, study: _Study) -> Violation | None:
    excess = len(entry.name) - MAX_EXPERIMENT_LENGTH
    if excess <= 0:
        return None
    of_study = study.name if experiment_suffix(entry.name, study.name) is not None else study.judged_name
    if len(of_study) > MAX_STUDY_LENGTH:
        hint = f"shorten the study's name to at most {MAX_STUDY_LENGTH} characters, and this one with it"
    else:
        hint = f"shorten its suffix by {excess} character{'s' * (excess > 1)}"
    message = f"is {len(entry.name)} characters long where an experiment's name may have {MAX_EXPERIMENT_LENGTH}"
    return study.violation("R3", entry, message, hint)


def _misnamed(entry: Entry, study: _Study) -> Violation:
    better = study.better_experiment_name(entry.name)
    design = " and its .xpd likewise" * any(_stem(xpd) == entry.name for xpd in study.anatomy.having("xpd"))
    rename = f"rename it to {better or f'{study.name}_<suffix>, the suffix of {FIELD_ALPHABET} only'}{design}"
    if not study_name_problems(entry.name):
        message = "begins with the study's name but goes on to be another study's name"
        hint = f"if it is a study, move it out, beside this one; if it is an experiment, {rename}"
    else:
        message = "begins with the study's name but is neither <study> nor <study>_<suffix>"
        hint = rename
    return study.violation("R2", entry, message, hint)


def _fpr_name(entry: Entry, study: _Study) -> Violation | None:
    stem = _stem(entry)
    problem = fpr_problem(stem)
    if problem is None:
        return None
    better = study.unless_taken(suggest_fpr_name(stem), entry.name)
    return study.violation("R7", entry, problem, f"rename it to {better or f'fields of {FIELD_ALPHABET} joined by _'}")


def _unmatched_design(entry: Entry, study: _Study) -> Violation | None:
    stem = _stem(entry)
    experiments = [experiment.entry.name for experiment in study.anatomy.experiments]
    if stem in experiments:
        return None
    if any(other.kind == "directory" and other.name == stem for _, other in study.anatomy.top):
        better = study.better_experiment_name(stem)
        message = f"belongs to the directory '{stem}', which is no experiment directory by its name"
        hint = f"rename both, to {better} and {better}.xpd" if better else "rename both, see the hint for the directory"
        return study.violation("R6", entry, message, hint)
    message = f"has no experiment directory '{stem}' beside it"
    twin = next((name for name in experiments if name.casefold() == stem.casefold()), None)
    if twin:
        message += f"; '{twin}' differs in the case of letters"
    match = _likely_experiment(stem, study)
    if match:
        hint = f"rename it to {match}.xpd"
    elif twin:
        hint = f"'{twin}' has its .xpd already: keep one of the two"
    else:
        hint = "rename it like its experiment directory, or move it to the study it belongs to"
    return study.violation("R6", entry, message, hint)


def _likely_experiment(stem: str, study: _Study) -> str | None:
    """The experiment without an ``.xpd`` that an orphan of this stem most likely belongs to, if one stands out."""
    experiments = [experiment.entry.name for experiment in study.anatomy.experiments]
    stems = [_stem(xpd) for xpd in study.anatomy.having("xpd")]
    orphans = [other for other in stems if other not in experiments]
    undesigned = [name for name in experiments if name not in stems]
    respelled = study.respelled(stem) or stem
    for name in undesigned:
        if name.casefold() in (stem.casefold(), respelled.casefold()):
            return name
    return undesigned[0] if len(undesigned) == len(orphans) == 1 else None


def _out_of_place(role: Role, entry: Entry, study: _Study) -> tuple[str, str]:
    """What is wrong with an entry that R5 does not allow in a study, and what to do about it."""
    stem, extension = split_extension(entry.name)
    if role == "link":
        return "is a symbolic link or junction, which is never followed", "put what it points to in its place"
    if role == "special":
        return "is neither a file nor a directory", "move it out of the study"
    if role == "litter":
        return "is litter that an operating system left behind", "delete it; nothing is lost"
    if extension.lower() in (".xpd", ".fpr"):
        if entry.kind == "directory":
            return f"is a directory where {extension} names a file", "move it out of the study, or rename it"
        if not stem:
            return "has an extension but no name", f"rename it like its experiment, <experiment>{extension.lower()}"
    if entry.kind == "directory":
        return _stray_directory(entry, study)
    return (
        "is neither an .xpd nor an .fpr file",
        "move it into the experiment directory it belongs to, or out of the study",
    )


def _stray_directory(entry: Entry, study: _Study) -> tuple[str, str]:
    message = "has nothing to do with the study's name"
    if scan_number(entry.name):
        return message, "a scan belongs into an experiment directory: move it into the one it is of"
    holds_scan = any(
        inner.kind == "directory" and scan_number(inner.name) and inner.path == f"{entry.path}/{inner.name}"
        for inner in study.anatomy.below
    )
    better = study.better_experiment_name(entry.name) if holds_scan else None
    if better:
        return (
            message,
            f"it holds a scan: if it is an experiment of this study, rename it to {better}, else move it out",
        )
    return message, f"move it out of the study; if it is an experiment, rename it to {study.name}_<suffix>"


# R8: what is in the experiments.


def _incomplete_experiments(study: _Study) -> Iterator[Violation]:
    for experiment in study.anatomy.experiments:
        if not experiment.has_complete_scan:
            yield study.violation("R8", experiment.entry, *_incomplete(experiment))


def _incomplete(experiment: Experiment) -> tuple[str, str]:
    if not experiment.scans:
        return "has no scan: there is no directory Scan<N> directly in it", (
            "put its scan there as Scan1, or move the experiment out if it was never scanned"
        )
    lacks = "; ".join(f"{scan.entry.name} lacks {_lacking(scan)}" for scan in experiment.scans)
    look_alikes = [f"{scan.entry.name}/{scan.temp_look_alike}" for scan in experiment.scans if scan.temp_look_alike]
    if look_alikes:
        hint = f"the directory's name is .temp exactly: look at {', '.join(look_alikes)}"
    else:
        hint = "finish the run in the acquisition software, or bring the missing part back from where it was moved to"
    return f"has no complete scan: {lacks}", hint


def _lacking(scan: Scan) -> str:
    parts = []
    if not scan.images:
        parts.append("a .qptiff file directly in it")
    if not scan.has_temp:
        parts.append("a directory .temp")
    return " and ".join(parts)


def _stem(entry: Entry) -> str:
    return split_extension(entry.name)[0]
