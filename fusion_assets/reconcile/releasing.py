"""The last step of a study, ``source_released``: every gate looked at again, the ledger told before and after.

What belongs here: observing for the gates, finishing what a crash broke off, what the ledger says of it. What does not:
the gates' rules and the deletion itself (`deletion`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from fusion_assets.integrity.structure import check_structure
from fusion_assets.manifest.extra_fields import (
    EVICTED_FIELD,
    EVICTION_BEGUN_FIELD,
    FINGERPRINT_FIELD,
    RELEASE_BEGUN_FIELD,
    RELEASED_FIELD,
    SCRUBBED_FIELD,
    SIDECAR_FIELD,
)
from fusion_assets.manifest.record import Record, Status
from fusion_assets.manifest.table import check_table, of_backup
from fusion_assets.reconcile.apart import refuse_one_place
from fusion_assets.reconcile.deletion import (
    SOURCE_PROVEN,
    TRASH_PROVEN,
    WAY_OUT,
    GateError,
    Released,
    finish_release,
    is_as_hashed,
    release_gates,
    release_source,
)
from fusion_assets.reconcile.entries import append, append_failure, sidecar_problems
from fusion_assets.reconcile.errors import InconsistentLedgerError
from fusion_assets.reconcile.idle import Memory, Observation
from fusion_assets.reconcile.lab import (
    Lab,
    check_places,
    copy_place,
    is_at_source,
    trashed_studies,
)
from fusion_assets.reconcile.observe import observe_study
from fusion_assets.reconcile.overwrite import spoken
from fusion_assets.reconcile.proven import NEVER, copy_read_at
from fusion_assets.standard.listing import SIDECAR_NAME, Listing, read_listing
from fusion_assets.transfer.check import Problem, check_archive, check_copy, check_source
from fusion_assets.transfer.errors import ArchiveError
from fusion_assets.transfer.sidecar import parse_sidecar

# A disk that has just been read rarely rots within days; between archiving and a release that a lab put off, or had to
# wait for, there may be months. A release that follows the archiving reads nothing again.
_BELIEVED_FOR = timedelta(days=7)
_EVICTION_FIELDS = {EVICTED_FIELD, EVICTION_BEGUN_FIELD}
_ONE_DAY_AHEAD = timedelta(days=-1)  # the clock of whoever read it may differ
_LOG_EVERY_SECONDS = 15.0


def release(lab: Lab, run_name: str, memory: Memory, log: Callable[[str], None] = lambda _: None) -> Released:
    """Delete a study's source, if every gate is open at this moment.

    Args:
        lab: The lab.
        run_name: The study.
        memory: What was remembered of earlier observations, for the settle time; the time it was hashed counts too.
        log: Told of work that takes long.

    Raises:
        GateError: A gate is closed; the source is kept.
        ConfigError: The NAS is on the instrument's own disk; the source is kept.
        ResourceError: A place could not be asked, or refused.
    """
    at_source = is_at_source(lab, run_name)
    if not at_source:
        # A source that is not mounted holds no study either; one that is there is observed below.
        refuse_one_place(lab, check_places(lab))
    record = _consistent_record(lab, run_name)
    trashed = trashed_studies(lab).get(run_name)
    if record and record.was_released and not at_source and not trashed:
        return Released(0, 0, str(record.extra.get(SIDECAR_FIELD, "")))  # whoever asks twice asks in vain
    if trashed and not at_source:
        record = _with_copy_read(lab, run_name, record, log)
        released = _finish(lab, run_name, record, trashed, log)
    elif record and record.status is Status.COMPLETE and RELEASE_BEGUN_FIELD in record.extra and not at_source:
        released = Released(0, 0)  # an earlier run deleted it, and was killed before it could say so
    else:
        record, listing = _pass_gates(lab, run_name, memory, log)
        released = _release_source(lab, run_name, record, listing)
    if record is None:  # no gate is open without a record
        return released
    over = (RELEASE_BEGUN_FIELD, RELEASED_FIELD)  # of a source that was brought back, it is released anew
    extra = {name: value for name, value in record.extra.items() if name not in over}
    append(lab, replace(record, source_deleted_at=datetime.now(UTC), extra=extra))
    return replace(released, sidecar_sha256=str(record.extra.get(SIDECAR_FIELD, "")))


def _pass_gates(lab: Lab, run_name: str, memory: Memory, log: Callable[[str], None]) -> tuple[Record | None, Listing]:
    """The record and the listing of a study whose every gate is open at this moment; raises if one is closed.

    Reading a copy takes hours: what was asked before that is asked once more when it is done.
    """
    record, listing, source_was_read = _ask_gates(lab, run_name, memory, log)
    read = _with_copy_read(lab, run_name, record, log)
    if source_was_read or read is not record:
        _, listing, _ = _ask_gates(lab, run_name, memory, log, read=listing)
    _refuse_broken(lab, run_name, listing)
    refuse_one_place(lab, lab.source.list())
    return read, listing


def _ask_gates(
    lab: Lab, run_name: str, memory: Memory, log: Callable[[str], None], *, read: Listing | None = None
) -> tuple[Record | None, Listing, bool]:
    """The same, once; says also whether the source had to be read, because it is neither as hashed nor as `read`."""
    record = _consistent_record(lab, run_name)
    observed = observe_study(lab, run_name, memory or _hashed_at(run_name, record))
    listing = read_listing(lab.source, run_name)
    problems = check_archive(lab.truenas, lab.bucket, lab.config.backup_name(run_name))
    objects = tuple(str(problem) for problem in problems)
    known_good = () if read and read.fingerprint() == listing.fingerprint() else None
    closed = release_gates(observed, record, listing, objects, known_good)
    source_was_read = bool(record) and closed.keys() == {SOURCE_PROVEN}
    if source_was_read:
        closed = release_gates(observed, record, listing, objects, _read_source(lab, run_name, listing, log))
    if closed:
        take_back(lab, record, problems)
        raise GateError(run_name, closed)
    return record, listing, source_was_read


def _consistent_record(lab: Lab, run_name: str) -> Record | None:
    """The ledger's record of a study, unless the ledger breaks its schema there: then it proves nothing."""
    view, backup_name = lab.ledger.read(), lab.config.backup_name(run_name)
    if rows := of_backup(check_table(view), backup_name):
        raise GateError(run_name, {"LedgerConsistent": str(InconsistentLedgerError(backup_name, rows))})
    return view.records.get(backup_name)


