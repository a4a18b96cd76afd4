"""The fast core: a study copied to the NAS, read back, and archived in S3, every byte proven on the way.

What belongs in this room: moving and proving bytes, and telling what was done. What does not: which study is due (that
is `reconcile`), the ledger, and Dagster.
"""

from fusion_assets.transfer.check import Problem, check_archive, check_copy
from fusion_assets.transfer.options import TransferOptions
from fusion_assets.transfer.outcome import ArchiveOutcome, CopyOutcome
from fusion_assets.transfer.proof import FileProof
from fusion_assets.transfer.session import Study
from fusion_assets.transfer.study import archive_copy, copy_and_archive, copy_study

__all__ = [
    "ArchiveOutcome",
    "CopyOutcome",
    "FileProof",
    "Problem",
    "Study",
    "TransferOptions",
    "archive_copy",
    "check_archive",
    "check_copy",
    "copy_and_archive",
    "copy_study",
]
