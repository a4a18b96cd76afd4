"""What keeps a lab's word over the years, as Dagster assets of no single study: the scrub and the daily inventory.

Thin: `reconcile` reads and judges. What belongs here: specs, and turning what was found into events.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of assets as objects, not as text.

import time
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from fusion_assets.config import Config
from fusion_assets.reconcile.inventory import Astray, find_astray
from fusion_assets.reconcile.lab import check_truenas
from fusion_assets.reconcile.memory import load_memory, save_memory
from fusion_assets.reconcile.observe import observe_lab
from fusion_assets.reconcile.plan import Desired, Verdict, plan_studies
from fusion_assets.reconcile.scrub import Provable, Share, provable, scrub_share
from fusion_assets.state import state_folder
from fusion_assets.studies.checks import table
from fusion_assets.studies.lab_resource import LabSource
from resources.errors import ResourceError, described

SCRUB = "scrub"
INVENTORY = "inventory"
COPIES_INTACT = "copies_intact"
AS_DECLARED = "every_study_as_declared"
LAB_UNSEEN = "the lab cannot be looked at"
"""With this begins why the inventory failed, where that is so; the sensor of idle studies says so, too."""

GROUP = "upkeep"

# Names in the metadata that the digest reads.
DAMAGED, NOT_READ, NOT_AS_DECLARED = "damaged", "not read", "not as declared"

_OWNERS = ["team:microscopy"]

scrub_job = dg.define_asset_job(
    "scrub_copies",
    selection=[SCRUB],
    executor_def=dg.in_process_executor,
    description="Read the copies on the NAS that were proven longest ago, and ask S3 about every object of them.",
)
inventory_job = dg.define_asset_job(
    "take_inventory",
    selection=[INVENTORY],
    executor_def=dg.in_process_executor,
    description="Look at every study in every place, and list those that are not in their declared state.",
)


def build_scrub_asset(config: Config) -> dg.AssetsDefinition:
    """The weekly scrub of one lab.

    Args:
        config: What the lab declares.
    """

    @dg.asset(
        name=SCRUB,
        check_specs=[
            dg.AssetCheckSpec(
                COPIES_INTACT,
                asset=SCRUB,
                description="Every byte on the NAS and every object in S3 is still what was proven.",
            )
        ],
        kinds={"smb", "s3"},
        group_name=GROUP,
        owners=_OWNERS,
        pool="truenas",
        description="The copies that were proven longest ago are proven again, a share of them each week.",
    )
    def scrub_copies(context: dg.AssetExecutionContext, lab: dg.ResourceParam[LabSource]) -> Iterator[Any]:
        try:
            here = lab.open(config)
            check_truenas(here)  # where the ledger is not, there would be nothing to prove
        except ResourceError as error:
            raise dg.Failure(described(error)) from error
        waiting = provable(here.ledger.read().records.values())
        began = time.monotonic()
        share = scrub_share(
            here,
            waiting,
            folder=state_folder(config),
            cycle_weeks=config.scrub.cycle_weeks,
            max_bytes=config.scrub.max_bytes,
            log=context.log.info,
        )
        for study, why in share.unread.items():
            context.log.warning(f"{study} could not be proven again: {why}")
        yield _intact(share)
        yield dg.MaterializeResult(asset_key=SCRUB, metadata=_scrub_metadata(waiting, share, time.monotonic() - began))

    return scrub_copies


def _intact(share: Share) -> dg.AssetCheckResult:
    rows = [
        {"study": one.backup.run_name, "path": problem.path, "problem": problem.problem}
        for one in share.done
        for problem in one.problems
    ]
    rows += [{"study": study, "path": "", "problem": why} for study, why in share.unread.items()]
    rows += [{"study": "", "path": "", "problem": share.cut_short}] if share.cut_short else []
    return dg.AssetCheckResult(
        asset_key=SCRUB, check_name=COPIES_INTACT, passed=not rows, metadata={"problems": table(rows)}
    )


def _scrub_metadata(waiting: tuple[Provable, ...], share: Share, seconds: float) -> dict[str, Any]:
    done = share.done
    read = sum(one.backup.total_bytes for one in done)
    metadata: dict[str, Any] = {
        "copies": len(waiting),
        "proven again": sum(1 for one in done if not one.problems),
        DAMAGED: sum(1 for one in done if one.problems),
        NOT_READ: len(share.unread),
        "bytes": read,
        "MB/s": read / 1e6 / seconds if seconds > 0 else 0.0,
    }
    if waiting:
        metadata["proven longest ago"] = f"{waiting[0].run_name}, {waiting[0].proven_at:%Y-%m-%d}"
    return metadata


def build_inventory_asset(
    config: Config, at_work: Callable[[dg.DagsterInstance, datetime], Collection[str]]
) -> dg.AssetsDefinition:
    """The daily inventory of one lab.

    Args:
        config: What the lab declares.
        at_work: Says on which studies a run works, waits to begin, or has worked since then.
    """

    @dg.asset(
        name=INVENTORY,
        check_specs=[
            dg.AssetCheckSpec(
                AS_DECLARED,
                asset=INVENTORY,
                description="No study waits for a person or for ever, cannot be seen, or was due a day ago.",
            )
        ],
        kinds={"python"},
        group_name=GROUP,
        owners=_OWNERS,
        description="Every study in every place, and how it stands: so that silence means that all is well.",
    )
    def take_inventory(context: dg.AssetExecutionContext, lab: dg.ResourceParam[LabSource]) -> Iterator[Any]:
        folder, now = state_folder(config), datetime.now(UTC)
        try:
            observed = observe_lab(lab.open(config), load_memory(folder), now=now)
        except ResourceError as error:
            raise dg.Failure(f"{LAB_UNSEEN}: {described(error)}") from error
        save_memory(folder, observed.memory)
        # What a run did to a study meanwhile, an observation of minutes may have missed.
        running = at_work(context.instance, now)
        desired, days = Desired(config.backup.delete_source), config.backup.idle_days
        plans = plan_studies(desired, observed.studies)
        astray = find_astray(plans, desired, running=running, idle_days=days, now=now)
        counts = {verdict.value: sum(1 for plan in plans if plan.verdict is verdict) for verdict in Verdict}
        yield dg.AssetCheckResult(
            asset_key=INVENTORY, check_name=AS_DECLARED, passed=not astray, metadata={"astray": table(_rows(astray))}
        )
        yield dg.MaterializeResult(
            asset_key=INVENTORY, metadata={"studies": len(plans), **counts, NOT_AS_DECLARED: len(astray)}
        )

    return take_inventory


def _rows(astray: tuple[Astray, ...]) -> list[dict[str, str]]:
    return [{"study": one.study, "state": one.verdict.value, "why": one.why} for one in astray]
