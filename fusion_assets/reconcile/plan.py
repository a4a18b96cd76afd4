"""plan(desired, observed) -> actions: what is missing between the declared state of a study and the one it is in.

Pure, total and deterministic: any combination of conditions gives a plan, the same one every time, and after its
actions have done their work the next plan is empty. It never orders a deletion whose gates are not all True, so the
release of a source appears only in the plan made after the study was proven in both places.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fusion_assets.reconcile.conditions import Conditions, Name, Status


class Step(StrEnum):
    """The steps of a study, named as their Dagster assets, in order."""

    VALIDATED = "validated"
    TRUENAS_COPY = "truenas_copy"
    S3_ARCHIVE = "s3_archive"
    MANIFEST_ENTRY = "manifest_entry"
    SOURCE_RELEASED = "source_released"


class Verdict(StrEnum):
    """How a study stands, in one word."""

    SETTLED = "settled"
    PENDING = "pending"
    WAITING = "waiting"
    FAILED = "failed"
    UNKNOWN = "unknown"


# Reasons that change what a False condition means for the plan.
EVICTED = "Evicted"  # not on the NAS because it was moved out to make room: as it should be
LOCKED = "Locked"  # somebody is at work on it: wait, do not worry
# Not recorded as complete, though all that a complete record says was proven: only writing it down is missing.
PROVEN = "Proven"
NOT_MIRRORED = "NotMirrored"
NOT_RECORDED = "NotRecorded"  # the ledger knows nothing of it
COPY_PROVEN = "CopyProven"  # not complete, but of the copy on the NAS the ledger says that it was proven
# The ledger says already that this very state of the study is invalid: there is nothing to add until it changes.
KNOWN_INVALID = "KnownInvalid"
# The names in the study break the standard; any other reason to be invalid is in the ledger, or needs a person first.
BREAKS_STANDARD = "BreaksStandard"
# Its release was begun and not finished: its bytes are in the trash at the source, all or some of them.
IN_TRASH = "InTrash"
TRASH_UNSEEN = "TrashUnseen"
# Its name at the destinations is another study's, or it is archived under another one: a person has to name it.
NAME_TAKEN = "NameTaken"
# The copy was finished once and recorded, but its sidecar is gone or cannot be read: the copy itself can bring it back.
SIDECAR_LOST = "SidecarLost"
# The ledger knows neither the copy nor the archive, and the copy has no sidecar that can be read, but the archive has.
COPY_NOT_COMPARED = "CopyNotCompared"
# A file that is proven in both places is another one at the source: nothing is touched before a person has looked.
SOURCE_CHANGED = "SourceChanged"
# Something at the source was left out of the archive: the source stays, and a person has to look.
UNARCHIVED = "Unarchived"
RELEASE_GATES = (Name.UNLOCKED, Name.IDLE, Name.VALIDATED, Name.ON_TRUENAS, Name.ON_S3, Name.RECORDED)


@dataclass(frozen=True, slots=True)
class Desired:
    """What config.toml declares about every study.

    Attributes:
        delete_source: Whether the source is released once everything is proven.
    """

    delete_source: bool


@dataclass(frozen=True, slots=True)
class ObservedStudy:
    """One study as it is.

    Attributes:
        run_name: Its name at the source.
        backup_name: Its name at the destinations.
        at_source: Whether its directory is at the source.
        conditions: Every condition of `Name`.
        newest_mtime_ns: The newest mtime among its files at the source; 0 when it is not there.
        file_count: Files at the source, or as recorded.
        total_bytes: Their bytes.
        fingerprint: Of the source listing; empty when it is not there.
        bytes_to_copy: Of those at the source or in its trash, what the NAS does not have as they are.
    """

    run_name: str
    backup_name: str
    at_source: bool
    conditions: Conditions
    newest_mtime_ns: int = 0
    file_count: int = 0
    total_bytes: int = 0
    fingerprint: str = ""
    bytes_to_copy: int = 0

    @property
    def at_host(self) -> bool:
        """Whether anything of it is on the instrument's host, or may be: its directory, or what the trash holds."""
        return self.at_source or self.conditions[Name.SOURCE_RELEASED].reason in (IN_TRASH, TRASH_UNSEEN)


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """What to do about one study, and why."""

    observed: ObservedStudy
    actions: tuple[Step, ...]
    verdict: Verdict

    @property
    def study(self) -> str:
        """The study's name at the source."""
        return self.observed.run_name

    def to_json(self) -> dict[str, Any]:
        """The fixed JSON form: ``{"study", "conditions": {name: {…}}, "actions": [...]}``."""
        conditions = {name.value: self.observed.conditions[name].to_json() for name in Name}
        return {"study": self.study, "conditions": conditions, "actions": [action.value for action in self.actions]}


