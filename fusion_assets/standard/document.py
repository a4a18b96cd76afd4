"""docs/data-standard.md, written by the code that judges: its examples and messages cannot differ from the program's.

What belongs here: the document's wording around the rule table and the examples, and writing it. What does not: the
rules (`table`) and the examples themselves (`examples`). Run ``python -m fusion_assets.standard.document`` after
changing either.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from fusion_assets.standard.examples import (
    EXAMPLE_NAS_ROOT,
    EXAMPLE_TODAY,
    EXAMPLES,
    LINK_ARROW,
    Example,
    complete_scan,
    judge,
)
from fusion_assets.standard.names import MAX_EXPERIMENT_LENGTH, STUDY_FORM
from fusion_assets.standard.table import RULES, WARNING_RULES, Rule

DEFAULT_PATH = Path("docs/data-standard.md")

_INTRODUCTION = f"""\
<!-- Written by `python -m fusion_assets.standard.document`; change fusion_assets/standard/ and run that again. -->

# The data standard

A *study* is a directory on the instrument's disk. Before anything else happens to it, its name and the names in it are
judged by eight rules. A study that breaks one is not copied, not archived and not deleted; it stays where it is until
somebody renames what is wrong. Nothing here renames anything by itself.

```
{STUDY_FORM}/                     the study
    <study>.xpd                                             design of the experiment below
    <study>/                                                an experiment, named like the study
        Scan1/
            <study>_Scan1.qptiff                            the image
            .temp/                                          raw material: part of the data, not rubbish
    <study>_<suffix>.xpd                                    design of another experiment
    <study>_<suffix>/                                       another experiment
        Scan1/ ...
    <anything>.fpr                                          belongs to the study as a whole
```

Check before you start a run, or afterwards:

```
fusion validate study PATH        one study
fusion validate root  PATH        every study in a directory
```

How it is judged:

- From one listing: names and kinds (file, directory, link) only. What is in the files is the business of the structure
  checks at the end of this page.
- All violations are reported, not just the first. One name is reported under one rule, the one to put right first; R4
  (the study as a whole) and R8 (what an experiment contains) can come on top.
- A violation reads `[rule] path: what is wrong | hint: what to do`; the path begins with the study's name. Where a
  better name follows from the bad one, the hint says it; where it does not (a date that could be read two ways, letters
  without an ASCII spelling), it does not guess.
- Letters and digits are those of ASCII. Extensions, and the word `Scan`, count in any case of letters, with a warning.
- `validate root` looks at every directory directly in the root except names that begin with `.` or `$`,
  `System Volume Information`, and the ledger's `_manifest`. Loose files and links there are mentioned, no more. A study
  that cannot be listed is reported as `[listing]`: no rule was judged, so it does not pass.
- Symbolic links and Windows junctions are never followed, wherever they are.
- Of this program's own files, `.fusion-toolkit.lock` and `_checksums.sha256` are passed over directly in the study,
  `*.partial` everywhere in it. None of them is ever copied as data.
- When `[alias]` in `config.toml` gives a study another name at its destinations, R1 and R3 judge that name, and
  experiments may begin with either; nothing at the source has to be renamed.
"""

_STRUCTURE_CHECKS = """\
## Structure checks

Names can be right and files broken. Before a study is copied, the files are looked into, in small pieces (some 7 MB of
a 137 GB image). A failed D2 stops the study; the others are warnings.

