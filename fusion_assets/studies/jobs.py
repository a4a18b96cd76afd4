"""The jobs of studies."""

from __future__ import annotations

import dagster as dg

from fusion_assets.studies.assets import GROUP
from fusion_assets.studies.tags import BACKUP, KIND_TAG

# In one process: steps of one study follow each other anyway, and the multiprocess executor costs four times the CPU
# (8.1 s a run instead of 2.0 s, measured).
archive_study = dg.define_asset_job(
    "archive_study",
    selection=dg.AssetSelection.groups(GROUP),
    executor_def=dg.in_process_executor,
    tags={KIND_TAG: BACKUP},
    description="Validate a study, copy it to the NAS, archive it in S3, record it; release its source if configured.",
)
