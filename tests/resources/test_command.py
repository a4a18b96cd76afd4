"""Another program's output, live, and its end when we end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from resources.command import CommandError, stream_command


def python(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", code]


def test_every_line_is_told_as_it_appears_and_not_when_all_is_over() -> None:
    told: list[tuple[str, float]] = []
    code = stream_command(
        python("import time; print('first'); time.sleep(1); print('second')"),
        lambda line: told.append((line, time.monotonic())),
    )
    assert code == 0
    assert [line for line, _ in told] == ["first", "second"]
    assert told[1][1] - told[0][1] > 0.5


def test_what_goes_to_stderr_and_what_is_no_utf8_is_told_too() -> None:
    told: list[str] = []
    writing = "import sys; sys.stderr.buffer.write(b'caf\\xe9\\n'); sys.exit(7)"
    assert stream_command(python(writing), told.append) == 7
    assert told == ["caf�"]


def test_a_program_that_is_not_there_is_one_clear_error() -> None:
    with pytest.raises(CommandError, match="'no-such-program' cannot be run"):
        stream_command(["no-such-program"], print)


def test_a_hook_does_not_go_on_mounting_after_its_run_was_ended(tmp_path) -> None:
    pid_file = tmp_path / "pid"
    child = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); print('up'); time.sleep(600)"
    ours = (
        "import signal, sys\n"
        "def end(*_): raise KeyboardInterrupt\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "from resources.command import stream_command\n"
        f"stream_command([sys.executable, '-u', '-c', {child!r}], print)\n"
    )
    process = subprocess.Popen(python(ours), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout
    assert process.stdout.readline().strip() == b"up"
    process.send_signal(signal.SIGTERM)
    process.wait(20)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


@pytest.mark.skipif(os.name == "nt", reason="a shell's way to leave something running")
def test_a_hook_that_leaves_a_mount_helper_running_does_not_hang_the_backup() -> None:
    told: list[str] = []
    began = time.monotonic()
    assert stream_command(["sh", "-c", "sleep 60 & echo mounted"], told.append) == 0
    assert told == ["mounted"]
    assert time.monotonic() - began < 20
