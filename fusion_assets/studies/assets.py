"""The five assets of a study, partitioned by study: what each one makes true, and what it reports.

Thin: `steps`, `transferring` and `releasing` of `fusion_assets.reconcile` do the work. What belongs here: specs,
resources in, metadata and check results out, and which errors are worth a retry.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of assets as objects, not as text.

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from importlib.metadata import version
from typing import Any, Protocol

import dagster as dg

from fusion_assets.config import Config
from fusion_assets.partitions import studies
from fusion_assets.reconcile import releasing, steps, transferring
from fusion_assets.reconcile.deletion import GateError
from fusion_assets.reconcile.errors import InconsistentLedgerError
from fusion_assets.reconcile.idle import Memory, Observation
from fusion_assets.studies import checks, report
from fusion_assets.studies.lab_resource import LabSource
from fusion_assets.studies.tags import FINGERPRINT_TAG, IDLE_SINCE_TAG
from fusion_assets.studies.working import RETRY_SECONDS, working
from fusion_assets.transfer.errors import TransferError
from fusion_assets.transfer.options import TransferOptions
from fusion_assets.transfer.progress import Progress

GROUP = "studies"

_OWNERS = ["team:microscopy"]
_CODE_VERSION = version("fusion-toolkit")
_LOG_EVERY_SECONDS = 15.0


class ProgressFactory(Protocol):
    """Makes what a transfer tells how far it is."""

    def __call__(self, study: str, log: Callable[[str], None]) -> Callable[[Progress], None]:
        """A sink for one transfer of `study`; `log` writes to the run's log."""
        ...


