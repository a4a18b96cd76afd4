"""`fusion ui`: the Dagster UI and daemon of the configured lab, on this machine only.

For looking and for small labs; a production host runs the same two commands as services.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from filelock import FileLock, Timeout

from cli.run import dagster_instance, prepare_instance
from cli.settings import Settings, global_options
from fusion_assets.config import CONFIG_VARIABLE, Config
from fusion_assets.reconcile.lab import open_lab, source_studies, trashed_studies
from fusion_assets.state import HOME_VARIABLE, replace_text, state_folder
from resources.errors import ResourceError, described

DEFAULT_PORT = 3000
# In the state folder; the services of deploy/ hold the same one by flock(1). Two daemons would launch a run twice.
DAEMON_LOCK = "daemon.lock"
# As in deploy/ and workspace.yaml: under another name Dagster would take the same sensors for others, with another
# position each, and would find no code for the runs that wait.
LOCATION = "fusion"
_WORKSPACE = "ui-workspace.yaml"
_STOP_SECONDS = 15


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, show_default=True, help="On 127.0.0.1.")
@global_options
def command(port: int) -> None:
    """Serve the Dagster UI of the configured lab, and run the lab by itself with Dagster's daemon, until interrupted.

    The daemon archives idle studies (and releases their sources, if delete_source = true), evicts copies from the NAS
    when it fills, and mails: all that [sensors] and [schedules] of config.toml do not switch off. To only look, use
    `fusion plan` and `fusion status`.

    The UI lists the studies that are at the source now, and all that any run has seen.
    """
    config = click.get_current_context().ensure_object(Settings).load()
    refuse_taken_port(port)
    sys.exit(serve(config, port))


def refuse_taken_port(port: int) -> None:
    """Say so before anything is started, and not in the webserver's words.

    Raises:
        click.UsageError: Another program listens there.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the webserver does: a port just left is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise click.UsageError(f"port {port} cannot be used ({error.strerror}); name another by --port") from error


def serve(config: Config, port: int, environment: Mapping[str, str] | None = None) -> int:
    """Run webserver and daemon until one of them ends or the user interrupts.

    The webserver has no login: it is bound to 127.0.0.1, and stays there.

    Args:
        config: The lab; it must come from a file.
        port: The webserver's port.
        environment: Variables to add, e.g. credentials.

    Returns:
        The exit code: 0 after an interrupt, else that of the process that ended by itself.

    Raises:
        click.UsageError: Another daemon works for the lab.
    """
    folder = prepare_instance(state_folder(config))
    with _only_daemon(folder):
        _prepare_history(config, folder)
        variables = {**(environment or {}), HOME_VARIABLE: str(folder), CONFIG_VARIABLE: str(config.path)}
        return _serve(_write_workspace(folder), port, {**os.environ, **variables})


@contextmanager
def _only_daemon(folder: Path) -> Iterator[None]:
    try:
        with FileLock(folder / DAEMON_LOCK, timeout=0):
            yield
    except Timeout as error:
        raise click.UsageError(
            f"a daemon works for this lab already ({folder / DAEMON_LOCK} is held): that of the services "
            "(`systemctl status fusion-daemon`), or of another `fusion ui`; open its UI instead"
        ) from error


def _write_workspace(folder: Path) -> Path:
    """Dagster's options name a module, but not the code location."""
    module = {
        "module_name": "definitions",
        "working_directory": str(Path(__file__).parent.parent),
        "location_name": LOCATION,
    }
    replace_text(folder / _WORKSPACE, json.dumps({"load_from": [{"python_module": module}]}))  # JSON is YAML, too
    return folder / _WORKSPACE


def _serve(workspace: Path, port: int, environment: Mapping[str, str]) -> int:
    scripts = Path(sys.executable).parent
    processes = [
        subprocess.Popen([scripts / "dagster-daemon", "run", "-w", workspace], env=environment),  # noqa: S603 - our own
        subprocess.Popen(  # noqa: S603 - our own
            [scripts / "dagster-webserver", "-h", "127.0.0.1", "-p", str(port), "-w", workspace], env=environment
        ),
    ]
    click.echo(f"Dagster UI: http://127.0.0.1:{port}  (Ctrl-C to stop)", err=True)
    click.echo("its daemon archives, evicts and mails by itself: [sensors] and [schedules] of config.toml", err=True)
    try:
        while all(process.poll() is None for process in processes):
            time.sleep(0.5)
        return next(process.returncode for process in processes if process.returncode is not None)
    except KeyboardInterrupt:
        return 0
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            _await_end(process)


def _prepare_history(config: Config, folder: Path) -> None:
    """Let nothing wait for a time that a clock was ahead to, and give every study at the source a partition."""
    from fusion_assets.partitions import partition_key, studies
    from resources.tick_times import take_back_tick_times

    names = _studies_at_source(config)
    with dagster_instance(folder) as instance:
        take_back_tick_times(instance, datetime.now(UTC))
        if names:
            instance.add_dynamic_partitions(str(studies.name), sorted(map(partition_key, names)))


def _studies_at_source(config: Config) -> set[str]:
    """What the UI is to list, so that it can run it; without a source, it lists what it did before."""
    try:
        with open_lab(config) as lab:
            return {*source_studies(tuple(lab.source.list())), *trashed_studies(lab)}
    except ResourceError as error:
        click.echo(f"warning: {described(error)}; the UI shows the studies it knows already", err=True)
        return set()


def _await_end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
