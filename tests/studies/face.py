"""What Dagster shows of a study: the real job run in this process, and what it left in the instance.

What belongs here: running and reading. What does not: any expectation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from definitions import build_defs
from fusion_assets.config import load_config
from fusion_assets.partitions import partition_key, studies
from tests.real.small_lab import STUDY, SmallLab

ALL = ("validated", "truenas_copy", "s3_archive", "manifest_entry", "source_released")
ARCHIVE = ALL[:-1]
DATA_VERSION = "dagster/data_version"


@dataclass
class Ran:
    """One run of the job."""

    result: dg.ExecuteInProcessResult

    @property
    def success(self) -> bool:
        return self.result.success

    @property
    def made(self) -> dict[str, dg.AssetMaterialization]:
        """What was materialized, by asset, in order."""
        events = self.result.get_asset_materialization_events()
        return {event.asset_key.to_user_string(): event.materialization for event in events}

    @property
    def checks(self) -> dict[str, dg.AssetCheckEvaluation]:
        """The checks that were evaluated, by name."""
        return {found.check_name: found for found in self.result.get_asset_check_evaluations()}

    @property
    def failed_checks(self) -> set[str]:
        return {name for name, found in self.checks.items() if not found.passed}

    @property
    def retries(self) -> int:
        """How often a step was tried again."""
        return Counter(event.event_type_value for event in self.result.all_events)["STEP_UP_FOR_RETRY"]

    @property
    def errors(self) -> str:
        failures = [event.step_failure_data for event in self.result.all_events if event.is_step_failure]
        return "\n".join(str(failure.error) for failure in failures)

    def metadata(self, asset: str) -> dict[str, Any]:
        return {name: value.value for name, value in self.made[asset].metadata.items()}

    def version(self, asset: str) -> str:
        tags: Mapping[str, str] = self.made[asset].tags or {}
        return tags[DATA_VERSION]


@dataclass
class Face:
    """A lab and the Dagster instance in which its runs are recorded."""

    lab: SmallLab
    instance: dg.DagsterInstance

    def run(self, *assets: str, study: str = STUDY, retry_seconds: float = 0.01) -> Ran:
        """Run these assets of a study, as the daemon does for a backfill or a sensor, but in this process."""
        definitions = build_defs(load_config(self.lab.config), retry_seconds=retry_seconds)
        self.instance.add_dynamic_partitions(str(studies.name), [partition_key(study)])
        job = definitions.resolve_job_def("archive_study")
        return Ran(
            job.execute_in_process(
                instance=self.instance,
                partition_key=partition_key(study),
                asset_selection=[dg.AssetKey(asset) for asset in assets] or None,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                raise_on_error=False,
            )
        )


def rows(found: dg.AssetCheckEvaluation, name: str) -> list[dict[str, Any]]:
    """The rows of a table in a check's metadata; none for the word that stands for an empty one."""
    value = found.metadata[name]
    return [dict(record.data) for record in value.records] if isinstance(value, dg.TableMetadataValue) else []