| check | what it looks at |
| --- | --- |
| D1 | Every `.xpd` is JSON, its `name` is the file's name without the extension, and its list of markers is not empty. |
| D2 | Every `.qptiff` is whole: each directory of the TIFF, each value and each tile it points to lies inside the file; there are as many tiles as the image's size needs; the description can be read; samples of the tiles are not all zero. That a viewer opens the file proves nothing: truncated images open without a word. |
| D3 | Every marker of the `.xpd`, but for empty slots (`--`), is a channel of the image. |
| D4 | `.temp/MarkerList.txt` is there. |
| D5 | A scan that has only `*.raw.qptiff` or `*.intermediate.qptiff` images is a run that was not finished. |
"""  # noqa: E501 - a Markdown table row is one line


def render_document() -> str:
    """The whole document, Markdown."""
    parts = [_INTRODUCTION, _summary(), *map(_rule_section, RULES), _warning_section(), _STRUCTURE_CHECKS]
    return "\n".join(parts)


def _summary() -> str:
    rows = [f"| [{rule.id}](#{_anchor(rule)}) | {rule.title} |" for rule in RULES]
    return "\n".join(["## The rules", "", "| rule | |", "| --- | --- |", *rows, ""])


def _heading(rule: Rule) -> str:
    return f"{rule.id}: {rule.title}"


def _anchor(rule: Rule) -> str:
    """The anchor GitHub makes of the rule's heading."""
    kept = "".join(character for character in _heading(rule).lower() if character.isalnum() or character in " -")
    return kept.replace(" ", "-")


def _rule_section(rule: Rule) -> str:
    lines = [f"## {_heading(rule)}", "", rule.text, "", f"Why: {rule.why}", ""]
    for title, verdict in (("Passes", "passes"), ("Fails", "fails")):
        examples = [example for example in EXAMPLES if example.rule == rule.id and example.verdict == verdict]
        lines += [f"### {title} {rule.id}", ""]
        for example in examples:
            lines += _example(example)
    return "\n".join(lines)


def _warning_section() -> str:
    lines = [
        "## Warnings",
        "",
        "A warning never stops a study. It has the form of a violation and names the rule it is closest to.",
        "",
        "| rule | when | why |",
        "| --- | --- | --- |",
        *(f"| {warning.rule} | {warning.text} | {warning.why} |" for warning in WARNING_RULES),
        "",
        f"The examples are judged on {EXAMPLE_TODAY}, for a NAS at `{EXAMPLE_NAS_ROOT}`.",
        f"The limit of {MAX_EXPERIMENT_LENGTH} characters for an experiment's name keeps its paths short enough on the",
        "instrument, not everywhere: below a long NAS root they may still pass Windows' limit.",
        "",
    ]
    for example in EXAMPLES:
        if example.verdict == "warns":
            lines += _example(example)
    return "\n".join(lines)


def _example(example: Example) -> list[str]:
    report = judge(example)
    shown = report.violations if example.verdict == "fails" else report.warnings
    said = [str(violation) for violation in shown]
    tree = [f"{example.study}/", *_tree(_folded(example.paths))]
    note = example.note[0].upper() + example.note[1:]
    return [f"{note}:", "", "```", *tree, *(["", *said] if said else []), "```", ""]


def _folded(paths: tuple[str, ...]) -> Iterator[str]:
    """The paths, with a directory that holds one plain complete scan and nothing else on two lines instead of five."""
    tops = {path.partition("/")[0] for path in paths if "/" in path}
    plain = {top for top in tops if {path for path in paths if path.startswith(f"{top}/")} == set(complete_scan(top))}
    for path in paths:
        top = path.partition("/")[0]
        if "/" not in path or top not in plain:
            yield path
        elif path == complete_scan(top)[0]:
            yield f"{top}/(a complete Scan1)"


def _tree(paths: Iterable[str]) -> Iterator[str]:
    """The paths as an indented tree, in the order given, each directory named once."""
    named: set[str] = set()
    for written in paths:
        path, arrow, target = written.partition(LINK_ARROW)
        parts = path.rstrip("/").split("/")
        for depth in range(1, len(parts)):
            parent = "/".join(parts[:depth])
            if parent not in named:
                named.add(parent)
                yield f"{'    ' * depth}{parts[depth - 1]}/"
        named.add(path.rstrip("/"))
        slash = "/" if path.endswith("/") else ""
        yield f"{'    ' * len(parts)}{parts[-1]}{slash}{arrow}{target}"


def main(arguments: list[str]) -> None:
    """Write the document to the path given, else to ``docs/data-standard.md``."""
    path = Path(arguments[0]) if arguments else DEFAULT_PATH
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_document(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
