"""What a study at the source must never be written over by itself: another study's archive, its own proven files. Pure.

Raw microscope data is written once. When a file that is proven in both places is suddenly another one at the source, a
failing disk, ransomware or a mistake is likelier than a new truth; and copying it would replace the one thing that is
known to be good. So a study that was complete once may gain files (the acquisition went on) and lose them (what is
proven is kept), but when one of its proven files has another size or time, a person has to say that the new bytes are
right. What a person said is written into the ledger, for exactly the state of the source that was seen then, and for
the files that differed (`proven`). The same holds for a finished copy or archive that the ledger does not know.

A study that was never complete is still being written, and its files may change as they like.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import UTC, datetime

from fusion_assets.manifest.record import Record, Status
from fusion_assets.reconcile.facts import ArchiveFacts, CopyFacts
from fusion_assets.reconcile.lab import TRASH
from fusion_assets.reconcile.proven import (
    ADOPTED_FIELD,
    FINGERPRINT_FIELD,
    KnownSidecars,
    accepted,
    copy_of,
    is_renamed,
)
from fusion_assets.standard.listing import SIDECAR_NAME, Listing
from fusion_assets.transfer.errors import name_some
from fusion_assets.transfer.plan import same_file
from resources.storage import Entry

# Written when a source is in the trash, before its first file is removed: if it is gone later, a run of ours did that.
RELEASE_BEGUN_FIELD = "release_begun_at"

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def release_broke_off(record: Record | None, listing: Listing, copy: CopyFacts | None) -> bool:
    """Whether a study at the source is the one whose release was begun: a person moved it back out of the trash.

    Then it is file by file what was archived, as far as it was not deleted yet, and may have gained files since.

    Args:
        record: The ledger's record of the study.
        listing: The study at the source.
        copy: Its copy on the NAS; None when there is none.
    """
    if record is None or RELEASE_BEGUN_FIELD not in record.extra or copy is None or copy.checksums is None:
        return False
    left = tuple(entry for entry in listing.files if entry.path in copy.checksums)
    if Listing(listing.name, left).fingerprint() == record.extra.get(FINGERPRINT_FIELD):
        return True
    return bool(left) and all(entry.path in copy.files and same_file(entry, copy.files[entry.path]) for entry in left)


def name_taken(
    record: Record | None, run_name: str, fingerprint: str, *, in_trash: bool, broke_off: bool = False
) -> str | None:
    """Why a study at the source must not be written over what is archived under its name; None if it may.

    Once a source was released, its copies are the only ones: a study that turns up under the same name is another one,
    unless it is file by file the one that was archived (brought back, say).

    Args:
        record: The ledger's record of that backup name.
        run_name: The study at the source.
        fingerprint: Of its listing.
        in_trash: Whether a study of that name is in the trash, too: half deleted, its only copies may be the archived.
        broke_off: What `release_broke_off` says: then it is the archived one.
    """
    if record and (owner := copy_of(record)) not in ("", run_name) and not is_renamed(record, fingerprint):
        return f"{owner} is archived under this name | hint: give {run_name} another name or alias"
    if record and record.extra.get(FINGERPRINT_FIELD) == fingerprint:
        return None
    if in_trash:
        return (
            "a study of this name is in the trash, its release not finished, and this is another | hint: rename this "
            "one; the next run finishes the release"
        )
    if record is None:
        return None
    if record.was_released or (RELEASE_BEGUN_FIELD in record.extra and not broke_off):
        return (
            f"a study of this name was archived and released {spoken(record.source_deleted_at)}, and this is another"
            " | hint: rename it; the archived one is never overwritten"
        )
    return None


def recorded_elsewhere(records: Iterable[Record], backup_name: str) -> Record | None:
    """The newest record of a study under another backup name than its present one; None if there is none.

    Args:
        records: What the ledger has of studies of its name at the source.
        backup_name: Its present backup name.
    """
    others = [r for r in records if r.backup_name != backup_name and r.status is not Status.FAILED_VALIDATION]
    return max(others, key=lambda record: record.started_at or _LONG_AGO, default=None)


def archived_elsewhere(elsewhere: Record | None, fingerprint: str | None = None) -> str | None:
    """Why a study must not be archived under its present backup name: it is under another one; None if it may.

    Args:
        elsewhere: The ledger's record of a study of its name under another backup name.
        fingerprint: Of its listing; None when it is in the trash, where it came only because it was archived.
    """
    proven_at = (elsewhere.completed_at or elsewhere.truenas_verified_at) if elsewhere else None
    if elsewhere is None or proven_at is None:
        return None
    if fingerprint is not None and elsewhere.extra.get(FINGERPRINT_FIELD) != fingerprint:
        return None
    return (
        f"it was archived as {elsewhere.backup_name} {spoken(proven_at)}, and is not archived again under "
        "another name | hint: put [alias] in config.toml back as it was"
    )


def is_proven(record: Record) -> bool:
    """Whether a record says that both copies were proven, and nothing failed since."""
    stands = record.status in (Status.IN_PROGRESS, Status.COMPLETE)
    return stands and record.truenas_verified_at is not None and record.s3_verified_at is not None


def last_proven(history: Iterable[Record]) -> Record | None:
    """The last record that says that the study was proven in both places, whatever was begun or failed after it.

    A run may have been killed between the proof and the record that says ``complete``.

    Args:
        history: The records of one backup, oldest first.
    """
    proven = [record for record in history if counts_as_proven(record)]
    return proven[-1] if proven else None


def counts_as_proven(record: Record) -> bool:
    """Whether what a record is about is not to be replaced without a person's word.

    What was found finished when the ledger was lost is, too: it was proven once, and seen to be of this study.

    Args:
        record: What the ledger says, or said.
    """
    return record.status is Status.COMPLETE or is_proven(record) or ADOPTED_FIELD in record.extra


def proven_otherwise(proven: Record | None, record: Record | None, fingerprint: str) -> Record | None:
    """The record to compare a source with, file by file; None if it is as it was proven, or as a person accepted it.

    Args:
        proven: What `last_proven` gives of it; None if it never was proven.
        record: The ledger's record of it now.
        fingerprint: Of its listing.
    """
    if proven is None or proven.extra.get(FINGERPRINT_FIELD) == fingerprint or accepted(record, fingerprint):
        return None
    return proven


def as_known(copy: CopyFacts | None, known: KnownSidecars) -> CopyFacts | None:
    """A copy without its sidecar, if that is none that the ledger vouches for: what it lists shows nothing.

    Args:
        copy: The copy on the NAS; None when there is none.
        known: What the ledger vouches for.
    """
    if copy is None or not known or known.include(copy.sidecar):
        return copy
    return replace(copy, checksums=None)


def changed_files(proven: Record, listing: Listing, copy: CopyFacts) -> tuple[str, ...]:
    """The proven files that are not at the source any more as they were, those that are gone not among them.

    The ledger keeps one fingerprint of all files. Where the proven ones alone give it, none of them changed, whatever
    was added, and whatever became of the copy. Else each is compared with its copy, which kept its time. Where none
    differs, those whose copy is missing are suspected: something changed, and nothing shows that it was not they.

    Args:
        proven: What `last_proven` gives of it.
        listing: The study at the source.
        copy: Its copy on the NAS, with its sidecar.
    """
    checksums = copy.checksums or {}
    known = tuple(entry for entry in listing.files if entry.path in checksums)
    if Listing(listing.name, known).fingerprint() == proven.extra.get(FINGERPRINT_FIELD):
        return ()
    differing = tuple(e.path for e in known if e.path in copy.files and not same_file(e, copy.files[e.path]))
    return differing or tuple(entry.path for entry in known if entry.path not in copy.files)


def is_another(proven: Record | None, listing: Listing, copy: CopyFacts | None) -> str | None:
    """Why a source that differs from what was proven is another study of that name; None if it may be the same.

    A study gains files and loses some; one that has not a single one of those that were proven is another: the two
    would become one archive.

    Args:
        proven: What `proven_otherwise` gives of it.
        listing: The study at the source.
        copy: Its copy on the NAS; None when there is none.
    """
    if proven is None or copy is None or not _shares_nothing(listing, copy.checksums or ()):
        return None
    return (
        f"a study of this name was archived {spoken(proven.completed_at)}, and this one has none of its files | hint: "
        "rename it; the archived one is never overwritten"
    )


def _shares_nothing(listing: Listing, paths: Collection[str]) -> bool:
    return bool(paths and listing.files) and not any(entry.path in paths for entry in listing.files)


def unknown_copies(
    known: KnownSidecars,
    copy: CopyFacts | None,
    archive: ArchiveFacts | None,
    *,
    copy_begun: bool,
    archive_begun: bool,
) -> tuple[CopyFacts | None, ArchiveFacts | None]:
    """Of what lies under a name that of which the ledger does not know what it is, in each place; None for nothing.

    What a run of ours wrote and did not finish is none; where the ledger vouches for a copy, objects may be there still
    that nobody has looked at: S3 was away when it was made.

    Args:
        known: The sidecars the ledger vouches for.
        copy: What is on the NAS.
        archive: What is in S3.
        copy_begun: Whether a run of ours ever began to copy the study.
        archive_begun: Whether one began to upload it.
    """
    if known:
        return None, archive if archive and archive.sidecar_sha256 is None and not archive_begun else None
    unfinished = archive is not None and archive.sidecar_sha256 is None and archive_begun
    return copy if copy and (copy.checksums or not copy_begun) else None, None if unfinished else archive


def unknown_differs(listing: Listing, copy: CopyFacts | None, archive: ArchiveFacts | None) -> str | None:
    """Why a source must not be copied over what lies under its name and the ledger does not know, by the looks of it.

    A file that is as long as its object while the copy is not is taken for good: it is the NAS that lost bytes. None
    does not mean that the bytes are the same; those are compared before anything is done.

    Args:
        listing: The study at the source.
        copy: What `unknown_copies` gives of the NAS.
        archive: What it gives of S3.
    """
    if copy is None and archive is None:
        return None
    held, sizes = copy.files if copy else {}, archive.sizes if archive else {}
    paths = {*((copy and copy.checksums) or held), *sizes}
    differing = [e.path for e in listing.files if e.path in paths and _differs(e, held.get(e.path), sizes.get(e.path))]
    if _shares_nothing(listing, paths):
        return unlike_unknown("it has none of its files", listing.name, acceptable=False)
    if differing:
        return unlike_unknown(f"these files differ from it: {name_some(differing)}", listing.name)
    return None


def _differs(entry: Entry, held: Entry | None, size: int | None) -> bool:
    if held and same_file(entry, held):
        return False
    if size is None:
        return held is not None
    return entry.size != size or (held is not None and held.size == size)


def unlike_unknown(what: str, run_name: str, *, acceptable: bool = True) -> str:
    """Why a study is not copied over what lies under its name and the ledger does not know, and the ways out.

    Args:
        what: How it differs.
        run_name: The study.
        acceptable: Whether a person could accept that.
    """
    accept = f'; if its files are the right ones, `fusion apply --accept-changes "{run_name}"`' if acceptable else ""
    return (
        "there is a copy or an archive of this name that the ledger does not know: of another study or program, or the "
        f"ledger was lost; and {what}; nothing of it is overwritten | hint: rename the study; if the ledger was lost, "
        f"`fusion manifest restore`; if files were damaged, put good ones back with their times{accept}"
    )


def unlike_archive(what: str, archive_sha256: str | None) -> str:
    """Why nothing is done with a study of which S3, or the NAS, says something else than the ledger, and the ways out.

    Nothing says which of them is right: a person has to look.

    Args:
        what: Where it shows.
        archive_sha256: Of the sidecar in S3, empty for objects without one; None if S3 says the same as the ledger.
    """
    objects = f"remove {SIDECAR_NAME} of this study there" if archive_sha256 else "remove these objects there"
    archive = f"; if S3 has the wrong ones, {objects}" if archive_sha256 is not None else ""
    return (
        f"the ledger, the NAS and S3 do not say the same of it, and {what}; nothing is overwritten | hint: compare the "
        "files at the source, on the NAS and in S3, and put the good ones wherever they are not, with their times"
        f"{archive}; or rename the study; then `fusion apply`"
    )


def went_back(
    proven: Record | None, record: Record | None, listing: Listing, copy: CopyFacts | None, known: KnownSidecars
) -> str | None:
    """Why a source that is as it was archived must not be copied over a newer copy; None if there is none.

    What changed was accepted and copied while S3 was away, and then the source went back: a person took it back, or its
    disk was rolled back. Nobody else can say which. It may have gained files since.

    Args:
        proven: What `last_proven` gives of it; None if it never was proven.
        record: The ledger's record of it now.
        listing: The study at the source.
        copy: Its copy on the NAS; None when there is none.
        known: The sidecars the ledger vouches for.
    """
    if proven is None or accepted(record, listing.fingerprint()):
        return None
    if copy is None or copy.checksums is None or known.latest == known.archived or not known.include(copy.sidecar):
        return None
    copied = Listing(listing.name, tuple(entry for entry in listing.files if entry.path in copy.checksums))
    if proven.extra.get(FINGERPRINT_FIELD) not in {listing.fingerprint(), copied.fingerprint()}:
        return None
    newer = [e.path for e in listing.files if e.path in copy.files and not same_file(e, copy.files[e.path])]
    if not newer:
        return None
    return (
        f"the copy on the NAS is newer than the archive, by files whose change was accepted: {name_some(newer)}; and "
        f"the source is again as it was archived {spoken(proven.completed_at)} | hint: if that is right, "
        f'`fusion apply --accept-changes "{listing.name}"` replaces them on the NAS; else put them back at the source, '
        "with their times, from the NAS"
    )


def source_changed(
    proven: Record, listing: Listing, copy: CopyFacts | None, archive: ArchiveFacts | None = None
) -> str | None:
    """Why a source that differs from what was proven must not be copied before a person has looked; None if it may.

    Args:
        proven: What `last_proven` gives of it.
        listing: The study at the source.
        copy: Its copy on the NAS; None when there is none.
        archive: What is in S3; None when that is not known.
    """
    if copy is None or copy.checksums is None:
        if FINGERPRINT_FIELD not in proven.extra or _only_gained(proven, listing, archive):
            return None  # nothing says how it was, so nothing says that it changed
        what = "it is not what was archived, and without a finished copy on the NAS nobody can say which files changed"
    elif changed := changed_files(proven, listing, copy):
        what = f"proven files changed at the source: {name_some(changed)}"
    else:
        return None
    return (
        f"{what}; what was proven {spoken(proven.completed_at)} is kept as it is | hint: if they were damaged, put "
        "good ones back with their times, on the NAS, too, if they are damaged there; if they are right, "
        f'`fusion apply --accept-changes "{listing.name}"`, or rename the study'
    )


def _only_gained(proven: Record, listing: Listing, archive: ArchiveFacts | None) -> bool:
    archived = archive.sizes if archive else {}
    left = tuple(entry for entry in listing.files if entry.path in archived)
    return Listing(listing.name, left).fingerprint() == proven.extra.get(FINGERPRINT_FIELD)


def trash_changed(proven: Record, listing: Listing, copy: CopyFacts | None) -> str | None:
    """Why the trash must not be copied over what was proven, when all of a study is in it; None if it may.

    Of a study that is half deleted the ledger's one fingerprint says nothing: there only the bytes can tell, and
    whoever copies a file compares them with the sidecar.

    Args:
        proven: What `last_proven` gives of it.
        listing: What is in the trash.
        copy: The copy on the NAS; None when there is none.
    """
    files = {entry.path: entry for entry in listing.files}
    if copy is None or copy.checksums is None or FINGERPRINT_FIELD not in proven.extra:
        return None
    if copy.checksums.keys() - files.keys() or not (changed := changed_files(proven, listing, copy)):
        return None
    return (
        f"its release was begun and not finished, and proven files changed in the trash: {name_some(changed)} in "
        f"{TRASH}/{listing.name}; what was proven {spoken(proven.completed_at)} is kept as it is | hint: put the good "
        "files back there with their times (from the NAS, say), or move these out of it; then `fusion apply`"
    )


def spoken(time: datetime | None) -> str:
    """A time as messages say it; ``before`` for one that is not known."""
    return f"{time:%Y-%m-%d %H:%M} UTC" if time else "before"
