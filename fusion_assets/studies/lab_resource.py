"""The lab as a Dagster resource: the configured places put together into what the domain works with."""

from typing import Any

import dagster as dg

from fusion_assets.config import Config
from fusion_assets.manifest.ledger import Ledger
from fusion_assets.reconcile.lab import Lab
from resources.configured import S3BucketResource, StorageResource


class LabResource(dg.ConfigurableResource[Any]):
    """One lab's places; its config.toml travels with the code location, not with the run."""

    source: StorageResource
    truenas: StorageResource
    manifest: StorageResource
    archive: S3BucketResource

    def open(self, config: Config) -> Lab:
        """The lab, its clients opened but nothing contacted yet.

        Args:
            config: What the lab declares.
        """
        bucket = self.archive.client()
        return Lab(
            config=config,
            source=self.source.client(),
            truenas=self.truenas.client(),
            ledger=Ledger(self.manifest.client(), self.archive.warm_client()),
            bucket=bucket,
        )
