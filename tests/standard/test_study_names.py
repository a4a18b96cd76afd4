"""The grammar of one name, against an independent reading of it, and the better names we propose."""

# ruff: noqa: RUF001 - look-alikes of ASCII characters are what some names are made of

from __future__ import annotations

import re
from datetime import date, datetime

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from fusion_assets.standard.names import (
    experiment_suffix,
    fpr_problem,
    has_extension,
    is_litter,
    parse_date,
    scan_number,
    study_name_problems,
)
from fusion_assets.standard.rules import validate_listing
from fusion_assets.standard.suggest import suggest_experiment_name, suggest_fpr_name, suggest_study_name
from tests.standard.trees import MUTATIONS, Tree, complete_scan, fields, odd_names, study_names, valid_trees

NEAR_NAMES = st.text("0123456789_-aZ é\n٣.", max_size=24) | odd_names | study_names()
STUDY = "20260105_WW_HCC_run1"


def keeps_the_standard(name: str) -> bool:
    """R1 and R3 of a study's name as one regular expression and the C library's calendar."""
    match = re.fullmatch(r"([0-9]{8})(_[A-Za-z0-9-]+){3}", name)
    if not match:
        return False
    try:
        datetime.strptime(match.group(1), "%Y%m%d")  # noqa: DTZ007 - a day, no time
    except ValueError:
        return False
    return True


@given(NEAR_NAMES)
@example("20240229_a_b_c")
@example("20230229_a_b_c")
@example("20260105_WW_HCC_run1\n")
def test_a_study_name_is_judged_as_an_independent_reading_of_the_rule_does(name):
    assert (study_name_problems(name) == ()) == keeps_the_standard(name)


@given(st.dates(min_value=date(1000, 1, 1)))
def test_every_day_of_the_calendar_is_a_date(day):
    assert parse_date(day.strftime("%Y%m%d")) == day


@given(fields, study_names())
def test_an_experiment_is_its_study_or_its_study_with_one_more_field(suffix, study):
    assert experiment_suffix(study, study) == ""
    assert experiment_suffix(f"{study}_{suffix}", study) == suffix
    for wrong in (
        f"{study}_",
        f"{study}{suffix}",
        f"{study}_{suffix}_{suffix}",
        f"x{study}",
        f"{study}_{suffix}\n",
        "",
    ):
        assert experiment_suffix(wrong, study) is None


@given(st.lists(fields, min_size=1, max_size=5))
def test_an_fpr_may_have_any_number_of_plain_fields(parts):
    assert fpr_problem("_".join(parts)) is None
    assert fpr_problem("_".join([*parts, ""])) is not None
    assert fpr_problem("_".join(parts) + "é") is not None


def test_a_scan_is_called_scan_and_a_number():
    assert [scan_number(name) for name in ("Scan1", "scan12", "SCAN007")] == ["1", "12", "007"]
    for wrong in ("Scan", "Scan1 ", "Scan1\n", "Scan-1", "Scan1a", "aScan1", "Scan٣", "ſcan1", "Scan1.old"):
        assert scan_number(wrong) is None


def test_an_extension_needs_a_name_before_it():
    assert has_extension("a.XpD", ".xpd")
    assert has_extension("..xpd", ".xpd")
    assert not has_extension(".xpd", ".xpd")
    assert not has_extension("a.xpd ", ".xpd")
    assert not has_extension("xpd", ".xpd")


def test_litter_is_known_by_its_name():
    assert all(map(is_litter, (".DS_Store", "Thumbs.db", "THUMBS.DB", "desktop.ini", "._anything.qptiff")))
    assert not any(map(is_litter, ("_anything", ".anything", "thumbs", "DS_Store")))


# Better names.


@given(NEAR_NAMES)
def test_a_suggested_study_name_always_keeps_the_standard(name):
    suggestion = suggest_study_name(name)
    if suggestion is not None:
        assert keeps_the_standard(suggestion)
        assert suggestion != name
        assert len(suggestion) <= 60


def test_a_good_study_name_gets_no_suggestion():
    assert suggest_study_name(STUDY) is None


@pytest.mark.parametrize(
    ("bad", "good"),
    [
        ("2026-01-05_WW_HCC_run1", STUDY),
        ("2026_01_05_WW_HCC_run1", STUDY),
        ("2026.01.05 WW HCC run1", STUDY),
        ("20260105-WW-HCC-run1", STUDY),
        ("20260105_WW_HCC_run1_", STUDY),
        ("20260105__WW_HCC_run1", STUDY),
        ("20260105_WW_HCC_run1\n", STUDY),
        ("２０２６０１０５_WW_HCC_run1", STUDY),
        ("WW_HCC_run1_20260105", STUDY),
        ("WW_2026-01-05_HCC_run1", STUDY),
        ("31122025_WW_HCC_run1", "20251231_WW_HCC_run1"),
        ("12312025_WW_HCC_run1", "20251231_WW_HCC_run1"),
        ("31-12-2025_WW_HCC_run1", "20251231_WW_HCC_run1"),
        ("05052026_WW_HCC_run1", "20260505_WW_HCC_run1"),
        ("20260105_WW_HCC_batch2_run1", "20260105_WW_HCC_batch2-run1"),
        ("20260105_Müller_HCC_Straße", "20260105_Muller_HCC_Strasse"),
        ("20260105_WW_HCC_TNFα+IFNγ", "20260105_WW_HCC_TNFalpha-IFNgamma"),
        ("20260105_WW_HCC_run (1)", "20260105_WW_HCC_run-1"),
    ],
)
def test_a_better_study_name_is_found_where_the_bad_one_says_enough(bad, good):
    assert suggest_study_name(bad) == good


