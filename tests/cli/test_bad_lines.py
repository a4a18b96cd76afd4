"""A line of the ledger that cannot be read, as every command that reads the ledger tells of it."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner, Result

from cli.main import cli
from resources.errors import NotMountedError
from tests.manifest.records import record
from tests.real.s3 import no_aws, s3_server
from tests.real.small_lab import PREFIX, STUDY, SmallLab, small_lab

__all__ = ["no_aws", "s3_server", "small_lab"]

pytestmark = pytest.mark.real

MONTH = "2026-01.jsonl"


@pytest.fixture
def lab(small_lab: SmallLab, monkeypatch: pytest.MonkeyPatch) -> SmallLab:
    """A lab with one study, and a ledger that somebody wrote a line of his own into."""
    small_lab.add_study()
    (small_lab.nas / "_manifest").mkdir()
    (small_lab.nas / "_manifest" / MONTH).write_text("this is no record\n")
    monkeypatch.setenv("DAGSTER_HOME", str(small_lab.folder / ".fusion"))
    return small_lab


def fusion(lab: SmallLab, *arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--config", str(lab.config)])


@pytest.mark.parametrize("output", ["text", "json"])
def test_a_bad_line_is_told_by_every_command_that_reads_the_ledger(lab: SmallLab, output: str) -> None:
    for command in (
        ["plan"],
        ["plan", "--limit", "nothing*"],
        ["apply", "--yes", "--limit", "nothing*"],
        ["backup", "run", "--dry-run"],
        ["status"],
        ["explain", STUDY],
        ["cleanup", "run", "--dry-run"],
    ):
        said = fusion(lab, *command, "-f", output)
        assert said.stderr.count(f"ledger: {MONTH} line 1: not JSON") == 1, (command, said.output)
        assert MONTH not in said.stdout or output == "json", command


def in_s3(lab: SmallLab) -> bytes:
    return lab.objects()[f"{PREFIX}/_manifest/{MONTH}"]


def test_a_bad_line_that_s3_mirrors_can_be_taken_out_and_does_not_come_back(lab: SmallLab) -> None:
    assert fusion(lab, "manifest", "mirror", MONTH[:-6]).exit_code == 0
    file = lab.nas / "_manifest" / MONTH
    assert in_s3(lab) == file.read_bytes()
    file.write_bytes(record().to_line())
    stopped = fusion(lab, "plan")
    assert isinstance(stopped.exception, NotMountedError)
    command = re.search("`fusion (manifest mirror [^`]*)`", str(stopped.exception))
    assert command
    asked = fusion(lab, *command[1].split())
    assert (asked.exit_code, "this is no record" in asked.stderr, "--yes" in asked.stderr) == (2, True, True)
    assert in_s3(lab) == b"this is no record\n"
    assert fusion(lab, *command[1].split(), "--yes").exit_code == 0
    assert in_s3(lab) == file.read_bytes()
    assert "nothing to restore" in fusion(lab, "manifest", "restore").stdout
    assert fusion(lab, "manifest", "show").exit_code == 0


def test_a_ledger_that_was_rolled_back_is_not_taken_for_one_that_a_bad_line_was_taken_out_of(lab: SmallLab) -> None:
    file = lab.nas / "_manifest" / MONTH
    bad, good = file.read_bytes(), record().to_line()
    file.write_bytes(bad + good)
    assert fusion(lab, "manifest", "mirror", MONTH[:-6]).exit_code == 0
    file.write_bytes(b"")
    argv = ["manifest", "mirror", MONTH[:-6], "--overwrite", "--yes"]
    refused = fusion(lab, *argv)
    assert (refused.exit_code, "good records that the file lacks: 1" in refused.stderr) == (2, True)
    assert in_s3(lab) == bad + good
    assert fusion(lab, *argv, "--drop-records").exit_code == 0
    assert in_s3(lab) == b""


def test_the_status_counts_the_lines_that_cannot_be_read(lab: SmallLab) -> None:
    assert "lines of it that cannot be read: 1" in fusion(lab, "status").stdout
    (bad,) = json.loads(fusion(lab, "status", "-f", "json").stdout)["ledger"]["bad_lines"]
    assert bad.startswith(f"{MONTH} line 1: ")
