"""What is on the NAS already: the listing of a copy, and what earlier runs wrote down about it.

What belongs here: looking, and removing what is no longer needed. What does not: deciding what that is (`plan`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress

from fusion_assets.standard.listing import SIDECAR_NAME
from fusion_assets.transfer.errors import CorruptCopyError
from fusion_assets.transfer.journal import JOURNAL_NAME, Journal
from fusion_assets.transfer.plan import Records
from fusion_assets.transfer.sidecar import SidecarError, parse_sidecar
from resources.errors import NotFoundError
from resources.storage import Entry, Storage


def list_held(nas: Storage, backup_name: str) -> dict[str, Entry]:
    """What is in the copy's directory, by path relative to it; empty if there is none yet."""
    prefix = f"{backup_name}/"
    try:
        entries = [entry._replace(path=entry.path.removeprefix(prefix)) for entry in nas.walk(backup_name)]
    except NotFoundError:
        return {}
    return {entry.path: entry for entry in entries}


def read_records(
    nas: Storage, backup_name: str, held: Mapping[str, Entry], expected: Mapping[str, str] | None = None
) -> tuple[Records, bytes | None]:
    """What earlier runs proved, and the sidecar's bytes; None if there is no sidecar.

    Args:
        nas: Where the copy is.
        backup_name: Its directory.
        held: What is in it.
        expected: What was proven last, if that is known better than from the sidecar that lies there.

    Raises:
        CorruptCopyError: There is a sidecar that cannot be read, and nothing better.
    """
    sidecar = nas.read_file(f"{backup_name}/{SIDECAR_NAME}") if SIDECAR_NAME in held else None
    journal = Journal(nas, backup_name).read() if JOURNAL_NAME in held else {}
    if expected is not None:
        return Records(expected, journal), sidecar
    try:
        checksums = parse_sidecar(sidecar or b"")
    except SidecarError as error:
        raise CorruptCopyError(
            f"{nas.location(f'{backup_name}/{SIDECAR_NAME}')} cannot be read: {error}; if S3 has a good one, restore "
            "it, else remove it and copy the study again",
            paths=[SIDECAR_NAME],
        ) from error
    return Records(checksums, journal), sidecar


def remove_files(nas: Storage, backup_name: str, paths: Iterable[str]) -> None:
    """Remove files of a copy; those that are gone already are fine."""
    for path in paths:
        with suppress(NotFoundError):
            nas.remove_file(f"{backup_name}/{path}")
