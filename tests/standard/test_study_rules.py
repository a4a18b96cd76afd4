"""R1-R8 on generated studies: what keeps the standard passes, what breaks it in one place is reported there."""

# ruff: noqa: RUF001 - look-alikes of ASCII characters are what some names are made of

from __future__ import annotations

import random
from datetime import date

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fusion_assets.standard import RULES, Listing, validate_listing
from fusion_assets.standard.examples import listing_of
from fusion_assets.standard.report import study_json
from resources.storage import Entry
from tests.standard.trees import MUTATIONS, TODAY, complete_scan, odd_listings, valid_trees

STUDY = "20260105_WW_HCC_run1"
COMPLETE = {f"{STUDY}.xpd", *complete_scan(STUDY)}


def judge(paths, *, study=STUDY, **options):
    return validate_listing(listing_of(study, paths), **options)


def found(report):
    return {(violation.rule, violation.path) for violation in report.violations}


def warned(report):
    return {(warning.rule, warning.path) for warning in report.warnings}


@given(valid_trees())
def test_a_study_that_keeps_the_standard_is_never_held_back(tree):
    report = validate_listing(tree.listing, today=TODAY)
    assert report.violations == ()
    assert report.ok


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
@given(data=st.data())
def test_one_thing_wrong_is_reported_there_and_nowhere_else(mutation, data):
    broken, expected = mutation(data.draw, data.draw(valid_trees()))
    report = validate_listing(broken.listing, today=TODAY)
    assert found(report) == expected
    assert not report.ok


@given(data=st.data(), tree=valid_trees())
def test_several_things_wrong_are_all_reported_not_just_the_first(data, tree):
    expected = set()
    for name, rule in (("notes.txt", "R5"), ("a b.fpr", "R7"), ("orphan.xpd", "R6"), (f"{tree.study}_x_y/", "R2")):
        if data.draw(st.booleans()):
            tree = tree.but(add={name})
            expected.add((rule, f"{tree.study}/{name.rstrip('/')}"))
    assert found(validate_listing(tree.listing)) == expected


@given(odd_listings)
@example(Listing("", ()))
@example(Listing("", (Entry("", "directory", 0, 0), Entry("/", "file", 0, 0), Entry("a//b", "other", 0, 0))))
def test_no_listing_however_odd_makes_the_validation_fail_with_a_traceback(listing):
    report = validate_listing(listing, name="20260105_a_b_c", today=TODAY, nas_root="\\\\nas\\share")
    for violation in (*report.violations, *report.warnings):
        assert str(violation).isprintable()
        str(violation).encode()
        assert violation.message
        assert violation.hint
        assert violation.path.startswith(listing.name)
    assert {violation.rule for violation in report.violations} <= {rule.id for rule in RULES}


@given(odd_listings, st.randoms(use_true_random=False))
def test_the_order_of_the_listing_changes_nothing(listing, rng: random.Random):
    shuffled = list(listing.entries)
    rng.shuffle(shuffled)
    assert validate_listing(Listing(listing.name, tuple(shuffled)), today=TODAY) == validate_listing(
        listing, today=TODAY
    )


@given(data=st.data(), tree=valid_trees())
def test_a_name_is_reported_under_one_rule_only(data, tree):
    names = data.draw(
        st.sets(st.sampled_from(["a.xpd", "A.xpd", "a.fpr", "a b.fpr", "A B.fpr", "._a.fpr", "x/", "X/"]))
    )
    of_names = [v.path for v in validate_listing(tree.but(add=names).listing).violations if v.rule not in ("R4", "R8")]
    assert len(of_names) == len(set(of_names))


# Readings of the rules that the lab's text leaves open.


@pytest.mark.parametrize("own", [".fusion-toolkit.lock", "_checksums.sha256", f"{STUDY}.xpd.partial"])
def test_our_own_files_in_a_study_are_no_violation(own):
    assert judge({*COMPLETE, own}) == judge(COMPLETE)


def test_a_raw_image_in_temp_does_not_make_a_scan_complete():
    report = judge({f"{STUDY}.xpd", f"{STUDY}/Scan1/.temp/x.qptiff"})
    assert found(report) == {("R8", f"{STUDY}/{STUDY}")}


