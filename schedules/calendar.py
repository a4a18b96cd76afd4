"""The lab's calendar: what is started on which day, in the lab's own time zone."""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg
from tzlocal import get_localzone_name

from fusion_assets.config import Config


@dataclass(frozen=True, slots=True)
class Appointment:
    """Something the calendar starts.

    Attributes:
        name: Of the schedule, which is also its key in [schedules].
        job: What is started.
        cron: When, in the lab's time zone.
        why: For the UI.
    """

    name: str
    job: str
    cron: str
    why: str


# Nights and early mornings: the instrument is quiet, and the mails are there when people come in.
APPOINTMENTS = (
    Appointment("monthly_backup", "backup_run", "0 2 1 * *", "Archive all that is idle, whatever the sensors did."),
    Appointment("monthly_cleanup", "cleanup_run", "0 2 20 * *", "Make room on the NAS, if room is needed."),
    Appointment("weekly_scrub", "scrub_copies", "0 3 * * 6", "Prove the copies again that were proven longest ago."),
    Appointment("weekly_digest", "weekly_digest_job", "0 7 * * 1", "Mail what happened in the week."),
    Appointment("daily_inventory", "take_inventory", "0 6 * * *", "List what is not in its declared state."),
)


def build_schedules(config: Config) -> list[dg.ScheduleDefinition]:
    """The schedules that a lab wants.

    Args:
        config: What the lab declares.
    """
    zone = config.schedules.timezone or get_localzone_name() or "UTC"
    return [
        dg.ScheduleDefinition(
            name=appointment.name,
            job_name=appointment.job,
            cron_schedule=appointment.cron,
            execution_timezone=zone,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description=appointment.why,
        )
        for appointment in APPOINTMENTS
        if getattr(config.schedules, appointment.name)
    ]
