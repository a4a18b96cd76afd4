"""Which proven files the source may replace: those of which a person said so, and those that are still being written.

What belongs here: telling that, for one study, now. What does not: what a person said (`proven`, `accepting`), and what
was proven (`copies`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from fusion_assets.manifest.record import Record
from fusion_assets.reconcile.copies import Proven
from fusion_assets.reconcile.lab import Lab
from fusion_assets.reconcile.observe import read_copy
from fusion_assets.reconcile.overwrite import last_proven
from fusion_assets.reconcile.proven import FINGERPRINT_FIELD, SIDECAR_FIELD, accepted_paths
from fusion_assets.standard.listing import Listing
from fusion_assets.transfer.objects import object_key
from fusion_assets.transfer.plan import same_file
from fusion_assets.transfer.proof import METADATA_MTIME, is_archived_time
from resources.storage import Entry


def replaceable(lab: Lab, draft: Record, listing: Listing, proven: Proven) -> frozenset[str]:
    """The proven files of which the source may have other bytes: those a person accepted.

    And those of a study that was never complete, if it looks otherwise now than when its copy was proven, and they do:
    it is still being written.

    Args:
        lab: The lab.
        draft: What the ledger is to say of the study.
        listing: What is to be copied.
        proven: What was proven last.
    """
    fingerprint = listing.fingerprint()
    said = accepted_paths(draft, fingerprint, proven.sha256)
    history = lab.ledger.read().history(draft.backup_name)
    if not proven.is_known or last_proven(history) or _proven_from(history, proven.sha256) in (None, fingerprint):
        return said
    copy = read_copy(lab, draft.backup_name)
    held = copy.files if copy else {}
    differing = (e.path for e in listing.files if e.path in held and not same_file(e, held[e.path]))
    return said | proven.checksums.keys() & set(differing)


def is_as_archived(lab: Lab, backup_name: str, entry: Entry, *, timeless: bool = False) -> bool:
    """Whether a file at the source looks as its object says that it looked: the size and the time.

    Args:
        lab: The lab.
        backup_name: The study's name at the destinations.
        entry: The file, its path relative to the study.
        timeless: Whether the size will do for an object that bears no time, as another program's.
    """
    info = lab.bucket.head(object_key(backup_name, entry.path))
    if info is None or info.size != entry.size:
        return False
    return is_archived_time(info, entry.mtime_ns) or (timeless and METADATA_MTIME not in info.metadata)


def taken_back(
    lab: Lab, backup_name: str, listing: Listing, accepted: Collection[str], proven: Proven
) -> Mapping[str, str]:
    """Of the accepted files those that are as they were archived again: they have no right to other bytes than those.

    Args:
        lab: The lab.
        backup_name: The study's name at the destinations.
        listing: What is to be copied.
        accepted: The files a person accepted.
        proven: What was proven last.

    Returns:
        What they must hash to, SHA-256 in hex by path.
    """
    archived = proven.archive.checksums if proven.archive else {}
    back = [entry for entry in listing.files if entry.path in accepted and entry.path in archived]
    return {entry.path: archived[entry.path] for entry in back if is_as_archived(lab, backup_name, entry)}


def _proven_from(history: Iterable[Record], sha256: str) -> object:
    """The fingerprint of the source from which a copy was proven; None where no record says so."""
    said = [r for r in history if r.extra.get(SIDECAR_FIELD) == sha256 and r.truenas_verified_at]
    return said[-1].extra.get(FINGERPRINT_FIELD) if said else None
