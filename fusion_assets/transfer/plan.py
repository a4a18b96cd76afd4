"""What a copy has to do, decided from listings and records alone.

Pure: `plan_copy` and `plan_batches` look at nothing but their arguments. What belongs here: which file is copied, kept,
left alone or cleaned away, and in which order the work goes. What does not: doing any of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from fusion_assets.standard.listing import LOCK_NAME, SIDECAR_NAME, is_own_file
from fusion_assets.transfer.errors import ArchiveError, CorruptCopyError, name_some
from fusion_assets.transfer.journal import JOURNAL_NAME
from fusion_assets.transfer.options import TransferOptions
from fusion_assets.transfer.proof import MTIME_TOLERANCE_NS, FileProof
from resources.storage import PARTIAL_SUFFIX, Entry

CORRUPT_SUFFIX = f".corrupt{PARTIAL_SUFFIX}"
"""A copy that was found corrupt bears this name until a good one is proven; it never passes as a copy."""


@dataclass(frozen=True, slots=True)
class Records:
    """What earlier runs proved.

    Attributes:
        sidecar: SHA-256 in hex by path, of what was proven last.
        journal: Proofs by path, of a copy that did not finish.
    """

    sidecar: Mapping[str, str]
    journal: Mapping[str, FileProof]


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """What a copy has to do.

    Attributes:
        directories: To create, parents first.
        copy: Files to copy from the source.
        keep: Files whose copy is proven and unchanged; those the source no longer has among them.
        unread: Those of them for which only the journal of a run vouches that was broken off.
        skipped: Entries that are not copied: links, special files, and files named like our own.
        extra: Files on the NAS that we know nothing of: left alone, not archived.
        leftovers: Unfinished files of a run that was broken off, to remove first.
        set_aside: Copies found corrupt, to remove when everything is proven.
    """

    directories: tuple[str, ...]
    copy: tuple[Entry, ...]
    keep: tuple[FileProof, ...]
    unread: frozenset[str]
    skipped: tuple[Entry, ...]
    extra: tuple[str, ...]
    leftovers: tuple[str, ...]
    set_aside: tuple[str, ...]


def wanted_entries(entries: Iterable[Entry]) -> list[Entry]:
    """The files and directories of a listing that a copy must have."""
    return [
        entry
        for entry in entries
        if entry.kind == "directory" or (entry.kind == "file" and not is_own_file(entry.path))
    ]


def same_file(one: Entry | FileProof, other: Entry | FileProof) -> bool:
    """Whether size and modification time agree, as exactly as any storage keeps them."""
    return one.size == other.size and abs(one.mtime_ns - other.mtime_ns) <= MTIME_TOLERANCE_NS


def is_later(one: Entry | FileProof, other: Entry | FileProof) -> bool:
    """Whether one was written after the other, by as much as any storage tells apart."""
    return one.mtime_ns > other.mtime_ns + MTIME_TOLERANCE_NS


def plan_copy(
    entries: Sequence[Entry],
    held: Mapping[str, Entry],
    records: Records,
    *,
    accepted: Collection[str] = (),
    distrusted: Collection[str] = (),
) -> CopyPlan:
    """Decide what a copy has to do.

    A copy on the NAS is trusted only if a record vouches for its bytes and its size and time are still the source's.

    Args:
        entries: The study at the source, paths relative to it.
        held: What is in the copy's directory on the NAS, by path relative to it.
        records: What earlier runs proved.
        accepted: Files that may have other bytes than the sidecar says: of them only the journal counts.
        distrusted: Files whose copy was found not to be what was proven: no record of them counts.

    Raises:
        CorruptCopyError: A file that was proven once is neither on the NAS nor at the source.
    """
    wanted = wanted_entries(entries)
    files = {entry.path: entry for entry in wanted if entry.kind == "file"}
    copied_or_ours = {LOCK_NAME, SIDECAR_NAME, *(entry.path for entry in wanted)}
    believed = Records(
        {path: sha256 for path, sha256 in records.sidecar.items() if path not in {*distrusted, *accepted}},
        {path: proof for path, proof in records.journal.items() if path not in distrusted},
    )
    known = known_proofs(held, believed)
    check_nothing_lost(records, known, files)
    trusted = {path: proof for path, proof in known.items() if _is_current(proof, files)}
    return CopyPlan(
        directories=directories_of(wanted),
        copy=tuple(entry for path, entry in files.items() if path not in trusted),
        keep=tuple(trusted[path] for path in sorted(trusted)),
        unread=frozenset(path for path, proof in trusted.items() if believed.sidecar.get(path) != proof.sha256),
        skipped=tuple(entry for entry in entries if entry.path not in copied_or_ours),
        extra=extra_files(held, {*files, *trusted}),
        leftovers=leftovers_of(held),
        set_aside=tuple(path for path in held if path.endswith(CORRUPT_SUFFIX)),
    )


def leftovers_of(held: Mapping[str, Entry]) -> tuple[str, ...]:
    """Unfinished files on the NAS; the journal is none, nor are copies that were set aside."""
    return tuple(
        path
        for path, entry in held.items()
        if entry.kind != "directory"
        and path.endswith(PARTIAL_SUFFIX)
        and path != JOURNAL_NAME
        and not path.endswith(CORRUPT_SUFFIX)
    )


def extra_files(held: Mapping[str, Entry], accounted: Collection[str]) -> tuple[str, ...]:
    """What lies on the NAS without anybody having asked for it; sorted."""
    return tuple(
        sorted(
            path
            for path, entry in held.items()
            if entry.kind != "directory" and not is_own_file(path) and path not in accounted
        )
    )


def check_finished(records: Records, known: Mapping[str, FileProof]) -> None:
    """Raise `ArchiveError` if the copy was being brought up to date when it was broken off: its sidecar is outdated."""
    newer = [path for path in records.journal if path in known and known[path].sha256 != records.sidecar.get(path)]
    if newer:
        raise ArchiveError(
            f"the NAS copy is unfinished: {name_some(newer)} newer than its sidecar; copy the study again", paths=newer
        )


def known_proofs(held: Mapping[str, Entry], records: Records) -> dict[str, FileProof]:
    """The files on the NAS that a record vouches for, unless they have changed since.

    A sidecar states no sizes or times: there those of the NAS are taken as they are.
    """
    proofs: dict[str, FileProof] = {}
    for path, entry in held.items():
        if entry.kind != "file":
            continue
        journaled = records.journal.get(path)
        if journaled and same_file(journaled, entry):
            proofs[path] = journaled
        elif sha256 := records.sidecar.get(path):
            proofs[path] = FileProof(path, entry.size, entry.mtime_ns, sha256)
    return proofs


def check_nothing_lost(records: Records, known: Mapping[str, FileProof], files: Mapping[str, Entry]) -> None:
    """Raise `CorruptCopyError` if a file of the sidecar is no longer on the NAS, and cannot be copied from `files`."""
    lost = [path for path in records.sidecar if path not in known and path not in files]
    if lost:
        raise CorruptCopyError(
            f"{len(lost)} files of the NAS copy are gone, and the source does not have them: {name_some(lost)}; "
            "restore them from S3",
            paths=lost,
        )


def _is_current(proof: FileProof, files: Mapping[str, Entry]) -> bool:
    entry = files.get(proof.path)
    return entry is None or same_file(proof, entry)


def directories_of(entries: Iterable[Entry]) -> tuple[str, ...]:
    """Every directory that must exist for these entries, parents before children, the study's own (``""``) first."""
    found = {""}
    for entry in entries:
        path = entry.path if entry.kind == "directory" else entry.path.rpartition("/")[0]
        while path not in found:
            found.add(path)
            path = path.rpartition("/")[0]
    return tuple(sorted(found))


