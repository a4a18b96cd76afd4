"""A lab as its config.toml declares it: all sections together, and what must hold between them.

What belongs here: that. What does not: the sections themselves (`sections`), and reading the file (`loading`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import (
    Field,
    model_validator,
)

from fusion_assets.config.sections import (
    SMB_PORT,
    BackupSection,
    CleanupSection,
    HeartbeatSection,
    HooksSection,
    MonitorSection,
    NotifySection,
    S3Section,
    SchedulesSection,
    ScrubSection,
    Section,
    SensorsSection,
    SmbSection,
    SourceSection,
    TruenasSection,
)
from resources.errors import ResourceError
from resources.smb import SCHEME, parse_address

# The form that R1 gives a study's name: one directory in the NAS root, and none of those we keep there ourselves.
_STUDY_NAME = re.compile(r"[0-9]{8}(_[A-Za-z0-9-]+){3}")


class ConfigError(Exception):
    """The configuration cannot be used; the message names the file, the key, the rule and the way out."""


class Config(Section):
    """The whole of config.toml.

    Attributes:
        path: The file it was read from; None when made in code.
        lsm: Light-sheet projects, kept as they stand until their rooms read them.
    """

    source: SourceSection
    truenas: TruenasSection
    s3: S3Section
    backup: BackupSection = BackupSection()
    cleanup: CleanupSection = CleanupSection()
    scrub: ScrubSection = ScrubSection()
    monitor: MonitorSection = MonitorSection()
    notify: NotifySection = NotifySection()
    heartbeat: HeartbeatSection = HeartbeatSection()
    sensors: SensorsSection = SensorsSection()
    schedules: SchedulesSection = SchedulesSection()
    hooks: HooksSection = HooksSection()
    smb: dict[str, SmbSection] = Field(default_factory=dict)
    alias: dict[str, str] = Field(default_factory=dict)
    lsm: dict[str, dict[str, Any]] = Field(default_factory=dict)
    path: Path | None = Field(default=None, exclude=True)

    @model_validator(mode="after")
    def _aliases_are_names_of_their_own(self) -> Self:
        seen: dict[str, str] = {}
        for run_name, backup_name in self.alias.items():
            if not _STUDY_NAME.fullmatch(backup_name):
                raise ValueError(
                    f"alias: {run_name!r} becomes {backup_name!r}, which is no name of a study (R1) | hint: write "
                    "YYYYMMDD_<user>_<project>_<customname>, of the letters A-Z a-z, the digits and -"
                )
            if other := seen.get(backup_name.casefold()):
                raise ValueError(
                    f"alias: {other!r} and {run_name!r} both become {backup_name!r}; one would overwrite the other"
                )
            seen[backup_name.casefold()] = run_name
        return self

    @model_validator(mode="after")
    def _servers_are_declared(self) -> Self:
        for root in (self.source.root, self.truenas.root, self.truenas.manifest_root, self.source.log):
            if root and root.lower().startswith(SCHEME):
                try:
                    parse_address(SCHEME + root[len(SCHEME) :], self.smb)
                except ResourceError as error:
                    raise ValueError(str(error)) from error
        return self

    def backup_name(self, run_name: str) -> str:
        """The name a study has at its destinations: its alias if it has one, else its own."""
        return self.alias.get(run_name, run_name)

    @property
    def manifest_root(self) -> str:
        """Where the ledger is: as configured, else ``_manifest`` inside the NAS root."""
        root = self.truenas.root
        separator = "\\" if "\\" in root and "/" not in root else "/"
        return self.truenas.manifest_root or f"{root.rstrip(separator)}{separator}_manifest"


def refuse_shared_places(config: Config) -> None:
    """Refuse a NAS or a ledger on the instrument's own disk: a copy beside its original proves nothing.

    Two folders side by side are two places. Links of local paths are followed, which asks the file system: so this is
    called when places are opened, not when the file is read, which must work while a mounted server is down.

    Args:
        config: The lab.

    Raises:
        ConfigError: The roots of the source and of the NAS are one place, or one lies inside the other; or the ledger
            lies inside the source.
        ResourceError: An ``smb://`` address is not one, or its server is not declared.
    """
    roots = {
        "source.root": config.source.root,
        "truenas.root": config.truenas.root,
        "truenas.manifest_root": config.manifest_root,
    }
    steps = {name: _steps_to(root, config.smb) for name, root in roots.items()}
    for inner, outer in (
        ("truenas.root", "source.root"),
        ("source.root", "truenas.root"),
        ("truenas.manifest_root", "source.root"),
    ):
        if steps[inner][: len(steps[outer])] == steps[outer]:
            where = "is the same place as" if steps[inner] == steps[outer] else "lies inside"
            raise ConfigError(
                f"{config.path or 'config'}: {inner} {roots[inner]} {where} {outer} {roots[outer]}: what is on the "
                "instrument's own disk is no copy of it | hint: name a place on the NAS"
            )


def _steps_to(root: str, servers: Mapping[str, SmbSection]) -> tuple[str, ...]:
    """The steps that lead to a root, equal for equal places: from the file system's root, or from an SMB server."""
    if root.lower().startswith(SCHEME):
        address = parse_address(SCHEME + root[len(SCHEME) :], servers)
        server = servers[address.server]
        return ("smb", *f"{server.host}:{server.port}/{address.share}/{address.path}".casefold().strip("/").split("/"))
    if root.startswith(("\\\\", "//")):
        host, _, path = root.replace("\\", "/").strip("/").casefold().partition("/")
        return ("smb", f"{host}:{SMB_PORT}", *path.split("/"))
    return Path(os.path.normcase(os.path.realpath(Path(root).expanduser()))).parts
