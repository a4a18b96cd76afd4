"""The Dagster code location: everything is put together here, and nothing else happens.

It reads config.toml and no network, so that it loads in the same time whether the servers are up or down.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from fusion_assets.config import Config, SmbSection, load_config
from fusion_assets.notify.log_mail import install_log_mail
from fusion_assets.notify.mailbox import Mailbox
from fusion_assets.studies.assets import LogProgress, ProgressFactory, build_study_assets
from fusion_assets.studies.commands import build_command_jobs
from fusion_assets.studies.digest import build_digest_job
from fusion_assets.studies.eviction import build_eviction_asset, evict_study
from fusion_assets.studies.jobs import archive_study
from fusion_assets.studies.lab_resource import LabResource
from fusion_assets.studies.upkeep import build_inventory_asset, build_scrub_asset, inventory_job, scrub_job
from fusion_assets.studies.working import RETRY_SECONDS
from resources.configured import S3BucketResource, SmbServerResource, StorageResource
from schedules.calendar import build_schedules
from sensors.alerts import build_alerts
from sensors.fusion_log import build_fusion_log, fusion_log_asset
from sensors.idle_studies import build_idle_studies
from sensors.run_tries import studies_at_work
from sensors.truenas_capacity import build_truenas_capacity, truenas_space


def build_defs(
    config: Config | None = None,
    *,
    resources: Mapping[str, Any] | None = None,
    progress: ProgressFactory = LogProgress,
    retry_seconds: float = RETRY_SECONDS,
) -> dg.Definitions:
    """Put a lab's definitions together.

    Args:
        config: What the lab declares; read from where config.toml is looked for when not given.
        resources: Resources to use instead of those the configuration describes, by key: ``source``, ``truenas``,
            ``manifest``, ``archive``, or ``lab`` for all of them at once; and ``mailbox``.
        progress: Makes what is told how far a transfer is; by default it goes to the run's log.
        retry_seconds: How long to wait before a step is tried again after a place did not answer.

    Raises:
        ConfigError: There is no usable configuration.
    """
    config = config or load_config()
    given = dict(resources or {})
    lab, mailbox = given.pop("lab", None), given.pop("mailbox", None)
    places = {**configured_places(config), **given}
    return dg.Definitions(
        assets=[
            *build_study_assets(config, progress=progress, retry_seconds=retry_seconds),
            build_eviction_asset(config, retry_seconds=retry_seconds),
            build_scrub_asset(config),
            build_inventory_asset(config, studies_at_work),
            truenas_space,
            fusion_log_asset,
        ],
        jobs=[
            archive_study,
            evict_study,
            scrub_job,
            inventory_job,
            build_digest_job(config),
            *build_command_jobs(config),
        ],
        sensors=_sensors(config),
        schedules=build_schedules(config),
        resources={**places, "lab": lab or LabResource(**places), "mailbox": mailbox or Mailbox(config)},
        executor=dg.in_process_executor,
    )


def _sensors(config: Config) -> list[dg.SensorDefinition]:
    """Those the lab wants; the one that watches the others, and the schedules, comes last."""
    wanted = config.sensors
    sensors = [
        *([build_idle_studies(config)] if wanted.idle_studies else []),
        *([build_truenas_capacity(config)] if wanted.truenas_capacity else []),
        *([build_fusion_log(config)] if wanted.fusion_log and config.source.log else []),
    ]
    watched = {sensor.name: sensor.minimum_interval_seconds or 0 for sensor in sensors}
    watched |= {schedule.name: 0 for schedule in build_schedules(config)}
    return [*sensors, *([build_alerts(config, watched)] if wanted.alerts else [])]


def configured_places(config: Config) -> dict[str, Any]:
    """The resources that a configuration describes.

    Args:
        config: What the lab declares.

    Returns:
        ``source``, ``truenas``, ``manifest`` and ``archive``.
    """
    servers = {name: _server(section) for name, section in config.smb.items()}
    s3 = config.s3
    session = {
        "region_name": s3.region,
        "endpoint_url": s3.endpoint_url,
        "profile_name": s3.profile,
    }
    return {
        "source": StorageResource(root=config.source.root, servers=servers),
        "truenas": StorageResource(root=config.truenas.root, servers=servers),
        "manifest": StorageResource(root=config.manifest_root, servers=servers),
        "archive": S3BucketResource(
            bucket=s3.bucket,
            prefix=s3.prefix,
            storage_class=s3.storage_class,
            sse=s3.sse,
            sse_kms_key_id=s3.sse_kms_key_id,
            session={name: value for name, value in session.items() if value is not None},
        ),
    }


def _server(section: SmbSection) -> SmbServerResource:
    return SmbServerResource(**section.model_dump())


@dg.definitions
def defs() -> dg.Definitions:
    """What ``workspace.yaml`` loads; from then on, warnings of our own code are mailed."""
    config = load_config()
    install_log_mail(config)
    return build_defs(config)
