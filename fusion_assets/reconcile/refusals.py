"""What a step refuses to write over, looked up at that moment, whoever asked for the step.

What belongs here: looking, and raising. What does not: the rules themselves, which are pure (`overwrite`).
"""

from __future__ import annotations

from collections.abc import Collection

from fusion_assets.manifest.extra_fields import FINGERPRINT_FIELD
from fusion_assets.manifest.record import Record
from fusion_assets.reconcile.archives import strange_objects
from fusion_assets.reconcile.conditions import Status, Unseen
from fusion_assets.reconcile.errors import InvalidStudyError
from fusion_assets.reconcile.expected import Expected
from fusion_assets.reconcile.facts import StudyFacts
from fusion_assets.reconcile.judge import judge_validated
from fusion_assets.reconcile.lab import Lab, is_at_source, source_studies
from fusion_assets.reconcile.observe import read_archive, read_copy
from fusion_assets.reconcile.overwrite import (
    name_taken,
)
from fusion_assets.reconcile.proven import copy_of
from fusion_assets.reconcile.study_ledger import StudyLedger
from fusion_assets.reconcile.surroundings import twins_of
from fusion_assets.reconcile.unknown import unknown_copies, unknown_differs, unlike_archive, unlike_unknown
from fusion_assets.standard.listing import SIDECAR_NAME, Listing, read_listing
from fusion_assets.transfer.check import check_source
from fusion_assets.transfer.errors import CorruptCopyError, RottenSourceError, name_some
from fusion_assets.transfer.journal import Journal
from fusion_assets.transfer.lost_sidecar import read_checksums


def refuse_invalid_facts(facts: StudyFacts) -> None:
    """Copy nothing of which a plan would say that it is not valid: every rule of that is asked again, right before.

    Args:
        facts: What was seen of the study just now.

    Raises:
        InvalidStudyError: Another study would be written over, or changed files over proven ones, or its names or files
            are not as they must be; the message says what, and the way out.
        ResourceError: What tells cannot be seen.
    """
    validated = judge_validated(facts)
    if validated.status is Status.FALSE:
        raise InvalidStudyError(validated.message)
    needed = (facts.source, facts.trash, facts.copy)
    for seen in (*needed, facts.archive) if validated.status is Status.UNKNOWN else needed:
        if isinstance(seen, Unseen):
            raise seen.error


def refuse_unlike(
    lab: Lab,
    run_name: str,
    said: StudyLedger,
    directory: str | None,
    expected: Expected,
    *,
    may_differ: Collection[str] = (),
) -> None:
    """Never copy or archive anything over what the ledger does not know, unless it is of this study.

    What tells is the bytes, of every file that both have: all of them are read at the source, or in the trash.

    Args:
        lab: The lab.
        run_name: The study.
        said: What the ledger says of it.
        directory: Where it is at the source, to be compared; None where it is not.
        expected: What lies there.
        may_differ: Files that a person accepted.

    Raises:
        InvalidStudyError: It does not look like it.
        RottenSourceError: It has other bytes; they may be put right without a trace in size or time.
        ResourceError: A place cannot be asked.
    """
    if expected.is_vouched or directory is None:
        return
    files = read_listing(lab.source, directory).files
    others = Listing(run_name, tuple(entry for entry in files if entry.path not in may_differ))
    copy, archive = unknown_copies(
        said.sidecars,
        read_copy(lab, said.backup_name),
        read_archive(lab, said.backup_name),
        copy_begun=said.copy_begun,
        archive_begun=said.archive_begun,
    )
    differs = unknown_differs(others, copy, archive)
    if differs and not may_differ and directory == run_name:
        raise InvalidStudyError(differs)
    shared = [entry for entry in others.files if entry.path in expected.checksums]
    if problems := check_source(lab.source, directory, shared, expected.checksums):
        paths = [problem.path for problem in problems]
        what = f"these files have other bytes: {name_some(paths)}"
        if said.sidecars:
            raise RottenSourceError(unlike_archive(f"of the source {what}", expected.archive_sha256), paths=paths)
        raise RottenSourceError(unlike_unknown(what, run_name, acceptable=False), paths=paths)


