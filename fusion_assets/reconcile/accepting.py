"""A person says that what changed at the source is right: which files those are, written down in the ledger.

Only files that differ to the eye can be accepted, from their copy and from their object: size or time. Of all others
the person has said nothing, and they are held to what was proven.

What belongs here: finding these files, and the record. What does not: asking the person (the command line), and what is
refused before (`overwrite`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from fusion_assets.reconcile.copies import find_proven, put_back_sidecar
from fusion_assets.reconcile.entries import adopted, append, begin
from fusion_assets.reconcile.errors import LedgerError
from fusion_assets.reconcile.lab import Lab, check_truenas
from fusion_assets.reconcile.observe import read_copy
from fusion_assets.reconcile.proven import (
    ACCEPTED_AT_FIELD,
    ACCEPTED_FIELD,
    ACCEPTED_OVER_FIELD,
    ACCEPTED_PATHS_FIELD,
)
from fusion_assets.reconcile.replaceable import archived_checksums, is_as_archived
from fusion_assets.standard.listing import Listing, read_listing
from fusion_assets.transfer.plan import same_file


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
    record, proven = lab.ledger.read().records.get(backup_name), find_proven(lab, backup_name)
    if not proven.checksums:
        raise LedgerError(f"nothing of {run_name} was ever proven: there is nothing that a change could replace")
    listing = read_listing(lab.source, run_name)
    if listing.fingerprint() != fingerprint:
        raise LedgerError(f"{run_name} changed again since its changes were looked at | hint: look at them once more")
    said = {
        ACCEPTED_FIELD: fingerprint,
        ACCEPTED_AT_FIELD: datetime.now(UTC).isoformat(),
        ACCEPTED_PATHS_FIELD: _changed_to_the_eye(lab, backup_name, listing, proven.checksums),
        ACCEPTED_OVER_FIELD: proven.sha256,
    }
    if not proven.is_known:
        put_back_sidecar(lab, backup_name, proven)
        record = adopted(record or begin(lab, run_name, listing), proven.sha256)
    assert record is not None  # the ledger vouches for what was proven
    append(lab, replace(record, extra={**record.extra, **said}))


def _changed_to_the_eye(lab: Lab, backup_name: str, listing: Listing, proven: Mapping[str, str]) -> list[str]:
    """The proven files that differ in size or time from their copy, if there is one, and from their object, if any.

    From both: a copy that lost bytes differs, too, and what rotted at the source meanwhile must not pass with it. Where
    the archive is older than what was proven last, to look like its object is a change, too.
    """
    copy = read_copy(lab, backup_name)
    older = {path for path, sha256 in archived_checksums(lab, backup_name).items() if proven.get(path) != sha256}
    held = copy.files if copy else {}
    known = [entry for entry in listing.files if entry.path in proven]
    differing = [entry for entry in known if not (entry.path in held and same_file(entry, held[entry.path]))]
    return sorted(
        entry.path for entry in differing if entry.path in older or not is_as_archived(lab, backup_name, entry)
    )
