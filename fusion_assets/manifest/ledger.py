"""The ledger's files on the NAS: ``YYYY-MM.jsonl``, append-only, one writer at a time, mirrored to S3.

What belongs here: reading the months, the durable append under the lock, the repair of an end that a crash tore, and
when the mirror is brought up to date. What does not: what a line says (`record`), which line counts (`fold`), the
mirror's own rules (`mirror`), and whether a missing directory is a first run or a NAS that is not mounted (the caller,
who sees the NAS, decides).
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from fusion_assets.manifest.fold import BadLine, Folded, LedgerView, fold, torn_end
from fusion_assets.manifest.mirror import (
    MirrorConflictError,
    MirrorError,
    MirrorState,
    compare,
    get_month,
    join,
    lost_lines,
    mirrored_sizes,
    put_month,
    read_whole,
)
from fusion_assets.manifest.record import Record, parse_line
from resources.errors import ChecksumError, NotFoundError, NotMountedError
from resources.lockfile import Lock, LockHeldError, LockState, describe, hold, new_lock, read_lock, remove
from resources.s3 import S3Bucket
from resources.storage import Storage, replace_file

__all__ = ["LOCK_NAME", "PINS", "BadLine", "Ledger", "LedgerView", "MirrorConflictError", "MirrorError", "MirrorState"]

LOCK_NAME = ".manifest.lock"
PINS = "pins"
"""The name, without its ending, of the file beside the months that says which copies are never evicted."""

_MONTH_FILE = re.compile(r"([0-9]{4}-(?:0[1-9]|1[0-2]))\.jsonl")
# An append holds the lock for milliseconds, and for minutes while S3 does not answer and is tried again.
_PATIENCE_SECONDS = 180.0
# Appending a line and copying its month to S3 takes less than a second, or waits for a server that does not answer.
_WHILE_WRITTEN_SECONDS = (0.1, 0.3, 1.0, 2.0)


class Ledger:
    """The ledger of a lab. Safe to use from several threads, processes and hosts at once.

    Args:
        storage: Its root is the ledger's directory (``manifest_root``), made by whoever sees that the NAS is mounted.
        bucket: Where the mirror is kept; None for none. Not one with an archive storage class: the mirror is rewritten
            by every append and must be readable at once.
        patience: Seconds to wait for another writer.
    """

    def __init__(
        self, storage: Storage, bucket: S3Bucket | None = None, *, patience: float = _PATIENCE_SECONDS
    ) -> None:
        self._storage = storage
        self._bucket = bucket
        self._patience = patience
        self._threads = threading.Lock()
        self._folded = Folded()

    @property
    def location(self) -> str:
        """The ledger's directory, as a person would write it."""
        return self._storage.location("")

    def exists(self) -> bool:
        """Whether there is a directory for it.

        Raises:
            ResourceError: That cannot be seen.
        """
        try:
            self._storage.list()
        except (NotFoundError, NotMountedError):
            return False
        return True

    def read(self) -> LedgerView:
        """Read all months, and fold what is new in them since this ledger was last read.

        All bytes are read every time, and compared: that takes a hundredth of understanding them, and no size or time
        stamp has to be believed, whoever else writes there. So a view is never older than the call.

        Raises:
            ResourceError: The ledger cannot be listed or read; a directory that does not exist is an empty view.
        """
        try:
            sizes = self._sizes()
        except (NotFoundError, NotMountedError):
            return LedgerView(exists=False)
        files = tuple((_file(month), self._storage.read_file(_file(month))) for month in sorted(sizes))
        folded = self._folded = fold(files, self._folded)
        return folded.view

    def append(self, record: Record, *, now: datetime | None = None) -> str:
        """Add a record, durably, and bring the mirror up to date.

        Args:
            record: What happened.
            now: The time, UTC, that chooses the month; the clock's by default.

        Returns:
            The month it was written to, ``YYYY-MM``.

        Raises:
            RecordError: It cannot be written, or could not be read again; nothing was written.
            LockHeldError: Another writer kept the ledger locked; nothing was written.
            NotMountedError: There is no such directory, and none is made: from here, a NAS that is not mounted looks
                just like a new one.
            MirrorError: The record is safely in the ledger, but its copy in S3 is behind.
            ResourceError: The storage refused. What it wrote of the line, if anything, the next append sets aside.
        """
        line = record.to_line()
        parse_line(line)
        with self._writing():
            month = self._prepare_month(now or datetime.now(UTC))
            self._append(month, line)
        return month

    def read_pins(self) -> bytes:
        """What is pinned, as it stands in its file; empty when nothing ever was.

        Raises:
            MirrorConflictError: S3 mirrors something of it that the file does not have: what was pinned is not known.
            ResourceError: Either side cannot be read.
        """
        if self._bucket:
            return read_whole(self._bucket, PINS, lambda: self._content(PINS) or b"")
        return self._content(PINS) or b""

    def append_pin(self, line: bytes) -> None:
        """Add a line to the pins, durably, and bring their mirror up to date.

        Args:
            line: With its LF.

        Raises:
            As for `append`.
        """
        with self._writing():
            if self._content(PINS) is not None:
                self._repair(PINS)
            self._append(PINS, line)

    def mirror(self, month: str, *, losing: Collection[bytes] | None = None) -> None:
        """Bring the mirror of one month up to date.

        Args:
            month: ``YYYY-MM``.
            losing: Even if the mirror holds something else than the beginning of the file, as after an edit by hand:
                the lines, from `lost_by_mirroring`, that it may lose. None: it loses nothing.

        Raises:
            MirrorConflictError: The file is not there, or the mirror would lose something else.
            MirrorError: S3 did not take it.
            LockHeldError: Another writer kept the ledger locked.
        """
        if not self._bucket:
            return
        with self._writing():
            try:
                self._repair(month)
                content = self._storage.read_file(_file(month))
            except NotFoundError as error:
                place = self._storage.location(_file(month))
                raise MirrorConflictError(
                    f"there is no {place} to mirror | hint: if S3 holds it, `fusion manifest restore` brings it back",
                    month=month,
                    path=place,
                ) from error
            put_month(self._bucket, month, content, losing=losing)

    def lost_by_mirroring(self, month: str) -> tuple[bytes, ...]:
        """The lines of a month that S3 holds and its file does not, in order.

        Args:
            month: ``YYYY-MM``.

        Raises:
            ResourceError: Either side cannot be read.
        """
        return lost_lines(get_month(self._bucket, month), self._content(month) or b"") if self._bucket else ()

    def mirror_state(self) -> list[MirrorState]:
        """Compare all months with their mirror: one listing on each side.

        Raises:
            ResourceError: Either side cannot be listed.
        """
        if not self._bucket:
            return []
        try:
            sizes = self._sizes()
        except (NotFoundError, NotMountedError):
            sizes = {}
        return compare(sizes, mirrored_sizes(self._bucket))

    def lost_months(self) -> list[str]:
        """The months of which S3 mirrors what the ledger does not have: their file is missing, was cut, or is another.

        A NAS that was rolled back may have been written to since, and have made up in length for what it lost: so the
        newest month is compared with what its mirror states.

        Raises:
            ResourceError: Either side cannot be seen.
        """
        if not self._bucket:
            return []
        # The mirror first: what another host appends meanwhile is in the file before it is in S3.
        mirrored = mirrored_sizes(self._bucket)
        if not mirrored:
            return []
        try:
            sizes = self._sizes()
        except (NotFoundError, NotMountedError):
            return sorted(mirrored)
        shorter = [month for month, size in sorted(mirrored.items()) if sizes.get(month, -1) < size]
        # A server may list the size that a file had before it was opened to be appended to.
        lost = [month for month in shorter if len(self._content(month) or b"") < mirrored[month]]
        newest = max(mirrored)
        try:
            read_whole(self._bucket, newest, lambda: self._content(newest) or b"")
        except MirrorConflictError:
            return sorted({*lost, newest})
        return lost

    def stale_mirrors(self) -> list[str]:
        """The months whose file and mirror differ in size, or that one side lacks; looked at again before it is said.

        A line is in the file before it is in S3, and may be written between the listing of the one and of the other:
        what is being written at this moment is waited for some seconds.
        """
        behind = self._behind()
        for pause in _WHILE_WRITTEN_SECONDS:
            if not behind:
                break
            writer = self.lock_state()
            behind &= self._behind()  # those that stand as they stood before
            if writer is None or writer.alive is False:
                break
            time.sleep(pause)
        return sorted(state.month for state in behind)

    def _behind(self) -> set[MirrorState]:
        return {state for state in self.mirror_state() if not state.same}

    def restore_from_mirror(self) -> list[str]:
        """Bring back from S3 what the NAS has lost: whole months, or lines of a month. Nothing the NAS has is lost.

        Returns:
            The months that were written.

        Raises:
            NotMountedError: There is no directory to write to.
            ResourceError: Either side refused; months already written are whole, and running again goes on.
        """
        if not self._bucket:
            return []
        written = []
        with self._writing():
            for month in (*sorted(mirrored_sizes(self._bucket)), PINS):
                content = self._content(month)
                joined = join(get_month(self._bucket, month), content or b"")
                if joined != (content or b""):
                    replace_file(self._storage, _file(month), joined)
                    put_month(self._bucket, month, joined)
                    written.append(month)
        return written

    def lock_state(self) -> LockState | None:
        """Whose the lock on the ledger is at this moment; None if there is none.

        Raises:
            ResourceError: That cannot be seen.
        """
        lock = read_lock(self._storage, LOCK_NAME)
        return describe(lock, datetime.now(UTC)) if lock else None

    def remove_lock(self, lock: Lock) -> bool:
        """Remove a lock on the ledger, whosever it is, if it is still the same one.

        Args:
            lock: As `lock_state` gave it.

        Returns:
            Whether it was removed.

        Raises:
            ResourceError: The storage refused.
        """
        return remove(self._storage, lock)

    def _append(self, name: str, line: bytes) -> None:
        """Append to a file that ends with a whole line, see that it is there, and mirror the file."""
        self._storage.append(_file(name), line)
        content = self._storage.read_file(_file(name), uncached=True)
        if not content.endswith(line):
            place = self._storage.location(_file(name))
            raise ChecksumError(f"{place} does not end with the line just written to it; run again", path=place)
        if self._bucket:
            put_month(self._bucket, name, content)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Be the only writer, of all threads, processes and hosts."""
        try:
            with (
                self._threads,
                hold(self._storage, new_lock(LOCK_NAME, with_process=True), patience=self._patience),
            ):
                yield
        except LockHeldError as held:
            raise LockHeldError(
                f"the ledger {self.location} was locked for more than {self._patience:.0f} s by {held.state.text} | "
                "hint: try again later; if that process is certainly gone, `fusion unlock --ledger` removes the lock",
                held.state,
                path=held.path,
            ) from held

    def _prepare_month(self, now: datetime) -> str:
        """The month to append to, its file ready to be appended to.

        Never one before the newest there is: the order of lines must be the order of events, even if the clock of the
        host that wrote last was ahead of this one's.
        """
        newest = max(self._sizes(), default="")
        if newest:
            self._repair(newest)
        return max(newest, f"{now.astimezone(UTC):%Y-%m}")

    def _repair(self, month: str) -> None:
        """Make a month's file end with a whole line, after an append that was cut short by a crash or a full disk."""
        content = self._storage.read_file(_file(month))
        torn = torn_end(content)
        if not torn:
            return
        if _is_whole(torn):
            self._storage.append(_file(month), b"\n")
            return
        aside, fragment = f"{month}.torn", torn + b"\n"
        if not (self._read(aside) or b"").endswith(fragment):  # killed right here, the next repair finds it done
            self._storage.append(aside, fragment)
        replace_file(self._storage, _file(month), content.removesuffix(torn))

    def _content(self, month: str) -> bytes | None:
        return self._read(_file(month))

    def _read(self, path: str) -> bytes | None:
        try:
            return self._storage.read_file(path)
        except NotFoundError:
            return None

    def _sizes(self) -> dict[str, int]:
        """The months there are, with the bytes of their files, from one listing."""
        found = ((_MONTH_FILE.fullmatch(entry.name), entry) for entry in self._storage.list())
        return {match[1]: entry.size for match, entry in found if match and entry.kind == "file"}


def _file(month: str) -> str:
    return f"{month}.jsonl"


def _is_whole(line: bytes) -> bool:
    """Whether only the LF is missing: a JSON object is complete exactly when its last brace is there."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