def refuse_strange_files(
    lab: Lab, backup_name: str, directory: str, listing: Listing, expected: Expected, *, ask_s3: bool
) -> None:
    """Never write over what lies beside our files, if no run of ours wrote it and it has other bytes.

    Somebody put a late file there by hand, or another program still does; at the source it may have rotted since. A
    file of ours is in the journal before it gets its name, until it is proven; an object of ours says so.

    Args:
        lab: The lab.
        backup_name: The study's name at the destinations.
        directory: Where it is at the source, or in the trash.
        listing: Of that directory.
        expected: What was proven last.
        ask_s3: Whether S3 can be asked, and is to be written.

    Raises:
        CorruptCopyError: That would be done.
        ResourceError: A place cannot be asked.
    """
    new = {entry.path: entry for entry in listing.files if entry.path not in expected.checksums}
    if not new:
        return
    not_ours = new.keys() - Journal(lab.truenas, backup_name).read().keys()
    on_nas = read_checksums(lab.truenas, backup_name, not_ours)
    in_s3 = strange_objects(lab.bucket, backup_name, new) if ask_s3 else {}
    for place, there in ((lab.truenas.location(backup_name), on_nas), (lab.bucket.object_uri(backup_name), in_s3)):
        if problems := check_source(lab.source, directory, [new[path] for path in there], there):
            raise _strange(place, "at the source they have other bytes", [problem.path for problem in problems])


def refuse_strange_objects(lab: Lab, backup_name: str, expected: Expected) -> None:
    """The same for objects of what the NAS has beyond the archive: it was copied while nobody could look at S3.

    Args:
        lab: The lab.
        backup_name: The study's name at the destinations.
        expected: What was proven last.

    Raises:
        CorruptCopyError: One has other bytes.
        ResourceError: S3 cannot be asked.
    """
    if expected.archive is None:
        return
    beyond = expected.checksums.keys() - expected.archive.checksums.keys()
    there = strange_objects(lab.bucket, backup_name, beyond) if beyond else {}
    if differing := sorted(path for path, sha256 in there.items() if expected.checksums[path] != sha256):
        raise _strange(lab.bucket.object_uri(backup_name), "what was proven of them on the NAS is another", differing)


def _strange(place: str, what: str, paths: list[str]) -> CorruptCopyError:
    return CorruptCopyError(
        f"{place}: files lie there that no run of this program wrote, and {what}: {name_some(paths)}; nothing is "
        "overwritten | hint: compare them; put good ones at the source, with their times, and move those there away",
        paths=paths,
    )


def refuse_stranger(lab: Lab, run_name: str, record: Record | None) -> None:
    """Never call another study's copies this one's: an alias may have been given to it since they were made.

    Args:
        lab: The lab.
        run_name: The study; of one that is not at the source only its copies are left, whatever it is called now.
        record: What the ledger says of its backup name.

    Raises:
        InvalidStudyError: The copies are of another one.
        ResourceError: The source cannot be asked.
    """
    if record is None or copy_of(record) in {"", run_name} or not is_at_source(lab, run_name):
        return
    if taken := name_taken(record, run_name, read_listing(lab.source, run_name).fingerprint(), in_trash=False):
        raise InvalidStudyError(taken)


def find_twins(lab: Lab, run_name: str) -> list[str]:
    """The studies that would become one with this one at the destinations, by alias or by case.

    Args:
        lab: The lab.
        run_name: The study.
    """
    recorded = lab.ledger.read().records.values()
    return twins_of(lab, source_studies(tuple(lab.source.list())), recorded).get(run_name, [])


def refuse_half(lab: Lab, draft: Record, origin: str, listing: Listing, expected: Expected) -> None:
    """From half a study no sidecar is ever made.

    Args:
        lab: The lab.
        draft: What the ledger is to say of the study.
        origin: The directory at the source that was listed.
        listing: Of that directory.
        expected: What was proven last.

    Raises:
        CorruptCopyError: That would be done: nothing says what the whole study was.
    """
    if not expected.checksums and not _is_whole(draft, origin, listing):
        raise CorruptCopyError(
            f"{lab.truenas.location(draft.backup_name)}: nothing says any more what was proven of this study, and what "
            f"the trash has of it may be half of it | hint: bring {SIDECAR_NAME} back from a snapshot of the NAS or "
            f"from {lab.bucket.object_uri(draft.backup_name)}, then `fusion apply`"
        )


def refuse_disputed(lab: Lab, directory: str | None, expected: Expected) -> None:
    """Without its bytes nobody can tell whether the ledger is right of a file, or what S3, and the NAS, say since.

    Args:
        lab: The lab.
        directory: Where the study is at the source, or in the trash, to be compared; None where it is not.
        expected: What was proven last.

    Raises:
        CorruptCopyError: They do not say the same of a file that is not there.
        ResourceError: The source cannot be listed.
    """
    if not expected.disputed:
        return
    there = {entry.path for entry in read_listing(lab.source, directory).files} if directory else set()
    if gone := sorted(expected.disputed - there):
        what = f"{SIDECAR_NAME} is not the one that was proven; it differs of {name_some(gone)}"
        raise CorruptCopyError(unlike_archive(what, expected.archive_sha256), paths=gone)


def _is_whole(draft: Record, origin: str, listing: Listing) -> bool:
    """At the source it is the whole study; in the trash, while nothing of it is deleted yet."""
    return origin == draft.run_name or draft.extra.get(FINGERPRINT_FIELD) == listing.fingerprint()
