r"""From a root as it stands in config.toml to the storage that serves it.

What belongs here: which kind of root means which implementation. What does not: the implementations.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from resources.errors import AddressError
from resources.local import LocalStorage
from resources.smb import SCHEME, SmbServer, parse_address
from resources.storage import Storage


def open_storage(root: str, servers: Mapping[str, SmbServer]) -> Storage:
    r"""The storage for `root`; nothing is connected or looked at yet.

    Args:
        root: ``smb://name/share/path``, a path of this machine, or (on Windows) ``\\host\share\path``.
        servers: The declared SMB servers by name.

    Raises:
        AddressError: The address is not one, or its server is not declared.
    """
    if root.lower().startswith(SCHEME):
        address = parse_address(SCHEME + root[len(SCHEME) :], servers)
        # The SMB library takes 0.5 s to import; labs with mounted paths never need it.
        from resources.smb_storage import SmbStorage

        return SmbStorage(address, servers[address.server])
    if sys.platform != "win32" and root.startswith(("\\\\", "//")):
        share = root.lstrip("\\/").replace("\\", "/")
        _, _, rest = share.partition("/")
        raise AddressError(
            f"{root} is a Windows path, which this system cannot open: declare the server as [smb.<name>] in "
            f"config.toml and write smb://<name>/{rest or '<share>'}",
            path=root,
        )
    return LocalStorage(root)
