"""From what was seen of a study to its conditions. Pure: the same facts always give the same conditions."""

from __future__ import annotations

from datetime import datetime

from fusion_assets.config import BackupSection
from fusion_assets.manifest.extra_fields import (
    ADOPTED_FIELD,
    EVICTED_FIELD,
    EVICTION_BEGUN_FIELD,
    FINGERPRINT_FIELD,
    RELEASE_BEGUN_FIELD,
    SIDECAR_FIELD,
)
from fusion_assets.manifest.record import Record, Status
from fusion_assets.reconcile.conditions import Condition, Name, Unseen, false, true, unknown
from fusion_assets.reconcile.facts import ArchiveFacts, CopyFacts, LockFacts, Present, SourceFacts, StudyFacts
from fusion_assets.reconcile.idle import judge_idle
from fusion_assets.reconcile.invalidity import is_structure
from fusion_assets.reconcile.judge_archive import judge_archive
from fusion_assets.reconcile.lab import TRASH
from fusion_assets.reconcile.overwrite import (
    archived_elsewhere,
    as_known,
    is_another,
    is_proven,
    is_renewed,
    name_taken,
    proven_otherwise,
    release_broke_off,
    source_changed,
    spoken,
    trash_changed,
    went_back,
)
from fusion_assets.reconcile.plan import (
    BREAKS_STANDARD,
    COPY_PROVEN,
    EVICTED,
    IN_TRASH,
    KNOWN_INVALID,
    LOCKED,
    NAME_TAKEN,
    NOT_MIRRORED,
    NOT_RECORDED,
    PROVEN,
    SIDECAR_LOST,
    SOURCE_CHANGED,
    TRASH_UNSEEN,
    UNARCHIVED,
    ObservedStudy,
)
from fusion_assets.reconcile.proven import accepted, known_sidecars
from fusion_assets.reconcile.unknown import unknown_copies, unknown_differs
from fusion_assets.standard.listing import Listing
from fusion_assets.standard.report import summarized
from fusion_assets.transfer.checksums import rounded_up
from fusion_assets.transfer.errors import name_some
from fusion_assets.transfer.plan import same_file

STALE_LOCK = "StaleLock"
"""A crash left it."""

# What a record bears as soon as a copy was finished, found finished, or begun to be released.
_ENDED_ONCE = frozenset({SIDECAR_FIELD, ADOPTED_FIELD, RELEASE_BEGUN_FIELD})
_MOVE_OUT = "move it out of the study; a copy leaves out links, special files, and what bears a name of ours"


def judge_study(facts: StudyFacts, backup: BackupSection, now: datetime) -> ObservedStudy:
    """Turn what was seen of a study into its conditions.

    Args:
        facts: What `observe` gathered.
        backup: The lab's ``[backup]`` settings, for idleness.
        now: The time of the observation, UTC.
    """
    record = facts.record if isinstance(facts.record, Record) else None
    source = facts.source if isinstance(facts.source, SourceFacts) else None
    trash = facts.trash if isinstance(facts.trash, Listing) else None
    at_hand = source.listing if source else trash
    behind = _left_behind(facts, record)
    conditions = {
        Name.UNLOCKED: _unlocked(facts.lock),
        Name.IDLE: _idle(facts.source, backup, now),
        Name.VALIDATED: judge_validated(facts),
        Name.ON_TRUENAS: (_not_compared(facts, record) if source else None)
        or (
            _on_truenas(facts.copy, at_hand, record, behind)
            if facts.copy
            else _not_copied(source, at_hand, record, behind)
        ),
        Name.ON_S3: judge_archive(
            facts.archive, facts.copy, record, at_hand, at_source=source is not None, behind=behind
        ),
        Name.RECORDED: _recorded(facts, source),
        Name.SOURCE_RELEASED: _source_released(facts, record),
    }
    return ObservedStudy(
        run_name=facts.run_name,
        backup_name=facts.backup_name,
        at_source=source is not None,
        conditions=conditions,
        newest_mtime_ns=source.listing.newest_mtime_ns if source else 0,
        file_count=source.listing.file_count if source else record.file_count if record else 0,
        total_bytes=source.listing.total_bytes if source else record.total_bytes if record else 0,
        fingerprint=source.observation.fingerprint if source else "",
        bytes_to_copy=_bytes_to_copy(at_hand, facts.copy),
    )


def _bytes_to_copy(at_hand: Listing | None, copy: CopyFacts | Present | Unseen | None) -> int:
    """In whole blocks, as they are written; what is on the NAS already may have to be copied anew, but in its place."""
    held = copy.files if isinstance(copy, CopyFacts) else {}
    wanted = at_hand.files if at_hand else ()
    return sum(
        rounded_up(entry.size)
        for entry in wanted
        if (found := held.get(entry.path)) is None or not same_file(entry, found)
    )