def plan_study(desired: Desired, observed: ObservedStudy) -> StudyPlan:
    """Plan one study.

    Args:
        desired: The declared state.
        observed: The state it is in, every condition of `Name` present.

    Returns:
        The steps to take now, in order, and how the study stands.
    """
    actions = _missing_steps(desired, observed)
    return StudyPlan(observed, actions, _verdict(desired, observed, actions))


def plan_studies(desired: Desired, studies: Iterable[ObservedStudy]) -> tuple[StudyPlan, ...]:
    """Plan many studies, oldest first, so that what waited longest is safe first."""
    ordered = sorted(studies, key=lambda study: (study.newest_mtime_ns, study.run_name))
    return tuple(plan_study(desired, study) for study in ordered)


def summarize(plans: Iterable[StudyPlan]) -> dict[str, Any]:
    """Count plans by verdict and actions by step: the ``summary`` of ``fusion plan -f json``."""
    plans = tuple(plans)
    verdicts = Counter(plan.verdict for plan in plans)
    actions = Counter(action for plan in plans for action in plan.actions)
    return {
        "studies": len(plans),
        **{verdict.value: verdicts[verdict] for verdict in Verdict},
        "actions": {step.value: actions[step] for step in Step},
    }


def why_nothing(plan: StudyPlan) -> str:
    """Why there is nothing to do for a study, from its first condition that does not hold; never empty.

    It is read by people: the names of conditions and their reasons are for programs, and stand beside it in JSON.

    Args:
        plan: A plan without actions.
    """
    for name in Name:
        condition = plan.observed.conditions[name]
        if name is Name.IDLE and plan.verdict is Verdict.FAILED:
            continue  # it is not idle either, but that is not what a person has to look at
        if condition.reason == EVICTED and plan.verdict is not Verdict.SETTLED:
            continue  # as it should be: it is something else that keeps it from being settled
        if not condition.is_true and not (name is Name.SOURCE_RELEASED and condition.status is Status.FALSE):
            return condition.message or f"{name.value} is {condition.status.value}: {condition.reason}"
    released = plan.observed.conditions[Name.SOURCE_RELEASED]
    if plan.verdict is Verdict.SETTLED and plan.observed.at_source:
        return "proven in both places and recorded; the source stays, as delete_source = false says"
    return released.message or released.reason


def _missing_steps(desired: Desired, observed: ObservedStudy) -> tuple[Step, ...]:
    conditions = observed.conditions
    destinations = (Name.ON_TRUENAS, Name.ON_S3, Name.RECORDED)
    may_touch = conditions[Name.UNLOCKED].is_true and conditions[Name.IDLE].is_true
    if not may_touch or any(conditions[name].status is Status.UNKNOWN for name in destinations):
        return ()
    if not conditions[Name.VALIDATED].is_true:
        return (Step.VALIDATED,) if _is_news(observed) else ()
    # Where the source is to go, both copies have to be there; it may be evicted again when the source is gone.
    kept_for_ever = not (desired.delete_source and observed.at_source)
    evicted = conditions[Name.ON_TRUENAS].reason == EVICTED and kept_for_ever
    if not conditions[Name.ON_TRUENAS].is_true and not evicted:
        return _copy_steps(observed)
    if not conditions[Name.ON_S3].is_true:
        return () if evicted else _archive_steps(observed)
    if not conditions[Name.RECORDED].is_true:
        only_write = conditions[Name.RECORDED].reason in (PROVEN, NOT_MIRRORED) or evicted
        return (Step.MANIFEST_ENTRY,) if only_write else _proof_steps(observed)
    return (Step.SOURCE_RELEASED,) if _may_release(desired, conditions) else ()


