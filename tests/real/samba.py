"""A real Samba for tests: its own directory, port and account, on 127.0.0.1 only, gone at the end."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from resources import smb_packets as packets
from resources.smb import SmbServer, parse_address
from resources.smb_channel import Channel
from resources.smb_storage import SmbStorage
from resources.storage import Storage
from tests.real.requirements import require

USERNAME = "daemon"  # an account every Linux has, which is not root: it can be told "no"
PASSWORD = "pässword 'of' the \"NAS\" §1"
SHARE = "fusion"

CONFIGURATION = """\
[global]
    smb ports = {port}
    interfaces = lo 127.0.0.1
    bind interfaces only = yes
    server role = standalone server
    server min protocol = SMB2_02
    server signing = mandatory
    server smb encrypt = {encrypt}
    map to guest = never
    log file = {base}/log/smbd.log
    pid directory = {base}/run
    lock directory = {base}/lock
    state directory = {base}/state
    cache directory = {base}/cache
    private dir = {base}/private
    ncalrpc dir = {base}/run/ncalrpc
    passdb backend = tdbsam
    disable spoolss = yes
    load printers = no
    printing = bsd
    printcap name = /dev/null
    max protocol = {dialect}
[{share}]
    path = {base}/share
    read only = no
[readonly]
    path = {base}/share
    read only = yes
[tiny]
    path = {base}/tiny
    read only = no
[forbidden]
    path = {base}/share
    valid users = root
"""


def mark_read_only(channel: Channel, name: str) -> None:
    """Give a file or directory the read-only attribute, as a program on Windows does."""
    read_only = struct.pack("<QQQQII", 0, 0, 0, 0, 0x1, 0)
    for ticket in channel.ask(
        packets.create(name, packets.WRITE_ATTRIBUTES, packets.OPEN, 0),
        packets.set_info(packets.BASIC, read_only),
        packets.close(),
    ):
        ticket.checked()


@dataclass(frozen=True)
class Place:
    """A storage, and the directory behind it, so that a test can look and meddle from outside."""

    storage: Storage
    disk: Path


@dataclass
class SambaServer:
    """A server whose share is the directory `share`; `kill` and `start` make it go away and come back."""

    base: Path
    port: int
    encrypt: str
    dialect: str
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def share(self) -> Path:
        return self.base / "share"

    def login(self, *, password: str = PASSWORD, encrypt: bool = True, connections: int = 2) -> SmbServer:
        return SmbServer(
            host="127.0.0.1",
            port=self.port,
            username=USERNAME,
            password=password,
            encrypt=encrypt,
            connections=connections,
        )

    def directory(self, name: str) -> Path:
        """A new directory in the share, owned by the account that logs in."""
        account = pwd.getpwnam(USERNAME)
        directory = self.share / name
        directory.mkdir()
        os.chown(directory, account.pw_uid, account.pw_gid)
        return directory

    def prepare(self) -> None:
        account = pwd.getpwnam(USERNAME)
        for name in ("share", "tiny", "private", "run/ncalrpc", "lock", "state", "cache", "log"):
            (self.base / name).mkdir(parents=True)
        for name in ("share", "tiny"):
            os.chown(self.base / name, account.pw_uid, account.pw_gid)
        text = CONFIGURATION.format(
            port=self.port, base=self.base, encrypt=self.encrypt, dialect=self.dialect, share=SHARE
        )
        (self.base / "smb.conf").write_text(text)
        subprocess.run(
            ["smbpasswd", "-c", self.base / "smb.conf", "-s", "-a", USERNAME],
            input=f"{PASSWORD}\n{PASSWORD}\n".encode(),
            check=True,
            capture_output=True,
        )

    def start(self) -> None:
        with (self.base / "log" / "stderr").open("ab") as log:
            self.process = subprocess.Popen(
                ["smbd", "--foreground", "--no-process-group", "-s", self.base / "smb.conf"],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 30
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"smbd did not start: {(self.base / 'log' / 'stderr').read_text()[-2000:]}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End the server and every connection at once, as a power cut would."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def running(encrypt: str, dialect: str = "SMB3_11") -> Iterator[SambaServer]:
    """A server that lives as long as the iterator."""
    require(
        available=os.geteuid() == 0 and shutil.which("smbd") is not None,
        what="root and Samba's smbd (apt-get install samba)",
    )
    # Not below pytest's own directory, which only root may enter: smbd acts as the account that logs in.
    base = Path(tempfile.mkdtemp(prefix="fusion-samba-"))
    base.chmod(0o755)
    server = SambaServer(base, free_port(), encrypt, dialect)
    try:
        server.prepare()
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="session")
def samba() -> Iterator[SambaServer]:
    """A server that encrypts when asked to, for the whole session."""
    yield from running("if_required")


@pytest.fixture
def own_samba() -> Iterator[SambaServer]:
    """A server for one test, which may kill it."""
    yield from running("if_required")


@pytest.fixture
def samba_without_encryption() -> Iterator[SambaServer]:
    """A server that signs but cannot encrypt."""
    yield from running("off")


@pytest.fixture
def old_samba() -> Iterator[SambaServer]:
    """A server that speaks SMB 3.0 at the most."""
    yield from running("if_required", "SMB3_00")


@pytest.fixture
def share(samba: SambaServer) -> Iterator[Place]:
    """An empty root on a share."""
    yield from share_of(samba)


def share_of(server: SambaServer, *, encrypt: bool = True) -> Iterator[Place]:
    """An empty root on a share of `server`, removed at the end."""
    name = uuid.uuid4().hex
    disk = server.directory(name)
    storage = SmbStorage(parse_address(f"smb://nas/{SHARE}/{name}", ["nas"]), server.login(encrypt=encrypt))
    try:
        yield Place(storage, disk)
    finally:
        storage.close()
        shutil.rmtree(disk, ignore_errors=True)
