"""A mebibyte kept on the NAS for the day it is full: without it, a lock or a line of the ledger could not be written.

To make room, an eviction has to write first: whose lock it is, and that it begins. On a volume with no byte left that
fails, and the NAS would stay full for ever. So a file of random bytes, which no compression makes small, lies among the
locks, and is given up at that moment; the room that is made brings it back.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from fusion_assets.reconcile.found_lock import LOCKS
from resources.errors import NotFoundError, ResourceError, StorageFullError
from resources.storage import Storage, replace_file

T = TypeVar("T")

RESERVE = f"{LOCKS}/reserve"
_BYTES = 1024**2


def keep_reserve(nas: Storage) -> None:
    """See to it that the reserve is there; where it cannot be written now, a later run tries again.

    Args:
        nas: The NAS, seen to be mounted.
    """
    with suppress(ResourceError):
        try:
            nas.stat(RESERVE)
        except NotFoundError:
            nas.make_directory(LOCKS)
            replace_file(nas, RESERVE, os.urandom(_BYTES))


def with_reserve(nas: Storage, work: Callable[[], T]) -> T:
    """Do something that has to write a little; if the NAS is full, give the reserve up and do it once more.

    Args:
        nas: The NAS.
        work: What may be begun a second time.

    Raises:
        StorageFullError: It is full, and there is no reserve any more.
    """
    try:
        return work()
    except StorageFullError:
        try:
            nas.remove_file(RESERVE)
        except NotFoundError:
            raise StorageFullError(
                f"{nas.root} is full to the last byte, so that not even a lock can be written | hint: remove or move "
                "something small there that is no backup, then run this again"
            ) from None
        return work()
