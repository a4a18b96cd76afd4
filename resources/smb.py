"""An SMB server and an address on it, as config.toml names them: plain data, importable without the SMB library.

What belongs here: who to log in as, and the grammar of ``smb://name/share/path``. What does not: talking to the server
(`smb_storage` and the modules it builds on).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches

from resources.errors import AccessDeniedError, AddressError

SCHEME = "smb://"


@dataclass(frozen=True, slots=True)
class SmbServer:
    r"""A server and the account to use there.

    Attributes:
        host: Name or address.
        port: 445 everywhere but in tests and behind tunnels.
        username: ``user``, ``DOMAIN\user`` or ``user@domain``.
        password: Never shown, neither in messages nor in ``repr``.
        encrypt: Refuse to talk unencrypted. Messages are signed either way.
        connections: TCP connections to open at the most; two measured best.
    """

    host: str
    port: int = 445
    username: str = ""
    password: str = field(default="", repr=False)
    encrypt: bool = True
    connections: int = 2


def password_from(variable: str | None) -> str:
    """A password, from the environment variable that config.toml names for it.

    Args:
        variable: Its name; None for an account without a password, or one the system knows (Kerberos).

    Raises:
        AccessDeniedError: The variable is not set.
    """
    if variable is None:
        return ""
    if variable not in os.environ:
        raise AccessDeniedError(f"the environment variable {variable}, named by password_env, is not set")
    return os.environ[variable]


@dataclass(frozen=True, slots=True)
class SmbAddress:
    """A directory on a share.

    Attributes:
        server: The name the server has in config.toml (``[smb.<name>]``).
        share: The share's name.
        path: Below the share, POSIX-style; ``""`` is the share itself.
    """

    server: str
    share: str
    path: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.server}/{self.share}" + (f"/{self.path}" if self.path else "")


def parse_address(root: str, servers: Iterable[str]) -> SmbAddress:
    """Take ``smb://name/share/path`` apart.

    Args:
        root: The address as it stands in config.toml.
        servers: The names of the known servers.

    Raises:
        AddressError: The address is incomplete, or its server is not declared; the nearest name is suggested.
    """
    server, _, rest = root.removeprefix(SCHEME).partition("/")
    share, _, path = rest.strip("/").partition("/")
    known = sorted(servers)
    if not server or not share:
        raise AddressError(f"{root}: write it as smb://<server>/<share>/<path>", path=root)
    if "@" in server:
        raise AddressError(
            f"{SCHEME}…@{server.rpartition('@')[2]}/{rest}: no user or password in an address; put them into "
            "[smb.<name>] as username and password_env",
            path=f"{SCHEME}…",
        )
    if server not in known:
        near = get_close_matches(server, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"declare it as [smb.{server}] in config.toml"
        raise AddressError(f"{root}: no SMB server is called {server!r}; {hint}", path=root)
    return SmbAddress(server, share, "/".join(part for part in path.split("/") if part))