def LogProgress(study: str, log: Callable[[str], None]) -> Callable[[Progress], None]:  # noqa: N802 - stands for a class
    """Progress for the run's log: a line every 15 s, so that hours of work are never an empty log."""
    last = time.monotonic()

    def tell(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= _LOG_EVERY_SECONDS:
            last = time.monotonic()
            log(f"{study}: {progress}")

    return tell


def build_study_assets(
    config: Config, *, progress: ProgressFactory = LogProgress, retry_seconds: float = RETRY_SECONDS
) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The five assets of a study for one lab.

    Args:
        config: What the lab declares.
        progress: Makes what is told how far a transfer is.
        retry_seconds: How long to wait before a step is tried again after a place did not answer.

    Returns:
        The assets, `truenas_copy` and `s3_archive` being two nodes of one step that shares one pass over the data.
    """
    release = _source_released(config, retry_seconds) if config.backup.delete_source else _kept()
    return [
        _validated(config, retry_seconds),
        _copy_and_archive(config, progress, retry_seconds),
        _manifest_entry(config, retry_seconds),
        release,
    ]


def _spec(
    name: str,
    description: str,
    *,
    after: str | None = None,
    kind: str | None = None,
    skippable: bool = False,
    code_version: str | None = _CODE_VERSION,
) -> dg.AssetSpec:
    """One asset of a study, with what all of them share."""
    return dg.AssetSpec(
        name,
        description=description,
        deps=[after] if after else [],
        kinds={kind} if kind else set(),
        skippable=skippable,
        code_version=code_version,
        partitions_def=studies,
        group_name=GROUP,
        owners=_OWNERS,
    )


def _validated(config: Config, retry_seconds: float) -> dg.AssetsDefinition:
    says = "The study keeps the naming standard R1-R8 and its image files are whole."

    @dg.multi_asset(specs=[_spec(checks.VALIDATED, says, kind="python")], check_specs=checks.VALIDATED_CHECKS)
    def validated(context: dg.AssetExecutionContext, lab: dg.ResourceParam[LabSource]) -> Iterator[Any]:
        with working(context, lab, config, retry_seconds, backup=False) as (here, run_name):
            found = steps.validate(here, run_name)
            yield from report.validation_checks(found)
            steps.refuse_invalid(here, run_name, found)
            yield dg.MaterializeResult(
                asset_key=checks.VALIDATED,
                metadata=report.validation_metadata(found),
                data_version=dg.DataVersion(found.listing.fingerprint()),
            )

    return validated


def _copy_and_archive(config: Config, progress: ProgressFactory, retry_seconds: float) -> dg.AssetsDefinition:
    options = _transfer_options(config)
    copied = "Every file is on the NAS, read back from there and equal to the source; sidecar written."
    archived = "Every file is in S3 with its SHA-256, compared object by object; sidecar uploaded last."

    @dg.multi_asset(
        specs=[
            _spec(checks.TRUENAS_COPY, copied, after=checks.VALIDATED, kind="smb", skippable=True),
            _spec(checks.S3_ARCHIVE, archived, after=checks.TRUENAS_COPY, kind="s3", skippable=True),
        ],
        check_specs=checks.TRANSFER_CHECKS,
        can_subset=True,
        pool="truenas",
    )
    def copy_and_archive(context: dg.AssetExecutionContext, lab: dg.ResourceParam[LabSource]) -> Iterator[Any]:
        selected = {key.to_user_string() for key in context.selected_asset_keys}
        with working(context, lab, config, retry_seconds) as (here, run_name):
            try:
                done = transferring.transfer(
                    here,
                    run_name,
                    copying=checks.TRUENAS_COPY in selected,
                    archiving=checks.S3_ARCHIVE in selected,
                    options=options,
                    progress=progress(run_name, context.log.info),
                )
            except TransferError as error:
                yield from report.failed_transfer(error, selected)
                raise
            yield from report.transfer_results(here, run_name, done)
            transferring.refuse_unarchived(done)

    return copy_and_archive


def _manifest_entry(config: Config, retry_seconds: float) -> dg.AssetsDefinition:
    says = "The ledger says complete, durably, and its mirror in S3 says the same."

    @dg.multi_asset(
        specs=[_spec(checks.MANIFEST_ENTRY, says, after=checks.S3_ARCHIVE, kind="jsonl")],
        check_specs=checks.LEDGER_CHECKS,
        pool="s3",
    )
    def manifest_entry(context: dg.AssetExecutionContext, lab: dg.ResourceParam[LabSource]) -> Iterator[Any]:
        with working(context, lab, config, retry_seconds) as (here, run_name):
            try:
                done = steps.record_entry(here, run_name)
            except InconsistentLedgerError as error:
                yield report.ledger_inconsistent(error)
                raise
            yield from report.ledger_results(done)

    return manifest_entry


def _source_released(config: Config, retry_seconds: float) -> dg.AssetsDefinition:
    says = "The source is gone from the instrument, after every gate was found open at that moment."

    @dg.multi_asset(
        specs=[_spec(checks.SOURCE_RELEASED, says, after=checks.MANIFEST_ENTRY, kind="smb")],
        check_specs=checks.RELEASE_CHECKS,
        pool="s3",
    )
    def source_released(context: dg.AssetExecutionContext, lab: dg.ResourceParam[LabSource]) -> Iterator[Any]:
        with working(context, lab, config, retry_seconds) as (here, run_name):
            try:
                released = releasing.release(here, run_name, _memory(context, run_name), context.log.info)
            except GateError as error:
                yield report.gates_closed(error)
                raise
            yield from report.release_results(released)

    return source_released


def _kept() -> dg.AssetSpec:
    """The release of a lab that keeps its sources: seen in the lineage, but nothing that could be run, or be missing.

    As an asset that runs and makes nothing it would turn every backfill red, for Dagster counts what was not made.
    """
    says = "The source stays at the instrument: delete_source is false in [backup] of config.toml."
    return _spec(checks.SOURCE_RELEASED, says, after=checks.MANIFEST_ENTRY, code_version=None)


def _transfer_options(config: Config) -> TransferOptions:
    limit = config.backup.bandwidth_limit_mib
    return TransferOptions(
        part_size=config.s3.part_size_mib * 1024**2,
        workers=config.backup.max_workers,
        bandwidth_limit=limit * 1024**2 if limit else None,
    )


def _memory(context: dg.AssetExecutionContext, run_name: str) -> Memory:
    """Since when the study has looked as it does, as whoever launched this run observed it."""
    since, fingerprint = context.run.tags.get(IDLE_SINCE_TAG), context.run.tags.get(FINGERPRINT_TAG)
    if not since or not fingerprint:
        return {}
    return {run_name: Observation(fingerprint, datetime.fromisoformat(since))}