def _unlocked(lock: LockFacts | Unseen | None) -> Condition:
    if lock is None:
        return true("Unlocked")
    if isinstance(lock, Unseen):
        return unknown("LockUnreadable", lock.why)
    # Only what is at work is waited for: what nobody will ever leave needs a person.
    waited_for = LOCKED if not lock.for_long else "LockedForLong"
    return false(STALE_LOCK if lock.owner_is_gone else waited_for, lock.description)


def _idle(source: SourceFacts | Unseen | None, backup: BackupSection, now: datetime) -> Condition:
    if source is None:
        return true("NotAtSource")
    if isinstance(source, Unseen):
        return unknown("SourceUnseen", source.why)
    return judge_idle(
        source.observation,
        now=now,
        newest_mtime_ns=source.listing.newest_mtime_ns,
        held_open=source.held_open,
        idle_days=backup.idle_days,
        settle_minutes=backup.settle_minutes,
    )


def judge_validated(facts: StudyFacts) -> Condition:
    """Whether a study may be copied, from the source or from the trash: the one order of all that forbids it.

    Args:
        facts: What was seen of it: for a plan, or right before it is copied.
    """
    source, record = facts.source, facts.record if isinstance(facts.record, Record) else None
    if source is None:
        return _trash_validated(facts)
    if isinstance(source, Unseen):
        return unknown("SourceUnseen", source.why)
    fingerprint, in_trash = source.observation.fingerprint, facts.trash is not None
    copy = facts.copy if isinstance(facts.copy, CopyFacts) else None
    broke_off = release_broke_off(record, source.listing, copy)
    taken = name_taken(record, facts.run_name, fingerprint, in_trash=in_trash, broke_off=broke_off)
    if taken := taken or archived_elsewhere(facts.elsewhere, fingerprint):
        return false(NAME_TAKEN, taken)
    if changed := _changed(facts, source, record):
        return changed
    if invalid := _invalid(facts.invalid.get(fingerprint, ""), source):
        return invalid
    other = facts.elsewhere
    return true("Conforms", f"another study of this name is recorded as {other.backup_name}" if other else "")


def _trash_validated(facts: StudyFacts) -> Condition:
    """A study in the trash was valid when it came there; but it must be the one that was archived."""
    if not isinstance(facts.trash, Listing):
        return true("NotAtSource")
    if facts.record is None and (taken := archived_elsewhere(facts.elsewhere)):
        return false(NAME_TAKEN, taken)
    copy = facts.copy if isinstance(facts.copy, CopyFacts) else None
    changed = trash_changed(facts.last_proven, facts.trash, copy) if facts.last_proven else None
    return false(SOURCE_CHANGED, changed) if changed else true("NotAtSource")


def _invalid(said: str, source: SourceFacts) -> Condition | None:
    """What is wrong with a study's names, as just seen, or with the structure of its files, as the ledger says."""
    if source.report.ok:
        return false(KNOWN_INVALID, said) if is_structure(said) else None
    violations = source.report.violations
    # Only rule and path are compared: the ledger counts the findings of structure, too, and what an earlier version
    # said of a violation may be said in better words by now.
    reason = KNOWN_INVALID if said.startswith(violations[0].subject) else BREAKS_STANDARD
    return false(reason, summarized([str(violation) for violation in violations]))


def _changed(facts: StudyFacts, source: SourceFacts, record: Record | None) -> Condition | None:
    copy = facts.copy
    seen = copy if isinstance(copy, CopyFacts) else None
    known = known_sidecars(record, facts.last_proven)
    if back := went_back(facts.last_proven, record, source.listing, seen, known):
        return false(SOURCE_CHANGED, back)
    proven = proven_otherwise(facts.last_proven, record, source.observation.fingerprint)
    if proven is None:
        renewed = is_renewed(facts.last_proven, record, source.listing, seen, known)
        return false(SOURCE_CHANGED, renewed) if renewed else _unlike_unknown(facts, source, record)
    if isinstance(copy, Unseen):
        return unknown("TruenasUnseen", copy.why)
    seen = as_known(seen, known)
    if another := is_another(proven, source.listing, seen):
        return false(NAME_TAKEN, another)
    if isinstance(facts.archive, Unseen) and (seen is None or seen.checksums is None):
        return unknown("S3Unseen", facts.archive.why)
    archive = facts.archive if isinstance(facts.archive, ArchiveFacts) else None
    changed = source_changed(proven, source.listing, seen, archive)
    return false(SOURCE_CHANGED, changed) if changed else None