def test_an_image_and_temp_in_different_scans_do_not_make_a_complete_one():
    assert not judge({"a.fpr", f"{STUDY}/Scan1/x.qptiff", f"{STUDY}/Scan2/.temp/"}).ok


@pytest.mark.parametrize("name", ["._x.qptiff", ".qptiff", "x.qptiff.partial", "x.qptiff/", "x.tiff"])
def test_what_only_looks_like_an_image_does_not_make_a_scan_complete(name):
    assert found(judge({"a.fpr", f"{STUDY}/Scan1/.temp/", f"{STUDY}/Scan1/{name}"})) == {("R8", f"{STUDY}/{STUDY}")}


@pytest.mark.parametrize("temp", [".temp", ".temp -> /elsewhere", ".Temp/", "temp/"])
def test_what_only_looks_like_temp_does_not_make_a_scan_complete(temp):
    report = judge({"a.fpr", f"{STUDY}/Scan1/x.qptiff", f"{STUDY}/Scan1/{temp}"})
    assert found(report) == {("R8", f"{STUDY}/{STUDY}")}


def test_a_linked_scan_is_not_followed_into():
    report = judge({"a.fpr", f"{STUDY}/Scan1 -> /elsewhere"})
    assert found(report) == {("R8", f"{STUDY}/{STUDY}")}
    assert warned(report) == {("R5", f"{STUDY}/{STUDY}/Scan1")}


@pytest.mark.parametrize("metadata", ["orphan.xpd", "ill named.fpr", "x.XPD", "x.Fpr"])
def test_metadata_another_rule_reports_still_counts_as_metadata(metadata):
    assert "R4" not in {rule for rule, _ in found(judge({metadata, *complete_scan(STUDY)}))}


@pytest.mark.parametrize("no_metadata", [".fpr", "._x.xpd", "x.xpd/", "x.xpd -> /elsewhere", "x.xpd.partial"])
def test_what_is_no_design_file_does_not_count_as_metadata(no_metadata):
    assert ("R4", STUDY) in found(judge({no_metadata, *complete_scan(STUDY)}))


def test_an_experiment_counts_as_data_even_when_nothing_is_in_it():
    assert found(judge({"a.fpr", f"{STUDY}/"})) == {("R8", f"{STUDY}/{STUDY}")}


def test_a_study_without_anything_says_both_things_it_lacks_at_once():
    (violation,) = judge(set()).violations
    assert (violation.rule, violation.path) == ("R4", STUDY)
    assert "metadata" in violation.message
    assert "data (no experiment directory)" in violation.message


def test_a_study_name_wrong_in_two_ways_is_one_violation_that_says_both():
    (violation,) = judge({"a.fpr", *complete_scan("20260230_W W_a_b")}, study="20260230_W W_a_b").violations
    assert violation.rule == "R1"
    assert "calendar" in violation.message
    assert "' '" in violation.message


def test_all_characters_are_ascii_even_where_python_would_take_more():
    for study in ("20260105_WW_HCC_run1\n", "٢٠٢٦٠١٠٥_WW_HCC_run1", "20260105_WW_HCC_run١", "20260105_WW_HCC_ſcan"):
        assert not judge(COMPLETE, study=study).ok
    report = judge({"a.fpr", f"{STUDY}/Scan١/x.qptiff", f"{STUDY}/Scan١/.temp/"})
    assert found(report) == {("R8", f"{STUDY}/{STUDY}")}
    assert found(judge({"a.fpr", f"{STUDY}/ſcan1/x.qptiff", f"{STUDY}/ſcan1/.temp/"})) == {("R8", f"{STUDY}/{STUDY}")}


def test_a_violation_reads_as_the_lab_expects_it():
    (violation,) = judge({*COMPLETE, f"{STUDY}_S1_repeat/Scan1/x.qptiff", f"{STUDY}_S1_repeat/Scan1/.temp/"}).violations
    assert str(violation) == (
        f"[R2] {STUDY}/{STUDY}_S1_repeat: begins with the study's name but is neither <study> nor <study>_<suffix>"
        f" | hint: rename it to {STUDY}_S1-repeat"
    )


