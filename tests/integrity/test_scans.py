"""Which images of a listing are final, raw, or none of our business."""

import pytest

from fusion_assets.integrity.scans import find_scans, is_final_image, is_in_temp, is_raw_image
from resources.storage import Entry


def listing(*paths):
    """Entries for paths; those ending in / are directories."""
    return [Entry(path.rstrip("/"), "directory" if path.endswith("/") else "file", 1, 0) for path in paths]


@pytest.mark.parametrize(
    ("name", "final", "raw"),
    [
        ("a_Scan1.qptiff", True, False),
        ("a_Scan1.er.qptiff", True, False),
        ("a_Scan1.QPTIFF", True, False),
        ("intermediate-risk_Scan1.qptiff", True, False),
        ("a_Scan1_Cycle1.raw.qptiff", False, True),
        ("a_Scan1_Cycle1.qptiff.raw", False, True),
        ("a_Scan1_Cycle1.Intermediate.qptiff", False, True),
        ("._a_Scan1.qptiff", False, False),
        (".qptiff", False, False),
        ("a_Scan1.qptiff.partial", False, False),
    ],
)
def test_a_raw_cycle_is_never_taken_for_the_final_image(name, final, raw):
    assert (is_final_image(name), is_raw_image(name)) == (final, raw)


def test_a_scan_knows_what_is_directly_in_it_and_what_is_in_its_temp():
    (scan,) = find_scans(
        listing(
            "E/",
            "E/Scan1/",
            "E/Scan1/E_Scan1.qptiff",
            "E/Scan1/export/",
            "E/Scan1/export/copy.qptiff",
            "E/Scan1/.temp/",
            "E/Scan1/.temp/E_Cycle1.raw.qptiff",
            "E/Scan1/.temp/deeper.qptiff",
            "E/Scan1/.temp/MarkerList.txt",
        )
    )
    assert [image.name for image in scan.images] == ["E_Scan1.qptiff"]
    assert [image.name for image in scan.raw_images] == ["E_Cycle1.raw.qptiff"]
    assert (scan.path, scan.experiment, scan.is_complete, scan.has_marker_list) == ("E/Scan1", "E", True, True)


def test_scan1_and_scan10_do_not_share_their_files():
    scans = find_scans(listing("E/", "E/Scan10/", "E/Scan10/x.qptiff", "E/Scan1/", "E/Scan1/.temp/"))
    assert [(scan.path, len(scan.images), scan.has_temp) for scan in scans] == [
        ("E/Scan1", 0, True),
        ("E/Scan10", 1, False),
    ]


@pytest.mark.parametrize("paths", [("E/", "E/Scan1"), ("Scan1/",), ("E/", "E/Scan/"), (".temp/", ".temp/Scan1/")])
def test_what_is_no_directory_scan_n_in_an_experiment_is_no_scan(paths):
    assert find_scans(listing(*paths)) == ()


def test_a_file_called_temp_is_not_the_directory():
    (scan,) = find_scans(listing("E/", "E/Scan1/", "E/Scan1/.temp", "E/Scan1/a.qptiff"))
    assert not scan.is_complete


def test_only_a_directory_called_temp_hides_what_is_in_it():
    assert is_in_temp("E/Scan1/.Temp/a.qptiff")
    assert not is_in_temp("E/Scan1/.temp")
    assert not is_in_temp("E/x.temp/a.qptiff")
