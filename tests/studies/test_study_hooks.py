"""The hook of a backup in Dagster's runs: before anything starts, once in a run, its output in the log."""

from __future__ import annotations

import sys

import pytest

from fusion_assets.studies.tags import HOPELESS, RETRY_TAG
from tests.studies.face import ARCHIVE, Face

pytestmark = pytest.mark.real


def add_hook(face: Face, code: int) -> None:
    lab = face.lab
    script = lab.folder / "hook.py"
    script.write_text(
        f"open({str(lab.folder / 'ran')!r}, 'a').write('x')\nprint('mounting')\nraise SystemExit({code})\n"
    )
    with lab.config.open("a") as file:
        file.write(f"[hooks]\nbackup = ['{sys.executable}', '{script}']\n")


def said(face: Face, run_id: str) -> list[str]:
    return [entry.user_message for entry in face.instance.all_logs(run_id) if not entry.is_dagster_event]


def test_the_share_is_mounted_once_in_a_run_and_what_the_hook_says_is_in_its_log(face: Face) -> None:
    add_hook(face, 0)
    ran = face.run(*ARCHIVE)
    assert ran.success
    assert (face.lab.folder / "ran").read_text() == "x"
    assert "mounting" in said(face, ran.result.run_id)


def test_a_hook_that_fails_keeps_the_run_from_touching_anything(face: Face) -> None:
    add_hook(face, 7)
    before = face.lab.files()
    ran = face.run(*ARCHIVE)
    assert not ran.success
    assert "ended with exit code 7; nothing was started" in ran.errors
    assert {path: seen for path, seen in face.lab.files().items() if path in before} == before
    assert not face.lab.nas.exists() or not any(face.lab.nas.iterdir())


def test_a_run_that_failed_on_a_bad_study_says_that_no_retry_can_help_and_one_on_a_server_does_not(face: Face) -> None:
    face.lab.write("notes.txt", b"not allowed here")
    run = face.run(*ARCHIVE)
    assert face.instance.get_run_by_id(run.result.run_id).tags[RETRY_TAG] == HOPELESS
    (face.lab.study / "notes.txt").unlink()
    face.lab.config.write_text(face.lab.config.read_text().replace(face.lab.server.url, "http://127.0.0.1:9"))
    run = face.run(*ARCHIVE)
    assert not run.success
    assert RETRY_TAG not in face.instance.get_run_by_id(run.result.run_id).tags
