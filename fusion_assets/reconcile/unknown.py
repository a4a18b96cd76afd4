"""What lies under a study's name that the ledger does not know, and whether a source may be copied over it. Pure.

It is another study's, or another program's, or the ledger was lost. What belongs here: telling by the looks, and the
words for a person. What does not: what the ledger proved (`overwrite`), and comparing the bytes (`refusals`).
"""

from __future__ import annotations

from collections.abc import Collection

from fusion_assets.reconcile.facts import ArchiveFacts, CopyFacts
from fusion_assets.reconcile.proven import KnownSidecars
from fusion_assets.standard.listing import SIDECAR_NAME, Listing
from fusion_assets.transfer.errors import name_some
from fusion_assets.transfer.plan import same_file
from resources.storage import Entry


def shares_nothing(listing: Listing, paths: Collection[str]) -> bool:
    """Whether a study has not a single file of these.

    Args:
        listing: The study.
        paths: Of files under its name.
    """
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
    if shares_nothing(listing, paths):
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
