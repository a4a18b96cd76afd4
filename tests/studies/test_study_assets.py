"""Each asset of a study: what it shows in the UI, its data version, and what a second run says."""

from __future__ import annotations

import hashlib

import dagster as dg
import pytest

from definitions import build_defs
from fusion_assets.config import load_config
from fusion_assets.standard.listing import SIDECAR_NAME
from tests.real.small_lab import STUDY, assert_completed
from tests.studies.face import ALL, ARCHIVE, Face

pytestmark = pytest.mark.real


def test_one_run_takes_a_study_the_whole_way_and_every_asset_says_what_it_did(face: Face) -> None:
    face.lab.write_config(delete_source=True)
    ran = face.run()
    assert ran.success, ran.errors
    assert tuple(ran.made) == ALL
    assert_completed(face.lab)
    files, size = len(face.lab.originals), sum(map(len, face.lab.originals.values()))

    def shown(asset: str, *names: str) -> list[object]:
        return [ran.metadata(asset)[name] for name in names]

    assert shown("validated", "files", "bytes", "warnings") == [files, size, 0]
    assert shown("truenas_copy", "changed", "files", "bytes", "copied files") == [True, files, size, files]
    assert shown("truenas_copy", "source bytes read", "NAS bytes written") == [size, size]
    assert ran.metadata("truenas_copy")["NAS bytes read"] >= size
    assert shown("s3_archive", "changed", "objects", "uploaded objects") == [True, files, files]
    assert ran.metadata("truenas_copy")["copy"] == str(face.lab.copy)
    assert ran.metadata("s3_archive")["archive"] == f"s3://{face.lab.bucket}/{face.lab.key('')}".rstrip("/")
    assert shown("manifest_entry", "changed", "status") == [True, "complete"]
    assert ran.metadata("manifest_entry")["record"]["file_count"] == files
    assert shown("source_released", "changed", "files", "bytes") == [True, files, size]
    for asset in ("truenas_copy", "s3_archive"):
        assert ran.metadata(asset)["MB/s"] >= 0, "numbers are what the UI plots over time"


def test_all_that_speaks_of_the_same_bytes_has_the_version_of_their_sidecar(face: Face) -> None:
    face.lab.write_config(delete_source=True)
    ran = face.run()
    digest = hashlib.sha256((face.lab.copy / SIDECAR_NAME).read_bytes()).hexdigest()
    assert {ran.version(asset) for asset in ALL[1:]} == {digest}
    assert ran.version("validated") == ran.metadata("validated")["fingerprint"]


def test_a_second_run_changes_nothing_and_keeps_every_version(face: Face) -> None:
    first, second = face.run(*ARCHIVE), face.run(*ARCHIVE)
    assert second.success, second.errors
    assert [second.metadata(asset)["changed"] for asset in ARCHIVE[1:]] == [False] * 3
    assert [second.version(asset) for asset in ARCHIVE] == [first.version(asset) for asset in ARCHIVE]


def test_a_study_that_gained_a_file_gives_its_copies_another_version(face: Face) -> None:
    first = face.run(*ARCHIVE)
    face.lab.write(f"{STUDY}/Scan1/.temp/one more.bin", b"found on the other disk")
    second = face.run(*ARCHIVE)
    assert second.success, second.errors
    assert all(first.version(asset) != second.version(asset) for asset in ARCHIVE)


def test_a_source_that_is_to_stay_is_shown_but_nothing_can_release_it_and_no_backfill_misses_it(face: Face) -> None:
    graph = build_defs(load_config(face.lab.config)).resolve_asset_graph()
    kept = graph.get(dg.AssetKey("source_released"))
    assert (kept.is_executable, "stays" in str(kept.description)) == (False, True)
    ran = face.run()
    assert ran.success, ran.errors
    assert tuple(ran.made) == ARCHIVE
    assert face.lab.study.is_dir()


def test_a_finished_copy_can_be_archived_by_itself(face: Face) -> None:
    assert face.run("validated", "truenas_copy").success
    assert not [key for key in face.lab.objects() if face.lab.key("") in key]
    ran = face.run("s3_archive", "manifest_entry")
    assert ran.success, ran.errors
    assert tuple(ran.made) == ("s3_archive", "manifest_entry")
    assert_completed(face.lab, released=False)


def test_a_copy_whose_study_left_long_ago_gets_its_damaged_sidecar_back_from_the_ui(face: Face) -> None:
    face.lab.write_config(delete_source=True)
    assert face.run().success
    sidecar = face.lab.copy / SIDECAR_NAME
    good = sidecar.read_bytes()
    sidecar.write_bytes(b"no sidecar at all")
    ran = face.run("s3_archive", "manifest_entry", study=STUDY)
    assert ran.success, ran.errors
    assert sidecar.read_bytes() == good
    assert_completed(face.lab)


def test_several_studies_have_a_partition_each_and_one_that_fails_stops_no_other(face: Face) -> None:
    face.lab.add_study(other := "20260106_WW_HCC_run2")
    face.lab.add_study(third := "20260107_WW_HCC_run3")
    (face.lab.source / other / "notes.txt").write_text("")
    assert [face.run(*ARCHIVE, study=study).success for study in (STUDY, other, third)] == [True, False, True]
    for study in (STUDY, third):
        assert_completed(face.lab, released=False, study=study)
    assert not (face.lab.nas / other).exists()
