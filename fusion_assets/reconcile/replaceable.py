"""Which proven files the source may replace: those of which a person said so, and those that are still being written.

What belongs here: telling that, for one study, now. What does not: what a person said (`proven`, `accepting`), and what
was proven (`copies`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from fusion_assets.manifest.extra_fields import FINGERPRINT_FIELD, SIDECAR_FIELD
from fusion_assets.manifest.record import Record
from fusion_assets.reconcile.archives import is_as_archived
from fusion_assets.reconcile.expected import Expected
from fusion_assets.reconcile.lab import Lab
from fusion_assets.reconcile.observe import read_copy
from fusion_assets.reconcile.overwrite import is_grown
from fusion_assets.reconcile.proven import accepted_paths
from fusion_assets.reconcile.study_ledger import StudyLedger
from fusion_assets.standard.listing import Listing
from fusion_assets.transfer.plan import same_file
from resources.storage import Entry


def replaceable(lab: Lab, said: StudyLedger, draft: Record, listing: Listing, expected: Expected) -> frozenset[str]:
    """The proven files of which the source may have other bytes: those a person accepted.

    And those of a study that was never complete, if it looks otherwise now than when its copy was proven, and they have
    grown since: it is still being written.

    Args:
        lab: The lab.
        said: What the ledger says of the study.
        draft: What the ledger is to say of the study.
        listing: What is to be copied.
        expected: What was proven last.
    """
    fingerprint = listing.fingerprint()
    accepted = accepted_paths(draft, fingerprint, expected.sha256)
    copied_from = _proven_from(said.history, expected.sha256)
    if not expected.is_vouched or said.last_proven or copied_from in (None, fingerprint):
        return accepted
    copy = read_copy(lab, draft.backup_name)
    held = copy.files if copy else {}

    def has_grown(entry: Entry) -> bool:
        """Of one whose copy is lost its object tells, if there is one: of the others nothing is left to be lost."""
        found = held.get(entry.path)
        return is_grown(entry, found) if found else not is_as_archived(lab.bucket, draft.backup_name, entry)

    proven = (entry for entry in listing.files if entry.path in expected.checksums)
    return accepted | {entry.path for entry in proven if has_grown(entry)}


def taken_back(
    lab: Lab, backup_name: str, listing: Listing, accepted: Collection[str], expected: Expected
) -> Mapping[str, str]:
    """Of the accepted files those that look like what is archived, or lies on the NAS, and is not what was proven last.

    They have no right to other bytes than those: not all that differs from what was proven was seen by a person.

    Args:
        lab: The lab.
        backup_name: The study's name at the destinations.
        listing: What is to be copied.
        accepted: The files a person accepted.
        expected: What was proven last.

    Returns:
        What they must hash to, SHA-256 in hex by path.
    """
    archived = expected.archive.checksums if expected.archive else {}
    entries = [entry for entry in listing.files if entry.path in accepted]
    back = {
        e.path: archived[e.path] for e in entries if e.path in archived and is_as_archived(lab.bucket, backup_name, e)
    }
    there = {path: sha256 for path, sha256 in expected.on_nas.items() if expected.checksums.get(path) != sha256}
    copy = read_copy(lab, backup_name) if there.keys() & accepted else None
    files = copy.files if copy else {}
    copied = [e.path for e in entries if e.path in there and e.path in files and same_file(e, files[e.path])]
    return {path: there[path] for path in copied} | back


def _proven_from(history: Iterable[Record], sha256: str) -> object:
    """The fingerprint of the source from which a copy was proven; None where no record says so."""
    said = [r for r in history if r.extra.get(SIDECAR_FIELD) == sha256 and r.truenas_verified_at]
    return said[-1].extra.get(FINGERPRINT_FIELD) if said else None
