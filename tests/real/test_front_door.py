"""The command line over a real lab: what a dry run leaves alone, and that mistakes and failures have words."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest

from tests.real.small_lab import LOCK, STUDY, SmallLab, assert_completed, messages, recap

pytestmark = pytest.mark.real


@pytest.fixture
def lab(small_lab: SmallLab) -> SmallLab:
    small_lab.add_study()
    return small_lab


def _configure(lab: SmallLab, text: str) -> None:
    lab.config.write_text(lab.config.read_text() + text)


def _hook(lab: SmallLab, code: int = 0) -> Path:
    """A hook that leaves a trace and prints a line; mails about failures are on."""
    script = lab.folder / "hook.py"
    script.write_text(
        f"open({str(lab.folder / 'hook.ran')!r}, 'a').write('x')\nprint('mounting')\nraise SystemExit({code})"
    )
    (lab.folder / "recipients").mkdir()
    (lab.folder / "recipients" / "default.txt").write_text("lab@example.org\n")
    _configure(lab, f"[hooks]\nbackup = ['{sys.executable}', '{script}']\n[notify]\nenabled = true\n")
    return lab.folder / "hook.ran"


def test_a_dry_run_looks_through_the_hook_and_leaves_no_trace_anywhere_else(lab: SmallLab) -> None:
    ran, before, objects = _hook(lab), lab.files(), lab.objects()
    done = lab.fusion("backup", "run", "--dry-run", "-f", "json")
    assert done.returncode == 0, done.stderr
    (found,) = messages(done)
    assert found["studies"][0]["actions"] == ["validated", "truenas_copy", "s3_archive", "manifest_entry"]
    assert done.stdout.count("\n") == 1, "what the hook prints must not get between us and a program"
    assert ran.read_text() == "x", "without the share that the hook mounts there is nothing to look at"
    assert (lab.files(), lab.objects()) == (before, objects)
    assert [path.name for path in (lab.folder / ".fusion").iterdir()] == ["observations.json"]


@pytest.mark.parametrize("trouble", ["hook", "lock", "places"])
def test_only_a_real_run_mails_what_kept_it_from_starting(lab: SmallLab, trouble: str) -> None:
    _hook(lab, code=int(trouble == "hook"))
    if trouble == "lock":
        (lab.study / LOCK).write_text("{}")
    if trouble == "places":
        lab.config.write_text(lab.config.read_text().replace(str(lab.nas), str(lab.folder / "not-mounted")))
    dry = lab.fusion("backup", "run", "--dry-run")
    real = lab.fusion("backup", "run")
    assert dry.returncode == real.returncode == (2 if trouble == "places" else 1)
    assert "mail waits" not in dry.stderr
    assert "mail waits: no mail credentials" in real.stderr


def test_a_name_that_no_study_has_is_a_mistake_and_not_a_study_without_a_lock(lab: SmallLab) -> None:
    mistyped = lab.fusion("unlock", STUDY.replace("HCC", "HHC"))
    assert mistyped.returncode == 2
    assert f"did you mean {STUDY}?" in mistyped.stderr
    for name in ("../x", "", ".", "a/b", "a\\b"):
        done = lab.fusion("unlock", name)
        assert done.returncode == 2, (name, done.stderr)
        assert "Error: " in done.stderr
    unlocked = lab.fusion("unlock", STUDY)
    assert (unlocked.returncode, "has no lock" in unlocked.stdout) == (1, True)


@pytest.mark.parametrize("output", ["text", "json"])
def test_a_first_run_of_a_monthly_task_says_when_to_run_it_again(lab: SmallLab, output: str) -> None:
    lab.config.write_text(lab.config.read_text().replace("settle_minutes = 0", "settle_minutes = 0.1"))
    first = lab.fusion("backup", "run", "-f", output)
    assert first.returncode == 0
    assert re.search(
        "1 of 1 studies wait for their second look: run this again after 20..-..-.. ..:.. UTC", first.stderr
    )
    assert "must look the same until" in first.stdout
    if output == "json":
        assert [(line["type"], line.get("study")) for line in messages(first)] == [("not_idle", STUDY), ("recap", None)]
    assert not lab.copy.exists()
    time.sleep(6)
    second = lab.fusion("backup", "run", "-f", output)
    assert second.returncode == 0
    assert "second look" not in second.stderr
    assert_completed(lab)


@pytest.mark.parametrize("command", [("apply", "--yes"), ("backup", "run")], ids=["apply", "backup run"])
def test_a_study_that_needs_a_person_is_told_with_the_reason_also_to_programs(
    lab: SmallLab, command: tuple[str, ...]
) -> None:
    (lab.study / "notes.txt").write_text("")
    assert lab.fusion(*command).returncode == 1
    again = lab.fusion(*command, "-f", "json")
    assert again.returncode == 1
    assert recap(again)["failed"] == 1
    (told,) = [line for line in messages(again) if line["type"] == "step"]
    assert (told["study"], told["result"]) == (STUDY, "failed")
    assert "notes.txt" in told["message"]
    assert "notes.txt" in lab.fusion(*command).stdout


def test_the_ledger_of_a_nas_that_is_not_mounted_is_not_an_empty_one(lab: SmallLab) -> None:
    assert "0 studies" in lab.fusion("manifest", "show").stdout
    lab.write_config(truenas=str(lab.folder / "not-mounted"))
    done = lab.fusion("manifest", "show")
    assert (done.returncode, done.stdout) == (2, "")
    assert "mounted" in done.stderr


def test_a_port_that_is_taken_is_said_before_anything_is_started(lab: SmallLab) -> None:
    port = lab.server.port
    done = lab.fusion("ui", "--port", str(port))
    assert done.returncode == 2
    assert f"port {port} cannot be used" in done.stderr
    assert not (lab.folder / ".fusion").exists()
