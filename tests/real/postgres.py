"""A real Postgres for tests: the distribution's, a cluster of its own without a network, gone at the end."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.real.requirements import require

ACCOUNT = "nobody"  # Postgres refuses to run as root
PORT = 5432  # of a socket in a folder of the test's own
_INSTALLED = Path("/usr/lib/postgresql")


@contextmanager
def postgres(user: str) -> Iterator[Path]:
    """A running cluster with an empty database of `user`, who needs no password, as over a socket of a host's own.

    Returns:
        The folder of its socket.
    """
    programs = max(_INSTALLED.glob("*/bin"), default=_INSTALLED)
    require(available=(programs / "initdb").exists(), what="Postgres (apt install postgresql)")
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        folder = Path(name)
        account = pwd.getpwnam(ACCOUNT) if os.getuid() == 0 else None
        if account:
            os.chown(folder, account.pw_uid, account.pw_gid)

        def run(program: str, *arguments: str) -> None:
            argv = [str(programs / program), *arguments]
            who = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
            subprocess.run(argv, check=True, cwd=folder, stdout=subprocess.DEVNULL, timeout=60, **who)

        data, log = str(folder / "data"), str(folder / "log")
        run("initdb", "-D", data, "-U", user, "-A", "trust", "--no-sync")
        try:
            run("pg_ctl", "-D", data, "-l", log, "-w", "-o", f"-k {folder} -p {PORT} -c listen_addresses= -F", "start")
            run("createdb", "-h", name, "-p", str(PORT), "-U", user, user)
            yield folder
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")
