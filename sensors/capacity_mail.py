"""What the sensor of the NAS's capacity tells people: that room cannot be made, and why; once, until it can.

What belongs here: causes, and when they are over. What does not: the words (`notify`).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from fusion_assets.config import Config, Event
from fusion_assets.eviction.forecast import Forecast, NotEnough
from fusion_assets.eviction.policy import EvictionPlan
from fusion_assets.eviction.store import StoreObservation
from fusion_assets.eviction.telling import has_returned
from fusion_assets.notify.capacity import CapacityWarning, capacity_warning_message, unmeasured_message
from fusion_assets.notify.letter import Message
from fusion_assets.notify.mailbox import Mailbox
from fusion_assets.notify.origin import here
from fusion_assets.reconcile.found_lock import FoundLock
from sensors.outages import tell_of_outage

_HELD = "capacity:held"
_FULL = "capacity:full"
_LOCKED = "capacity:locked"
_UNMEASURED = "capacity:unmeasured"
# A cleanup of another host, whose processes cannot be seen from here; and one that is seen to run, and may hang.
_MAY_TAKE, _MAY_RUN = timedelta(hours=1), timedelta(days=1)


def tell_of_capacity(
    config: Config,
    mailbox: Mailbox,
    store: StoreObservation,
    plan: EvictionPlan,
    outlook: Forecast | NotEnough,
    *,
    ends_others: bool,
) -> None:
    """Tell that space does not come back, or that the threshold cannot be reached.

    That evictions are tried again says nothing of what came of the last ones: what was told stands until there is room
    enough, or the space was seen to come back. That new backups explain why it is not there opens the gate only.

    Args:
        config: The lab.
        mailbox: Its mailbox.
        store: As observed.
        plan: What is to be evicted.
        outlook: When the NAS fills.
        ends_others: Whether evictions that were broken off are ended first: only then it is known how things stand.
    """
    held = bool(store.held_back and plan.missing_bytes)
    short = bool(plan.missing_bytes and not held and not plan.evictions)
    is_back = not plan.missing_bytes or has_returned(store.ledger, store.space)
    mailbox.settle([_LOCKED, *([_HELD] if is_back else []), *([] if plan.missing_bytes else [_FULL])])
    if ends_others:
        return

    def message(what: str, why: str) -> Message:
        return _message(config, store, outlook, what=what, why=why, held=held)

    if held:
        mailbox.post(Event.CAPACITY_WARNING, {_HELD: ""}, lambda _: message("free space did not rise", store.held_back))
    if short:
        reasons = list(dict.fromkeys(plan.left_out.values()))
        why = f"no copy on the NAS may go: {'; '.join(reasons[:3])}" if reasons else "there is no copy that could go"
        mailbox.post(Event.CAPACITY_WARNING, {_FULL: ""}, lambda _: message("the NAS is too full", why))


def tell_of_lock(
    config: Config, mailbox: Mailbox, store: StoreObservation, lock: FoundLock, outlook: Forecast | NotEnough
) -> None:
    """Tell of the lock of a cleanup whose owner may be gone, or hang: nothing is evicted until a person ends that.

    Args:
        config: The lab.
        mailbox: Its mailbox.
        store: As observed.
        lock: The lock.
        outlook: When the NAS fills.
    """
    age = lock.state.age
    if age is not None and abs(age) < (_MAY_RUN if lock.state.alive else _MAY_TAKE):
        return
    mailbox.post(
        Event.CAPACITY_WARNING,
        {_LOCKED: f"{lock.state.lock.owner} {lock.state.lock.started_at}"},
        lambda _: _message(config, store, outlook, what="no room can be made", why=str(lock), locked=True),
    )


def tell_of_unmeasured(config: Config, mailbox: Mailbox, why: str, *, since: datetime, now: datetime) -> None:
    """Tell that the NAS could not be measured for long: once, until it is again.

    Args:
        config: The lab.
        mailbox: Its mailbox.
        why: What happened.
        since: Since when.
        now: The time, UTC.
    """
    tell_of_outage(
        mailbox,
        Event.CAPACITY_WARNING,
        _UNMEASURED,
        lambda: unmeasured_message(why, since=since, origin=here(config, now)),
        lasted=now - since,
    )


def tell_of_measured(mailbox: Mailbox) -> None:
    """Note that the NAS was measured.

    Args:
        mailbox: The lab's mailbox.
    """
    mailbox.settle([_UNMEASURED])


def _message(
    config: Config,
    store: StoreObservation,
    outlook: Forecast | NotEnough,
    *,
    what: str,
    why: str,
    held: bool = False,
    locked: bool = False,
) -> Message:
    warning = CapacityWarning(
        what=what,
        why=why,
        free=store.space.free,
        total=store.space.total,
        threshold_pct=config.cleanup.free_threshold_pct,
        forecast=str(outlook) if isinstance(outlook, Forecast) else "",
        held=held,
        locked=locked,
    )
    return capacity_warning_message(warning, here(config, store.at))
