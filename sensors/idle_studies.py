"""The sensor that finds idle studies and starts what is missing of each; thin: `reconcile` observes, plans and decides.

It is level-triggered: every tick looks at the world, never at what an earlier tick meant to do, so that a lost tick, a
restarted daemon or a second daemon costs nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg

from fusion_assets.config import Config
from fusion_assets.notify.mailbox import Mailbox
from fusion_assets.partitions import partition_key, studies
from fusion_assets.reconcile.decisions import save_decisions
from fusion_assets.reconcile.idle import Memory
from fusion_assets.reconcile.launch import Decisions, Launch, decide, state_of
from fusion_assets.reconcile.observe import PartialObservation, observe_next
from fusion_assets.reconcile.plan import Desired, StudyPlan, plan_studies
from fusion_assets.reconcile.room import claims_elsewhere, measure_room
from fusion_assets.state import state_folder
from fusion_assets.studies.jobs import archive_study
from fusion_assets.studies.lab_resource import LabSource
from fusion_assets.studies.tags import FINGERPRINT_TAG, IDLE_SINCE_TAG, STATE_TAG
from fusion_assets.studies.upkeep import LAB_UNSEEN
from resources.errors import ResourceError, described
from sensors.idle_cursor import IdleCursor, cursor_from_text
from sensors.idle_mail import tell_of_blindness, tell_of_stuck
from sensors.run_tries import studies_at_work, tries_of

# Dagster creates the runs of a tick one by one (0.3 to 0.6 s each, measured): 25 of them take some 10 s, so that with
# as much time for looking a tick stays below 20 s.
RUNS_A_TICK = 25
LOOK_SECONDS = 8.0
_SHOWN = 10
_LOG = logging.getLogger(__name__)


def build_idle_studies(config: Config) -> dg.SensorDefinition:
    """The sensor of one lab.

    Args:
        config: What the lab declares.
    """

    @dg.sensor(
        name="idle_studies",
        job=archive_study,
        minimum_interval_seconds=config.sensors.idle_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Finds studies at the source, and starts what is missing of each once nobody works on it.",
    )
    def idle_studies(
        context: dg.SensorEvaluationContext, lab: dg.ResourceParam[LabSource], mailbox: dg.ResourceParam[Mailbox]
    ) -> dg.SensorResult:
        until, now = time.monotonic() + LOOK_SECONDS, datetime.now(UTC)
        cursor = cursor_from_text(context.cursor)
        try:
            here = lab.open(config)
            observed = observe_next(here, cursor.memory, after=cursor.after, until=until, now=now)
        except ResourceError as error:
            return _blind(config, mailbox, cursor, described(error), now)
        plans = plan_studies(Desired(config.backup.delete_source), observed.seen.studies)
        # What a run did to a study while this looked, the look may have missed: the next one sees it.
        running = studies_at_work(context.instance, now)  # before the tries: a run that ends in between is in both
        tries = tries_of(context.instance, {state_of(plan) for plan in plans if plan.actions})
        decisions = decide(
            plans,
            running=running,
            tries=tries,
            now=now,
            at_most=RUNS_A_TICK,
            room=measure_room(here),
            elsewhere=claims_elsewhere(cursor.claims, after=cursor.after, reached=observed.reached),
        )
        _write_down(config, plans, decisions, now)
        tell_of_stuck(config, mailbox, [plan for plan in plans if plan.study not in running], now)
        if decisions.launches and decisions.held_back:  # else the same words are the reason of the skip
            context.log.info(_why_not(decisions))
        new = _unknown_partitions(context.instance, observed, decisions)
        return dg.SensorResult(
            run_requests=[_request(launch, observed.seen.memory) for launch in decisions.launches],
            skip_reason=None if decisions.launches else _why_nothing(plans, decisions),
            dynamic_partitions_requests=[studies.build_add_request(new)] if new else [],
            cursor=_next_cursor(cursor, observed, decisions).to_text(),
        )

    return idle_studies


def _blind(config: Config, mailbox: Mailbox, cursor: IdleCursor, why: str, now: datetime) -> dg.SensorResult:
    """What cannot be seen is not gone: start nothing, and after some time tell a person."""
    since = min(cursor.blind_since or now, now)  # later than now: the clock was ahead
    tell_of_blindness(config, mailbox, why, since=since, now=now)
    blind = replace(cursor, blind_since=since)
    return dg.SensorResult(skip_reason=f"{LAB_UNSEEN}: {why}", cursor=blind.to_text())


def _next_cursor(cursor: IdleCursor, observed: PartialObservation, decisions: Decisions) -> IdleCursor:
    """Go on behind what was looked at, but not before all of it that is due was started."""
    full = len(decisions.launches) == RUNS_A_TICK
    reached = cursor.after if full else observed.reached
    return IdleCursor(observed.seen.memory, reached, claims=decisions.claims)


def _request(launch: Launch, memory: Memory) -> dg.RunRequest:
    plan = launch.plan
    tags = {STATE_TAG: launch.state}
    if seen := memory.get(plan.study):
        tags |= {IDLE_SINCE_TAG: seen.since.isoformat(), FINGERPRINT_TAG: seen.fingerprint}
    return dg.RunRequest(
        run_key=launch.key,
        partition_key=partition_key(plan.study),
        asset_selection=[dg.AssetKey(step.value) for step in plan.actions],
        tags=tags,
    )


def _unknown_partitions(instance: dg.DagsterInstance, observed: PartialObservation, decisions: Decisions) -> list[str]:
    """Keys that Dagster does not have yet: of all studies at the source, and of those that only the NAS or S3 has."""
    wanted = {*observed.at_source, *(launch.plan.study for launch in decisions.launches)}
    keys = {partition_key(study) for study in wanted}
    return sorted(keys - set(instance.get_dynamic_partitions(str(studies.name))))


def _write_down(config: Config, plans: Iterable[StudyPlan], decisions: Decisions, now: datetime) -> None:
    """For `fusion explain`; what only explains must not keep any study from being archived."""
    try:
        save_decisions(
            state_folder(config),
            looked_at={plan.study for plan in plans},
            started={launch.plan.study: ", ".join(launch.plan.actions) for launch in decisions.launches},
            held_back=decisions.held_back,
            now=now,
        )
    except OSError as error:
        _LOG.warning("`fusion explain` does not know what was decided last, which cannot be written down: %s", error)


def _why_nothing(plans: tuple[StudyPlan, ...], decisions: Decisions) -> str:
    if decisions.held_back:
        return _why_not(decisions)
    return f"all {len(plans)} studies that were looked at are in their declared state"


def _why_not(decisions: Decisions) -> str:
    """A few of them: thousands of lines at every tick would fill the disk; `fusion explain` tells of each."""
    listed = [f"{study}: {why}" for study, why in sorted(decisions.held_back.items())[:_SHOWN]]
    more = len(decisions.held_back) - len(listed)
    return "\n".join([*listed, *([f"and {more} more; `fusion plan` shows them all"] if more else [])])