def _refuse_broken(lab: Lab, run_name: str, listing: Listing) -> None:
    """Whatever was validated, by whom and when: the images that are about to be deleted are whole, as seen now."""
    if broken := check_structure(lab.source, run_name, listing.entries).blocking:
        raise GateError(
            run_name, {"Whole": f"{broken[0]} (and {len(broken) - 1} more)" if broken[1:] else str(broken[0])}
        )


def _with_copy_read(lab: Lab, run_name: str, record: Record | None, log: Callable[[str], None]) -> Record | None:
    """Read the copy on the NAS again, if that was last done long ago, or on another NAS; its record says so then.

    It costs reading the NAS, whatever is in it and wherever S3 keeps its objects: those are asked for their checksums.
    """
    if record is None or record.status is not Status.COMPLETE:
        return record  # no gate is open without a complete one
    now, place = datetime.now(UTC), copy_place(lab, record.backup_name)
    evicted = _EVICTION_FIELDS & record.extra.keys()  # and yet it is there: somebody brought it back
    read_at = NEVER if evicted else copy_read_at(record)
    if record.truenas_path == place and _ONE_DAY_AHEAD <= now - read_at <= _BELIEVED_FOR:
        return record
    log(
        f"{run_name}: its copy was last read in {record.truenas_path} on {spoken(read_at)}; all of it, "
        f"{record.file_count} files, {record.total_bytes} bytes, is read again on the NAS and compared with "
        "the sidecar before the source goes"
    )
    problems = check_copy(lab.truenas, record.backup_name, read=_told(run_name, record.total_bytes, log))
    if problems:
        take_back(lab, record, problems)
        raise GateError(run_name, {"CopyRead": "; ".join(str(problem) for problem in problems[:3])})
    extra = {name: value for name, value in record.extra.items() if name not in _EVICTION_FIELDS}
    return replace(record, truenas_path=place, extra={**extra, SCRUBBED_FIELD: now.isoformat()})


