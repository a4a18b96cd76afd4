"""The asset checks of a study: which there are, on which asset, and whether a failure stops what comes after.

Partitioned checks are a Preview feature of Dagster 1.13; they are made only here, so that a change of theirs is a
change of one function.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from dagster_shared.utils.warnings import PreviewWarning

from fusion_assets.partitions import studies
from fusion_assets.standard.table import RULES

VALIDATED = "validated"
TRUENAS_COPY = "truenas_copy"
S3_ARCHIVE = "s3_archive"
MANIFEST_ENTRY = "manifest_entry"
SOURCE_RELEASED = "source_released"

STRUCTURE = "structure"
HEALTH = "health"
READ_BACK = "read_back"
S3_COMPLETE = "s3_complete"
LEDGER_CONSISTENT = "ledger_consistent"
SOURCE_UNCHANGED = "source_unchanged"


def rule_check(rule: str) -> str:
    """The name of the check of one rule of the naming standard, e.g. ``rule_R1``."""
    return f"rule_{rule}"


def check_spec(asset: str, name: str, description: str, *, blocking: bool) -> dg.AssetCheckSpec:
    """One check of a study.

    Args:
        asset: The asset it is about.
        name: Its name.
        description: What it means when it fails.
        blocking: Whether a failure stops the study.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PreviewWarning)  # known, and the version is pinned
        return dg.AssetCheckSpec(name, asset=asset, description=description, blocking=blocking, partitions_def=studies)


VALIDATED_CHECKS = (
    *(check_spec(VALIDATED, rule_check(rule.id), rule.text, blocking=True) for rule in RULES),
    check_spec(VALIDATED, STRUCTURE, "Every .qptiff is whole: all its data lies inside the file.", blocking=True),
    check_spec(VALIDATED, HEALTH, "The study looks finished: complete scans, files of about one time.", blocking=False),
)
TRANSFER_CHECKS = (
    check_spec(
        TRUENAS_COPY,
        READ_BACK,
        "Every file was read back from the NAS and has the source's SHA-256.",
        blocking=True,
    ),
    check_spec(S3_ARCHIVE, S3_COMPLETE, "Every object is in S3 with the right size and SHA-256.", blocking=True),
)
LEDGER_CHECKS = (
    check_spec(MANIFEST_ENTRY, LEDGER_CONSISTENT, "The ledger, folded into a table, obeys its schema.", blocking=True),
)
RELEASE_CHECKS = (
    check_spec(SOURCE_RELEASED, SOURCE_UNCHANGED, "The source is still what was hashed and archived.", blocking=True),
)


NONE = "none"
"""Stands in the metadata for a table without rows."""


def check_result(
    asset: str, name: str, *, passed: bool, warn: bool = False, metadata: Mapping[str, Any] | None = None
) -> dg.AssetCheckResult:
    """The result of one check.

    Args:
        asset: The asset it is about.
        name: Its name.
        passed: Whether it passed.
        warn: Whether a failure is only a warning.
        metadata: What a person needs to know.
    """
    severity = dg.AssetCheckSeverity.WARN if warn else dg.AssetCheckSeverity.ERROR
    return dg.AssetCheckResult(
        asset_key=asset, check_name=name, passed=passed, severity=severity, metadata=dict(metadata or {})
    )


def table(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue | dg.TextMetadataValue:
    """Rows of plain values as a table in the UI.

    Args:
        rows: Mappings with the same keys; none at all gives the word `NONE`.
    """
    if not rows:
        return dg.MetadataValue.text(NONE)
    records = [
        dg.TableRecord(
            {key: value if isinstance(value, str | int | float | bool) else str(value) for key, value in row.items()}
        )
        for row in rows
    ]
    schema = dg.TableSchema(columns=[dg.TableColumn(key) for key in rows[0]])
    return dg.MetadataValue.table(records, schema)
