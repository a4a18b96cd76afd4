"""Write a sidecar again that the NAS lost or damaged, when the copy itself proves what was in it.

A sidecar follows from the bytes of the files in it and from nothing else, and the ledger keeps its SHA-256. So the copy
is read whole: if the sidecar that follows from its files is the recorded one, every byte is what was proven, and it may
be written again. It is not fetched from S3: from cold storage that takes hours, and a disk that damaged one file is
worth a look at all the others.

What belongs here: that proof. What does not: deciding when it is asked for (`reconcile`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from fusion_assets.standard.listing import SIDECAR_NAME, is_own_file
from fusion_assets.transfer.checksums import hash_stored
from fusion_assets.transfer.crew import read_side_by_side
from fusion_assets.transfer.held import list_held
from fusion_assets.transfer.sidecar import SidecarError, format_sidecar, parse_sidecar, write_sidecar
from resources.errors import NotFoundError
from resources.storage import Entry, Storage


def has_readable_sidecar(nas: Storage, backup_name: str) -> bool:
    """Whether a copy has a sidecar that can be read.

    Args:
        nas: Where the copy is.
        backup_name: The copy's directory.
    """
    try:
        parse_sidecar(nas.read_file(f"{backup_name}/{SIDECAR_NAME}"))
    except (NotFoundError, SidecarError):
        return False
    return True


def mend_sidecar(nas: Storage, backup_name: str, sha256: str, archived: Collection[str]) -> bool:
    """Read a copy whole, and write its sidecar again if it comes out as it was recorded.

    Args:
        nas: Where the copy is.
        backup_name: The copy's directory.
        sha256: Of the sidecar, in hex, as the ledger has it.
        archived: Paths of the study's objects in S3: they tell the study's files from others that lie beside them.

    Returns:
        Whether it was written; if not, nothing was changed.

    Raises:
        ResourceError: The NAS failed.
    """
    checksums = _hash_copy(nas, backup_name)
    for paths in (checksums.keys(), checksums.keys() & set(archived)):
        sidecar = format_sidecar({path: checksums[path] for path in paths})
        if hashlib.sha256(sidecar).hexdigest() == sha256:
            write_sidecar(nas, backup_name, sidecar)
            return True
    return False


def _hash_copy(nas: Storage, backup_name: str) -> dict[str, str]:
    files = [e for path, e in list_held(nas, backup_name).items() if e.kind == "file" and not is_own_file(path)]
    checksums: dict[str, str] = {}

    def read(entry: Entry, buffer: memoryview) -> None:
        if digests := hash_stored(nas, f"{backup_name}/{entry.path}", entry.size, buffer):
            checksums[entry.path] = digests[0]

    read_side_by_side("mend", files, read)
    return checksums