@dataclass(frozen=True, slots=True)
class SmallBatch:
    """Small files to copy, between two durability barriers."""

    files: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class LargeBatch:
    """Large files to copy in pieces, between two durability barriers."""

    files: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class KeptBatch:
    """Files that are proven on the NAS, to archive from there, or to read once more."""

    files: tuple[FileProof, ...]


Batch = SmallBatch | LargeBatch | KeptBatch


def plan_batches(copy: Sequence[Entry], options: TransferOptions) -> list[SmallBatch | LargeBatch]:
    """Cut what is to be copied into batches, every file in exactly one.

    Small and large batches alternate as far as they go: while one kind is copied the other is proven, and so the
    processor (small files) and the disks (large ones) are both kept busy.
    """
    small = [entry for entry in copy if options.is_small(entry.size)]
    large = [entry for entry in copy if not options.is_small(entry.size)]
    large_batches = [LargeBatch(files) for files in _bounded(large, options)]
    small_batches = [SmallBatch(files) for files in _bounded(small, options)]
    return _interleaved(large_batches, small_batches)


def _bounded(files: Iterable[Entry], options: TransferOptions) -> list[tuple[Entry, ...]]:
    """Runs of files within the limits of one batch; a file beyond the limit is a batch of its own."""
    batches: list[list[Entry]] = []
    size = 0
    for entry in files:
        full = batches and (size + entry.size > options.batch_bytes or len(batches[-1]) >= options.batch_files)
        if full or not batches:
            batches.append([])
            size = 0
        batches[-1].append(entry)
        size += entry.size
    return [tuple(batch) for batch in batches]


def _interleaved(
    one: Sequence[SmallBatch | LargeBatch], other: Sequence[SmallBatch | LargeBatch]
) -> list[SmallBatch | LargeBatch]:
    """Both sequences merged, each in its order, evenly spread."""
    placed = [((n + 0.5) / len(one), 0, batch) for n, batch in enumerate(one)]
    placed += [((n + 0.5) / len(other), 1, batch) for n, batch in enumerate(other)]
    return [batch for _, _, batch in sorted(placed, key=lambda item: item[:2])]


def plan_kept(keep: Sequence[FileProof], options: TransferOptions) -> list[KeptBatch]:
    """Cut what is to be archived from the NAS into batches: small files together, each large one alone."""
    small = [proof for proof in keep if options.is_small(proof.size)]
    batches = [small[n : n + options.batch_files] for n in range(0, len(small), options.batch_files)]
    return [KeptBatch(tuple(batch)) for batch in batches] + [
        KeptBatch((proof,)) for proof in keep if not options.is_small(proof.size)
    ]