def _is_news(observed: ObservedStudy) -> bool:
    """Whether an invalid study has to be validated once, so that its violations are in the history and the ledger."""
    invalid = observed.conditions[Name.VALIDATED]
    return observed.at_source and invalid.status is Status.FALSE and invalid.reason == BREAKS_STANDARD


def _copy_steps(observed: ObservedStudy) -> tuple[Step, ...]:
    """What brings the copy into order: from the source, from the trash, or from itself; else a person has to look.

    From the trash nothing is moved back: there it may be half a study, which must never look like one, and at the
    source another study may have its name by now. It was validated before it came there.
    """
    archive = (Step.S3_ARCHIVE, Step.MANIFEST_ENTRY)
    if observed.at_source:
        return (Step.VALIDATED, Step.TRUENAS_COPY, *archive)
    if observed.conditions[Name.SOURCE_RELEASED].reason == IN_TRASH:
        return (Step.TRUENAS_COPY, *archive)
    reasons = {observed.conditions[name].reason for name in (Name.ON_TRUENAS, Name.ON_S3)}
    return archive if reasons & {SIDECAR_LOST, COPY_NOT_COMPARED} else ()


def _archive_steps(observed: ObservedStudy) -> tuple[Step, ...]:
    """What brings a finished copy into S3; one whose run was killed before it was recorded has to be proven first."""
    recorded = observed.conditions[Name.RECORDED]
    if recorded.is_true or recorded.reason in (COPY_PROVEN, PROVEN, NOT_MIRRORED):
        return (Step.S3_ARCHIVE, Step.MANIFEST_ENTRY)
    return _proof_steps(observed)


def _proof_steps(observed: ObservedStudy) -> tuple[Step, ...]:
    """Both copies are there, but nothing says that they were proven: the ledger was lost, or a run was killed."""
    in_trash = observed.conditions[Name.SOURCE_RELEASED].reason == IN_TRASH
    # Without a record nothing says that what lies in the trash is what was archived.
    if observed.at_source or (in_trash and observed.conditions[Name.RECORDED].reason != NOT_RECORDED):
        return _copy_steps(observed)
    return (Step.S3_ARCHIVE, Step.MANIFEST_ENTRY)


def _may_release(desired: Desired, conditions: Conditions) -> bool:
    released = conditions[Name.SOURCE_RELEASED]
    wanted = desired.delete_source and released.status is Status.FALSE and released.reason != UNARCHIVED
    return wanted and all(conditions[gate].is_true for gate in RELEASE_GATES)


def _verdict(desired: Desired, observed: ObservedStudy, actions: tuple[Step, ...]) -> Verdict:
    if actions:
        return Verdict.PENDING
    conditions = observed.conditions
    if conditions[Name.UNLOCKED].reason == LOCKED:
        return Verdict.WAITING
    if conditions[Name.VALIDATED].reason == SOURCE_CHANGED:
        return Verdict.FAILED  # at once: damage is not something to tell of when the study is idle again
    if not conditions[Name.IDLE].is_true:
        return Verdict.WAITING
    wanted = [name for name in Name if name is not Name.SOURCE_RELEASED or desired.delete_source]
    unmet = [conditions[name] for name in wanted if not conditions[name].is_true]
    if any(condition.status is Status.UNKNOWN for condition in unmet):
        return Verdict.UNKNOWN
    if conditions[Name.SOURCE_RELEASED].reason == IN_TRASH:
        return Verdict.FAILED  # a release that was begun is finished by nobody, where sources are to stay by now
    if all(condition.reason == EVICTED for condition in unmet):
        return Verdict.SETTLED
    return Verdict.FAILED
