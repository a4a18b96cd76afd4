"""That a study is invalid: what the ledger knows of it, for how long that stands, and refusing to go on with it.

Names follow from a listing, so they are judged anew whenever one is at hand. The structure of files costs reading them,
so the ledger's word is believed for as long as no file changed, whatever was begun, copied or recorded since, until the
same state of the study is validated and found good.

What belongs here: that. What does not: validating (`steps`), and what is archived under a name already (`overwrite`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from fusion_assets.manifest.extra_fields import FINGERPRINT_FIELD, FOUND_GOOD_FIELD, REASON_FIELD
from fusion_assets.manifest.record import Record, Status
from fusion_assets.reconcile.errors import InvalidStudyError
from fusion_assets.reconcile.lab import Lab, is_at_source
from fusion_assets.reconcile.study_ledger import StudyLedger
from fusion_assets.standard.listing import Listing
from fusion_assets.standard.report import StudyReport
from fusion_assets.standard.rules import validate_listing

# How the sentence begins that the ledger has of a finding of structure (D1-D5), rather than of a name (R1-R8).
_STRUCTURE = "[D"


def known_invalid(records: Iterable[Record]) -> dict[str, dict[str, str]]:
    """Why states of studies are invalid, as far as that stands.

    Args:
        records: All of the ledger, or of one study, in the order they were appended.

    Returns:
        By backup name, then by the fingerprint of the source: the reason.
    """
    failures: Counter[tuple[str, str]] = Counter()
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for record in records:
        fingerprint = str(record.extra.get(FINGERPRINT_FIELD, ""))
        if record.status is Status.FAILED_VALIDATION:
            failures[record.backup_name, fingerprint] += 1
            found[record.backup_name][fingerprint] = str(record.extra.get(REASON_FIELD, ""))
        elif record.backup_name in found:
            for good, number in _found_good(record).items():
                if number == failures[record.backup_name, good]:
                    found[record.backup_name].pop(good, None)
    return dict(found)


def found_good(history: Iterable[Record], fingerprint: str) -> Mapping[str, Any]:
    """The fields of a record that say that this state of a study was validated and found good.

    Args:
        history: All records of the study.
        fingerprint: Of its listing.
    """
    failed = [r for r in history if r.status is Status.FAILED_VALIDATION]
    return {FOUND_GOOD_FIELD: {fingerprint: sum(r.extra.get(FINGERPRINT_FIELD) == fingerprint for r in failed)}}


def _found_good(record: Record) -> Mapping[str, Any]:
    said = record.extra.get(FOUND_GOOD_FIELD)
    return said if isinstance(said, dict) else {}


def is_structure(reason: str) -> bool:
    """Whether the ledger's reason is a finding of structure.

    Args:
        reason: From `known_invalid`.
    """
    return reason.startswith(_STRUCTURE)


def judge_names(lab: Lab, run_name: str, listing: Listing) -> StudyReport:
    """Judge the names in a study by the naming standard.

    Args:
        lab: The lab.
        run_name: The study.
        listing: Its directory.
    """
    return validate_listing(
        listing, path=lab.source.location(run_name), name=lab.config.alias.get(run_name), nas_root=lab.truenas.root
    )


def refuse_known_invalid(lab: Lab, run_name: str, said: StudyLedger) -> None:
    """Neither archive nor record a study that is at the source and known to be invalid, whoever asks for it.

    Args:
        lab: The lab.
        run_name: The study.
        said: What the ledger says of it: what counts is its state that is recorded.

    Raises:
        InvalidStudyError: The last validation of this very state found it broken.
        ResourceError: A place cannot be asked.
    """
    fingerprint = str(said.record.extra.get(FINGERPRINT_FIELD, "")) if said.record else ""
    reason = known_invalid(said.history).get(said.backup_name, {}).get(fingerprint, "")
    if is_structure(reason) and is_at_source(lab, run_name):
        raise InvalidStudyError(f"its last validation failed, and no file changed since: {reason}")
