"""The rules and warnings of the naming standard as data: what each one is called, wants, and is for.

What belongs here: the words about the rules that the document, the asset checks and the command line share. What does
not: applying them (`rules`, `warning_rules`).
"""

from __future__ import annotations

from dataclasses import dataclass

from fusion_assets.standard.names import MAX_EXPERIMENT_LENGTH, MAX_STUDY_LENGTH, STUDY_FORM
from fusion_assets.standard.report import RuleId


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        id: ``R1`` to ``R8``.
        title: A few words, for a table or the name of a check.
        text: What it wants, exactly.
        why: What goes wrong in the lab without it.
    """

    id: RuleId
    title: str
    text: str
    why: str


RULES: tuple[Rule, ...] = (
    Rule(
        "R1",
        "Study name has four fields and a date",
        f"A study's name is exactly four non-empty fields separated by `_`: `{STUDY_FORM}`. The first is eight "
        "digits and a day that exists. No two studies in one directory may differ in the case of their letters only.",
        "The name is the key under which the study is copied, archived, recorded and found again, and the date in "
        "front sorts every listing by time.",
    ),
    Rule(
        "R2",
        "Experiments are named after their study",
        "An experiment directory is called `<study>`, or `<study>_<suffix>` with one more field of `A-Z a-z 0-9 -`. "
        "A directory that begins with the study's name (in any case of letters) and goes on differently breaks this "
        "rule.",
        "Experiment folders travel alone, to other machines and other people; the name must say where they belong.",
    ),
    Rule(
        "R3",
        "Names use plain characters and are short enough",
        "Every field of a study's name holds only `A-Z a-z 0-9 -` (ASCII; no spaces, accents or dots), and an "
        f"experiment's name has at most {MAX_EXPERIMENT_LENGTH} characters.",
        "Windows, SMB, ZFS and S3 disagree on everything else; and the acquisition software repeats the experiment's "
        "name inside its own folder, so a longer one runs into Windows' limit of 260 characters a path.",
    ),
    Rule(
        "R4",
        "Study has metadata and data",
        "A study has at least one `.xpd` or `.fpr` file, and at least one experiment directory (by its name; what is "
        "in it is R8's business).",
        "Images without their design cannot be analysed later, and a design without images is no study yet.",
    ),
    Rule(
        "R5",
        "Nothing else in the study",
        "Directly in the study there is nothing but `.xpd` files, `.fpr` files and experiment directories. Files an "
        "operating system leaves behind (`.DS_Store`, `Thumbs.db`, `desktop.ini`, `._*`) do not belong there either; "
        "links and junctions are never followed. No two paths in a study may differ in the case of their letters only. "
        "This program's own files (`.fusion-toolkit.lock`, `*.partial`, `_checksums.sha256`) never count.",
        "What has no place in the scheme is found by nobody; a link would archive a name without its data; and a "
        "restore onto Windows would merge two names that differ only in case.",
    ),
    Rule(
        "R6",
        "Every .xpd has its experiment",
        "For every `.xpd` file there is an experiment directory of exactly its name without the extension; upper and "
        "lower case count.",
        "The design is found by the experiment's name; one that matches nothing is misnamed or in the wrong study.",
    ),
    Rule(
        "R7",
        ".fpr names use plain characters",
        "An `.fpr` file's name without the extension is one or more non-empty fields of `A-Z a-z 0-9 -`, separated by "
        "`_`. It need not match an experiment: one may serve several.",
        "For the same reason as R3.",
    ),
    Rule(
        "R8",
        "Every experiment has a complete scan",
        "Each experiment directory holds, directly, a directory `Scan<N>` that holds, directly, at least one `.qptiff` "
        "file and a directory `.temp`. A `.qptiff` inside `.temp` does not count: that is raw material.",
        "An experiment without both was never finished, or was taken apart; archiving it would look like a backup and "
        "be none.",
    ),
)


@dataclass(frozen=True, slots=True)
class WarningRule:
    """One warning: the rule it belongs to, when it is given, and why it is worth a thought."""

    rule: RuleId
    text: str
    why: str


WARNING_RULES: tuple[WarningRule, ...] = (
    WarningRule("R1", "The date is before 2015.", "There was no such instrument; most likely a typing error."),
    WarningRule("R1", "The date is more than a week ahead.", "Most likely day and month, or the year, are wrong."),
    WarningRule(
        "R3",
        f"The study's name is longer than {MAX_STUDY_LENGTH} characters.",
        f"No room is left for `_<suffix>` within the {MAX_EXPERIMENT_LENGTH} characters of an experiment's name.",
    ),
    WarningRule(
        "R3",
        "A path will be longer than 259 characters at the NAS's UNC path.",
        "Windows programs that do not know long paths cannot open it there. (Judged where the NAS root is known.)",
    ),
    WarningRule("R5", "A symbolic link or junction inside an experiment.", "It is not followed and not copied."),
    WarningRule(
        "R5",
        "Something inside an experiment that is neither a file nor a directory.",
        "It is not copied.",
    ),
    WarningRule(
        "R6",
        "An experiment has no `.xpd`, in a study without any `.fpr`.",
        "Nothing says which markers its channels are.",
    ),
    WarningRule(
        "R6",
        "The extension is not lower case: `.XPD`. Likewise `.FPR` (R7) and `.QPTIFF` (R8).",
        "NTFS does not tell them apart; S3, ZFS and most scripts do.",
    ),
    WarningRule("R8", "A scan directory is not spelled `Scan`: `scan1`, `SCAN1`.", "The same."),
    WarningRule("R8", "A scan's number has a leading zero: `Scan01`.", "The instrument writes `Scan1`; both may meet."),
)
