"""The commands of [hooks]: run before a backup or a cleanup, for example to mount a share.

What belongs here: that a hook that fails keeps the work from starting. What does not: what is done then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from resources.command import CommandError, run_command, stream_command


class HookError(Exception):
    """A hook cannot be run, or failed: nothing was started."""


def run_hook(argv: Sequence[str], *, quiet: bool = False) -> None:
    """Run a hook on our own terminal.

    Args:
        argv: The command and its arguments; empty for none.
        quiet: Send what it prints to stderr.

    Raises:
        HookError: It cannot be run, or failed.
    """
    _run(argv, lambda: run_command(argv, quiet=quiet))


def stream_hook(argv: Sequence[str], tell: Callable[[str], None]) -> None:
    """Run a hook, its output going to a log line by line.

    Args:
        argv: The command and its arguments; empty for none.
        tell: Called with each line it prints.

    Raises:
        HookError: It cannot be run, or failed.
    """
    _run(argv, lambda: stream_command(argv, tell))


def _run(argv: Sequence[str], run: Callable[[], int]) -> None:
    if not argv:
        return
    try:
        code = run()
    except CommandError as error:
        raise HookError(f"hook {error}; nothing was started | hint: check [hooks] in config.toml") from error
    if code != 0:
        raise HookError(f"hook {argv[0]!r} ended with exit code {code}; nothing was started")
