"""Telling that the NAS and the instrument's disk are one place, by whatever ways they are reached.

Paths alone cannot tell: a folder of the instrument's disk may be mounted a second time, or shared over SMB. So a file
of a random name lies among the locks on the NAS. Where it shows at the source, what was to be a copy on the NAS would
lie on the very disk that it is to save.

What belongs here: that file, and looking for it. What does not: comparing paths (`config.refuse_shared_places`).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress

from fusion_assets.config import ConfigError
from fusion_assets.reconcile.found_lock import LOCKS
from fusion_assets.reconcile.lab import Lab
from fusion_assets.standard.names import study_name_problems
from resources.errors import AccessDeniedError, NotFoundError, StorageFullError, UnsafeNameError
from resources.storage import Entry, replace_file

_PREFIX = "place-"


def is_marked(lab: Lab) -> bool:
    """Whether the NAS has its file, and with it the folder of the locks.

    Args:
        lab: The lab.

    Raises:
        ResourceError: The NAS cannot be asked.
    """
    return bool(_marks(lab))


def mark_truenas(lab: Lab) -> None:
    """Give the NAS its file.

    Args:
        lab: The lab, its NAS seen to be there, and on it the folder of the locks.

    Raises:
        ResourceError: The NAS refused.
    """
    name = f"{_PREFIX}{secrets.token_hex(16)}"
    text = "Do not copy or remove: it shows whether this NAS and an instrument's disk are one place.\n"
    with suppress(StorageFullError):  # whoever makes room there must not be kept from it; the next one marks it
        replace_file(lab.truenas, f"{LOCKS}/{name}", text.encode())


def refuse_one_place(lab: Lab, at_source: Iterable[Entry]) -> None:
    """Refuse a NAS that is the instrument's own disk, or a folder in its root.

    Folders that bear the name of a study are not asked: so this costs one request for each other folder there, however
    many studies there are. A folder deeper down is not found.

    Args:
        lab: The lab.
        at_source: What is at the root of the source.

    Raises:
        ConfigError: They are one place.
        ResourceError: A place cannot be asked.
    """
    if not (marks := _marks(lab)):
        return  # nothing was ever written there; whoever is first marks it, and asks again
    for directory in ("", *_other_folders(at_source)):
        if any(_is_there(lab, f"{directory}/{mark}".lstrip("/")) for mark in marks):
            raise ConfigError(
                f"{lab.config.path or 'config'}: truenas.root {lab.config.truenas.root} is on the instrument's own "
                f"disk, reached in another way: what is written there shows at {lab.source.location(directory)}, and "
                "is no copy | hint: name a place on the NAS"
            )


def _marks(lab: Lab) -> list[str]:
    try:
        return [entry.path for entry in lab.truenas.list(LOCKS) if entry.name.startswith(_PREFIX)]
    except NotFoundError:
        return []


def _other_folders(at_source: Iterable[Entry]) -> Iterator[str]:
    return (entry.path for entry in at_source if entry.kind == "directory" and study_name_problems(entry.name))


def _is_there(lab: Lab, path: str) -> bool:
    try:
        return lab.source.stat(path).kind == "file"
    except (NotFoundError, AccessDeniedError, UnsafeNameError):
        return False  # a folder of the system's own, say, into which nobody may look; nor could we have written there
