r"""Where the log is: config.toml's `source.log`, opened as a storage and a name in it.

What belongs here: taking the address apart, and opening it. What does not: reading (`tail`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fusion_assets.config import Config, ConfigError
from resources.open_storage import open_storage
from resources.smb import SCHEME
from resources.storage import Storage


@dataclass(frozen=True, slots=True)
class LogPlace:
    """A log in a directory.

    Attributes:
        storage: The directory: a rotated log lies beside the log.
        name: The log's name in it.
        address: Both, as config.toml says it.
    """

    storage: Storage
    name: str
    address: str


@contextmanager
def open_log(config: Config) -> Iterator[LogPlace]:
    r"""Open the place of the configured log, and close it again.

    Args:
        config: The lab; `source.log` is a local or mounted path, a UNC path (on Windows), or ``smb://name/share/path``.

    Yields:
        The place; nothing has been contacted yet.

    Raises:
        ConfigError: No log is configured, or its address names a directory.
        ResourceError: An ``smb://`` address is not one, or its server is not declared.
    """
    if not config.source.log:
        raise ConfigError(
            f"{config.path or 'config'}: key source.log is missing | hint: the path of Fusion.log, e.g. "
            "log = 'C:\\ProgramData\\...\\Fusion.log' or 'smb://instrument/logs/Fusion.log'"
        )
    directory, name = split_address(config.source.log)
    servers = {
        each: section.server()
        for each, section in config.smb.items()
        if directory.lower().startswith(f"{SCHEME}{each.lower()}/")
    }
    storage = open_storage(directory, servers)
    try:
        yield LogPlace(storage, name, config.source.log)
    finally:
        storage.close()


def split_address(address: str) -> tuple[str, str]:
    """The directory and the name of a log.

    Args:
        address: As config.toml says it; backslashes separate on Windows and in UNC paths.

    Raises:
        ConfigError: It ends with a separator, or an ``smb://`` address names no file in a share.
    """
    is_smb = address.lower().startswith(SCHEME)
    separators = r"[\\/]" if not is_smb and (os.name == "nt" or address.startswith("\\\\")) else "/"
    *_, last = re.split(separators, address)
    directory = address[: len(address) - len(last)]
    if not last or (is_smb and directory.strip("/").count("/") < 3):  # noqa: PLR2004 - smb://server/share/
        raise ConfigError(f"source.log: {address} names no file | hint: the whole path of Fusion.log")
    return (directory.rstrip("/\\") or directory) if len(directory) > 3 else directory or ".", last  # noqa: PLR2004 - C:\
