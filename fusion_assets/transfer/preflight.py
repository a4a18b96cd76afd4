"""What must be right before the first byte is written: names, kinds and space.

What belongs here: refusals, each listing everything that is wrong at once. What does not: planning the work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from fusion_assets.standard.listing import SIDECAR_NAME
from fusion_assets.transfer.checksums import rounded_up
from fusion_assets.transfer.plan import CORRUPT_SUFFIX, wanted_entries
from resources.errors import StorageFullError, UnsafeNameError
from resources.names import find_collisions
from resources.storage import PARTIAL_SUFFIX, Entry, Storage


def check_names(nas: Storage, backup_name: str, entries: Sequence[Entry], held: Mapping[str, Entry]) -> None:
    """Raise `UnsafeNameError`, listing all, if any name of the study cannot be kept on the NAS as it is.

    Args:
        nas: Where the copy goes.
        backup_name: The copy's directory.
        entries: The study at the source, paths relative to it.
        held: What is in the copy's directory already, by path.
    """
    wanted = wanted_entries(entries)
    problems = [
        *_refused(nas, backup_name, wanted),
        *_colliding(wanted, held),
        *_of_another_kind(wanted, held),
    ]
    if problems:
        listing = "\n".join(f"  {problem}" for problem in problems)
        raise UnsafeNameError(
            f"{backup_name}: {len(problems)} names cannot be copied to {nas.location(backup_name)}; "
            f"nothing was written:\n{listing}",
            path=backup_name,
        )


def _refused(nas: Storage, backup_name: str, entries: Iterable[Entry]) -> Iterator[str]:
    for entry in entries:
        path = f"{backup_name}/{entry.path}"
        try:
            nas.check_name(path)
            if entry.kind == "file":
                nas.check_name(path + CORRUPT_SUFFIX)  # the longest name the file can get on its way
        except UnsafeNameError as error:
            yield str(error)


def _colliding(entries: Iterable[Entry], held: Mapping[str, Entry]) -> Iterator[str]:
    names = {entry.path for entry in entries} | {SIDECAR_NAME}
    names.update(path for path in held if not path.endswith(PARTIAL_SUFFIX))
    for group in find_collisions(names):
        yield f"{' and '.join(group)}: become one name where case is ignored; rename all but one"


def _of_another_kind(entries: Iterable[Entry], held: Mapping[str, Entry]) -> Iterator[str]:
    for entry in entries:
        present = held.get(entry.path)
        if present is not None and present.kind != entry.kind:
            yield f"{entry.path}: is a {entry.kind} at the source, but the NAS has a {present.kind} of that name"


def check_space(nas: Storage, files: Iterable[Entry], reserve: int) -> None:
    """Raise `StorageFullError`, saying how much is missing, unless these files fit and `reserve` bytes stay free."""
    needed = sum(rounded_up(entry.size) for entry in files)
    if not needed:
        return
    free = nas.space().free
    missing = needed + reserve - free
    if missing > 0:
        raise StorageFullError(
            f"{nas.root} has {readable_size(free)} free; {readable_size(needed)} are to be copied and "
            f"{readable_size(reserve)} must stay free: {readable_size(missing)} are missing | hint: make room by "
            "`fusion cleanup run` (where it says that enough is free, raise [cleanup] free_threshold_pct), or enlarge "
            "the quota",
            path=nas.root,
        )


def readable_size(count: int) -> str:
    """Bytes in the unit in which a person reads them, by 1024, e.g. ``1.5 MiB``.

    Args:
        count: How many.
    """
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:  # noqa: PLR2004 - what the units are
            return f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
