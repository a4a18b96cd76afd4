"""One mail of every kind, as a lab would get it; any string in it can be replaced by another."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fusion_assets.config import Event
from fusion_assets.notify.backup import BackupFailure, FailedStudy, backup_failure_message
from fusion_assets.notify.capacity import CapacityWarning, capacity_warning_message, unmeasured_message
from fusion_assets.notify.checks import FailedCheck, check_failed_message
from fusion_assets.notify.cleanup import CleanupFailure, cleanup_failure_message
from fusion_assets.notify.digest import Digest, Moved, Unverified, digest_message
from fusion_assets.notify.fusion_error import FusionError, fusion_error_message, unread_log_message
from fusion_assets.notify.grouping import grouped
from fusion_assets.notify.jobs import FailedJob, job_failure_message
from fusion_assets.notify.letter import Message
from fusion_assets.notify.origin import Origin
from fusion_assets.notify.outages import (
    LeftLock,
    Stopped,
    left_locks_message,
    silence_message,
    unseen_lab_message,
)
from fusion_assets.notify.own_errors import (
    LogLine,
    damaged_mailbox_message,
    monitor_crash_message,
    toolkit_error_message,
    unwritten_message,
)
from fusion_assets.notify.sample import sample_message

AT = datetime(2026, 3, 9, 7, 0, 0, tzinfo=UTC)
RUN = "6f0b2f0e-5a0c-4c57-9d53-0e6f1f6b7c11"
TB = 1_000_000_000_000


def _same(text: str) -> str:
    return text


def all_mails(of: Callable[[str], str] = _same) -> dict[str, Message]:
    """Every kind of mail.

    Args:
        of: What becomes of each text that comes from outside: names, reasons, log lines, hosts.
    """
    origin = Origin(of("fusion-pc"), AT, Path("/etc/fusion") / "config.toml", "http://dagster.lab.example:3000")
    study = of("20260105_WW_HCC_run1")
    failed = (
        FailedStudy(of("20260104_WW_HCC_run 0"), of("R1: the name has a space"), path=of("/mnt/fusion/a b")),
        FailedStudy(study, of("the S3 server did not answer for 600 s"), step="s3_archive", run_id=RUN),
        FailedStudy(of("20260106_WW_HCC_run2"), of("locked by process 17 on fusion-pc"), locked=True),
    )
    mails = {
        "backup": backup_failure_message(BackupFailure(failed, of("ok=5 changed=4 skipped=3 failed=3")), origin),
        "backup_stopped": backup_failure_message(BackupFailure(trouble=of("/mnt/fusion is empty")), origin),
        "backup_daemon": backup_failure_message(BackupFailure(failed[1:2], by_daemon=True), origin),
        "cleanup": cleanup_failure_message(
            CleanupFailure(failed[1:], of("ok=1 changed=2 failed=2"), of("stopped"), of("1.2 TB of 10 TB free")), origin
        ),
        "checks": check_failed_message(
            [
                FailedCheck(
                    study, "truenas_copy", "EveryFileMatches", "ERROR", of("focus003.bin: other bytes"), True, RUN
                ),
                FailedCheck(study, "validated", "Scan1", "WARN", of("mtimes span 31 days"), run_id=RUN),
            ],
            origin,
        ),
        "checks_of_none": check_failed_message(
            [FailedCheck("", "truenas_space", "probe", "ERROR", of("it is not what it was"))], origin
        ),
        "jobs": job_failure_message(
            [FailedJob("scrub_copies", of("the NAS broke off"), "scrub", RUN), FailedJob(of("mine"), of("why"))], origin
        ),
        "capacity": capacity_warning_message(
            CapacityWarning(
                of("free space did not rise"),
                of("2.1 TB of 20251201_WW_HCC_run7 were removed, and free space is what it was: snapshots hold it"),
                int(0.9 * TB),
                10 * TB,
                15,
                of("full in 41 days (most likely between 33 and 58)"),
                held=True,
                history=tuple((of(f"2026-03-0{day}"), (20 - day) * TB // 10) for day in range(1, 9)),
            ),
            origin,
        ),
        "unmeasured": unmeasured_message(of("access denied"), since=AT, origin=origin),
        "digest": digest_message(
            Digest(
                AT - timedelta(days=7),
                Moved(14, 3 * TB),
                Moved(12, 2 * TB),
                Moved(),
                failures=2,
                astray=1,
                free=int(2.2 * TB),
                total=10 * TB,
                forecast=of("full in 41 days (most likely between 33 and 58)"),
                oldest=Unverified(study, AT - timedelta(days=80)),
                archived_daily=tuple((of(f"2026-03-0{day}"), day * day * TB // 20) for day in range(2, 9)),
            ),
            origin,
        ),
        "unseen": unseen_lab_message(of("no answer"), since=AT, origin=origin),
        "silence": silence_message(
            [Stopped(of("sensor idle_studies"), of("TimeoutError"), AT - timedelta(hours=2)), Stopped(of("daemon"))],
            origin,
        ),
        "locks": left_locks_message([LeftLock(study, of("locked by process 17 on fusion-pc since 02:00"))], origin),
        "toolkit": toolkit_error_message(
            [
                LogLine("WARNING", "resources.smb_login", of("the server offers no encryption"), AT, 17),
                LogLine(
                    "ERROR", "cli.run", of("lost\nTraceback (most recent call last):\n  File x, line 1\nOSError"), AT
                ),
            ],
            origin,
        ),
        "crash": monitor_crash_message(of("KeyError: 'sample'"), of("Traceback (most recent call last):\n  x"), origin),
        "fusion_error": fusion_error_message(
            [
                FusionError((of("12:00:01 ERROR stage stuck"), of("   at Stage.Move()")), 3, 12_345, of("A1"), "4"),
                *[FusionError((of(f"12:00:02 ERROR camera {number}"),)) for number in range(12)],
            ],
            of("smb://instrument/logs/Fusion.log"),
            30,
            origin,
        ),
        "unread_log": unread_log_message(of("/logs/Fusion.log"), of("another program holds it open"), origin),
        "mailbox": damaged_mailbox_message(Path("/state") / "mailbox.damaged", of("file is not a database"), origin),
        "unwritten": unwritten_message(Event.CHECK_FAILED, [of("check:s1")], KeyError(of("study")), origin),
        "sample": sample_message(Event.DIGEST, Path("/etc/fusion/recipients/default.txt"), origin),
    }
    return mails | {"group": grouped(list(mails.values())[:4])}
