"""The demonstration's instrument disk shows what it says it shows, the same each time, and never a study twice."""

import hashlib
import json
import shutil
from datetime import UTC, datetime, timedelta

import pytest

from cli.demo.lab import LabError, build_instrument
from fusion_assets.integrity.health import scan_health_check
from fusion_assets.integrity.structure import check_structure
from fusion_assets.standard import read_listing, validate_study
from resources.local import LocalStorage

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
DAY_NS = 24 * 3600 * 10**9


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    return build_instrument(tmp_path_factory.mktemp("lab") / "instrument", now=NOW)


@pytest.fixture(scope="session")
def listings(lab):
    storage = LocalStorage(lab.root)
    return {study: read_listing(storage, study.name) for study in lab.studies}


def of_role(listings, *roles):
    return [listing for study, listing in listings.items() if study.role in roles]


def naming(lab, listing):
    return validate_study(lab.root / listing.name, today=NOW.date())


def structure(lab, listing):
    return check_structure(LocalStorage(lab.root), listing.name, listing.entries)


def test_it_is_a_lab_of_eight_studies_and_a_few_hundred_megabytes(lab, listings):
    assert sorted(path.name for path in lab.root.iterdir()) == sorted(study.name for study in lab.studies)
    roles = [study.role for study in lab.studies]
    assert len(roles) == 8
    assert (roles.count("misnamed"), roles.count("truncated"), roles.count("being written")) == (2, 1, 1)
    assert 100e6 < sum(listing.total_bytes for listing in listings.values()) < 250e6


def test_whole_studies_pass_every_check_without_a_warning(lab, listings):
    for listing in of_role(listings, "whole"):
        report = naming(lab, listing)
        assert (report.violations, report.warnings) == ((), ())
        found = structure(lab, listing)
        assert (found.blocking, found.warnings) == ((), ())
        assert found.images > 0
        assert scan_health_check(listing.entries) == []


def test_the_two_misnamed_ones_break_different_rules(lab, listings):
    broken = [{v.rule for v in naming(lab, listing).violations} for listing in of_role(listings, "misnamed")]
    assert broken == [{"R1"}, {"R5", "R6"}]


def test_the_truncated_one_is_named_well_and_blocked_by_its_image_alone(lab, listings):
    (listing,) = of_role(listings, "truncated")
    assert naming(lab, listing).ok
    found = structure(lab, listing)
    assert {finding.rule for finding in found.blocking} == {"D2"}
    assert found.warnings == ()


def test_the_one_being_written_is_named_well_fresh_and_has_an_unfinished_scan(lab, listings):
    (listing,) = of_role(listings, "being written")
    assert naming(lab, listing).ok
    found = structure(lab, listing)
    assert found.ok
    assert [finding.rule for finding in found.warnings] == ["D5"]
    age = NOW.timestamp() * 1e9 - listing.newest_mtime_ns
    assert 0 < age < DAY_NS / 24


def test_all_others_have_been_left_alone_for_more_than_30_days(lab, listings):
    for listing in of_role(listings, "whole", "misnamed", "truncated"):
        newest = max(entry.mtime_ns for entry in listing.entries)
        assert NOW.timestamp() * 1e9 - newest >= 31 * DAY_NS
        assert (lab.root / listing.name).stat().st_mtime_ns <= newest


def digest(root):
    """Of every file's name, content and time, and of every directory's time."""
    found = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        found.update(f"{path.relative_to(root).as_posix()} {path.stat().st_mtime_ns}\n".encode())
        if path.is_file():
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def test_the_same_seed_and_time_build_the_same_disk(lab, tmp_path):
    again = build_instrument(tmp_path / "other", now=NOW)
    assert digest(again.root) == digest(lab.root)


@pytest.fixture
def own_lab(lab, tmp_path):
    """A copy of the lab to change, with its record."""
    shutil.copytree(lab.root, tmp_path / "instrument")
    shutil.copy(lab.root.with_name("instrument.built.json"), tmp_path)
    return tmp_path / "instrument"


def test_a_released_study_does_not_come_back_even_on_another_day(lab, own_lab):
    gone = next(study.name for study in lab.studies if study.role == "whole")
    shutil.rmtree(own_lab / gone)
    before = digest(own_lab)
    again = build_instrument(own_lab, seed=99, now=NOW + timedelta(days=3))
    assert again.built == ()
    assert again.studies == lab.studies
    assert digest(own_lab) == before


def test_a_building_that_was_killed_is_completed_and_keeps_what_it_had(lab, own_lab):
    record = own_lab.with_name("instrument.built.json")
    content = json.loads(record.read_text())
    *before, moved, missing = content["built"]
    record.write_text(json.dumps(content | {"built": before}))  # killed between the move of one and its record
    (own_lab / moved / "touched.txt").write_text("still here")
    shutil.rmtree(own_lab / missing)
    (own_lab.with_name(".instrument.building") / missing).mkdir(parents=True)
    again = build_instrument(own_lab, now=NOW + timedelta(days=3))
    assert missing in again.built
    assert (own_lab / moved / "touched.txt").exists()
    assert (own_lab / missing).is_dir()
    assert not own_lab.with_name(".instrument.building").exists()
    assert build_instrument(own_lab).built == ()


@pytest.mark.parametrize("text", ["", "[]", '{"seed": 1}', '{"seed": 1, "now": "soon", "built": []}'])
def test_a_record_that_is_not_ours_is_a_clear_error_and_nothing_is_built(tmp_path, text):
    (tmp_path / "instrument.built.json").write_text(text)
    with pytest.raises(LabError, match="hint: build the lab in a new folder"):
        build_instrument(tmp_path / "instrument", now=NOW)
    assert not (tmp_path / "instrument").exists()
