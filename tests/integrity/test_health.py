"""Soft signs that a study is not ready: no complete scan, or files written over too long a time."""

from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.integrity.health import scan_health_check
from resources.storage import Entry

DAY = 24 * 3600 * 10**9


def directory(path):
    return Entry(path, "directory", 0, 0)


def file(path, days=0.0):
    return Entry(path, "file", 10, int((20_000 + days) * DAY))


SCAN = [directory("E"), directory("E/Scan1"), directory("E/Scan1/.temp")]
COMPLETE = [*SCAN, file("E/Scan1/E_Scan1.qptiff")]


def checks(entries, **options):
    return [warning.check for warning in scan_health_check(entries, **options)]


def test_a_finished_study_gives_no_warning():
    assert checks(COMPLETE) == []


def test_a_scan_with_only_raw_images_is_not_complete():
    assert checks([*SCAN, file("E/Scan1/E_Cycle1.raw.qptiff"), file("E/Scan1/.temp/E_Cycle1.qptiff")]) == ["empty"]


def test_a_scan_without_temp_is_not_complete():
    assert checks([directory("E"), directory("E/Scan1"), file("E/Scan1/E.qptiff")]) == ["empty"]


def test_image_and_temp_in_two_different_scans_do_not_make_one_complete():
    entries = [*SCAN, directory("E/Scan2"), file("E/Scan2/E_Scan2.qptiff")]
    assert checks(entries) == ["empty"]


def test_one_complete_scan_is_enough():
    assert checks([*COMPLETE, directory("E/Scan2"), directory("F")]) == []


def test_an_empty_listing_is_empty_and_has_no_times_to_compare():
    assert checks([]) == ["empty"]


def test_a_file_added_three_weeks_later_is_pointed_out_by_name():
    (warning,) = scan_health_check([*COMPLETE, file("E/late.txt", days=21)])
    assert warning.check == "mtime_gap"
    assert "E/late.txt" in warning.message
    assert "21.0 days" in warning.message


def test_the_program_s_own_files_and_directories_do_not_make_a_gap():
    own = [file(".fusion-toolkit.lock", days=90), file("E/a.qptiff.partial", days=90)]
    assert checks([*COMPLETE, *own, Entry("G", "directory", 0, 90_000 * DAY)]) == []


@given(st.lists(st.floats(0, 60), min_size=1), st.floats(1, 60))
def test_the_gap_is_judged_by_first_and_last_alone(days, limit):
    entries = [*SCAN, *(file(f"E/{number}", days=day) for number, day in enumerate(days))]
    times = [entry.mtime_ns for entry in entries if entry.kind == "file"]
    expected = max(times) - min(times) > limit * DAY
    assert ("mtime_gap" in checks(entries, mtime_gap_days=limit)) == expected
