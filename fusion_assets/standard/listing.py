"""One listing of a study: every name in it, with kind, size and time, from a single walk.

What belongs here: taking the listing, telling data from this program's own files, and the few numbers about a study
that follow from a listing alone (how many files, how many bytes, the newest time, the fingerprint). What does not:
judging the names (that is `rules`), and reading what is in the files (that is the integrity room).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from resources.storage import PARTIAL_SUFFIX, Entry, Storage

LOCK_NAME = ".fusion-toolkit.lock"
SIDECAR_NAME = "_checksums.sha256"


def is_own_file(path: str) -> bool:
    """Whether a path, relative to its study, names a file this program puts there itself; such files never count.

    The lock and the sidecar are ours at the study's top only: further down a file of that name is somebody's data, and
    leaving it out of the copy would lose it when the source is released. ``*.partial`` is ours everywhere.
    """
    return path in (LOCK_NAME, SIDECAR_NAME) or path.endswith(PARTIAL_SUFFIX)


@dataclass(frozen=True, slots=True)
class Listing:
    """What a study consists of, as its storage reported it at one moment.

    Attributes:
        name: The study's directory name.
        entries: Everything below the study, paths relative to the study, POSIX-style; links named, not followed.
        files: The regular files that are data, in the listing's order: what is copied, archived, counted and proven.
        others: What is neither data nor a directory, in the listing's order: links, special files, and what is ours.
    """

    name: str
    entries: tuple[Entry, ...]
    files: tuple[Entry, ...] = field(init=False, repr=False, compare=False)
    others: tuple[Entry, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Sorted out once: of half a million entries each is asked for its kind and name seven times otherwise.
        files: list[Entry] = []
        others: list[Entry] = []
        for entry in self.entries:
            if entry.kind == "file" and not is_own_file(entry.path):
                files.append(entry)
            elif entry.kind != "directory":
                others.append(entry)
        object.__setattr__(self, "files", tuple(files))
        object.__setattr__(self, "others", tuple(others))

    @property
    def file_count(self) -> int:
        """How many data files there are."""
        return len(self.files)

    @property
    def total_bytes(self) -> int:
        """The bytes of all data files together."""
        return sum(entry.size for entry in self.files)

    @property
    def newest_mtime_ns(self) -> int:
        """The newest modification time of a data file, nanoseconds since 1970 UTC; 0 when there are none.

        Directories do not count: taking our own lock in a study already changes the time of its directory.
        """
        return max((entry.mtime_ns for entry in self.files), default=0)

    @property
    def unarchived(self) -> tuple[str, ...]:
        """Paths that a copy leaves out: links, special files, and at a source all that only looks like ours.

        Nothing but the lock is ours at a source; a ``*.partial`` there is somebody's, and would be lost with it.
        """
        return tuple(entry.path for entry in self.others if entry.kind != "file" or entry.path != LOCK_NAME)

    def fingerprint(self) -> str:
        """A digest that stays the same for as long as no data file comes, goes, or changes its size or time.

        It is for comparing two observations of one study at one storage: two equal fingerprints mean the study was
        not changed in between, as far as names, sizes and times can tell. It says nothing about the bytes in the files
        (that is the sidecar), and fingerprints from two storages are not comparable: SMB keeps times to 100 ns only.

        Returns:
            Hex SHA-256 over the sorted (path, size, mtime_ns) of `files`; no clock, order or process enters it.
        """
        # NUL ends each field because no storage allows it in a name; a name may be any bytes, hence surrogatepass.
        fields = [f"{path}\0{size}\0{mtime_ns}\0" for path, _, size, mtime_ns, _ in sorted(self.files)]
        return hashlib.sha256("".join(fields).encode(errors="surrogatepass")).hexdigest()


def read_listing(storage: Storage, study: str) -> Listing:
    """List a study, by one walk of its storage.

    Args:
        storage: Where the study is.
        study: The study's directory, relative to the storage's root.

    Returns:
        Its listing; paths are rebased from the storage's root to the study.

    Raises:
        ResourceError: The listing failed. A failed listing is never an empty one.
    """
    prefix = f"{study}/"
    start = len(prefix)
    # `dataclasses.replace` takes four times as long, and this is done for every file of a lab.
    entries = tuple(
        Entry(path[start:], kind, size, mtime_ns, file_id)
        for path, kind, size, mtime_ns, file_id in storage.walk(study)
    )
    return Listing(name=study.rpartition("/")[2], entries=entries)
