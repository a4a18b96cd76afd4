"""Running another program on the operator's behalf, its output going live where ours goes.

What belongs here: starting it, passing its lines on, ending it when we are ended. What does not: which program, and
what its failure means.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue

from resources.errors import ResourceError

_PATIENCE_SECONDS = 30.0
_LOOK_SECONDS = 0.2
# What a program printed has reached us by then, also on a busy machine.
_LAST_WORDS_SECONDS = 1.0


class CommandError(ResourceError):
    """A program cannot be started at all."""


def run_command(argv: Sequence[str], *, quiet: bool = False) -> int:
    """Run a program on our own terminal.

    Args:
        argv: The program and its arguments.
        quiet: Send what it prints to stderr, so that our stdout holds only what programs expect of us.

    Returns:
        Its exit code.

    Raises:
        CommandError: It cannot be started.
    """
    try:
        return subprocess.run(argv, check=False, stdout=sys.stderr if quiet else None).returncode  # noqa: S603 - theirs
    except (OSError, ValueError) as error:
        raise CommandError(f"{argv[0]!r} cannot be run: {error}") from error


def stream_command(
    argv: Sequence[str], tell: Callable[[str], None], *, environment: Mapping[str, str] | None = None
) -> int:
    """Run a program whose output becomes lines of a log, as they appear.

    If we are ended while it runs, it is asked to end, too, and killed when it does not.

    Args:
        argv: The program and its arguments.
        tell: Called with each line it prints, on either stream.
        environment: Variables to add to ours.

    Returns:
        Its exit code; negative for the signal that ended it.

    Raises:
        CommandError: It cannot be started.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - the operator's own command, or ours
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            text=True,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, ValueError) as error:
        raise CommandError(f"{argv[0]!r} cannot be run: {error}") from error
    try:
        _pass_on(process, tell)
        return process.wait()
    except BaseException:
        _end(process)
        raise


def _pass_on(process: subprocess.Popen[str], tell: Callable[[str], None]) -> None:
    """Pass lines on until the program ends; what it leaves running in the background may hold the pipe for ever."""
    lines: SimpleQueue[str] = SimpleQueue()
    reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
    reader.start()
    ended_at: float | None = None
    while reader.is_alive() or not lines.empty():
        with suppress(Empty):
            tell(lines.get(timeout=_LOOK_SECONDS).rstrip())
            continue
        if ended_at is None and process.poll() is not None:
            ended_at = time.monotonic()
        if ended_at is not None and time.monotonic() - ended_at > _LAST_WORDS_SECONDS:
            break


def _read(process: subprocess.Popen[str], lines: SimpleQueue[str]) -> None:
    for line in process.stdout or ():
        lines.put(line)


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
