"""The sensor that reads the instrument's log; thin: `monitor` reads, `fusion_log_mail` tells.

It shares position and memory with ``fusion monitor tail``: whichever of them looks, an error is mailed once.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from filelock import Timeout

from fusion_assets.config import Config
from fusion_assets.monitor import Tailed, open_log, take_look
from fusion_assets.notify.mailbox import Mailbox
from resources.errors import UnavailableError, described
from sensors.fusion_log_mail import tell_of_going_on, tell_of_hanging, tell_of_log
from sensors.outages import WELL, outage_since

FUSION_LOG = "fusion_log"
# A backlog of gigabytes is read over several ticks; each must end long before Dagster's 60 s.
LOOK_SECONDS = 10.0
# Looks are taken again, but do not see the log yet: what was told stands, and another hang begins anew.
_LOOKS = "looks"
# More metadata than this nobody reads in the UI.
_SHOWN = 20
_HANGS = "another look at the log has not ended yet: an earlier one of this sensor, or that of `fusion monitor tail`"

fusion_log_asset = dg.AssetSpec(
    FUSION_LOG,
    group_name="instrument",
    kinds={"log"},
    owners=["team:microscopy"],
    description="The errors of the acquisition software, as its log tells them.",
)


def build_fusion_log(config: Config) -> dg.SensorDefinition:
    """The sensor of one lab that names its log.

    Args:
        config: What the lab declares.
    """

    @dg.sensor(
        name=FUSION_LOG,
        minimum_interval_seconds=config.sensors.log_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reads what is new in the instrument's log, and mails each error once.",
    )
    def fusion_log(context: dg.SensorEvaluationContext, mailbox: dg.ResourceParam[Mailbox]) -> dg.SensorResult:
        try:
            looks = _look(config, mailbox)
        except Timeout:
            now = datetime.now(UTC)
            since = outage_since(context.cursor, now)
            tell_of_hanging(config, mailbox, since=since, now=now)
            return dg.SensorResult(skip_reason=_HANGS, cursor=since.isoformat())
        except UnavailableError as error:
            return dg.SensorResult(skip_reason=described(error))
        if context.cursor not in (None, WELL):
            context.update_cursor(_LOOKS if looks[-1].trouble else WELL)
            if not looks[-1].trouble:
                tell_of_going_on(mailbox)
        for note in [note for look in looks for note in look.notes]:
            context.log.warning(note)
        return dg.SensorResult(skip_reason=_spoken(looks), asset_events=_observations(looks))

    return fusion_log


def _look(config: Config, mailbox: Mailbox) -> list[Tailed]:
    def report(tailed: Tailed) -> None:
        tell_of_log(config, mailbox, tailed, datetime.now(UTC))

    until = time.monotonic() + LOOK_SECONDS
    looks: list[Tailed] = []
    with open_log(config) as place:
        while not looks or (looks[-1].more and time.monotonic() < until):
            looks.append(take_look(config, place, report, now=datetime.now(UTC)))
    return looks


def _observations(looks: list[Tailed]) -> list[dg.AssetObservation]:
    groups = [group for look in looks for group in look.groups]
    if not groups:
        return []
    lines = [f"{group.count:,} times: {group.block.lines[0][:200]}" for group in groups[:_SHOWN]]
    metadata: dict[str, Any] = {
        "different errors": len(groups),
        "errors": sum(group.count for group in groups),
        "first lines": dg.MetadataValue.text("\n".join(lines)),
    }
    return [dg.AssetObservation(FUSION_LOG, metadata=metadata)]


def _spoken(looks: list[Tailed]) -> str:
    if trouble := looks[-1].trouble:
        return trouble
    read, new = sum(look.bytes_read for look in looks), sum(len(look.groups) for look in looks)
    more = "; there is more to be read at the next tick" if looks[-1].more else ""
    return f"{read:,} bytes were read, {new} errors are new{more}"