def _unlike_unknown(facts: StudyFacts, source: SourceFacts, record: Record | None) -> Condition | None:
    """That a copy lies under its name which the ledger does not know, and that does not look like this study."""
    if accepted(record, source.observation.fingerprint):
        return None
    copy, archive = _unknown_copies(facts, record)
    differs = unknown_differs(source.listing, copy, archive)
    return false(SOURCE_CHANGED, differs) if differs else None


def _unknown_copies(facts: StudyFacts, record: Record | None) -> tuple[CopyFacts | None, ArchiveFacts | None]:
    return unknown_copies(
        known_sidecars(record, facts.last_proven),
        facts.copy if isinstance(facts.copy, CopyFacts) else None,
        facts.archive if isinstance(facts.archive, ArchiveFacts) else None,
        copy_begun=facts.copy_begun,
        archive_begun=facts.archive_begun,
    )


def _not_compared(facts: StudyFacts, record: Record | None) -> Condition | None:
    """That the copy on the NAS is ours, but was made while nobody could see what S3 has."""
    if not known_sidecars(record, facts.last_proven) or not (archive := _unknown_copies(facts, record)[1]):
        return None
    if not archive.sizes:
        return None
    return false("NotCompared", "S3 has objects of it that no run of this program uploaded; it is compared with them")


def _left_behind(facts: StudyFacts, record: Record | None) -> str:
    """What half a copy is whose study went away before it was copied: nobody can finish it; empty if it is none.

    Whoever reads this deletes. So it is said only where all was seen, a run of ours began the copy, and none ever ended
    one: what was finished once, or is of somebody else, may be the last there is.
    """
    if record is None or facts.source is not None or facts.trash is not None or not facts.copy_begun:
        return ""
    if facts.last_proven or record.was_released or not record.extra.keys().isdisjoint(_ENDED_ONCE):
        return ""
    if not _is_half(facts.copy) or isinstance(facts.archive, Unseen):
        return ""
    objects = f", and what there is in {record.s3_uri}" if facts.archive_begun else ""
    return (
        "half of it was copied, and it is no longer at the source | hint: if it was given up, or is archived under "
        f"another name by now, remove {record.truenas_path}{objects}; else bring it back to the source under this name"
    )


def _is_half(copy: CopyFacts | Present | Unseen | None) -> bool:
    """Whether it was looked into, and has no sidecar, not even a damaged one; or is not there."""
    return copy is None or (isinstance(copy, CopyFacts) and not copy.sidecar and not copy.damage)


def _on_truenas(
    copy: CopyFacts | Present | Unseen, at_hand: Listing | None, record: Record | None, behind: str
) -> Condition:
    if isinstance(copy, Unseen):
        return unknown("TruenasUnseen", copy.why)
    if isinstance(copy, Present):
        return true("Present", "a directory of its name is there; its files were not looked at")
    if copy.checksums is None:
        return _without_sidecar(copy, record, behind)
    if (known := known_sidecars(record)) and not known.include(copy.sidecar):
        return false(SIDECAR_LOST, "its sidecar is not the one that was proven; `fusion apply` proves the copy again")
    if missing := sorted(copy.checksums.keys() - copy.files.keys()):
        hint = "" if at_hand else " | hint: bring them back from S3"
        return false("FilesMissing", f"in the sidecar but not on the NAS: {name_some(missing)}{hint}")
    if at_hand:
        return _copy_matches(copy, at_hand)
    total = sum(copy.files[path].size for path in copy.checksums)
    if record and record.status is Status.COMPLETE and total != record.total_bytes:
        return false("SizesDiffer", f"{total} bytes on the NAS, {record.total_bytes} recorded")
    return true("Copied", _extras(copy))


def _not_copied(source: SourceFacts | None, at_hand: Listing | None, record: Record | None, behind: str) -> Condition:
    """Evicted is as it should be, unless the source is not what was archived: then no copy of it was evicted."""
    # Begun is as good: its gates were open, and the next cleanup finishes it or puts the copy back.
    extra = record.extra if record else {}
    evicted_at = extra.get(EVICTED_FIELD) or extra.get(EVICTION_BEGUN_FIELD)
    evicted = f"{str(evicted_at)[:16].replace('T', ' ')} UTC"
    if record and evicted_at is None and at_hand is None and is_proven(record):
        return false("CopyGone", f"its copy is gone from the NAS | hint: bring it back from {record.s3_uri}")
    if record is None or evicted_at is None:
        return false("NotCopied", behind)
    if source and record.extra.get(FINGERPRINT_FIELD) not in (None, source.observation.fingerprint):
        return false("NotCopied", f"what was evicted {evicted} was the copy of another state of the source")
    return false(EVICTED, f"evicted {evicted}")


