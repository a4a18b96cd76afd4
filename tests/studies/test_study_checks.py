"""Each asset check of a study: passed for a good one, failed with the reason for a bad one, and what that stops."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import dagster as dg
import pytest

from fusion_assets.standard.examples import EXAMPLES, LINK_ARROW
from fusion_assets.standard.table import RULES
from fusion_assets.studies.checks import rule_check
from tests.real.small_lab import STUDY
from tests.studies.face import ARCHIVE, Face, rows

pytestmark = pytest.mark.real

DAY_SECONDS = 86400
RULE_CHECKS = {rule_check(rule.id) for rule in RULES}
GOOD = {*RULE_CHECKS, "structure", "health", "read_back", "s3_complete", "ledger_consistent"}


def _write(face: Face, study: str, paths: tuple[str, ...]) -> None:
    for written in paths:
        path, arrow, target = written.partition(LINK_ARROW)
        file = face.lab.source / study / path
        if path.endswith("/"):
            file.mkdir(parents=True, exist_ok=True)
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(target) if arrow else file.write_bytes(b"")


def test_every_check_passes_for_a_good_study(face: Face) -> None:
    face.lab.write_config(delete_source=True)
    ran = face.run()
    assert set(ran.checks) == {*GOOD, "source_unchanged"}
    assert ran.failed_checks == set()


@pytest.mark.parametrize("rule", [rule.id for rule in RULES])
def test_a_study_that_breaks_a_rule_fails_that_check_alone_and_goes_nowhere(face: Face, rule: str) -> None:
    bad = next(found for found in EXAMPLES if found.rule == rule and found.verdict == "fails")
    shutil.rmtree(face.lab.study)
    _write(face, bad.study, bad.paths)
    ran = face.run(study=bad.study)
    assert not ran.success
    assert ran.failed_checks & RULE_CHECKS == {rule_check(rule)}
    found = ran.checks[rule_check(rule)]
    assert (found.severity, found.blocking) == (dg.AssetCheckSeverity.ERROR, True)
    assert all(row["message"] and row["hint"] for row in rows(found, "violations"))
    assert ran.made == {}
    assert not (face.lab.nas / bad.study).exists()


def test_a_truncated_image_fails_the_structure_and_is_not_archived(face: Face) -> None:
    image = face.lab.study / face.lab.path_of("_Scan1.qptiff")
    os.truncate(image, image.stat().st_size * 6 // 10)
    ran = face.run()
    assert ran.failed_checks == {"structure"}
    assert any(image.name in row["path"] for row in rows(ran.checks["structure"], "broken"))
    assert ran.made == {}


def test_a_study_worked_on_for_months_is_only_warned_about(face: Face) -> None:
    old = face.lab.study / face.lab.path_of("MarkerList.txt")
    times = old.stat().st_mtime - 60 * DAY_SECONDS
    os.utime(old, (times, times))
    ran = face.run()
    assert ran.success, ran.errors
    assert ran.failed_checks == {"health"}
    assert ran.checks["health"].severity is dg.AssetCheckSeverity.WARN
    assert [row["what"] for row in rows(ran.checks["health"], "warnings")] == ["mtime_gap"]
    assert ran.metadata("validated")["warnings"] == 1


def test_a_copy_that_was_not_read_again_is_not_said_to_have_been(face: Face) -> None:
    def how() -> str:
        return str(face.run("truenas_copy").checks["read_back"].metadata["how"].value)

    assert how().startswith("read back")
    assert how() == "nothing was read this time: earlier runs read all of it back"
    face.lab.write(face.lab.path_of("focus003.bin").replace("003", "late"), b"late")
    assert how().startswith("4 of ")


def test_a_copy_that_lost_its_bytes_fails_the_read_back_and_its_file_is_named(face: Face) -> None:
    assert face.run("validated", "truenas_copy").success
    file = face.lab.copy / face.lab.path_of("focus003.bin")
    status = file.stat()
    file.write_bytes(bytes(status.st_size))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    ran = face.run(*ARCHIVE)
    assert not ran.success
    assert ran.failed_checks == {"read_back"}
    assert [Path(row["path"]).name for row in rows(ran.checks["read_back"], "not proven")] == [file.name]
    assert ran.checks["read_back"].metadata["why"].value
    assert tuple(ran.made) == ("validated",)
    healed = face.run(*ARCHIVE)
    assert healed.success, healed.errors
    assert healed.checks["read_back"].passed


def test_a_copy_that_lost_its_bytes_fails_the_archive_when_only_that_was_asked_for(face: Face) -> None:
    assert face.run("validated", "truenas_copy").success
    file = face.lab.copy / face.lab.path_of("focus003.bin")
    status = file.stat()
    file.write_bytes(bytes(status.st_size))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    ran = face.run("s3_archive")
    assert not ran.success
    assert ran.failed_checks == {"s3_complete"}
    assert ran.made == {}


def test_a_bad_line_of_somebody_else_in_the_ledger_is_seen_but_stops_no_study(face: Face) -> None:
    assert face.run(*ARCHIVE).success
    (month,) = (face.lab.nas / "_manifest").glob("*.jsonl")
    with month.open("a") as file:
        file.write("this is no record\n")
    ran = face.run("manifest_entry")
    assert ran.success, ran.errors
    assert ran.failed_checks == {"ledger_consistent"}
    assert ran.checks["ledger_consistent"].severity is dg.AssetCheckSeverity.WARN
    assert month.name in rows(ran.checks["ledger_consistent"], "bad_lines")[0]["line"]


def test_an_impossible_record_of_this_very_study_fails_its_entry(face: Face) -> None:
    assert face.run(*ARCHIVE).success
    (month,) = (face.lab.nas / "_manifest").glob("*.jsonl")
    last = json.loads(month.read_text().splitlines()[-1])
    with month.open("a") as file:
        file.write(json.dumps({**last, "total_bytes": -1}) + "\n")
    ran = face.run("manifest_entry")
    assert not ran.success
    found = ran.checks["ledger_consistent"]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert rows(found, "failures")[0]["backup_name"] == STUDY


def test_a_source_is_kept_and_the_closed_gates_are_listed(face: Face) -> None:
    assert face.run(*ARCHIVE).success
    path = face.lab.path_of("focus003.bin")
    client, key = face.lab.server.client(), face.lab.key(path)
    client.put_object(Bucket=face.lab.bucket, Key=key, Body=bytes(len(face.lab.originals[STUDY, path])))
    face.lab.write_config(delete_source=True)
    ran = face.run("source_released")
    assert not ran.success
    assert ran.failed_checks == {"source_unchanged"}
    (gate,) = rows(ran.checks["source_unchanged"], "closed gates")
    assert gate["gate"] == "EveryObject"
    assert path in gate["observed"]
    assert ran.made == {}
    assert face.lab.study.is_dir()