@pytest.mark.parametrize(
    "name",
    [
        "",
        "05012026_WW_HCC_run1",  # the fifth of January, or the first of May
        "20260230_WW_HCC_run1",  # no such day, and no other reading of it
        "20240611_LMS-TMA_Scan1",  # a field is missing: nobody knows which
        "cHL_revision_1_20250317_Scan1",  # the date is behind, and which of four others is the user?
        "Periodontal_CODEX-S8_Scan1",
        "HCC_batch2_VICTORY_TMA_JAN1A2023_0",
        "20260105_WW_HCC_肺",  # leaving it out would leave nothing
        "20260105_WW_HCC_run肺1",  # leaving it out would lose something
        "WW_20250101_20260101_run1",  # two dates: which is the day of the run?
        "20260105_WW_HCC_" + "x y" * 20,  # too long for any experiment
    ],
)
def test_no_better_name_is_guessed_where_the_bad_one_does_not_say_enough(name):
    assert suggest_study_name(name) is None


@given(study_names(), st.sampled_from(["{0}-{1}-{2}", "{0}_{1}_{2}", "{0}.{1}.{2}"]))
def test_a_date_written_with_separators_is_put_right_without_touching_the_rest(study, form):
    day, _, rest = study.partition("_")
    damaged = f"{form.format(day[:4], day[4:6], day[6:])}_{rest}"
    assert suggest_study_name(damaged) == study


@given(study_names(), st.integers(1, 12), st.integers(13, 28), st.booleans())
def test_a_date_with_the_year_last_is_put_right_where_only_one_reading_is_possible(study, month, day, american):
    rest = study.partition("_")[2]
    written = f"{month:02d}{day:02d}2025" if american else f"{day:02d}{month:02d}2025"
    assert suggest_study_name(f"{written}_{rest}") == f"2025{month:02d}{day:02d}_{rest}"


@given(study_names(), odd_names)
def test_a_suggested_experiment_name_is_one(study, tail):
    for directory in (study + tail, tail):
        suggestion = suggest_experiment_name(directory, study)
        if suggestion is not None:
            assert experiment_suffix(suggestion, study) is not None
            assert suggestion != directory
            assert len(suggestion) <= 60


@given(study_names(), st.sampled_from(["{1}_{0}", "{0}_{1} "]))
def test_the_old_name_of_a_renamed_study_is_no_suffix_of_its_experiment(study, form):
    day, _, rest = study.partition("_")
    old = form.format(day, rest)
    assume(suggest_study_name(old) == study)
    assert suggest_experiment_name(old, study) == study


def test_the_old_name_is_known_where_only_the_date_moved():
    assert suggest_experiment_name("cHL_revision_1_20260818", "20260818_cHL_revision_1") == "20260818_cHL_revision_1"


@given(odd_names)
def test_a_suggested_fpr_name_keeps_its_rule(stem):
    suggestion = suggest_fpr_name(stem)
    if suggestion is not None:
        assert fpr_problem(suggestion.removesuffix(".fpr")) is None


def renamed(tree: Tree, path: str, better: str) -> Tree:
    """The tree after somebody typed what a hint says: an entry at the study's top got another name."""
    old = path.removeprefix(f"{tree.study}/")
    swap = lambda p: better + p[len(old) :] if p == old or p.startswith(f"{old}/") else p  # noqa: E731
    return Tree(tree.study, frozenset(map(swap, tree.paths)), tree.experiments)


@given(data=st.data())
def test_whoever_does_what_a_hint_says_is_rid_of_the_violation(data):
    mutation = data.draw(st.sampled_from(MUTATIONS))
    broken, _ = mutation(data.draw, data.draw(valid_trees()))
    before = validate_listing(broken.listing)
    for violation in before.violations:
        match = re.fullmatch(r"rename it to (\S+)", violation.hint)
        if not match or "<" in violation.hint:
            continue
        better = match.group(1)
        repaired = broken.renamed(better) if violation.path == broken.study else renamed(broken, violation.path, better)
        after = validate_listing(repaired.listing)
        assert len(after.violations) < len(before.violations)
        assert violation not in after.violations


def test_a_misnamed_design_is_told_the_experiment_it_most_likely_belongs_to():
    def hint(xpd, *experiments):
        paths = {xpd, *(path for name in experiments for path in complete_scan(name))}
        report = validate_listing(Tree(STUDY, frozenset(paths), ()).listing)
        return next(violation.hint for violation in report.violations if violation.rule == "R6")

    assert hint(f"{STUDY}_a.xpd", f"{STUDY}_A") == f"rename it to {STUDY}_A.xpd"
    assert hint("design.xpd", f"{STUDY}_A") == f"rename it to {STUDY}_A.xpd"
    assert hint(f"{STUDY}_S 1.xpd", f"{STUDY}_S-1", f"{STUDY}_S-2") == f"rename it to {STUDY}_S-1.xpd"
    assert "rename it like" in hint("design.xpd", f"{STUDY}_A", f"{STUDY}_B")