def _told(run_name: str, total: int, log: Callable[[str], None]) -> Callable[[int], None]:
    """Says every 15 s how much was read, so that hours of reading are never an empty log."""
    guard, begun = threading.Lock(), time.monotonic()
    done, said = 0, begun

    def read(count: int) -> None:
        nonlocal done, said
        with guard:
            done += count
            if time.monotonic() - said >= _LOG_EVERY_SECONDS:
                said = time.monotonic()
                rate = done / (said - begun) / 1e6
                log(f"{run_name}: {done} of {total} bytes of its copy read again, {rate:.0f} MB/s")

    return read


def _release_source(lab: Lab, run_name: str, record: Record | None, listing: Listing) -> Released:
    """Delete the source, and have the ledger say that this begins."""
    return release_source(lab.source, run_name, listing, lambda: _say_begun(lab, record))


def _say_begun(lab: Lab, record: Record | None) -> None:
    """Before the first file in the trash is removed: a run that is killed after the last one leaves no other trace."""
    if record and RELEASE_BEGUN_FIELD not in record.extra:
        append(lab, replace(record, extra={**record.extra, RELEASE_BEGUN_FIELD: datetime.now(UTC).isoformat()}))


def _read_source(
    lab: Lab, run_name: str, listing: Listing, log: Callable[[str], None], at: str = ""
) -> tuple[str, ...]:
    """Read what is to be deleted and does not look as it did when it was hashed; returns what is not proven of it."""
    log(
        f"{run_name} is not as it was when it was hashed (files went, or times changed): all that is left of it, "
        f"{listing.file_count} files, {listing.total_bytes} bytes, is read again and compared with the sidecar"
    )
    checksums = parse_sidecar(lab.truenas.read_file(f"{lab.config.backup_name(run_name)}/{SIDECAR_NAME}"))
    return tuple(str(problem) for problem in check_source(lab.source, at or run_name, listing.files, checksums))


def _finish(lab: Lab, run_name: str, record: Record | None, trashed: str, log: Callable[[str], None]) -> Released:
    """A release that was killed: the same proofs again, the trash in the place of the source."""
    backup_name = lab.config.backup_name(run_name)
    record = _ask_trash_gates(lab, run_name, record)
    listing = read_listing(lab.source, trashed)
    if not is_as_hashed(record, listing):
        if unproven := _read_source(lab, run_name, listing, log, at=trashed):
            raise GateError(run_name, {TRASH_PROVEN: f"in {trashed}: {'; '.join(unproven[:3])}{WAY_OUT}"})
        _ask_trash_gates(lab, run_name, _consistent_record(lab, run_name))  # that took hours
    checksums = parse_sidecar(lab.truenas.read_file(f"{backup_name}/{SIDECAR_NAME}"))
    copies = {e.path: e for e in read_listing(lab.truenas, backup_name).files if e.path in checksums}
    _say_begun(lab, record)
    return finish_release(lab.source, run_name, trashed, copies)


def _ask_trash_gates(lab: Lab, run_name: str, record: Record | None) -> Record:
    """The record, if ledger, copy and S3 still say what they must for what is left in the trash to go."""
    if record is None or record.status is not Status.COMPLETE:
        raise GateError(run_name, {"Recorded": "the ledger does not say complete"})
    if problems := sidecar_problems(lab, record):
        take_back(lab, record, problems)
        raise GateError(run_name, {"OnTruenas": str(problems[0])})
    if lost := check_archive(lab.truenas, lab.bucket, record.backup_name):
        take_back(lab, record, lost)
        raise GateError(run_name, {"EveryObject": "; ".join(str(problem) for problem in lost[:3])})
    return record


def take_back(lab: Lab, record: Record | None, problems: Sequence[Problem]) -> None:
    """Write down that a copy is not what was recorded: by its listing alone the next plan would not repair it.

    Args:
        lab: The lab.
        record: What the ledger says; None when it says nothing.
        problems: What was found wrong; nothing is written without any.
    """
    if record and problems:
        error = ArchiveError(f"no longer proven: {'; '.join(str(problem) for problem in problems[:3])}")
        on_nas = any(problem.on_nas for problem in problems)
        append_failure(lab, record, Status.FAILED_TRUENAS if on_nas else Status.FAILED_S3, error)


def _hashed_at(run_name: str, record: Record | None) -> Memory:
    """The moment the study was hashed is an observation of it, too."""
    if record is None or record.started_at is None or FINGERPRINT_FIELD not in record.extra:
        return {}
    return {run_name: Observation(str(record.extra[FINGERPRINT_FIELD]), record.started_at)}
