"""Hold a study, wherever it is: the lock at the source while it is there, and the lock of its backup.

What belongs here: which locks work on a study needs, and which locks keep a run from starting. What does not: the locks
themselves (`locks`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from fusion_assets.reconcile.apart import is_marked, mark_truenas, refuse_one_place
from fusion_assets.reconcile.found_lock import LOCKS, FoundLock
from fusion_assets.reconcile.lab import Lab, check_truenas, is_at_source
from fusion_assets.reconcile.locks import backup_lock, find_backup_lock, find_locks, locked_backups, study_lock
from fusion_assets.reconcile.reserve import keep_reserve


@contextmanager
def locked(lab: Lab, run_name: str, *, source: bool = True, backup: bool = True) -> Iterator[None]:
    """Hold a study while the ``with`` block runs; what is held is left however the block ends, the source's lock last.

    Nobody waits for a lock, so that two who want both can never wait for each other. A crash leaves the lock at the
    source whenever it leaves that of the backup, as long as the study is at the source.

    Args:
        lab: The lab.
        run_name: The study's name at the source.
        source: Whether it is held at the source, if it is there: not where the source need not even be switched on.
        backup: Whether its backup is held, too: not for looking at the source alone, which a name that the NAS cannot
            keep must not stop.

    Raises:
        LockHeldError: Somebody else holds it; the message says what to do.
        ConfigError: The NAS, on which nothing was locked before, is on the instrument's own disk.
        NotMountedError: The NAS is not there.
        ResourceError: A place failed.
    """
    with ExitStack() as held:
        if source and is_at_source(lab, run_name):
            held.enter_context(study_lock(lab.source, run_name, run_name))
        if backup:
            _prepare_folder(lab, source=source)
            held.enter_context(backup_lock(lab.truenas, lab.config.backup_name(run_name), run_name))
        yield


def locks_in_the_way(lab: Lab, studies: Iterable[str]) -> list[FoundLock]:
    """The locks that keep a run over these studies from starting, at the source and of their backups.

    Args:
        lab: The lab.
        studies: Their names at the source, where they are.

    Raises:
        ResourceError: Whether they are locked cannot be seen.
    """
    studies = tuple(studies)
    taken = locked_backups(lab.truenas)
    named = ((lab.config.backup_name(study), study) for study in studies)
    backups = [find_backup_lock(lab.truenas, backup, study) for backup, study in named if backup in taken]
    return [*find_locks(lab.source, studies), *(found for found in backups if found)]


def _prepare_folder(lab: Lab, *, source: bool) -> None:
    """Make the folder of the locks, once; on a NAS that is not mounted it would be a trace of us in the mount point."""
    if is_marked(lab):
        return
    check_truenas(lab)
    lab.truenas.make_directory(LOCKS)
    keep_reserve(lab.truenas)
    mark_truenas(lab)
    if source:
        refuse_one_place(lab, lab.source.list())
