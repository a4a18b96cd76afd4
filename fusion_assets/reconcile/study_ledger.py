"""What the ledger says of one study, read once at the door of a step, under its lock, and handed on from there.

What belongs here: gathering it. What does not: what it means (`proven`, `overwrite`), and what a step adds (`entries`).
"""

from __future__ import annotations

from dataclasses import dataclass

from fusion_assets.manifest.fold import LedgerView
from fusion_assets.manifest.record import Record
from fusion_assets.reconcile.lab import Lab, archive_place, copy_place
from fusion_assets.reconcile.overwrite import last_proven
from fusion_assets.reconcile.proven import KnownSidecars, archive_was_begun, copy_was_begun, known_sidecars


@dataclass(frozen=True, slots=True)
class StudyLedger:
    """What the ledger says of one study.

    Attributes:
        backup_name: The study's name at the destinations.
        record: The record that counts; None if there is none.
        history: All records, oldest first.
        last_proven: The last record that says that it was proven in both places, whatever was begun or failed after it.
        sidecars: Those it vouches for.
        copy_begun: Whether a run of ours ever began to copy it to where its copy goes now.
        archive_begun: Whether one began to upload it to where its archive goes now.
    """

    backup_name: str
    record: Record | None
    history: tuple[Record, ...]
    last_proven: Record | None
    sidecars: KnownSidecars
    copy_begun: bool
    archive_begun: bool


def study_ledger(lab: Lab, view: LedgerView, backup_name: str) -> StudyLedger:
    """What a ledger, as it was read, says of a study.

    Args:
        lab: The lab, for where its copies go now.
        view: Its ledger.
        backup_name: The study's name at the destinations.
    """
    record, history = view.records.get(backup_name), view.history(backup_name)
    proven = last_proven(history)
    return StudyLedger(
        backup_name=backup_name,
        record=record,
        history=history,
        last_proven=proven,
        sidecars=known_sidecars(record, proven),
        copy_begun=copy_was_begun(history, copy_place(lab, backup_name)),
        archive_begun=archive_was_begun(history, archive_place(lab, backup_name)),
    )
