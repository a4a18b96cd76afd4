"""The servers of the demonstration, on 127.0.0.1 only: an S3 server that refuses wrong checksums, and a mail server.

What belongs here: starting and stopping them. Both come with ``pip install fusion-toolkit[demo]``; neither is meant for
real data.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

REGION = "us-east-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": "demo-secret"}
ENVIRONMENT_FILE = "servers.env"
"""Beside the demonstration's config.toml: the variables by which another process reaches the servers."""
_START_SECONDS = 60


class ServerError(Exception):
    """A server of the demonstration did not start."""


def write_environment(folder: Path, variables: Mapping[str, str]) -> None:
    """Leave beside config.toml what other commands need to reach the servers.

    Args:
        folder: The demonstration's lab.
        variables: Of the mail server; the credentials of the S3 server are added.
    """
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in {**CREDENTIALS, **variables}.items()]
    (folder / ENVIRONMENT_FILE).write_text("".join(lines), encoding="utf-8")


def how_to_reach(config: Path) -> str | None:
    """What a person does who gives another command the lab of a demonstration.

    Args:
        config: Its config.toml.

    Returns:
        The commands, in a shell's words; None if this is no such lab.
    """
    folder = config.parent
    if not (folder / ENVIRONMENT_FILE).is_file():
        return None
    serve = shlex.join([sys.argv[0], "demo", str(folder), "--serve"])
    return f"{serve}    and in another terminal    set -a; . {shlex.quote(str(folder / ENVIRONMENT_FILE))}; set +a"


@contextmanager
def s3_server(folder: Path, port: int) -> Iterator[str]:
    """An S3 server whose objects are kept in a folder, so that a second demonstration finds them again.

    Args:
        folder: Where the objects are kept; its log is beside it.
        port: On 127.0.0.1.

    Yields:
        Its endpoint URL, once it answers.

    Raises:
        ServerError: It did not start.
    """
    environment = {
        **os.environ,
        **CREDENTIALS,
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(folder),
        "SERVICES": "s3",
        "IOT_MTLS_ENABLED": "0",  # else it opens a second port
    }
    folder.mkdir(parents=True, exist_ok=True)
    log = folder.with_suffix(".log")
    with log.open("ab") as output:
        argv = [Path(sys.executable).with_name("ministack")]
        process = subprocess.Popen(argv, env=environment, stdout=output, stderr=output)  # noqa: S603 - our own
    try:
        _await_answer(process, f"http://127.0.0.1:{port}/", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_answer(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerError(f"the S3 server ended at once with exit code {process.returncode}; see {log}")
        try:
            urllib.request.urlopen(url, timeout=1).close()  # noqa: S310 - a fixed http://127.0.0.1 address
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise ServerError(f"the S3 server did not answer within {_START_SECONDS} s; see {log}")
