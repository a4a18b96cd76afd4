"""What a study at the source must never be written over by itself: another study's archive, its own proven files. Pure.

Raw microscope data is written once. When a file that is proven in both places is suddenly another one at the source, a
failing disk, ransomware or a mistake is likelier than a new truth; and copying it would replace the one thing that is
known to be good. So a study that was complete once may gain files (the acquisition went on) and lose them (what is
proven is kept), but when one of its proven files has another size or time, a person has to say that the new bytes are
right. What a person said is written into the ledger, for exactly the state of the source that was seen then, and for
the files that differed (`proven`). The same holds for copies that the ledger does not know (`unknown`).

A study that was never complete is still being written: it may gain files, and its files may grow, as long as most of
them are as they were.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from fusion_assets.manifest.extra_fields import ADOPTED_FIELD, FINGERPRINT_FIELD, RELEASE_BEGUN_FIELD
from fusion_assets.manifest.record import Record, Status
from fusion_assets.reconcile.facts import ArchiveFacts, CopyFacts
from fusion_assets.reconcile.lab import TRASH
from fusion_assets.reconcile.proven import KnownSidecars, accepted, copy_of, is_renamed
from fusion_assets.reconcile.unknown import shares_nothing
from fusion_assets.standard.listing import SIDECAR_NAME, Listing
from fusion_assets.transfer.errors import name_some
from fusion_assets.transfer.plan import is_later, same_file
from resources.storage import Entry

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
            f"a study of this name was archived and released {spoken(record.released_at)}, and this is another"
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
    if proven is None or copy is None or not shares_nothing(listing, copy.checksums or ()):
        return None
    return (
        f"a study of this name was archived {spoken(proven.completed_at)}, and this one has none of its files | hint: "
        "rename it; the archived one is never overwritten"
    )


def went_back(
    proven: Record | None, record: Record | None, listing: Listing, copy: CopyFacts | None, known: KnownSidecars
) -> str | None:
    """Why a source must not be copied over a newer copy; None if there is none.

    What changed was accepted and copied while S3 was away, and then the source went back: a person took it back, or its
    disk was rolled back. Or the ledger was. Nobody else can say which. Our copies have the times of their source, and
    what rots keeps its time: where no sidecar that the ledger knows tells, a file that is later is newer.

    Args:
        proven: What `last_proven` gives of it; None if it never was proven.
        record: The ledger's record of it now.
        listing: The study at the source.
        copy: Its copy on the NAS; None when there is none.
        known: The sidecars the ledger vouches for.
    """
    if proven is None or copy is None or accepted(record, listing.fingerprint()):
        return None
    is_known = bool(copy.checksums) and known.include(copy.sidecar)
    newer = [] if is_known else [entry.path for entry, found in _held(listing, copy) if is_later(found, entry)]
    why = f"of which no {SIDECAR_NAME} that the ledger knows tells"
    if not newer and _is_ahead(copy, known):
        newer, why = _otherwise_than_archived(proven, listing, copy), "whose change was accepted"
    if not newer:
        return None
    return (
        f"the copy on the NAS is newer than the archive, by files {why}: {name_some(newer)}; and at the source they "
        f"are as they were before, archived {spoken(proven.completed_at)} | hint: if that is right, "
        f'`fusion apply --accept-changes "{listing.name}"` replaces them on the NAS; else put them back at the source, '
        "with their times, from the NAS"
    )


def _is_ahead(copy: CopyFacts, known: KnownSidecars) -> bool:
    """Whether the copy is of a later state than the archive, by its sidecar; where that is lost, by the ledger."""
    if copy.checksums:
        return known.include(copy.sidecar) and hashlib.sha256(copy.sidecar).hexdigest() != known.archived
    return known.announced is not None or known.latest != known.archived


def _held(listing: Listing, copy: CopyFacts) -> list[tuple[Entry, Entry]]:
    """The files of a source that its copy has, each with that: of a finished copy those of its sidecar."""
    listed = copy.files.keys() & (copy.checksums or copy.files).keys()
    return [(entry, copy.files[entry.path]) for entry in listing.files if entry.path in listed]


def _otherwise_than_archived(proven: Record, listing: Listing, copy: CopyFacts) -> list[str]:
    """The files of the copy that are others than those of a source that is as it was archived, if it is."""
    listed = copy.checksums or copy.files
    copied = Listing(listing.name, tuple(entry for entry in listing.files if entry.path in listed))
    if proven.extra.get(FINGERPRINT_FIELD) not in {listing.fingerprint(), copied.fingerprint()}:
        return []
    return [entry.path for entry, found in _held(listing, copy) if not same_file(entry, found)]


def is_renewed(
    proven: Record | None, record: Record | None, listing: Listing, copy: CopyFacts | None, known: KnownSidecars
) -> str | None:
    """Why a source must not be copied over a copy that was never archived; None if it may.

    What is still being written gains files, and files of it get longer, and newer; most of them stay. One of which most
    files are others is likelier another study: somebody freed the instrument by hand, and the name was used again. And
    one whose files went back, or were cut, is damaged.

    Args:
        proven: What `last_proven` gives of it; None if it never was proven in both places.
        record: The ledger's record of it now.
        listing: The study at the source.
        copy: Its copy on the NAS; None when there is none.
        known: The sidecars the ledger vouches for.
    """
    if proven or record is None or copy is None or not known or accepted(record, listing.fingerprint()):
        return None
    listed = copy.checksums or copy.files
    copied = any(entry.path in listed for entry in listing.files)
    held = _held(listing, copy)
    others = [(entry, found) for entry, found in held if not same_file(entry, found)]
    if listing.files and copy.files and (not copied or 2 * len(others) > len(held) > 0):
        what = "most of its files are others here" if copied else "not one of its files is here"
    elif cut := [entry.path for entry, found in others if not is_grown(entry, found)]:
        what = f"since then files of it were cut, or went back: {name_some(cut)}"
    else:
        return None
    return (
        f"a study of this name was copied before and not archived yet, and {what}; the copy is kept as it is | hint: "
        "if this is another study, rename it; if files were damaged, put them back from the NAS, with their times; if "
        f'they are right, `fusion apply --accept-changes "{listing.name}"`'
    )


def is_grown(entry: Entry, found: Entry) -> bool:
    """Whether a file may have been written further since it was copied: what is written gets no shorter and no older.

    Args:
        entry: The file at the source.
        found: Its copy.
    """
    return entry.size >= found.size and is_later(entry, found)


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
        if all(entry.path in changed or entry.path not in copy.checksums for entry in listing.files):
            return (
                f"all {what}; what was proven {spoken(proven.completed_at)} is kept as it is | hint: if this is "
                "another study, rename it; if all its files really changed, `fusion apply --accept-changes "
                f'"{listing.name}"`'
            )
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
