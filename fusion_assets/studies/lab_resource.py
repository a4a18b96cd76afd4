"""The lab as a Dagster resource: the configured places put together into what the domain works with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import dagster as dg
from pydantic import PrivateAttr

from fusion_assets.config import Config, refuse_shared_places
from fusion_assets.hooks import stream_hook
from fusion_assets.manifest.ledger import Ledger
from fusion_assets.reconcile.lab import Lab
from resources.configured import S3BucketResource, StorageResource


class LabSource(Protocol):
    """What an asset asks for the lab."""

    def open(self, config: Config) -> Lab:
        """The lab, its clients opened.

        Args:
            config: What the lab declares.
        """
        ...

    def prepare(self, hook: Sequence[str], tell: Callable[[str], None]) -> None:
        """Run a hook, once in a run, before its first step begins.

        Args:
            hook: The command; empty for none.
            tell: Called with each line it prints.

        Raises:
            HookError: It cannot be run, or failed.
        """
        ...


class LabResource(dg.ConfigurableResource[Any]):
    """One lab's places; its config.toml travels with the code location, not with the run."""

    source: StorageResource
    truenas: StorageResource
    manifest: StorageResource
    archive: S3BucketResource
    _ledger: Ledger | None = PrivateAttr(default=None)
    _prepared: bool = PrivateAttr(default=False)

    def prepare(self, hook: Sequence[str], tell: Callable[[str], None]) -> None:
        """Run a hook, unless this run did so already.

        Args:
            hook: The command; empty for none.
            tell: Called with each line it prints.

        Raises:
            HookError: It cannot be run, or failed.
        """
        if not self._prepared:
            stream_hook(hook, tell)
            self._prepared = True

    def open(self, config: Config) -> Lab:
        """The lab, its clients opened but nothing contacted yet.

        Args:
            config: What the lab declares.

        Raises:
            ConfigError: The NAS or the ledger would be on the instrument's own disk.
        """
        refuse_shared_places(config)
        bucket = self.archive.client()
        # One for all steps of a run: it remembers what it has read.
        self._ledger = self._ledger or Ledger(self.manifest.client(), self.archive.warm_client())
        return Lab(
            config=config,
            source=self.source.client(),
            truenas=self.truenas.client(),
            ledger=self._ledger,
            bucket=bucket,
        )

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Forget the ledger with the connections it was opened with, and that the hook was run."""
        del context  # Dagster's hook signature
        self._ledger = None
        self._prepared = False


@dataclass(frozen=True, slots=True)
class OpenLab:
    """A lab that is open already: runs in this process need no connections of their own (0.1 s a run, and a login)."""

    lab: Lab

    def open(self, config: Config) -> Lab:
        """The lab as it was given.

        Args:
            config: What the lab declares; what it was opened with.
        """
        del config
        return self.lab

    def prepare(self, hook: Sequence[str], tell: Callable[[str], None]) -> None:
        """Nothing: whoever opened the lab ran the hook before.

        Args:
            hook: The command.
            tell: Called with what it prints.
        """
