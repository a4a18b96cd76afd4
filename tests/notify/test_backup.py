"""What a person reads when a backup failed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.notify.backup import MAX_COMMANDS, BackupFailure, FailedStudy, backup_failure_message
from fusion_assets.notify.letter import MAX_ROWS, Message
from fusion_assets.notify.origin import Origin

AT = datetime(2026, 3, 1, 2, 30, 5, tzinfo=UTC)
ORIGIN = Origin("fusion-pc", AT, Path("/etc/fusion/config.toml"), "http://dagster.lab.example/")
HERE = Origin("h", AT)
FAILURE = BackupFailure(
    failed=(
        FailedStudy("20260105_WW_HCC_run 1", "R1: the name has a space", path="/mnt/fusion/20260105_WW_HCC_run 1"),
        FailedStudy("20260106_WW_HCC_run2", "a lock of fusion-pc (pid 17) is left", locked=True),
        FailedStudy("20260107_WW_HCC_run3", "the NAS broke off"),
    ),
    recap="ok=5 changed=4 skipped=3 failed=3",
)


def parts(message: Message) -> tuple[str, str]:
    assert message.html is not None
    return message.text, message.html


def test_the_mail_says_what_failed_and_why_one_line_each() -> None:
    message = backup_failure_message(FAILURE, ORIGIN)
    assert message.subject == "[fusion-toolkit] backup: 3 studies failed on fusion-pc"
    lines = message.text.splitlines()
    for failed in FAILURE.failed:
        assert f"  {failed.study}: {failed.reason}" in lines


def test_the_mail_says_what_is_safe() -> None:
    for text in parts(backup_failure_message(FAILURE, ORIGIN)):
        assert "Nothing unproven was deleted" in text
        assert "whatever never was is still at the source" in text
        assert "Running the backup again is safe" in text


def test_the_mail_says_what_to_type() -> None:
    text = backup_failure_message(FAILURE, ORIGIN).text
    for command in (
        "fusion plan --config /etc/fusion/config.toml",
        'fusion validate study "/mnt/fusion/20260105_WW_HCC_run 1"',
        "fusion unlock 20260106_WW_HCC_run2 --config /etc/fusion/config.toml",
        "fusion backup run --config /etc/fusion/config.toml",
    ):
        assert f"    {command}" in text.splitlines()
    assert "unlock 20260107" not in text
    assert "validate study 20260107" not in text


def test_the_mail_ends_with_the_recap_the_host_and_the_time() -> None:
    text = backup_failure_message(FAILURE, ORIGIN).text
    assert "ok=5 changed=4 skipped=3 failed=3" in text
    assert text.endswith("fusion-toolkit on fusion-pc, 2026-03-01 02:30:05+00:00\n")


def test_a_run_that_never_began_says_why() -> None:
    failure = BackupFailure(trouble="/mnt/fusion is empty: most likely a share that is not mounted")
    message = backup_failure_message(failure, HERE)
    assert message.subject == "[fusion-toolkit] backup stopped on h"
    for text in parts(message):
        assert "most likely a share that is not mounted" in text
    assert "What failed" not in message.text
    assert "    fusion plan\n" in message.text


def test_one_study_is_not_counted_as_studies() -> None:
    failure = BackupFailure(failed=FAILURE.failed[:1])
    assert "1 study failed" in backup_failure_message(failure, HERE).subject


def test_a_thousand_failures_stay_a_mail_a_person_reads() -> None:
    failed = tuple(FailedStudy(f"s{number}", "why " * 1000, path=f"/s{number}", locked=True) for number in range(1000))
    text = backup_failure_message(BackupFailure(failed=failed), HERE).text
    assert f"and {1000 - MAX_ROWS} more" in text
    assert len(re.findall("^    fusion validate", text, re.MULTILINE)) == MAX_COMMANDS
    assert len(re.findall("^    fusion unlock", text, re.MULTILINE)) == MAX_COMMANDS
    assert len(text) < 30_000


def test_a_study_name_cannot_become_markup_or_a_shell_command() -> None:
    name = "<script>$(rm -rf ~)</script>"
    failure = BackupFailure(failed=(FailedStudy(name, "why", path=f"/s/{name}", locked=True),))
    text, html = parts(backup_failure_message(failure, HERE))
    assert "<script>" not in html
    assert f"fusion unlock '{name}'" in text
    assert f"fusion validate study '/s/{name}'" in text


def test_a_failed_run_of_the_daemon_names_its_step_and_links_to_it() -> None:
    failed = FailedStudy("s1", "the NAS broke off", step="truenas_copy", run_id="0b1c")
    message = backup_failure_message(BackupFailure(failed=(failed,), by_daemon=True), ORIGIN)
    assert "  s1: truenas_copy: the NAS broke off (http://dagster.lab.example/runs/0b1c)" in message.text.splitlines()
    assert '<a href="http://dagster.lab.example/runs/0b1c">' in parts(message)[1]
    assert "is tried again by itself" in message.text


def test_of_a_study_that_has_left_the_instrument_it_is_said_where_it_is_and_no_backup_is_promised() -> None:
    where = "It has left the instrument. S3 has its archive; the NAS has no whole copy of it."
    failed = FailedStudy("20260105_WW_HCC_run1", "its copy is gone from the NAS", away=where)
    message = backup_failure_message(BackupFailure((failed,), stuck=True), ORIGIN)
    for text in parts(message):
        assert f"20260105_WW_HCC_run1: {where}" in text
        assert "fusion backup run" not in text
        assert "is tried again by itself" not in text
        assert "fusion explain 20260105_WW_HCC_run1 --config /etc/fusion/config.toml" in text
    by_daemon = backup_failure_message(BackupFailure((failed,), by_daemon=True), ORIGIN).text
    assert "    fusion apply --config /etc/fusion/config.toml" in by_daemon.splitlines()


anything = st.text(st.characters(), max_size=60)  # lone surrogates and control characters included


@given(anything, anything, anything, anything, anything)
def test_whatever_a_directory_is_called_the_mail_can_be_written(
    host: str, study: str, reason: str, path: str, trouble: str
) -> None:
    failure = BackupFailure((FailedStudy(study, reason, path, locked=True),), recap=reason, trouble=trouble)
    message = backup_failure_message(failure, Origin(host, AT))
    for text in (message.subject, *parts(message)):
        text.encode()
        assert "Nothing unproven was deleted" in text or text is message.subject
    assert message.subject.isprintable()
    assert all(line.isprintable() for line in message.text.split("\n"))
