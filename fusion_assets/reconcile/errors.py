"""What stops a study for good: errors that trying again cannot cure.

What belongs here: those of the steps themselves. What does not: those of moving data (`transfer.errors`), of deleting
it (`deletion`), and of the places (`resources.errors`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fusion_assets.transfer.errors import TransferError
from fusion_assets.transfer.sidecar import SidecarError


class InvalidStudyError(Exception):
    """The study breaks the naming standard or holds a broken file; trying again cannot help."""


class OvertakenError(Exception):
    """Somebody else brought the study to its end since this was asked for; nothing is to do, and nothing is wrong."""


class LedgerError(Exception):
    """The ledger does not say what it must say before a record is completed."""


class InconsistentLedgerError(LedgerError):
    """The ledger breaks its schema at a study, or would with the record that is to be written.

    Attributes:
        rows: What is wrong, one row for each failure, as `fusion_assets.manifest.table.check_table` gives them.
    """

    def __init__(self, study: str, rows: Sequence[Mapping[str, str]]) -> None:
        said = "; ".join(f"{row['field']} {row['rule']} ({row['value'] or 'nothing'})" for row in rows[:3])
        super().__init__(
            f"the ledger would not be consistent with {study}: {said} | hint: for a name, give the study another; for "
            "a time, correct this host's clock, then run truenas_copy, s3_archive and manifest_entry of it in Dagster"
        )
        self.rows = tuple(rows)


PERMANENT_ERRORS = (InvalidStudyError, OvertakenError, LedgerError, TransferError, SidecarError)
"""What trying again cannot cure."""
