"""`fusion`: finds the subcommand, and turns whatever goes wrong into one sentence and the right exit code.

What belongs here: the list of subcommands and the exit codes. Each subcommand is a module of its own, imported only
when it is used, so that `fusion validate` does not wait for Dagster or boto3.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
import traceback
from contextlib import suppress
from difflib import get_close_matches
from types import FrameType

import click

from cli.settings import Settings, global_options
from fusion_assets.config import ConfigError, find_config
from resources.errors import (
    AccessDeniedError,
    AddressError,
    NotFoundError,
    NotMountedError,
    ResourceError,
    UnavailableError,
    described,
)
from resources.lockfile import LockHeldError

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIG = 2
EXIT_UNEXPECTED = 3
EXIT_INTERRUPTED = 130

_LOG = logging.getLogger(__name__)
_COMMANDS = {
    "apply": ("cli.apply", "Close the difference between the declared and the observed state."),
    "backup": ("cli.backup", "Archive the idle studies at the source."),
    "cleanup": ("cli.cleanup", "Make room on the NAS: evict the oldest backups that S3 is proven to hold."),
    "demo": ("cli.demo.command", "Build a small lab in a folder and reconcile it."),
    "explain": ("cli.explain", "Show why a study is where it is, and what comes next."),
    "manifest": ("cli.manifest", "Read the ledger; bring it back from S3."),
    "monitor": ("cli.monitor", "Notice errors in the instrument's log."),
    "notify": ("cli.notify", "Show who is mailed about what, and try whether it arrives."),
    "pin": ("cli.pin", "Keep a study on the NAS, or show which are kept."),
    "plan": ("cli.plan", "Show the difference between the declared and the observed state."),
    "status": ("cli.status", "Show how the lab, or a study, stands; the daemon's heartbeat."),
    "ui": ("cli.ui", "Serve the Dagster UI on 127.0.0.1; its daemon runs the lab by itself."),
    "unpin": ("cli.unpin", "Let a study leave the NAS again."),
    "unlock": ("cli.unlock", "Remove the locks that a crash left: of a study, the ledger or a cleanup."),
    "validate": ("cli.validate", "Check names against the naming standard."),
}


class LazyGroup(click.Group):
    """A group whose subcommands are imported when they are called (click's documented way to do this)."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names of all subcommands."""
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import the module of one subcommand."""
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(_COMMANDS[cmd_name][0]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a subcommand; of a mistyped one the nearest is named."""
        if args[0] not in _COMMANDS and (nearest := get_close_matches(args[0], _COMMANDS, n=1)):
            ctx.fail(f"there is no command {args[0]!r} | hint: did you mean {nearest[0]}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in sorted(_COMMANDS.items())])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fusion-toolkit", prog_name="fusion")
@global_options
def cli() -> None:
    """Microscope studies: validated, copied to the NAS, archived in S3, proven, recorded, and only then released.

    Exit codes: 0 success; 1 a validation or a study failed; 2 configuration error or lock held; 3 unexpected error, or
    a server that does not answer; 10 (only plan --detailed-exitcode) changes are pending; 130 interrupted.
    """


def main() -> None:
    """Run the command line and exit with its code."""
    signal.signal(signal.SIGTERM, _terminate)
    settings = Settings()
    try:
        # click knows terminals and pipes, but not https://no-color.org
        code = cli.main(standalone_mode=False, obj=settings, color=False if os.environ.get("NO_COLOR") else None)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (ConfigError, AddressError, LockHeldError, NotMountedError, NotFoundError, AccessDeniedError) as error:
        code = _complain(error, settings, EXIT_CONFIG)
    except ResourceError as error:
        code = _complain(error, settings, EXIT_UNEXPECTED)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; run the same command again to go on", err=True)
        code = EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the border of the program: a person gets a sentence, not a traceback
        code = _complain(error, settings, EXIT_UNEXPECTED, prefix=f"unexpected {type(error).__name__}: ")
    sys.exit(code if isinstance(code, int) else EXIT_OK)


def _complain(error: Exception, settings: Settings, code: int, prefix: str = "") -> int:
    if prefix:
        _LOG.error("%s%s", prefix, described(error), exc_info=error)
    if settings.verbose:
        traceback.print_exception(error)
    click.echo(f"fusion: {prefix}{described(error)}", err=True)
    if isinstance(error, AccessDeniedError | UnavailableError) and (hint := _demo_hint(settings)):
        click.echo(hint, err=True)
    if prefix and not settings.verbose:
        click.echo("run again with --verbose for the traceback", err=True)
    return code


def _demo_hint(settings: Settings) -> str | None:
    """What is wrong if this is the lab of a demonstration that has ended, or that runs in another terminal."""
    from cli.demo.servers import how_to_reach

    with suppress(ConfigError):
        if commands := how_to_reach(find_config(settings.config_path)):
            return f"this is a demonstration's lab; its servers run only as long as that does | hint: {commands}"
    return None


def _terminate(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a signal handler
    """Turn a polite kill into an exception, so that locks are released and partial uploads are given up."""
    raise KeyboardInterrupt
