"""D1-D5 over a study on disk: what blocks, what warns, and that an unread file is not a broken one."""

import shutil
from datetime import UTC, datetime

import pytest

from cli.demo.study import Experiment, Scan, write_study
from fusion_assets.integrity.structure import check_structure
from fusion_assets.standard.listing import read_listing
from resources.errors import HeldOpenError, NotFoundError, UnavailableError
from resources.local import LocalStorage

STUDY = "20260105_WW_HCC_run1"
EXPERIMENTS = (
    Experiment("A", channels=4, width=300, height=200, scans=(Scan(1, cycles=1), Scan(2, cycles=1))),
    Experiment("B", channels=3, width=300, height=200, scans=(Scan(1, cycles=1),)),
)


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    study = tmp_path_factory.mktemp("template") / STUDY
    write_study(study, EXPERIMENTS, finished_at=datetime(2026, 1, 5, 12, tzinfo=UTC), seed=1, extra={})
    return study


@pytest.fixture
def study(template, tmp_path):
    """A whole study of its own for each test."""
    return shutil.copytree(template, tmp_path / STUDY)


def check(study):
    storage = LocalStorage(study.parent)
    return check_structure(storage, study.name, read_listing(storage, study.name).entries)


def found(report):
    return [(finding.rule, finding.path) for finding in (*report.blocking, *report.warnings)]


IMAGE = f"{STUDY}_A/Scan1/{STUDY}_A_Scan1.er.qptiff"


def test_a_whole_study_has_no_findings_and_its_cost_is_known(study):
    report = check(study)
    assert found(report) == []
    assert report.ok
    assert (report.images, report.designs) == (3, 2)
    assert report.pages == 2 * (3 * 4 + 3) + (3 * 3 + 3)
    assert 0 < report.bytes_read < 3_000_000
    assert report.requests < 3 * 130


def test_a_study_at_the_root_of_its_storage_is_checked_the_same(study):
    (study / IMAGE).write_bytes(b"")
    storage = LocalStorage(study)
    report = check_structure(storage, "", read_listing(LocalStorage(study.parent), STUDY).entries)
    assert found(report) == [("D2", IMAGE)]


def test_a_truncated_image_blocks_and_nothing_else_does(study):
    content = (study / IMAGE).read_bytes()
    (study / IMAGE).write_bytes(content[:-1])
    (study / f"{STUDY}_A.xpd").write_text("{}")
    shutil.rmtree(study / f"{STUDY}_B/Scan1/.temp")
    report = check(study)
    assert {(finding.rule, finding.path) for finding in report.blocking} == {("D2", f"{STUDY}/{IMAGE}")}
    assert {finding.rule for finding in report.warnings} == {"D1", "D4"}
    assert not report.ok


def test_a_finding_reads_like_a_naming_violation(study):
    (study / IMAGE).write_bytes(b"")
    (finding,) = check(study).blocking
    assert str(finding).startswith(f"[D2] {STUDY}/{IMAGE}: the file is empty (0 bytes) | hint: ")


def test_a_broken_raw_cycle_does_not_block_because_its_format_is_nobody_s_promise(study):
    (study / f"{STUDY}_A/Scan1/.temp/{STUDY}_A_Scan1_Cycle1.raw.qptiff").write_bytes(b"not a TIFF at all")
    (study / f"{STUDY}_A/Scan1/x.intermediate.qptiff").write_bytes(b"neither")
    assert found(check(study)) == []


def test_a_marker_that_was_designed_but_never_imaged_is_pointed_out_in_each_scan(study):
    design = study / f"{STUDY}_A.xpd"
    design.write_text(design.read_text().replace('"markerName": "CD3e"', '"markerName": "FoxP3"'))
    report = check(study)
    assert found(report) == [("D3", f"{STUDY}/{STUDY}_A/Scan{n}/{STUDY}_A_Scan{n}.er.qptiff") for n in (1, 2)]
    assert "has no channel for FoxP3" in report.warnings[0].message


def test_a_broken_image_is_not_blamed_for_its_missing_channels_too(study):
    (study / IMAGE).write_bytes((study / IMAGE).read_bytes()[:100_000])
    assert {rule for rule, _ in found(check(study))} == {"D2"}


def test_a_level_of_the_pyramid_that_lost_a_channel_is_pointed_out(study):
    image = study / IMAGE
    content = image.read_bytes()
    reduced = content.rindex(b"<ImageType>ReducedResolution<")
    image.write_bytes(content[:reduced] + b"<ImageType>somethingElse    <" + content[reduced + 29 :])
    (finding,) = check(study).warnings
    assert finding.rule == "D3"
    assert "300 x 200: 4, 150 x 100: 4, 75 x 50: 3" in finding.message


def test_a_run_that_left_only_raw_images_is_unfinished(study):
    (study / IMAGE).unlink()
    assert found(check(study)) == [("D5", f"{STUDY}/{STUDY}_A/Scan1")]


def test_a_missing_marker_list_is_pointed_out(study):
    (study / f"{STUDY}_B/Scan1/.temp/MarkerList.txt").unlink()
    assert found(check(study)) == [("D4", f"{STUDY}/{STUDY}_B/Scan1")]


def test_a_design_of_gigabytes_is_not_read(study):
    with (study / f"{STUDY}_A.xpd").open("r+b") as file:
        file.truncate(5 << 30)
    report = check(study)
    assert found(report) == [("D1", f"{STUDY}/{STUDY}_A.xpd")]
    assert report.bytes_read < 3_000_000


class Refusing(LocalStorage):
    """A storage that cannot open one kind of file."""

    def __init__(self, root, ending, error):
        super().__init__(root)
        self.ending = ending
        self.error = error

    def open_reader(self, path, **options):
        if path.endswith(self.ending):
            raise self.error("no", path=path)
        return super().open_reader(path, **options)


@pytest.mark.parametrize("error", [HeldOpenError, UnavailableError])
def test_an_image_that_cannot_be_opened_is_unknown_and_not_broken(study, error):
    storage = Refusing(study.parent, "_A_Scan1.er.qptiff", error)
    with pytest.raises(error):
        check_structure(storage, STUDY, read_listing(storage, STUDY).entries)


def test_an_image_that_vanished_since_the_listing_is_no_finding(study):
    storage = LocalStorage(study.parent)
    entries = read_listing(storage, STUDY).entries
    (study / IMAGE).unlink()
    with pytest.raises(NotFoundError):
        check_structure(storage, STUDY, entries)


def test_directories_and_litter_named_like_images_are_left_alone(study):
    (study / "odd.qptiff").mkdir()
    (study / f"{STUDY}_A/Scan1/._{STUDY}_A_Scan1.qptiff").write_bytes(b"resource fork")
    (study / ".temp/Scan1").mkdir(parents=True)
    (study / ".temp/Scan1/x.qptiff").write_bytes(b"no image")
    assert found(check(study)) == []
