"""A simulated month, hour by hour: the loop that lets everything happen.

What belongs here: the order of things. What does not: what goes wrong (`incidents`), and what must be true afterwards
(`invariants`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tests.simulation.fusion_log import plan_errors
from tests.simulation.incidents import plan_incidents
from tests.simulation.instrument import Plan, compose, plan_studies, write_until
from tests.simulation.lab import SimulatedLab
from tests.simulation.people import read_and_act


def live(lab: SimulatedLab, every_midnight: Callable[[], None], tell: Callable[[float], None]) -> None:
    """Let the month happen.

    Args:
        lab: A new lab.
        every_midnight: Called at the end of each simulated day.
        tell: Told how much of the time is over, 0 to 1.
    """
    start, span, step = lab.now, timedelta(days=lab.settings.days), lab.settings.step
    end = start + span
    # What is written last has to become idle, and be archived, before the month ends.
    last_begin = end - timedelta(days=lab.settings.idle_days) - timedelta(hours=30)
    plans = plan_studies(lab.random, start + step, last_begin, lab.settings.studies_a_day)
    errors = plan_errors(lab.random, start + step, end - timedelta(hours=6), lab.settings.errors_a_day)
    incidents = plan_incidents(lab, start, end)
    lab.log.begin(start)
    while lab.now < end:
        before, lab.now = lab.now, lab.now + step
        lab.clock.move_to(lab.now)
        lab.recover()
        while errors and errors[0][0] <= lab.now:
            lab.log.fail(errors.pop(0)[1], lab.now)
        lab.log.work(lab.now)
        _write_studies(lab, plans)
        while incidents and incidents[0].at <= lab.now:
            incident = incidents.pop(0)
            incident.do()
        if lab.daemon_is_up:
            ticked = lab.daemon.look(datetime.now(UTC))
            if "fusion_log" in ticked:
                lab.log.was_read(datetime.now(UTC))  # by a clock that may be wrong
        lab.watch_space()
        if lab.now.hour % 6 == 0 and lab.now.minute == 0 and lab.all_are_there:
            read_and_act(lab)
        if lab.now.date() != before.date():
            every_midnight()
        tell((lab.now - start) / span)


def _write_studies(lab: SimulatedLab, plans: list[Plan]) -> None:
    while plans and plans[0].begins_at <= lab.now:
        lab.studies.append(compose(plans.pop(0), lab.folder / "workshop"))
    for study in lab.studies:
        if study.writes:
            write_until(study, lab.disk, lab.now)
