"""The sensor that watches all that runs: failed runs and checks, silent sensors, waiting mails, and its own heartbeat.

One sensor for all of it: Dagster's run status sensors see one run at a time and would send fifty mails for fifty runs
that one dead server failed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime

import dagster as dg

from fusion_assets.config import Config
from fusion_assets.heartbeat import beat
from fusion_assets.notify.mailbox import Mailbox
from fusion_assets.notify.posted import Fate
from sensors.alert_mail import tell_of_runs, tell_of_silence
from sensors.ended_runs import read_ended_runs, run_cursor_from_text
from sensors.silence import find_silent

NAME = "alerts"
_LOG = logging.getLogger(__name__)


def build_alerts(config: Config, watched: Mapping[str, int]) -> dg.SensorDefinition:
    """The sensor of one lab.

    Args:
        config: What the lab declares.
        watched: The other sensors and the schedules, each with the seconds between two ticks; 0 for a schedule.
    """

    @dg.sensor(
        name=NAME,
        minimum_interval_seconds=config.sensors.alert_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Mails each failed run, failed check and silent sensor once; sends mails that wait; beats.",
    )
    def alerts(context: dg.SensorEvaluationContext, mailbox: dg.ResourceParam[Mailbox]) -> dg.SensorResult:
        now = datetime.now(UTC)
        runs, cursor = read_ended_runs(context.instance, run_cursor_from_text(context.cursor))
        lost = [posted for posted in tell_of_runs(config, mailbox, runs, now) if posted.fate is Fate.LOST]
        silent = find_silent(context.instance, watched, now)
        tell_of_silence(config, mailbox, silent, now)
        delivered = mailbox.deliver()
        for sentence in [*delivered.problems, delivered.sentence]:
            if sentence:
                context.log.warning(sentence)
        for problem in [
            *(f"failures are told of again at the next tick: {each}" for each in lost),
            mailbox.fault(),
            beat(config, now),
        ]:
            if problem:
                _LOG.warning("%s", problem)  # nobody reads the log of a tick; this one is mailed
                context.log.warning(problem)
        return dg.SensorResult(
            skip_reason=f"{len(runs)} runs ended, {len(silent)} sensors or schedules do not go on, "
            f"{len(delivered.sent)} mails sent, {delivered.waiting} wait",
            cursor=context.cursor if lost else cursor.to_text(),
        )

    return alerts