def test_a_name_with_a_line_break_or_an_escape_sequence_cannot_forge_output():
    (violation,) = judge({*COMPLETE, "x\n[R1] ok \x1b[2J"}).violations
    assert "\n" not in str(violation)
    assert "\x1b" not in str(violation)
    assert violation.path == f"{STUDY}/x\n[R1] ok \x1b[2J"


# The alias: another name at the destinations.


LEGACY = "HCC batch 2 (Müller)"


def test_an_alias_lets_a_legacy_study_pass_without_renaming_anything_at_the_source():
    paths = {f"{LEGACY}.xpd", *complete_scan(LEGACY), *complete_scan(f"{LEGACY}_A"), *complete_scan(f"{STUDY}_B")}
    assert not judge(paths, study=LEGACY).ok
    assert judge(paths, study=LEGACY, name=STUDY).ok


def test_a_bad_alias_is_reported_as_what_it_is():
    (violation,) = judge(COMPLETE, name="run 1").violations
    assert (violation.rule, violation.path) == ("R1", STUDY)
    assert "'run 1'" in violation.message
    assert "[alias]" in violation.hint


def test_an_experiment_of_neither_name_is_misnamed_even_with_an_alias():
    paths = {f"{LEGACY}.fpr", *complete_scan(LEGACY), f"{STUDY}_A_B/", f"{LEGACY}-A/", "other/"}
    rules = {path: rule for rule, path in found(judge(paths, study=LEGACY, name=STUDY))}
    assert rules[f"{LEGACY}/{STUDY}_A_B"] == "R2"
    assert rules[f"{LEGACY}/{LEGACY}-A"] == "R2"
    assert rules[f"{LEGACY}/other"] == "R5"


# Warnings.


def test_the_oldest_and_the_latest_sensible_date_give_no_warning():
    for day, warns in (("20141231", True), ("20150101", False), ("20260208", False), ("20260209", True)):
        study = f"{day}_WW_HCC_run1"
        report = judge({f"{study}.xpd", *complete_scan(study)}, study=study, today=date(2026, 2, 1))
        assert report.ok
        assert warned(report) == ({("R1", study)} if warns else set())


@pytest.mark.parametrize(
    ("length", "warns", "ok"), [(58, False, True), (59, True, True), (60, True, True), (61, True, False)]
)
def test_a_study_name_that_leaves_no_room_for_a_suffix_is_a_warning_until_nothing_fits(length, warns, ok):
    study = "20260105_WW_HCC_".ljust(length, "x")
    report = judge({f"{study}.xpd", *complete_scan(study)}, study=study)
    assert warned(report) == ({("R3", study)} if warns else set())
    assert found(report) == (set() if ok else {("R3", f"{study}/{study}")})


def test_a_missing_design_is_a_warning_only_where_no_fpr_could_stand_for_it():
    paths = {*COMPLETE, *complete_scan(f"{STUDY}_A")}
    assert warned(judge(paths)) == {("R6", f"{STUDY}/{STUDY}_A")}
    assert warned(judge({*paths, "any.fpr"})) == set()


def test_case_that_only_some_storages_tell_apart_is_a_warning():
    report = judge({f"{STUDY}.XPD", "a.Fpr", f"{STUDY}/SCAN1/x.QPTIFF", f"{STUDY}/SCAN1/.temp/"})
    assert report.ok
    assert warned(report) == {
        ("R6", f"{STUDY}/{STUDY}.XPD"),
        ("R7", f"{STUDY}/a.Fpr"),
        ("R8", f"{STUDY}/{STUDY}/SCAN1"),
        ("R8", f"{STUDY}/{STUDY}/SCAN1/x.QPTIFF"),
    }


def test_a_leading_zero_is_a_warning_but_scan_zero_has_none():
    for scan, warns in (("Scan01", True), ("Scan00", True), ("Scan0", False), ("Scan10", False)):
        report = judge({"a.fpr", f"{STUDY}/{scan}/x.qptiff", f"{STUDY}/{scan}/.temp/"})
        assert report.ok
        assert warned(report) == ({("R8", f"{STUDY}/{STUDY}/{scan}")} if warns else set())


