"""What every step of a study does around its work: the hook, the lab, the lock, and what an error means for retries.

What belongs here: that frame. What does not: any step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from fusion_assets.config import Config
from fusion_assets.hooks import HookError
from fusion_assets.partitions import run_name_of
from fusion_assets.reconcile.deletion import GateError
from fusion_assets.reconcile.errors import PERMANENT_ERRORS, InvalidStudyError, OvertakenError
from fusion_assets.reconcile.holding import locked
from fusion_assets.reconcile.lab import Lab
from fusion_assets.studies.lab_resource import LabSource
from fusion_assets.studies.tags import FOR_ROOM, HOPELESS, OVERTAKEN, RETRY_TAG
from fusion_assets.transfer.sidecar import SidecarError
from resources.errors import ResourceError, StorageFullError, UnavailableError, UnsafeNameError, described

# Three tries in all, a minute apart or more: what a NAS or a bucket needs to come back from a restart.
_RETRIES = 2
RETRY_SECONDS = 60

# What stays as it is until a person changes the study; anything else is tried again, less and less often.
_HOPELESS_ERRORS = (InvalidStudyError, SidecarError, UnsafeNameError)


@contextmanager
def working(
    context: dg.AssetExecutionContext,
    lab: LabSource,
    config: Config,
    retry_seconds: float,
    *,
    backup: bool = True,
) -> Iterator[tuple[Lab, str]]:
    """Hold a study while the ``with`` block works on it.

    Args:
        context: Of the step.
        lab: Where the lab comes from.
        config: What the lab declares.
        retry_seconds: How long to wait before the step is tried again after a place did not answer.
        backup: Whether its backup is held, too.

    Yields:
        The open lab, and the study's name at the source.

    Raises:
        RetryRequested: As for `retrying`.
        Failure: As for `retrying`.
    """
    with retrying(context, retry_seconds) as run_name:
        lab.prepare(config.hooks.backup, context.log.info)
        here = lab.open(config)
        with locked(here, run_name, backup=backup):
            yield here, run_name


def _when_again(error: Exception) -> str:
    """The value of `RETRY_TAG` for an error; empty where it is tried again, less and less often."""
    if isinstance(error, StorageFullError):
        return FOR_ROOM
    if isinstance(error, OvertakenError):
        return OVERTAKEN
    return HOPELESS if isinstance(error, _HOPELESS_ERRORS) else ""


@contextmanager
def retrying(context: dg.AssetExecutionContext, retry_seconds: float) -> Iterator[str]:
    """Decide what an error of the ``with`` block means: try again only where that can help.

    Args:
        context: Of the step.
        retry_seconds: How long to wait before the step is tried again after a place did not answer.

    Yields:
        The study's name at the source.

    Raises:
        RetryRequested: A place did not answer, and the step was not tried often enough.
        Failure: Anything else of ours; where trying again is hopeless before the study changes, has to wait for room,
            or is needless, the run bears that tag.
    """
    run_name = run_name_of(context.partition_key)
    try:
        yield run_name
    except UnavailableError as error:
        if context.retry_number < _RETRIES:
            context.log.warning(f"{run_name}: {described(error)}; trying again in {retry_seconds:.0f} s")
        raise dg.RetryRequested(max_retries=_RETRIES, seconds_to_wait=retry_seconds) from error
    except (ResourceError, GateError, HookError, *PERMANENT_ERRORS) as error:
        if when := _when_again(error):
            context.instance.add_run_tags(context.run.run_id, {RETRY_TAG: when})
        raise dg.Failure(described(error), allow_retries=False) from error
