"""From what ended, failed or fell silent to mails: exactly one for each cause until it changes.

What belongs here: which causes there are, how each stands, and when it is over. What does not: the words (`notify`),
and finding out (`ended_runs`, `silence`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum, auto

from fusion_assets.config import Config, Event
from fusion_assets.eviction.gates import Gate
from fusion_assets.notify.backup import BackupFailure, FailedStudy, backup_failure_message
from fusion_assets.notify.checks import FailedCheck, check_failed_message
from fusion_assets.notify.cleanup import CleanupFailure, cleanup_failure_message
from fusion_assets.notify.jobs import FailedJob, job_failure_message
from fusion_assets.notify.letter import Message
from fusion_assets.notify.mailbox import Mailbox
from fusion_assets.notify.origin import Origin, here
from fusion_assets.notify.outages import Stopped, silence_message
from fusion_assets.notify.posted import Posted
from fusion_assets.reconcile.plan import Verdict
from fusion_assets.studies.commands import BACKUP_RUN, CLEANUP_RUN
from fusion_assets.studies.eviction import gate_check
from fusion_assets.studies.failures import Failure, Finding, without_numbers
from fusion_assets.studies.tags import (
    BY_COMMAND,
    EVICTION,
    FINGERPRINT_TAG,
    KIND_TAG,
    MAILED_TAG,
    OVERTAKEN,
    RETRY_TAG,
    STARTED_BY_TAG,
    STATE_TAG,
)
from fusion_assets.studies.upkeep import AS_DECLARED, LAB_UNSEEN, inventory_job
from sensors.ended_runs import CheckFound, EndedRun
from sensors.idle_mail import stuck_causes

# A host that goes down breaks off a try, and perhaps the next one; what ends so a third time comes to no end by itself.
_TRIES = 3
_AWAY = "It had left the source before this began: what there is of it lies on the NAS, in S3, or in the trash there."


class _Kind(Enum):
    """What a failed run was about, which decides the words and who hears of it."""

    STUDY = auto()
    EVICTION = auto()
    BACKUP = auto()
    CLEANUP = auto()
    JOB = auto()


def tell_of_runs(config: Config, mailbox: Mailbox, runs: Sequence[EndedRun], now: datetime) -> tuple[Posted, ...]:
    """Tell of failed runs and failed checks, and note what is well again.

    Args:
        config: The lab.
        mailbox: Its mailbox.
        runs: Those that ended since the last time, in order.
        now: The time, UTC.

    Returns:
        What became of the mails. Where one was lost, the same runs are to be told of again; no mail of them that was
        not lost is repeated by that.
    """
    _settle(mailbox, runs)
    ours = [run for run in runs if not (_mails_itself(run) or _is_started_again(run) or _was_overtaken(run))]
    failed = {
        _run_cause(run): run
        for run in ours
        if run.failure and not _went_well_since(run, runs) and not _is_told_by_sensor(run, config)
    }
    # One that is interrupted now and then, between two tries that fail, stands as it was told.
    told = mailbox.standing(cause for cause, run in failed.items() if run.failure and run.failure.broken_off)
    failed = {cause: run for cause, run in failed.items() if cause not in told}
    posted = [
        _tell_of_failures(config, mailbox, kind, {c: run for c, run in failed.items() if _kind_of(run) is kind}, now)
        for kind in _Kind
    ]
    return (*posted, _tell_of_checks(config, mailbox, ours, now))


def _settle(mailbox: Mailbox, runs: Sequence[EndedRun]) -> None:
    """Note what is well again, by what was found last: else a tick that is broken off would tell a failure twice."""
    last = {_run_cause(run): run for run in runs if run.succeeded or run.failure}
    mailbox.settle(cause for cause, run in last.items() if run.succeeded or _was_overtaken(run))
    checks = [found for found, run in _last_checks(runs) if run.succeeded]
    mailbox.settle(_check_cause(found, "") for found in checks if found.study and not found.findings)
    for found in checks:
        if not found.study:
            still = {_check_cause(found, one.study) for one in found.findings}
            mailbox.settle_others(_check_cause(found, ""), still)


def _last_checks(runs: Sequence[EndedRun]) -> Sequence[tuple[CheckFound, EndedRun]]:
    """Of each check what it found last, and in which run."""
    return list({_check_cause(found, ""): (found, run) for run in runs for found in run.checks}.values())


def _tell_of_failures(
    config: Config, mailbox: Mailbox, kind: _Kind, failed: Mapping[str, EndedRun], now: datetime
) -> Posted:
    return mailbox.post(
        Event.CLEANUP_FAILURE if kind in (_Kind.CLEANUP, _Kind.EVICTION) else Event.BACKUP_FAILURE,
        {cause: _standing(run) for cause, run in failed.items()},
        lambda new: _failure_message(kind, [failed[cause] for cause in new], here(config, now)),
    )


def _tell_of_checks(config: Config, mailbox: Mailbox, runs: Sequence[EndedRun], now: datetime) -> Posted:
    """Failed checks, but for those that failed their run, and what the inventory repeats: of these was told already."""
    failed = {
        _check_cause(found, finding.study): (found, finding, run)
        for found, run in _last_checks(runs)
        for finding in found.findings
        if found.is_error and not _is_why_run_failed(found, run) and not _is_told_by_capacity(found, config)
    }
    repeated = {cause: finding.study for cause, (found, finding, _) in failed.items() if _may_repeat(found, finding)}
    told = _told_of(mailbox, repeated.values())
    failed = {cause: of for cause, of in failed.items() if repeated.get(cause) not in told}
    return mailbox.post(
        Event.CHECK_FAILED,
        {cause: finding.standing for cause, (_, finding, _) in failed.items()},
        lambda new: check_failed_message([_failed_check(*failed[cause]) for cause in new], here(config, now)),
    )


def _may_repeat(found: CheckFound, finding: Finding) -> bool:
    """Whether it may be what was told before: the inventory alone tells of a study that waits for what never comes."""
    return found.check == AS_DECLARED and finding.state != Verdict.WAITING


def _told_of(mailbox: Mailbox, studies: Iterable[str]) -> Collection[str]:
    """Those of the studies of which a person was told already that they failed, or wait for somebody."""
    causes = {study: (_study_cause(study), *stuck_causes(study)) for study in studies}
    standing = mailbox.standing(cause for each in causes.values() for cause in each)
    return {study for study, each in causes.items() if not standing.isdisjoint(each)}


def tell_of_silence(config: Config, mailbox: Mailbox, silent: Mapping[str, Stopped], now: datetime) -> None:
    """Tell which sensors and schedules do not go on.

    Args:
        config: The lab.
        mailbox: Its mailbox.
        silent: By name, all there are at this moment.
        now: The time, UTC.
    """
    causes = {f"sensor:{name}": stopped for name, stopped in silent.items()}
    mailbox.settle_others("sensor:", causes.keys())
    mailbox.post(
        Event.HEARTBEAT,
        {cause: without_numbers(stopped.why) for cause, stopped in causes.items()},
        lambda new: silence_message([causes[cause] for cause in new], here(config, now)),
    )


def _mails_itself(run: EndedRun) -> bool:
    """The command line mails its own failures, also when the calendar started it."""
    return run.tags.get(STARTED_BY_TAG) == BY_COMMAND or MAILED_TAG in run.tags


def _is_started_again(run: EndedRun) -> bool:
    """Whether a sensor sees to it: an upgrade, or a lost host, is no failure of a study; one after another is.

    Where a crash left a lock, the sensor of idle studies tells.
    """
    broken_off = run.failure is not None and run.failure.broken_off
    return broken_off and STATE_TAG in run.tags and run.tries < _TRIES


def _was_overtaken(run: EndedRun) -> bool:
    """Whether all that was wrong is that another run had done everything before it."""
    return run.tags.get(RETRY_TAG) == OVERTAKEN


def _is_eviction(run: EndedRun) -> bool:
    return run.tags.get(KIND_TAG) == EVICTION


def _kind_of(run: EndedRun) -> _Kind:
    if run.study:
        return _Kind.EVICTION if _is_eviction(run) else _Kind.STUDY
    return {CLEANUP_RUN: _Kind.CLEANUP, BACKUP_RUN: _Kind.BACKUP}.get(run.job, _Kind.JOB)


def _went_well_since(run: EndedRun, runs: Sequence[EndedRun]) -> bool:
    later = runs[runs.index(run) + 1 :]
    return any(one.succeeded and _run_cause(one) == _run_cause(run) for one in later)


def _run_cause(run: EndedRun) -> str:
    return f"evict:{run.study or run.job}" if _is_eviction(run) else _study_cause(run.study or run.job)


def _study_cause(name: str) -> str:
    """By which people are told that the run of a study failed, or of a job that is about none."""
    return f"run:{name}"


def _check_cause(found: CheckFound, study: str) -> str:
    """What a check found of one of many studies, if it is a check of many."""
    return f"check:{found.study}:{found.asset}:{found.check}:{study}"


def _standing(run: EndedRun) -> str:
    if run.failure is None or run.failure.broken_off:
        return ""  # killed at one try and interrupted at the next is one cause: it does not come to an end
    return f"{run.failure.step} {without_numbers(run.failure.why)}"


def _has_left(run: EndedRun) -> bool:
    """Whether its sensor saw nothing of the study at the source; who else started a run, did not look."""
    return STATE_TAG in run.tags and FINGERPRINT_TAG not in run.tags and not _is_eviction(run)


def _why(run: EndedRun, failure: Failure) -> str:
    if not failure.broken_off or run.tries < _TRIES:
        return failure.why
    return f"{failure.why}; {run.tries} tries have failed, so see whether it needs more memory or time than it is given"


def _failure_message(kind: _Kind, runs: Sequence[EndedRun], origin: Origin) -> Message:
    why = {run.run_id: _why(run, run.failure) for run in runs if run.failure}
    if kind is _Kind.BACKUP:
        return backup_failure_message(BackupFailure(trouble="; ".join(why.values())), origin)
    if kind is _Kind.CLEANUP:
        return cleanup_failure_message(CleanupFailure(trouble="; ".join(why.values())), origin)
    if kind is _Kind.JOB:
        jobs = [FailedJob(run.job, why[run.run_id], run.failure.step, run.run_id) for run in runs if run.failure]
        return job_failure_message(jobs, origin)
    failed = tuple(
        FailedStudy(
            run.study,
            why[run.run_id],
            step=run.failure.step,
            run_id=run.run_id,
            away=_AWAY if _has_left(run) else "",
        )
        for run in runs
        if run.failure
    )
    if kind is _Kind.EVICTION:
        return cleanup_failure_message(CleanupFailure(failed), origin)
    return backup_failure_message(BackupFailure(failed, by_daemon=True), origin)


def _is_why_run_failed(found: CheckFound, run: EndedRun) -> bool:
    """Of a run that failed: a check that stops it, or one whose asset was not made, as its gate was closed, say."""
    return run.failure is not None and (found.blocking or found.asset not in run.made)


def _is_told_by_sensor(run: EndedRun, config: Config) -> bool:
    """Whether the sensor of capacity, or of idle studies, tells of what this run failed of."""
    if run.job == inventory_job.name:
        unseen = run.failure is not None and run.failure.why.startswith(LAB_UNSEEN)
        return unseen and config.sensors.idle_studies
    closed = [found for found in run.checks if found.findings and found.is_error]
    return _is_eviction(run) and bool(closed) and all(_is_told_by_capacity(found, config) for found in closed)


def _is_told_by_capacity(found: CheckFound, config: Config) -> bool:
    """Whether it is about space that did not come back: of that the sensor of the NAS's capacity tells."""
    return found.check == gate_check(Gate.SPACE_RISES) and config.sensors.truenas_capacity


def _failed_check(found: CheckFound, finding: Finding, run: EndedRun) -> FailedCheck:
    return FailedCheck(
        finding.study or found.study,
        found.asset,
        found.check,
        "ERROR" if found.is_error else "WARN",
        finding.found,
        blocking=found.blocking,
        run_id=run.run_id,
    )
