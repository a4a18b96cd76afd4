"""The naming standard of a study, R1-R8: is it named so that it can be archived, and found again?

What belongs here: names, listings, rules, better names, and the document about them. What does not: what is in the
files (the integrity room), and doing anything about a bad name: nothing here ever renames or writes.
"""

from fusion_assets.standard.listing import Listing, is_own_file, read_listing
from fusion_assets.standard.report import RootReport, StudyReport, Violation, root_json, study_json
from fusion_assets.standard.rules import validate_listing
from fusion_assets.standard.suggest import suggest_study_name
from fusion_assets.standard.table import RULES, Rule
from fusion_assets.standard.validate import (
    validate_root,
    validate_storage,
    validate_studies,
    validate_study,
    validate_study_at,
)

__all__ = [
    "RULES",
    "Listing",
    "RootReport",
    "Rule",
    "StudyReport",
    "Violation",
    "is_own_file",
    "read_listing",
    "root_json",
    "study_json",
    "suggest_study_name",
    "validate_listing",
    "validate_root",
    "validate_storage",
    "validate_studies",
    "validate_study",
    "validate_study_at",
]
