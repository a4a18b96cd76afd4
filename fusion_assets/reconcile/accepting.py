"""A person says that what changed at the source is right: which files those are, written down in the ledger.

Only files that differ to the eye can be accepted, from their copy and from their object: size or time. Of all others
the person has said nothing, and they are held to what was proven.

What belongs here: finding these files, and the record. What does not: asking the person (the command line), and what is
refused before (`overwrite`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from fusion_assets.manifest.extra_fields import (
    ACCEPTED_AT_FIELD,
    ACCEPTED_FIELD,
    ACCEPTED_OVER_FIELD,
    ACCEPTED_PATHS_FIELD,
)
from fusion_assets.reconcile.archives import is_as_archived
from fusion_assets.reconcile.entries import append, begin
from fusion_assets.reconcile.errors import LedgerError
from fusion_assets.reconcile.expected import Expected, find_expected
from fusion_assets.reconcile.lab import Lab, check_truenas
from fusion_assets.reconcile.observe import read_copy
from fusion_assets.reconcile.study_ledger import study_ledger
from fusion_assets.standard.listing import Listing, read_listing
from fusion_assets.transfer.plan import same_file
from resources.storage import Entry


def accept_changes(lab: Lab, run_name: str, fingerprint: str) -> None:
    """Write down that a person said: what changed at the source is right, and may replace what was proven of it.

    Args:
        lab: The lab.
        run_name: The study.
        fingerprint: Of the source as that person saw it; a change after that has to be accepted anew.

    Raises:
        LedgerError: Nothing of it was ever proven, or it changed after the person saw it.
        ResourceError: A place cannot be asked, or the ledger not written.
    """
    check_truenas(lab)
    backup_name = lab.config.backup_name(run_name)
    said = study_ledger(lab, lab.ledger.read(), backup_name)
    expected = find_expected(lab, said)
    if not expected.checksums:
        raise LedgerError(f"nothing of {run_name} was ever proven: there is nothing that a change could replace")
    listing = read_listing(lab.source, run_name)
    if listing.fingerprint() != fingerprint:
        raise LedgerError(f"{run_name} changed again since its changes were looked at | hint: look at them once more")
    acceptance = {
        ACCEPTED_FIELD: fingerprint,
        ACCEPTED_AT_FIELD: datetime.now(UTC).isoformat(),
        ACCEPTED_PATHS_FIELD: _changed_to_the_eye(lab, backup_name, listing, expected),
        ACCEPTED_OVER_FIELD: expected.sha256,
    }
    # No word of what it is held to: copies that the ledger does not know are compared first, file by file.
    record = said.record or begin(lab, run_name, listing, None)
    append(lab, replace(record, extra={**record.extra, **acceptance}))


def _changed_to_the_eye(lab: Lab, backup_name: str, listing: Listing, expected: Expected) -> list[str]:
    """The proven files that look like nothing that holds what was proven of them: neither their copy, nor their object.

    A copy that lost bytes differs, too, and what rotted at the source meanwhile must not pass with it: it still looks
    like its object. Where only one of the two has what was proven, to look like the other one is a change.
    """
    copy = read_copy(lab, backup_name)
    held = copy.files if copy else {}

    def looks_proven(entry: Entry) -> bool:
        sha256 = expected.checksums[entry.path]
        like_copy = entry.path in held and same_file(entry, held[entry.path])
        on_nas = expected.on_nas.get(entry.path)
        if like_copy and on_nas == sha256:
            return True
        if expected.was_archived(entry.path) == sha256:
            like_object = is_as_archived(lab.bucket, backup_name, entry, timeless=on_nas != sha256)
            return like_object or (like_object is None and on_nas is None and like_copy)
        return on_nas is None and like_copy

    return sorted(entry.path for entry in listing.files if entry.path in expected.checksums and not looks_proven(entry))
