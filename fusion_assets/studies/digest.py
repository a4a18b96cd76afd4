"""The weekly digest as a Dagster job: what happened in a week, from the ledger and from Dagster's history, as a mail.

What belongs here: gathering. What does not: the words (`notify`), and judging (`reconcile`, `eviction`).
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of ops as objects, not as text.

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import dagster as dg
from dagster._core.storage.tags import SCHEDULED_EXECUTION_TIME_TAG  # no public name

from fusion_assets.config import Config, Event
from fusion_assets.eviction.history import Sample
from fusion_assets.eviction.outlook import outlook
from fusion_assets.eviction.policy import missing_bytes
from fusion_assets.eviction.telling import told
from fusion_assets.manifest.record import Record
from fusion_assets.notify.digest import Digest, Moved, Unverified, digest_message
from fusion_assets.notify.mailbox import Mailbox
from fusion_assets.notify.origin import here
from fusion_assets.notify.posted import Fate
from fusion_assets.reconcile.lab import Lab, check_truenas
from fusion_assets.reconcile.scrub import provable
from fusion_assets.studies.lab_resource import LabSource
from fusion_assets.studies.upkeep import DAMAGED, INVENTORY, NOT_AS_DECLARED, NOT_READ, SCRUB
from resources.errors import ResourceError, described

_SPAN = timedelta(days=7)
# It is taken every morning.
_INVENTORY_IS_OLD = timedelta(days=2)
# Longer than any cooldown, and than most servers are down.
_MAIL_IS_STUCK = timedelta(days=1)


def build_digest_job(config: Config) -> dg.JobDefinition:
    """The job of one lab.

    Args:
        config: What the lab declares.
    """

    @dg.op(name="send_digest", description="Mail what was archived, released and evicted in the last seven days.")
    def send_digest(
        context: dg.OpExecutionContext, lab: dg.ResourceParam[LabSource], mailbox: dg.ResourceParam[Mailbox]
    ) -> None:
        now = datetime.now(UTC)
        try:
            place = lab.open(config)
            check_truenas(place)
            digest = gather(place, context.instance, mailbox, now)
        except ResourceError as error:
            raise dg.Failure(described(error)) from error
        # One for each time of the calendar, however late it is and however many daemons are; a person's is another one.
        occasion = context.run.tags.get(SCHEDULED_EXECUTION_TIME_TAG, context.run_id)
        causes = {f"digest:{occasion}": ""}
        posted = mailbox.post(Event.DIGEST, causes, lambda _: digest_message(digest, here(config, now)))
        if posted.fate is Fate.LOST:
            raise dg.Failure(str(posted))
        context.log.info(str(posted))

    @dg.job(name="weekly_digest_job", executor_def=dg.in_process_executor, description="The weekly mail.")
    def weekly_digest_job() -> None:
        send_digest()

    return weekly_digest_job


def gather(lab: Lab, instance: dg.DagsterInstance, mailbox: Mailbox, now: datetime) -> Digest:
    """What happened in the last seven days.

    Args:
        lab: The lab.
        instance: The Dagster instance.
        mailbox: The lab's mailbox.
        now: The time, UTC.

    Raises:
        ResourceError: The NAS or the ledger cannot be read.
    """
    view, space, since = lab.ledger.read(), lab.truenas.space(), now - _SPAN
    records = tuple(view.records.values())
    archived = [record for record in records if _within(record.completed_at, since)]
    released = [record for record in records if _within(record.released_at, since)]
    evicted = [record for record in records if (found := told(record)) and found.at >= since]
    backups = provable(records)
    return Digest(
        since=since,
        archived=_moved(archived),
        released=_moved(released),
        evicted=_moved(evicted),
        failures=_failures(instance, since),
        astray=_astray(instance, now),
        damaged=_damaged(instance, since),
        too_full=missing_bytes(space, lab.config.cleanup.free_threshold_pct) > 0,
        stuck_mails=sum(1 for mail in mailbox.waiting() if now - mail.since > _MAIL_IS_STUCK),
        free=space.free,
        total=space.total,
        forecast=str(outlook(lab.config, view, Sample(now, space.total, space.free))),
        oldest=Unverified(backups[0].run_name, backups[0].proven_at) if backups else None,
        archived_daily=_daily(archived, now),
    )


def _within(moment: datetime | None, since: datetime) -> bool:
    return moment is not None and moment >= since


def _moved(records: Iterable[Record]) -> Moved:
    sizes = [record.total_bytes for record in records]
    return Moved(len(sizes), sum(sizes))


def _daily(archived: Iterable[Record], now: datetime) -> tuple[tuple[str, int], ...]:
    sizes: Counter[date] = Counter()
    for record in archived:
        if record.completed_at:
            sizes[record.completed_at.date()] += record.total_bytes
    days = [(now - timedelta(days=back)).date() for back in range(_SPAN.days - 1, -1, -1)]
    return tuple((day.isoformat(), sizes[day]) for day in days)


def _failures(instance: dg.DagsterInstance, since: datetime) -> int:
    return instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since))


def _astray(instance: dg.DagsterInstance, now: datetime) -> int | None:
    """From the last inventory; not known when none was taken for days, or its history was lost."""
    return _counted(instance, INVENTORY, NOT_AS_DECLARED, since=now - _INVENTORY_IS_OLD)


def _damaged(instance: dg.DagsterInstance, since: datetime) -> int:
    """From the scrub of the week; where there was none, the age of the oldest proof tells."""
    return sum(_counted(instance, SCRUB, name, since=since) or 0 for name in (DAMAGED, NOT_READ))


def _counted(instance: dg.DagsterInstance, asset: str, name: str, *, since: datetime) -> int | None:
    """A number in what an asset said of itself the last time; None if that was before, or it was not said."""
    event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    made = event.asset_materialization if event and event.timestamp >= since.timestamp() else None
    value = made.metadata[name].value if made and name in made.metadata else None
    return value if isinstance(value, int) else None
