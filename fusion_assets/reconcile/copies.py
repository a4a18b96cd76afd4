"""Which copy on the NAS may be believed before more work begins on it, and what makes one that may not good again.

A copy counts as proven when the ledger vouches for its sidecar, or when it was read again, whole, just now.
What belongs here: telling that, mending a sidecar, what files must hash to. What does not: moving data (`transfer`).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from fusion_assets.manifest.record import Record
from fusion_assets.reconcile.entries import (
    sidecar_is,
    vouches_for_copy,
)
from fusion_assets.reconcile.judge import SIDECAR_FIELD
from fusion_assets.reconcile.lab import (
    Lab,
    check_copies_there,
    check_truenas,
)
from fusion_assets.reconcile.overwrite import (
    FINGERPRINT_FIELD,
    accepted,
    last_proven,
)
from fusion_assets.standard.listing import SIDECAR_NAME, Listing
from fusion_assets.transfer.check import check_copy
from fusion_assets.transfer.errors import CorruptCopyError
from fusion_assets.transfer.mend import has_readable_sidecar, mend_sidecar
from fusion_assets.transfer.sidecar import parse_sidecar
from resources.errors import NotFoundError, UnavailableError


def check_ledger(lab: Lab, backup_name: str, *, copying: bool) -> None:
    """See that the NAS is there and its ledger whole; a copy may be made even while S3 cannot be asked about that.

    Data that has left the instrument's disk is worth more than waiting, and nothing proven can be written over: there
    is no finished copy, or the ledger vouches for it, and so knows this study.

    Args:
        lab: The lab.
        backup_name: The study's name at the destinations.
        copying: Whether the study is to be copied from the source.

    Raises:
        NotMountedError: The NAS is not there, or the ledger not whole.
        ResourceError: A place cannot be asked, and what depends on it might be written over.
    """
    try:
        check_truenas(lab)
    except UnavailableError:
        if not (copying and lab.ledger.exists()):
            raise
        check_copies_there(lab)
        if _is_finished(lab, backup_name) and not vouches_for_copy(lab, backup_name):
            raise


def _is_finished(lab: Lab, backup_name: str) -> bool:
    try:
        lab.truenas.stat(f"{backup_name}/{SIDECAR_NAME}")
    except NotFoundError:
        return False
    return True


def is_whole(draft: Record, origin: str | None, listing: Listing) -> bool:
    """Whether a listing is the whole study: at the source it is; in the trash, while nothing of it is deleted yet.

    Args:
        draft: What the ledger is to say of the study.
        origin: The directory at the source that was listed; None for none.
        listing: Of that directory.
    """
    return origin == draft.run_name or draft.extra.get(FINGERPRINT_FIELD) == listing.fingerprint()


def mend_copy(lab: Lab, backup_name: str, *, whole: bool) -> bool:
    """See to it that a copy that was finished once has its sidecar; from half a study a new one must never be made.

    Args:
        lab: The lab.
        backup_name: The copy.
        whole: Whether the whole study is at hand: then it is copied anew, and a sidecar that cannot be read may go.

    Returns:
        Whether the copy was read whole, and found to be what the ledger says was proven.
    """
    if has_readable_sidecar(lab.truenas, backup_name):
        return False
    record = lab.ledger.read().records.get(backup_name)
    recorded = record.extra.get(SIDECAR_FIELD) if record else None
    if recorded:
        archived = {found.key.removeprefix(f"{backup_name}/") for found in lab.bucket.list(f"{backup_name}/")}
        if mend_sidecar(lab.truenas, backup_name, str(recorded), archived):
            return True
    if whole:
        with suppress(NotFoundError):
            lab.truenas.remove_file(f"{backup_name}/{SIDECAR_NAME}")
        return False
    known = "its files are not all those that were proven" if recorded else "the ledger does not know what it was"
    raise CorruptCopyError(
        f"{lab.truenas.location(backup_name)}: the sidecar is gone or cannot be read, and {known} | hint: bring it "
        f"and what is missing back from {lab.bucket.object_uri(backup_name)}, then `fusion apply`"
    )


def proven_checksums(lab: Lab, draft: Record) -> Mapping[str, str]:
    """What files must hash to that were proven of this study once, unless a person accepted that they changed.

    A draft that goes on from a proven copy is of the very same source; one of another state of the source may have more
    files or fewer, but those it shares with what was proven are the same.

    Args:
        lab: The lab.
        draft: What the ledger is to say of the study.

    Returns:
        SHA-256 in hex by path; empty when nothing is known.
    """
    sidecar = sidecar_is(lab, draft)
    if sidecar is None and not accepted(draft, str(draft.extra.get(FINGERPRINT_FIELD))):
        proven = last_proven(lab.ledger.read().history(draft.backup_name))
        sidecar = sidecar_is(lab, proven) if proven else None
    return parse_sidecar(sidecar) if sidecar else {}


def read_copy_again(lab: Lab, backup_name: str, listing: Listing | None) -> frozenset[str] | None:
    """Read all of a copy of which the ledger does not say that it was proven, or no longer.

    Args:
        lab: The lab.
        backup_name: The copy.
        listing: What is at hand to copy from; None for nothing.

    Returns:
        Its files that are not good, all of them at hand; None when there is no finished copy to read.

    Raises:
        CorruptCopyError: Files are not good, and only S3 may have good ones.
    """
    if not has_readable_sidecar(lab.truenas, backup_name):
        return None
    problems = check_copy(lab.truenas, backup_name)
    at_hand = {entry.path for entry in listing.files} if listing else set()
    if lost := [problem for problem in problems if problem.path not in at_hand]:
        listed = "; ".join(str(problem) for problem in lost[:3])
        raise CorruptCopyError(
            f"{lab.truenas.location(backup_name)}: {len(lost)} files are not good: {listed} | hint: bring them back "
            f"from {lab.bucket.object_uri(backup_name)}, then `fusion apply`"
        )
    return frozenset(problem.path for problem in problems)