def test_a_hint_never_proposes_a_name_that_is_there_already():
    report = judge({*COMPLETE, f"{STUDY}/Scan01/"})
    (warning,) = report.warnings
    assert "rename" not in warning.hint
    report = judge({*COMPLETE, f"{STUDY}_A-B/Scan1/.temp/", f"{STUDY}_A_B/"})
    assert f"rename it to {STUDY}_A-B" not in {violation.hint for violation in report.violations}


def test_a_link_is_told_to_be_a_link_even_where_its_case_clashes_too():
    (violation,) = judge({*COMPLETE, "A.fpr", "a.fpr -> /elsewhere"}).violations
    assert (violation.rule, violation.path) == ("R5", f"{STUDY}/a.fpr")
    assert "link" in violation.message


def test_a_link_inside_an_experiment_is_a_warning_and_a_socket_too():
    entries = listing_of(STUDY, {*COMPLETE, f"{STUDY}/Scan1/link -> /elsewhere"}).entries
    listing = Listing(STUDY, (*entries, Entry(f"{STUDY}/pipe", "other", 0, 0)))
    report = validate_listing(listing)
    assert report.ok
    assert warned(report) == {("R5", f"{STUDY}/{STUDY}/Scan1/link"), ("R5", f"{STUDY}/{STUDY}/pipe")}


@pytest.mark.parametrize(
    ("nas_root", "unc"),
    [
        (r"\\nas\fusion", r"\\nas\fusion"),
        ("\\\\nas\\fusion\\", r"\\nas\fusion"),
        ("smb://nas/fusion/", r"\\nas\fusion"),
    ],
)
def test_a_path_too_long_for_windows_on_the_nas_is_a_warning_from_260_characters_on(nas_root, unc):
    room = 259 - len(f"{unc}\\{STUDY}\\")
    folder = f"{STUDY}/Scan1/.temp/"
    for excess, warns in ((0, False), (1, True)):
        long = folder + "x" * (room + excess - len(folder))
        report = judge({*COMPLETE, long}, nas_root=nas_root)
        assert report.ok
        assert warned(report) == ({("R3", f"{STUDY}/{long}")} if warns else set())
    assert warned(judge({*COMPLETE, long})) == set()


def test_many_long_paths_in_a_study_are_one_warning_not_hundreds():
    long = {f"{STUDY}/Scan1/.temp/{'x' * 200}{number:03d}" for number in range(300)}
    (warning,) = judge({*COMPLETE, *long}, nas_root="\\\\nas\\fusion\\a").warnings
    assert "299 more" in warning.message


def test_the_longer_name_at_the_nas_is_the_one_that_counts_for_long_paths():
    alias = "20260105_WW_HCC_" + "x" * 40
    path = f"{STUDY}/Scan1/.temp/{'x' * 185}"
    assert warned(judge({*COMPLETE, path}, nas_root="\\\\nas\\fusion")) == set()
    assert ("R3", f"{STUDY}/{path}") in warned(judge({*COMPLETE, path}, nas_root="\\\\nas\\fusion", name=alias))


def test_windows_counts_a_character_outside_the_basic_plane_as_two():
    folder = f"{STUDY}/Scan1/.temp/"
    path = folder + "🔬" * 80
    room = len("\\\\nas\\fusion\\") + len(f"{STUDY}\\{folder}") + 160
    root = "\\\\nas\\fusion\\" + "y" * (259 - room - 1)
    assert warned(judge({*COMPLETE, path}, nas_root=root)) == set()
    assert warned(judge({*COMPLETE, path}, nas_root=root + "y")) == {("R3", f"{STUDY}/{path}")}


def test_the_json_of_a_study_has_exactly_the_promised_keys():
    data = study_json(judge({f"{STUDY}.XPD", *complete_scan(STUDY), "notes.txt"}, path=f"/lab/{STUDY}"))
    assert list(data) == ["study", "path", "ok", "violations", "warnings"]
    assert (data["study"], data["path"], data["ok"]) == (STUDY, f"/lab/{STUDY}", False)
    for violation in (*data["violations"], *data["warnings"]):
        assert list(violation) == ["rule", "path", "message", "hint"]
    assert [(v["rule"], v["path"]) for v in data["violations"]] == [("R5", f"{STUDY}/notes.txt")]
    assert [(v["rule"], v["path"]) for v in data["warnings"]] == [("R6", f"{STUDY}/{STUDY}.XPD")]
