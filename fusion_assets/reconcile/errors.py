"""What stops a study for good: errors that trying again cannot cure.

What belongs here: those of the steps themselves. What does not: those of moving data (`transfer.errors`), of deleting
it (`release`), and of the places (`resources.errors`).
"""

from __future__ import annotations

from fusion_assets.transfer.errors import TransferError
from fusion_assets.transfer.sidecar import SidecarError


class InvalidStudyError(Exception):
    """The study breaks the naming standard or holds a broken file; trying again cannot help."""


class LedgerError(Exception):
    """The ledger does not say what it must say before a record is completed."""


PERMANENT_ERRORS = (InvalidStudyError, LedgerError, TransferError, SidecarError)
"""What trying again cannot cure."""
