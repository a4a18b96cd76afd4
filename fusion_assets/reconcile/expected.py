"""What the files of a study must hash to, and which copy on the NAS may be believed before more work begins on it.

A copy counts as proven when the ledger vouches for its sidecar, or when it was read again, whole, just now, and is what
was proven last. What lies under a name that the ledger does not know counts as proven, too: it is another study's, or
the ledger was lost. Once it was seen to be this study's, the ledger is told what it must be.

What belongs here: telling that. What does not: moving data (`transfer`), and what the ledger says (`proven`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from fusion_assets.manifest.record import Record
from fusion_assets.reconcile.archives import Archive, as_stated, find_archive, is_as_archived, listed_in
from fusion_assets.reconcile.entries import vouches_for_copy
from fusion_assets.reconcile.lab import Lab, check_copies_there, check_truenas
from fusion_assets.reconcile.proven import (
    KnownSidecars,
    accepted_over,
    accepted_since,
    agreed,
    is_named,
)
from fusion_assets.reconcile.study_ledger import StudyLedger
from fusion_assets.reconcile.unknown import unlike_archive
from fusion_assets.standard.listing import SIDECAR_NAME, Listing, read_listing
from fusion_assets.transfer.check import check_copy
from fusion_assets.transfer.errors import CorruptCopyError, name_some
from fusion_assets.transfer.lost_sidecar import (
    archived_sidecar,
    is_sidecar,
    read_checksums,
    rebuilt_sidecar,
    stated_checksums,
    stated_sidecar,
)
from fusion_assets.transfer.objects import list_objects
from fusion_assets.transfer.sidecar import format_sidecar, parse_sidecar, write_sidecar
from resources.errors import NotFoundError, UnavailableError
from resources.storage import Entry


@dataclass(frozen=True, slots=True)
class Expected:
    """What was proven of a study last.

    Attributes:
        sidecar: The sidecar's bytes; empty when nothing was.
        checksums: What is in it, SHA-256 in hex by path.
        is_vouched: Whether the ledger vouches for it; else it is, in part at least, of copies that the ledger does not
            know, or that are other ones than it says.
        copy_was_read: Whether the copy was read whole, just now, and found to be this.
        on_nas: What of it the NAS says, by its sidecar.
        archive: What S3 says, where that is not the same.
        disputed: Files of which S3 says something else than the ledger proved, and nobody accepted that: only their
            bytes at the source can tell which is right.
    """

    sidecar: bytes = b""
    checksums: Mapping[str, str] = field(default_factory=dict)
    is_vouched: bool = True
    copy_was_read: bool = False
    on_nas: Mapping[str, str] = field(default_factory=dict)
    archive: Archive | None = None
    disputed: frozenset[str] = frozenset()

    @property
    def sha256(self) -> str:
        """Of the sidecar, in hex."""
        return hashlib.sha256(self.sidecar).hexdigest()

    @property
    def archive_sha256(self) -> str | None:
        """Of the sidecar in S3, empty where it has objects without one; None where S3 says nothing else."""
        return self.archive.sha256 if self.archive else None

    def was_archived(self, path: str) -> str | None:
        """What S3 says of a file, SHA-256 in hex; None if it has none of it."""
        return (self.archive.checksums if self.archive else self.checksums).get(path)


def _proven(sidecar: bytes, *, copy_was_read: bool = False) -> Expected:
    checksums = parse_sidecar(sidecar)
    return Expected(sidecar, checksums, copy_was_read=copy_was_read, on_nas=checksums)


def _unvouched(checksums: Mapping[str, str], on_nas: Mapping[str, str], archive: Archive | None) -> Expected:
    return Expected(format_sidecar(checksums), checksums, is_vouched=False, on_nas=on_nas, archive=archive)


def check_ledger(lab: Lab, backup_name: str, *, copying: bool) -> UnavailableError | None:
    """See that the NAS is there and its ledger whole; a copy may be made even while S3 cannot be asked about that.

    Data that has left the instrument's disk is worth more than waiting, and nothing proven is written over on the NAS:
    there is no finished copy, or the ledger vouches for it, and so knows this study. What S3 has is looked at before
    anything is uploaded.

    Args:
        lab: The lab.
        backup_name: The study's name at the destinations.
        copying: Whether the study is to be copied from the source.

    Returns:
        Why S3 cannot be asked; None when it can.

    Raises:
        NotMountedError: The NAS is not there, or the ledger not whole.
        ResourceError: A place cannot be asked, and what depends on it might be written over.
    """
    try:
        check_truenas(lab)
    except UnavailableError as away:
        if not (copying and lab.ledger.exists()):
            raise
        check_copies_there(lab)
        if _read_sidecar(lab, backup_name) is not None and not vouches_for_copy(
            lab, lab.ledger.read().records.get(backup_name)
        ):
            raise
        return away
    return None


def _read_sidecar(lab: Lab, backup_name: str) -> bytes | None:
    try:
        return lab.truenas.read_file(f"{backup_name}/{SIDECAR_NAME}")
    except NotFoundError:
        return None


def find_expected(lab: Lab, said: StudyLedger, *, ask_s3: bool = True, origin: str | None = None) -> Expected:
    """What was proven of a study last: what the ledger names, found wherever it still is; else what is finished.

    Args:
        lab: The lab.
        said: What the ledger says of the study.
        ask_s3: Whether S3 can be asked for a finished archive that the ledger does not know.
        origin: Where the study is at the source, to be read if nothing else tells; None where it is not.

    Raises:
        CorruptCopyError: The ledger says that something was proven, there are copies, and nothing tells any more what
            they must be.
        ResourceError: A place cannot be asked: unknown is not "nothing was proven".
    """
    backup_name, known = said.backup_name, said.sidecars
    present = _read_sidecar(lab, backup_name)
    if not known:
        return _unknown(lab, said, present, ask_s3=ask_s3)
    found = _named(lab, backup_name, known, present)
    archive = find_archive(lab.bucket, backup_name, found or b"", begun=said.archive_begun) if ask_s3 else None
    unnamed = archive is not None and bool(archive.sha256) and not is_named(said.history, archive.sha256)
    proven = _proven(found) if found is not None else _reconstructed(lab, said, origin)
    if proven is None and not unnamed:
        raise _untold(lab, backup_name)
    forgotten, proven = proven is None, proven or Expected()
    if archive:
        proven = _weighed(lab, said, proven, archive, forgotten=forgotten)
    if present is not None and known.include(present):
        return proven
    if not listed_in(present or b""):
        proven = replace(proven, on_nas={})
    return _beside(lab, backup_name, proven, listed_in(present or b""), origin, begun=said.copy_begun)


def _weighed(lab: Lab, said: StudyLedger, proven: Expected, archive: Archive, *, forgotten: bool) -> Expected:
    """What was proven, and what S3 says otherwise; `forgotten` if nothing tells any more what the ledger proved."""
    archive = as_stated(lab.bucket, said.backup_name, archive, proven.checksums)
    if not archive.checksums or archive.sha256 == proven.sha256:
        return proven
    checksums = agreed(proven.checksums, archive.checksums, accepted_since(said.history, archive.sha256))
    if checksums == proven.checksums:
        return replace(proven, archive=archive)
    differing = (path for path, sha256 in proven.checksums.items() if checksums[path] != sha256)
    return replace(
        _unvouched(checksums, proven.on_nas, archive), disputed=frozenset(checksums if forgotten else differing)
    )


def _beside(
    lab: Lab, backup_name: str, proven: Expected, listed: Mapping[str, str], origin: str | None, *, begun: bool
) -> Expected:
    """What was proven, and what the NAS has beside it that the ledger does not know.

    A finished copy with more files: the ledger is older than it. Any files of the source, where no run of ours ever
    wrote this study: the lab has a new NAS. Other bytes than the proven ones are believed of neither.

    Raises:
        CorruptCopyError: Files of a new NAS are others than those that were proven.
    """
    otherwise = {path: listed[path] for path in listed.keys() & proven.checksums.keys()}
    proven = replace(proven, on_nas={**proven.on_nas, **otherwise})
    if begun and not listed.keys() - proven.checksums.keys():
        return proven
    there = read_checksums(lab.truenas, backup_name)
    other = [path for path, sha256 in there.items() if proven.checksums.get(path, sha256) != sha256]
    if other and not begun:
        raise CorruptCopyError(
            f"{lab.truenas.location(backup_name)}: files lie there that no run of this program wrote, and they are "
            f"others than those that were archived: {name_some(other)}; nothing is overwritten | hint: if they are of "
            f"this study, bring good ones back from {lab.bucket.object_uri(backup_name)}; else move that directory "
            "away, or rename the study",
            paths=other,
        )
    sharing = {entry.path for entry in read_listing(lab.source, origin).files} if origin and not begun else set()
    more = {path: sha256 for path, sha256 in there.items() if path in sharing or listed.get(path) == sha256}
    checksums = agreed(more, proven.checksums, ())
    if checksums == proven.checksums:
        return proven
    known = _unvouched(checksums, {**more, **proven.on_nas}, proven.archive)
    return replace(known, disputed=proven.disputed)


def _named(lab: Lab, backup_name: str, known: KnownSidecars, present: bytes | None) -> bytes | None:
    """The sidecar that the ledger names, from the NAS or from S3; None where it is in neither."""
    for sha256 in (known.announced, known.latest):
        if sha256 and present is not None and is_sidecar(present, sha256):
            return present
        if sha256 and (found := archived_sidecar(lab.bucket, backup_name, sha256)) is not None:
            return found
    return None


def _reconstructed(lab: Lab, said: StudyLedger, origin: str | None) -> Expected | None:
    """What a sidecar said that is not there any more: S3 states it of the objects, or it follows from the files.

    None if nothing tells, and there is something that could be written over.
    """
    backup_name, known, record = said.backup_name, said.sidecars, said.record
    latest = known.latest or ""
    if (found := stated_sidecar(lab.bucket, backup_name, latest)) is not None:
        return _proven(found)
    if record and (found := _outgrown(lab, record, latest, _read_sidecar(lab, backup_name) or b"")) is not None:
        return _proven(found)
    objects = list_objects(lab.bucket, backup_name)
    if (found := rebuilt_sidecar(lab.truenas, backup_name, latest, objects)) is not None:
        return _proven(found, copy_was_read=True)
    if origin and (found := rebuilt_sidecar(lab.source, origin, latest, objects)) is not None:
        return _proven(found)
    if known.archived and known.archived != latest:
        found = archived_sidecar(lab.bucket, backup_name, known.archived)
        found = found or stated_sidecar(lab.bucket, backup_name, known.archived)
        if found is not None:
            return _as_archived(lab, backup_name, found, record)
    if not _files(lab, backup_name) and not objects:
        return Expected()
    return None


def _outgrown(lab: Lab, record: Record, latest: str, newer: bytes) -> bytes | None:
    """The sidecar that a newer one grew out of, when the ledger is older than both copies: a study gains files later.

    As many of the oldest files as the ledger counted; a wrong guess has another SHA-256, and is none.
    """
    files, listed = _files(lab, record.backup_name), listed_in(newer)
    oldest = sorted(files.keys() & listed.keys(), key=lambda path: files[path].mtime_ns)[: record.file_count]
    sidecar = format_sidecar({path: listed[path] for path in oldest})
    return sidecar if is_sidecar(sidecar, latest) else None


def _untold(lab: Lab, backup_name: str) -> CorruptCopyError:
    return CorruptCopyError(
        f"{lab.truenas.location(backup_name)}: the sidecar that was proven is neither there nor in S3, and its files "
        "are not all those that were proven: nobody can say any more what they must be, and nothing is overwritten | "
        f"hint: bring {SIDECAR_NAME} back from a snapshot of the NAS or a version of the bucket, or what is missing "
        f"from {lab.bucket.object_uri(backup_name)}, then `fusion apply`; or rename the study, which archives it anew"
    )


def _as_archived(lab: Lab, backup_name: str, archived: bytes, record: Record | None) -> Expected:
    """What was archived, when nothing tells any more what was proven on the NAS since.

    What lies there beyond it, or may be what a person accepted, may be the last good copy: it counts as it is.
    """
    sha256 = hashlib.sha256(archived).hexdigest()
    accepted = accepted_over(record, sha256)
    held = parse_sidecar(archived)
    firm = {path: checksum for path, checksum in held.items() if path not in accepted}
    checksums = {**held, **read_checksums(lab.truenas, backup_name), **firm}
    if checksums == held:
        return _proven(archived)
    return _unvouched(checksums, checksums, None)


def _unknown(lab: Lab, said: StudyLedger, present: bytes | None, *, ask_s3: bool) -> Expected:
    """What lies under a name of which the ledger vouches for nothing; where the NAS and S3 differ, S3's word counts.

    If a run was begun, all but a finished copy or archive is what that run left, and may change. If none was, it is
    another study's, or that of another program, or the ledger was lost: then it counts as it is, finished or not. A
    sidecar that cannot be read, or lists nothing, finishes nothing.
    """
    backup_name = said.backup_name
    archive = find_archive(lab.bucket, backup_name, present or b"", begun=said.archive_begun) if ask_s3 else None
    held = listed_in(present or b"")
    if held and ask_s3 and archive is None:  # S3 has the same sidecar, or nothing; but what does it state?
        stated = stated_checksums(lab.bucket, backup_name)
        told = {path: stated.get(path, sha256) for path, sha256 in held.items()}
        archive = Archive(hashlib.sha256(present or b"").hexdigest(), told) if told != held else None
    if not said.copy_begun:
        held = held or read_checksums(lab.truenas, backup_name)
    checksums = agreed(held, archive.checksums if archive else {}, ())
    return _unvouched(checksums, held, archive) if checksums else Expected()


def _files(lab: Lab, backup_name: str) -> Mapping[str, Entry]:
    try:
        return {entry.path: entry for entry in read_listing(lab.truenas, backup_name).files}
    except NotFoundError:
        return {}


def put_back_sidecar(lab: Lab, backup_name: str, proven: Expected) -> None:
    """Write the sidecar that was proven into a copy that has another one, or none.

    Args:
        lab: The lab.
        backup_name: The copy.
        proven: What was proven.
    """
    if _read_sidecar(lab, backup_name) != proven.sidecar:
        lab.truenas.make_directory(backup_name)
        write_sidecar(lab.truenas, backup_name, proven.sidecar)


def _are_newer(lab: Lab, said: StudyLedger, proven: Expected, paths: Collection[str]) -> bool:
    """Whether files of a copy may be newer than the ledger: its sidecar says so, and they do not look as archived.

    A sidecar that the ledger named before is older.
    """
    name = said.backup_name
    otherwise = [path for path in paths if proven.on_nas.get(path, proven.checksums[path]) != proven.checksums[path]]
    if not otherwise or is_named(said.history, hashlib.sha256(_read_sidecar(lab, name) or b"").hexdigest()):
        return False
    files = _files(lab, name)
    return any(path in files and not is_as_archived(lab.bucket, name, files[path]) for path in otherwise)


def read_copy_again(
    lab: Lab, said: StudyLedger, proven: Expected, listing: Listing | None, may_differ: Collection[str] = ()
) -> frozenset[str]:
    """Read all of a copy of which the ledger does not say that it was proven, or no longer.

    Args:
        lab: The lab.
        said: What the ledger says of the study.
        proven: What its copy must be.
        listing: What is at hand to copy from; None for nothing.
        may_differ: Files of which the source may have other bytes: they are copied again anyway.

    Returns:
        Its files that are not good, all of them at hand.

    Raises:
        CorruptCopyError: Files are not good, and only S3 may have good ones.
    """
    backup_name = said.backup_name
    checksums = {path: sha256 for path, sha256 in proven.checksums.items() if path not in may_differ}
    problems = check_copy(lab.truenas, backup_name, checksums)
    at_hand = {entry.path for entry in listing.files} if listing else set()
    if lost := [problem for problem in problems if problem.path not in at_hand]:
        paths = [problem.path for problem in lost]
        if not proven.is_vouched or _are_newer(lab, said, proven, paths):
            what = f"of the NAS these files are others: {name_some(paths)}"
            raise CorruptCopyError(unlike_archive(what, proven.archive_sha256), paths=paths)
        listed = "; ".join(str(problem) for problem in lost[:3])
        raise CorruptCopyError(
            f"{lab.truenas.location(backup_name)}: {len(lost)} files are not good: {listed} | hint: bring them back "
            f"from {lab.bucket.object_uri(backup_name)}, then `fusion apply`",
            paths=paths,
        )
    return frozenset(problem.path for problem in problems)
