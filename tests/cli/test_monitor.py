"""`fusion monitor`, as an operator types it; with a real mail server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.demo.mail import mail_server
from cli.demo.servers import free_port
from cli.monitor import command
from resources.smtp_settings import VARIABLES
from tests.monitor.synthetic import NAME, error, info

CONFIG = """
[source]
root = '{folder}'
log = '{folder}/Fusion.log'
[truenas]
root = "/n"
[s3]
bucket = "lab-archive"
[notify]
enabled = true
{more}
"""


@pytest.fixture(autouse=True)
def _nothing_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*VARIABLES, "DAGSTER_HOME", "FUSION_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))


class Instrument:
    """A log, a configuration, and the mails that came of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / NAME
        self.config = folder / "config.toml"
        self.mails = folder / "mail"
        (folder / "recipients").mkdir()
        (folder / "recipients" / "default.txt").write_text("oncall@lab.example\n")
        self.configure()
        self.environment: dict[str, str] = {}

    def configure(self, more: str = "") -> None:
        self.config.write_text(CONFIG.format(folder=self.folder, more=more))

    def write(self, *lines: str) -> None:
        with self.log.open("a", encoding="utf-8") as log:
            log.write("".join(f"{line}\n" for line in lines))

    def monitor(self, *arguments: str) -> Result:
        return CliRunner().invoke(command, [*arguments, "--config", str(self.config)], env=self.environment)

    def subjects(self) -> list[str]:
        files = sorted(self.mails.iterdir(), key=lambda file: file.stat().st_mtime_ns)
        return [str(message_from_bytes(file.read_bytes(), policy=default)["Subject"]) for file in files]

    def start(self) -> subprocess.Popen[str]:
        fusion = str(Path(sys.executable).with_name("fusion"))
        return subprocess.Popen(
            [fusion, "monitor", "tail", "--interval", "0.1", "--config", str(self.config)],
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def instrument(tmp_path: Path) -> Iterator[Instrument]:
    made = Instrument(tmp_path)
    with mail_server(made.mails, free_port()) as environment:
        made.environment = environment
        yield made


def test_an_error_is_printed_and_mailed_once(instrument: Instrument) -> None:
    instrument.write(info("old"))
    assert instrument.monitor("tail", "--once").exit_code == 0
    instrument.write(info("Sample: A, cycle 3"), error("stuck"), "  at A()", info("on"))
    result = instrument.monitor("tail", "--once")
    assert result.exit_code == 0, result.output
    assert "error, once, sample A, cycle 3 (byte" in result.stdout
    assert f"  {error('stuck')}\n    at A()\n" in result.stdout
    assert "mail sent" in result.stderr
    assert len(instrument.subjects()) == 1
    assert "instrument error: 2026-01-05 11:59:02,456 [12] ERROR Stage - stuck" in instrument.subjects()[0]
    instrument.write(error("stuck"), "  at A()", info("on"))
    again = instrument.monitor("tail", "--once")
    assert "again, once: " in again.stdout
    assert len(instrument.subjects()) == 1


def test_once_waits_for_the_end_of_an_error_that_is_just_being_written(instrument: Instrument) -> None:
    instrument.write(error("stuck"), "  at A()")
    result = instrument.monitor("tail", "--once", "--from-start")
    assert result.exit_code == 0, result.output
    assert "    at A()" in result.stdout


def test_a_storm_of_errors_is_one_mail(instrument: Instrument) -> None:
    instrument.write(*[error(f"frame {number} dropped") for number in range(20_000)], info("over"))
    result = instrument.monitor("tail", "--once", "--from-start")
    assert result.exit_code == 0, result.output
    (subject,) = instrument.subjects()
    assert "21 different instrument errors, 20,000 in all" in subject


def test_an_unknown_pattern_is_a_configuration_error(instrument: Instrument) -> None:
    instrument.configure("[monitor.patterns]\nerorr = 'x'")
    result = instrument.monitor("tail", "--once")
    assert "did you mean error?" in str(result.exception)


def test_a_log_that_is_not_there_is_exit_code_3(instrument: Instrument) -> None:
    result = instrument.monitor("tail", "--once")
    assert result.exit_code == 3
    assert "Fusion.log" in result.stderr


def test_an_unexpected_error_is_mailed_as_a_crash(instrument: Instrument, monkeypatch: pytest.MonkeyPatch) -> None:
    instrument.write(info("x"))

    def breaks(*_: object, **__: object) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr("cli.monitor.take_look", breaks)
    for _ in range(3):  # a service starts it again and again
        result = instrument.monitor("tail")
        assert result.exit_code == 1
        assert "the monitor crashed: RuntimeError: a bug of ours" in result.stderr
    (subject,) = instrument.subjects()
    assert "the monitor of Fusion.log crashed" in subject


def test_a_damaged_state_is_told_and_not_guessed(instrument: Instrument) -> None:
    instrument.write(info("x"))
    (instrument.folder / ".fusion").mkdir()
    (instrument.folder / ".fusion" / "monitor.json").write_text("{")
    result = instrument.monitor("tail", "--once")
    assert "cannot be understood" in str(result.exception)
    assert len(instrument.subjects()) == 1
    assert instrument.monitor("tail", "--once", "--from-start").exit_code == 0
    assert instrument.monitor("tail", "--once").exit_code == 0


def test_an_error_whose_mail_waits_for_the_server_is_not_lost(instrument: Instrument) -> None:
    port = free_port()
    instrument.environment = {**instrument.environment, "FUSION_SMTP_PORT": str(port)}
    instrument.write(error("stuck"), info("on"))
    result = instrument.monitor("tail", "--once", "--from-start")
    assert result.exit_code == 0, result.output
    assert "mail waits" in result.stderr
    assert instrument.subjects() == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_follows_the_log_until_it_is_told_to_stop(instrument: Instrument, how: signal.Signals) -> None:
    instrument.write(info("x"))
    process = instrument.start()
    try:
        state = instrument.folder / ".fusion" / "monitor.json"
        _wait_for(state.exists)
        instrument.write(error("stuck"), info("on"))
        _wait_for(lambda: instrument.subjects() != [])
    finally:
        process.send_signal(how)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert error("stuck") in out
    assert "stopped" in err
    assert "Traceback" not in err


def test_killed_between_mail_and_state_it_mails_nothing_twice(instrument: Instrument) -> None:
    instrument.write(error("stuck"), info("on"))
    script = (
        "import os, signal, sys\n"
        "import fusion_assets.monitor.tail as tail\n"
        "tail.save_state = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from cli.main import main\n"
        "sys.argv = ['fusion', 'monitor', 'tail', '--once', '--from-start', '--config', sys.argv[1]]\n"
        "main()\n"
    )
    environment = {**os.environ, **instrument.environment}
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", script, instrument.config], env=environment, check=False)
        assert done.returncode == -signal.SIGKILL
        assert not (instrument.folder / ".fusion" / "monitor.json").exists()
    result = instrument.monitor("tail", "--once", "--from-start")
    assert result.exit_code == 0, result.output
    assert len(instrument.subjects()) == 1


def test_learn_shows_what_the_patterns_see_and_changes_nothing(instrument: Instrument) -> None:
    instrument.write(info("Sample: A, cycle 3"), error("stuck"), info("Failed to focus"))
    result = instrument.monitor("learn")
    assert result.exit_code == 0, result.output
    assert "100.0% of the last 3 lines" in result.stdout
    assert "errors        1, 1 different" in result.stdout
    assert "        1  <TS> [12] ERROR Stage - stuck" in result.stdout
    assert info("Failed to focus") in result.stdout
    assert "[monitor.patterns]\nerror = '" in result.stdout
    assert not (instrument.folder / ".fusion").exists()


def test_learn_needs_no_configuration_and_tries_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some.log").write_text("T1 BANG stuck\nT2 fine\n")
    arguments = ["learn", "some.log", "-p", "error=BANG", "-p", "timestamp=^T\\d", "-f", "json"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert (said["blocks"], said["share_with_timestamp"]) == (1, 1.0)


def test_learn_says_how_a_pattern_is_written(instrument: Instrument) -> None:
    result = instrument.monitor("learn", "-p", "error")
    assert result.exit_code == 2
    assert "NAME=REGEX" in result.stderr


def _wait_for(happened) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)
