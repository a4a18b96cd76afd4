"""The locks of a study, of its backup and of a cleanup: where each lies, and what a person reads and types about one.

What belongs here: names and words. What does not: taking and finding a lock (`locks`), removing what a crash left
(`unlocking`), and how a lock file works (`resources.lockfile`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from fusion_assets.reconcile.facts import LockFacts
from fusion_assets.standard.listing import LOCK_NAME
from resources.lockfile import LockState
from resources.storage import Storage

LOCKS = ".fusion-locks"
"""The folder of the backups' locks in the NAS root; a name beginning with "." is never taken for a study."""

CLEANUP_LOCK = ".cleanup.lock"
"""In the NAS root: whoever makes room on the NAS holds it, so that no two do so at once."""

LOCK_SUFFIX = ".lock"
"""What the lock of a backup ends with, behind the backup's name."""

# Dagster ends a run of the daemon after a day; a command of a person may take longer on many terabytes, and be told of.
_LONG = timedelta(hours=25)
# A file that does not say whose it is: a living owner writes that within milliseconds of making it.
_DAMAGED = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class FoundLock:
    """A lock that was found.

    Attributes:
        study: The study's name, as a person types it.
        state: Whose it is, how old, and whether its owner still runs.
        message: For a person: all of that, and what to type.
    """

    study: str
    state: LockState
    message: str

    def __str__(self) -> str:
        """The message."""
        return self.message

    @property
    def facts(self) -> LockFacts:
        """The same as `judge` reads it."""
        damaged = self.state.is_damaged and self._is_older_than(_DAMAGED)
        return LockFacts(self.message, self.state.alive is False or damaged, self._is_older_than(_LONG))

    def _is_older_than(self, limit: timedelta) -> bool:
        """By a clock that may have been wrong when it was taken, ahead too; of an age that is unknown, it may be."""
        return self.state.age is None or abs(self.state.age) > limit


def study_lock_path(study: str) -> str:
    """Where the lock of a study lies at the source.

    Args:
        study: The study's directory there.
    """
    return f"{study}/{LOCK_NAME}"


def backup_lock_path(backup_name: str) -> str:
    """Where the lock of a study's backup lies on the NAS.

    Args:
        backup_name: The study's name at the destinations.
    """
    return f"{LOCKS}/{backup_name}{LOCK_SUFFIX}"


def lock_message(storage: Storage, study: str, state: LockState) -> str:
    """What a person reads of a lock: whose it is, and the way out.

    Args:
        storage: Where it lies.
        study: The study's name, as a person types it; empty for the lock of a cleanup.
        state: What its file says.
    """
    if state.lock.path == CLEANUP_LOCK:
        gone = "is certainly gone, `fusion unlock --cleanup` removes the lock"
        advice = f"wait until it is done; if that process {'does not get on, end it' if state.alive else gone}"
        return (
            f"room is being made on the NAS: {storage.location(CLEANUP_LOCK)} is held by {state.text} | hint: {advice}"
        )
    name = study if re.fullmatch(r"[\w.-]+", study) else f'"{study}"'
    advice = {
        True: "wait until it is done; if it does not get on, end that process",
        False: f"a crash left the lock behind; `fusion unlock {name}` removes it, and the next run goes on from there",
        None: f"if that process is certainly gone, `fusion unlock {name}` removes the lock",
    }[state.alive]
    path = state.lock.path
    what = f"the backup of {study} at {storage.root}" if path.startswith(f"{LOCKS}/") else study
    return f"{what} is locked by {state.text} | hint: {advice}"