def _without_sidecar(copy: CopyFacts, record: Record | None, behind: str) -> Condition:
    damage = f"its sidecar cannot be read ({copy.damage})"
    if record and SIDECAR_FIELD in record.extra:
        why = damage if copy.damage else "its sidecar is gone"
        return false(SIDECAR_LOST, f"the copy was proven once, but {why}; `fusion apply` proves it again")
    if copy.damage:
        hint = "bring the sidecar back from S3, or the ledger by `fusion manifest restore`; then `fusion apply`"
        return false("SidecarDamaged", f"{damage}, and the ledger does not know it | hint: {hint}")
    return false("CopyUnfinished", behind or "the copy has no sidecar yet")


def _copy_matches(copy: CopyFacts, at_hand: Listing) -> Condition:
    files = {entry.path: entry for entry in at_hand.files}
    checksums = copy.checksums or {}
    if new := sorted(files.keys() - checksums.keys()):
        return false("SourceHasMore", f"at the source but not in the copy: {name_some(new)}")
    differing = sorted(path for path, entry in files.items() if not same_file(entry, copy.files[path]))
    if differing:
        return false("FilesDiffer", f"size or time differ from the source: {name_some(differing)}")
    return true("Copied", _extras(copy))


def _extras(copy: CopyFacts) -> str:
    extra = sorted(copy.files.keys() - (copy.checksums or {}).keys())
    return f"also on the NAS, unknown to the sidecar: {name_some(extra)}" if extra else ""


def _recorded(facts: StudyFacts, source: SourceFacts | None) -> Condition:
    record = facts.record
    if isinstance(record, Unseen):
        return unknown("LedgerUnseen", record.why)
    if record is None:
        return false(NOT_RECORDED)
    if record.status is not Status.COMPLETE:
        return _not_complete(record)
    if differs := _differs_from_copy(record, facts.copy, source):
        return differs
    if isinstance(facts.mirrored, Unseen):
        return unknown("MirrorUnseen", facts.mirrored.why)
    if not facts.mirrored:
        return false(NOT_MIRRORED, "the ledger's mirror in S3 is behind")
    return true("Complete", f"completed {spoken(record.completed_at)}")


def _not_complete(record: Record) -> Condition:
    if is_proven(record) and record.status is Status.IN_PROGRESS:
        return false(PROVEN, "both copies were proven, the record is not complete yet")
    reason = COPY_PROVEN if record.truenas_verified_at else "NotComplete"
    return false(reason, f"the latest record says {record.status.value}")


def _differs_from_copy(
    record: Record, copy: CopyFacts | Present | Unseen | None, source: SourceFacts | None
) -> Condition | None:
    if not isinstance(copy, CopyFacts) or copy.checksums is None or source is None:
        return None
    total = sum(copy.files[path].size for path in copy.checksums if path in copy.files)
    if (len(copy.checksums), total) == (record.file_count, record.total_bytes):
        return None
    return false("RecordDiffers", f"recorded {record.file_count} files, {record.total_bytes} bytes")


def _begun(facts: StudyFacts, trash: Listing) -> str:
    checksums = facts.copy.checksums or {} if isinstance(facts.copy, CopyFacts) else {}
    there = {entry.path for entry in trash.files}
    deleted = [path for path in checksums if path not in there]
    # What is left of half a study is no study: back at the source it would only be called invalid.
    stay = f"if the source is to stay, move that back to {facts.run_name}"
    if deleted:
        stay = f"{len(deleted)} of its {len(checksums)} files are deleted already, all of them proven in both places"
    return (
        f"its release was begun and not finished: it is in {TRASH}/{trash.name} | hint: with delete_source = true "
        f"`fusion apply` finishes it; {stay}"
    )


def _source_released(facts: StudyFacts, record: Record | None) -> Condition:
    if isinstance(facts.source, Unseen):
        return unknown("SourceUnseen", facts.source.why)
    if facts.source is not None:
        stray = facts.source.listing.unarchived
        return (
            false(UNARCHIVED, f"not archived: {name_some(stray)} | hint: {_MOVE_OUT}") if stray else false("AtSource")
        )
    if isinstance(facts.trash, Unseen):
        return unknown(TRASH_UNSEEN, facts.trash.why)
    if facts.trash is not None:
        return false(IN_TRASH, _begun(facts, facts.trash))
    if record and record.was_released:
        return true("Released", f"released {spoken(record.released_at)}")
    if record and RELEASE_BEGUN_FIELD in record.extra:
        return false("ReleaseNotRecorded", "its source was deleted, and the run was killed before that was recorded")
    return true("Gone", "no longer at the source, and not released by us")
