"""Validating studies and roots where they are: on a real disk, and at a storage that counts what it is asked."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fusion_assets.standard import (
    Listing,
    root_json,
    validate_root,
    validate_storage,
    validate_studies,
    validate_study,
)
from fusion_assets.standard.examples import EXAMPLES, LINK_ARROW, judge, listing_of
from fusion_assets.standard.report import StudyReport
from fusion_assets.standard.validate import with_clash
from resources.errors import AccessDeniedError, NotFoundError, NotMountedError, UnavailableError
from resources.storage import Entry
from tests.standard.trees import TODAY, MemoryStorage, complete_scan

STUDY = "20260105_WW_HCC_run1"
COMPLETE = (f"{STUDY}.xpd", *sorted(complete_scan(STUDY)))


def put(root: Path, study: str, paths) -> Path:
    (root / study).mkdir(parents=True)
    for written in paths:
        path, arrow, target = written.partition(LINK_ARROW)
        place = root / study / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if arrow:
            place.symlink_to(target)
        elif path.endswith("/"):
            place.mkdir(exist_ok=True)
        else:
            place.write_bytes(b"")
    return root / study


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.rule} {example.verdict} {example.note}")
def test_a_study_on_a_disk_is_judged_like_the_listing_written_in_the_document(tmp_path, example):
    on_disk = validate_study(put(tmp_path, example.study, example.paths), today=TODAY)
    written = judge(example)
    assert on_disk.path == str(tmp_path / example.study)
    assert on_disk.violations == written.violations
    without_nas = [warning for warning in written.warnings if "on the NAS" not in warning.message]
    assert list(on_disk.warnings) == without_nas


def test_a_path_may_be_text_and_end_in_a_slash_or_be_a_dot(tmp_path, monkeypatch):
    study = put(tmp_path, STUDY, COMPLETE)
    assert validate_study(f"{study}/") == validate_study(study)
    monkeypatch.chdir(study)
    assert validate_study(".") == validate_study(study)
    assert validate_study("..", name=STUDY).study == tmp_path.name


def test_a_missing_study_a_file_a_link_and_a_whole_disk_are_named_errors_not_empty_studies(tmp_path):
    study = put(tmp_path, STUDY, COMPLETE)
    (tmp_path / "link").symlink_to(study)
    for path, says in (
        (tmp_path / "missing", "no such study"),
        (study / f"{STUDY}.xpd", "is a file"),
        (tmp_path / "link", "is a link"),
        (os.sep, "validate root"),
    ):
        with pytest.raises(NotFoundError, match=says) as caught:
            validate_study(path)
        assert str(path) in str(caught.value)


def test_a_root_that_is_not_there_or_a_file_is_a_named_error_not_no_studies(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for path in ("missing", "file"):
        with pytest.raises(NotMountedError, match=path):
            validate_root(tmp_path / path)
    with pytest.raises(NotMountedError, match="missing"):
        validate_study(tmp_path / "missing" / STUDY)


def test_a_root_judges_its_studies_and_leaves_alone_what_is_none(tmp_path):
    put(tmp_path, STUDY, COMPLETE)
    put(tmp_path, "legacy study", ["notes.txt"])
    for skipped in (".trash", "$RECYCLE.BIN", "System Volume Information", "_manifest"):
        put(tmp_path, skipped, ["x"])
    (tmp_path / "readme.txt").write_bytes(b"")
    (tmp_path / ".hidden").write_bytes(b"")
    (tmp_path / "20260106_WW_HCC_run2").symlink_to(tmp_path / STUDY)
    report = validate_root(str(tmp_path), today=TODAY)
    assert [(study.study, study.ok) for study in report.studies] == [(STUDY, True), ("legacy study", False)]
    assert not report.ok
    assert {violation.rule for violation in report.studies[1].violations} == {"R1", "R4", "R5"}
    assert sorted(report.info) == [
        "20260106_WW_HCC_run2 is a symbolic link or junction; it is not followed",
        "readme.txt is a loose file, no study",
    ]


def test_loose_files_do_not_make_a_root_fail(tmp_path):
    put(tmp_path, STUDY, COMPLETE)
    (tmp_path / "readme.txt").write_bytes(b"")
    assert validate_root(tmp_path).ok


def test_an_empty_root_says_that_it_may_not_be_mounted(tmp_path):
    report = validate_root(tmp_path)
    assert report.studies == ()
    assert "mounted" in report.info[0]


def test_the_json_of_a_root_has_exactly_the_promised_keys(tmp_path):
    put(tmp_path, STUDY, [*COMPLETE, "notes.txt"])
    data = json.loads(json.dumps(root_json(validate_root(tmp_path))))
    assert list(data) == ["root", "ok", "studies"]
    assert (data["root"], data["ok"]) == (str(tmp_path), False)
    (study,) = data["studies"]
    assert list(study) == ["study", "path", "ok", "violations", "warnings"]
    assert study["path"] == str(tmp_path / STUDY)
    assert [violation["rule"] for violation in study["violations"]] == ["R5"]


def twin(name: str) -> Listing:
    return listing_of(name, {f"{name}.xpd", *complete_scan(name)})


def test_two_studies_that_a_restore_onto_windows_would_merge_both_fail():
    names = (STUDY, STUDY.lower(), "20260105_WW_HCC_run2")
    report = validate_storage(MemoryStorage({name: twin(name) for name in names}), today=TODAY)
    assert not report.ok
    assert {study.study: study.ok for study in report.studies} == {
        STUDY: False,
        STUDY.lower(): False,
        "20260105_WW_HCC_run2": True,
    }
    (violation,) = report.studies[0].violations
    assert (violation.rule, violation.path) == ("R1", STUDY)
    assert STUDY.lower() in violation.message


def test_a_root_uses_the_aliases_it_is_given():
    legacy = "HCC batch 2"
    storage = MemoryStorage({legacy: twin(legacy)})
    assert not validate_storage(storage, today=TODAY).ok
    assert validate_storage(storage, aliases={legacy: STUDY}, today=TODAY).ok


def test_one_study_that_cannot_be_listed_fails_alone_and_says_so():
    storage = MemoryStorage(
        {STUDY: twin(STUDY)}, failing={"20260107_a_b_c": AccessDeniedError("permission denied; check the rights")}
    )
    good, bad = validate_storage(storage, today=TODAY).studies
    assert good.ok
    assert good.readable
    assert not bad.ok
    assert not bad.readable
    assert str(bad.violations[0]).startswith("[listing] 20260107_a_b_c: could not be listed")
    assert "permission denied" in bad.violations[0].message


def test_a_study_that_left_between_the_two_listings_fails_alone():
    (report,) = validate_studies(MemoryStorage({}), [STUDY])
    assert not report.readable


def test_a_server_that_stops_answering_is_not_a_root_of_bad_studies():
    storage = MemoryStorage({STUDY: twin(STUDY)}, failing={"20260107_a_b_c": UnavailableError("the server is gone")})
    with pytest.raises(UnavailableError):
        validate_storage(storage)


def test_studies_are_validated_by_name_each_once_in_order():
    names = ["20260105_a_b_c", "20260104_a_b_c"]
    storage = MemoryStorage({name: twin(name) for name in names})
    reports = validate_studies(storage, [*names, names[0]], today=TODAY)
    assert [report.study for report in reports] == sorted(names)
    assert storage.calls == {"walk": 2}


def test_two_thousand_studies_cost_one_listing_of_the_root_and_one_walk_each():
    trees = {}
    for number in range(2000):
        study = f"20250101_WW_HCC_run{number}"
        scans = {path for scan in range(1, 11) for path in complete_scan(study, scan)}
        raw = {f"{study}/Scan1/.temp/{study}_Cycle{cycle}.raw.qptiff" for cycle in range(8)}
        trees[study] = listing_of(study, {f"{study}.xpd", *scans, *raw})
    assert all(len(listing.entries) == 50 for listing in trees.values())
    storage = MemoryStorage(trees, loose=(Entry("readme.txt", "file", 1, 1),))
    report = validate_storage(storage, today=TODAY)
    assert report.ok
    assert len(report.studies) == 2000
    assert storage.calls == {"check_mounted": 1, "list": 1, "walk": 2000}


def test_two_studies_that_an_alias_makes_one_are_not_told_that_their_case_is_wrong() -> None:
    study = StudyReport("20260105_WW_HCC_run1", "/instrument/20260105_WW_HCC_run1")
    (by_alias,) = with_clash(study, ["HCC_old"]).violations
    assert "would be archived under the same name as 'HCC_old'" in by_alias.message
    assert "alias" in by_alias.hint
    (by_case,) = with_clash(study, ["20260105_WW_HCC_RUN1"]).violations
    assert "upper and lower case" in by_case.message
