"""The front door: exit codes, options before and after the subcommand, and a sentence instead of a traceback."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

from cli.main import cli, main
from tests.cli.commands import commands, has_json
from tests.manifest.records import record

STUDY = "20260105_WW_HCC_run1"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    scan = tmp_path / "instrument" / STUDY / STUDY / "Scan1"
    (scan / ".temp").mkdir(parents=True)
    (scan / f"{STUDY}_Scan1.qptiff").write_bytes(b"II*\0")
    (tmp_path / "instrument" / STUDY / f"{STUDY}.xpd").write_text("{}")
    return tmp_path / "instrument" / STUDY


def fusion(monkeypatch: pytest.MonkeyPatch, *argv: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["fusion", *map(str, argv)])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


def test_a_file_given_as_a_root_is_said_to_be_none_without_sending_anybody_to_a_configuration(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fusion(monkeypatch, "validate", "root", study / f"{STUDY}.xpd") == 2
    said = capsys.readouterr().err
    assert "it is not a directory" in said
    assert "config.toml" not in said


def test_a_good_study_is_ok_in_the_fixed_json_form(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fusion(monkeypatch, "validate", "study", study, "-f", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"study": STUDY, "path": str(study), "ok": True, "violations": [], "warnings": []}


def test_a_bad_study_ends_with_1_and_all_its_violations(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (study / "notes.txt").write_text("")
    (study / "Thumbs.db").write_text("")
    assert fusion(monkeypatch, "validate", "study", study, "-f", "json") == 1
    violations = json.loads(capsys.readouterr().out)["violations"]
    assert [set(violation) for violation in violations] == [{"rule", "path", "message", "hint"}] * 2
    assert {violation["rule"] for violation in violations} == {"R5"}


def test_a_root_is_judged_study_by_study(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (study.parent / "not a study").mkdir()
    assert fusion(monkeypatch, "validate", "root", study.parent, "-f", "json") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["root"], found["ok"], len(found["studies"])) == (str(study.parent), False, 2)


def test_quiet_says_nothing(study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for output in ("text", "json"):
        assert fusion(monkeypatch, "validate", "study", study, "-q", "-f", output) == 0
        assert fusion(monkeypatch, "validate", "root", study.parent, "-q", "-f", output) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("argv", [["plan"], ["apply"], ["backup", "run"], ["unlock", "x"], ["manifest", "show"]])
def test_without_a_config_every_command_ends_with_2_and_says_where_it_looked(
    argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FUSION_CONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert fusion(monkeypatch, *argv) == 2
    assert "no configuration at config.toml or" in capsys.readouterr().err


@pytest.mark.parametrize("after", [False, True])
def test_the_config_is_accepted_before_and_after_the_subcommand(
    after: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "lab.toml"
    config.write_text('[source]\nrot = "/x"\n')
    option = ["--config", str(config)]
    assert fusion(monkeypatch, *(["plan", *option] if after else [*option, "plan"])) == 2
    message = capsys.readouterr().err
    assert f"{config}: unknown key source.rot | hint: did you mean source.root?" in message
    assert "Traceback" not in message


def test_an_unknown_subcommand_is_a_usage_error_that_names_the_nearest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fusion(monkeypatch, "frobnicate") == 2
    assert "did you mean" not in capsys.readouterr().err
    assert fusion(monkeypatch, "plann") == 2
    assert "did you mean plan?" in capsys.readouterr().err


def test_a_windows_path_on_another_system_is_a_mistake_in_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "lab.toml"
    config.write_text("[source]\nroot='\\\\inst\\Fusion'\n[truenas]\nroot='/n'\n[s3]\nbucket='bucket'\nregion='x'\n")
    assert fusion(monkeypatch, "plan", "--config", config) == 2
    assert "write smb://<name>/Fusion" in capsys.readouterr().err


def test_a_month_of_the_ledger_can_be_shown_without_a_lab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    month = tmp_path / "2026-06.jsonl"
    month.write_text("this is no record\n")
    assert fusion(monkeypatch, "manifest", "show", month, "-f", "json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["records"] == []
    assert "2026-06.jsonl" in found["bad_lines"][0]


def test_the_door_opens_without_waiting_for_dagster_or_boto3() -> None:
    code = "import sys, cli.main, cli.validate; print([m for m in ('dagster', 'boto3', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_both_names_of_the_command_are_installed() -> None:
    for name in ("fusion", "fusion-toolkit"):
        script = Path(sys.executable).with_name(name)
        done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
        assert "fusion" in done.stdout


def test_a_month_of_the_ledger_is_a_table_with_the_day_each_study_was_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    month = tmp_path / "2026-06.jsonl"
    completed = record(completed_at=datetime(2026, 6, 7, 8, 9, tzinfo=UTC))
    month.write_bytes(completed.to_line() + b"\n")
    assert fusion(monkeypatch, "manifest", "show", month) == 0
    (line, *_) = capsys.readouterr().out.splitlines()
    assert line.startswith(completed.backup_name)
    assert "2026-06-07 08:09 UTC" in line


@pytest.mark.parametrize("no_color", ["", "1"])
def test_colours_are_left_out_where_nobody_wants_them(study: Path, no_color: str) -> None:
    leader, follower = os.openpty()  # a terminal, as a person has it
    argv = [Path(sys.executable).with_name("fusion"), "validate", "study", study]
    subprocess.run(argv, env={**os.environ, "NO_COLOR": no_color, "TERM": "xterm"}, stdout=follower, check=True)
    os.close(follower)
    printed = os.read(leader, 4096)
    os.close(leader)
    assert b"ok" in printed
    assert (b"\x1b[" in printed) is not bool(no_color)


def test_the_readme_names_every_command_that_answers_in_json_and_every_one_that_does_not() -> None:
    readme = " ".join((Path(__file__).parents[2] / "README.md").read_text().split())
    _, _, rest = readme.partition("`-f json` gives the answers of ")
    with_json, _, rest = rest.partition(" to programs;")
    without, _, _ = rest.partition(" speak to people")
    named = [set(re.findall("`([^`]+)`", part)) for part in (with_json, without)]
    assert named == [{name for name, command in commands() if has_json(command) is wanted} for wanted in (True, False)]


@pytest.mark.parametrize("document", ["README.md", "docs/eviction.md", "docs/mail.md", "docs/operations.md"])
def test_every_command_of_a_document_can_be_typed(document: str) -> None:
    text = (Path(__file__).parents[2] / document).read_text()
    blocks = "".join(re.findall("```console\n(.*?)```", text, re.DOTALL))
    typed = re.findall(r"^ *[$#] (?:sudo )?(?:\S*/)?(fusion .*)$", blocks, re.MULTILINE)
    if document == "docs/operations.md":  # the others speak of commands in general there: `fusion validate study|root`
        typed += re.findall(r"`(?:sudo )?(fusion [^`…]*)`", text)
    assert len(typed) > 2
    for line in typed:
        _parse(shlex.split(line, comments=True)[1:])


def _parse(argv: list[str]) -> None:
    """Whether there is such a command, with these options and arguments; it is not run.

    Raises:
        click.UsageError: There is not.
    """
    command: click.Command | None = cli
    while isinstance(command, click.Group):
        name, *argv = argv
        command = command.get_command(click.Context(command), name)
    assert command is not None, name
    command.make_context(name, argv)


def test_whoever_reads_the_help_of_the_ui_learns_that_its_daemon_archives_evicts_and_mails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fusion(monkeypatch, "ui", "--help") == 0
    said = " ".join(capsys.readouterr().out.split())
    for deed in ("archives idle studies", "evicts copies from the NAS", "mails", "[sensors] and [schedules]"):
        assert deed in said


@pytest.mark.parametrize("group", ["backup", "cleanup", "manifest", "notify", "monitor", "validate"])
def test_no_command_is_listed_with_half_a_sentence(
    group: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fusion(monkeypatch, group, "--help") == 0
    assert "..." not in capsys.readouterr().out.partition("Commands:")[2]
