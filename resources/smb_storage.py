"""Files on an SMB 3 share, spoken to directly: no mount, no client cache, signing and encryption on.

What belongs here: paths below one root of a share, the `Storage` methods on them, errors in our words, trying again.
What does not: the requests (`smb_operations`, `smb_entries`), open files (`smb_files`) and connections (`smb_pool`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar

from resources import smb_operations as operations
from resources import smb_packets as packets
from resources.errors import NotMountedError, ResourceError, UnavailableError, UnsafeNameError, described
from resources.names import check_windows
from resources.smb import SmbAddress, SmbServer
from resources.smb_channel import Channel
from resources.smb_entries import check_not_mangled, entry_of, listing, look_at
from resources.smb_errors import (
    ACCESS_DENIED,
    NOT_A_DIRECTORY,
    NOT_FOUND,
    SUCCESS,
    BrokenChannelError,
    OtherSpellingError,
    StatusError,
    translated,
)
from resources.smb_files import SmbReader, SmbWriter, Translate
from resources.smb_pool import Pool
from resources.storage import Entry, Reader, Space, Writer, walk_tree

_T = TypeVar("_T")

_WHOLE = 256 << 10  # files up to this length are read, and written, in the round trip that opens them


class SmbStorage:
    """A directory of an SMB share as a `Storage`.

    A path operation logs in again once when the connection is broken, if repeating it cannot do harm. An open file is
    lost with its connection: `UnavailableError`. Over SMB ``case.TIF`` would silently overwrite ``Case.tif``, so a name
    that exists in another spelling is an `UnsafeNameError` wherever something is created.

    Args:
        address: The root.
        server: Where it is, and as whom to log in.
    """

    def __init__(self, address: SmbAddress, server: SmbServer) -> None:
        self._root, self._host = str(address), server.host
        self._base = address.path.replace("/", "\\")
        self._pool = Pool(server, address.share)
        self._threads = threading.local()

    @property
    def root(self) -> str:
        """``smb://name/share/path``."""
        return self._root

    @property
    def read_back_claim(self) -> str:
        """What reading back proves here."""
        return (
            "read back from the server over SMB, past this machine's memory; the server's own cache may have answered"
        )

    def location(self, path: str) -> str:
        """The full address of `path`."""
        return f"{self._root}/{path}" if path else self._root

    def check_mounted(self) -> None:
        """Raise `NotMountedError` unless the root exists and is a directory that can be listed."""
        try:
            self._run("list", "", lambda channel: operations.exists(channel, self._base))
        except ResourceError as error:
            if _status_behind(error) in {ACCESS_DENIED, NOT_A_DIRECTORY}:
                raise NotMountedError(str(error), path=self._root) from error
            raise

    def list(self, path: str = "") -> list[Entry]:
        """What is directly in the directory, sorted by path.

        A name that Samba mangles (``CON``, a trailing dot) is an `UnsafeNameError`, since its real spelling is not
        known; directly in the root it is listed as it comes, where it can be no study and must not hide the others.
        """
        name = self._name(path)
        prefix = f"{path}/" if path else ""
        found = self._run("list", path, lambda channel: listing(channel, name))
        if path:
            for listed in found:
                check_not_mangled(listed.name, self.location(prefix + listed.name))
        return sorted((entry_of(prefix, listed) for listed in found), key=lambda entry: entry.path)

    def walk(self, path: str = "") -> Iterator[Entry]:
        """Everything below, directories before what is in them, names in order, links not followed."""
        return walk_tree(self, path)

    def stat(self, path: str) -> Entry:
        """The entry at `path`; a link is described, not followed."""
        name = self._name(path)
        return self._run("look at", path, lambda channel: look_at(channel, name, path))

    def open_reader(self, path: str, *, uncached: bool = False) -> Reader:
        """Open for reading; others may go on writing. With `uncached`, the server is asked not to use its cache."""
        name = self._name(path)
        access = packets.READ_DATA | packets.READ_ATTRIBUTES

        def open_on(channel: Channel) -> Reader:
            opened, number = channel.ask(
                packets.create(name, access, packets.OPEN, packets.FILE),
                packets.query_info(packets.OF_FILE, packets.INTERNAL, 8),
            )
            file_id, attributes = packets.parse_created(opened.checked().body)
            index = packets.parse_number(packets.content_of(number.body)) if number.status == SUCCESS else 0
            entry = Entry(path, "file", attributes.size, attributes.mtime_ns, index)
            return SmbReader(channel, file_id, entry, self._translator(path), uncached=uncached)

        return self._run("open", path, open_on, channel_of=self._pool.for_handle)

    def open_writer(self, path: str, *, size: int = 0) -> Writer:
        """Create or empty the file; `StorageFullError` at once if the server has no room for `size` bytes."""
        name = self._name(path)

        def open_on(channel: Channel) -> Writer:
            return SmbWriter(channel, operations.open_for_writing(channel, name, size), self._translator(path))

        return self._run("create", path, open_on, channel_of=self._pool.for_handle)

    def read_file(self, path: str, *, uncached: bool = False) -> bytes:
        """The whole of a file; up to 256 KiB in one round trip."""
        name, buffer = self._name(path), self._buffer()
        length = self._run(
            "read", path, lambda channel: operations.read_whole(channel, name, buffer, unbuffered=uncached)
        )
        if length is not None:
            return bytes(buffer[:length])
        with self.open_reader(path, uncached=uncached) as reader:
            whole = memoryview(bytearray(reader.stat().size))
            return bytes(whole[: reader.readinto(whole, 0)])

    def read_into(self, path: str, buffer: memoryview, *, uncached: bool = False) -> int:
        """The start of a file; up to 256 KiB in one round trip."""
        name, start = self._name(path), buffer[:_WHOLE]
        length = self._run(
            "read", path, lambda channel: operations.read_whole(channel, name, start, unbuffered=uncached)
        )
        if length is not None:
            return length
        with self.open_reader(path, uncached=uncached) as reader:
            return reader.readinto(buffer, 0)

    def _buffer(self) -> memoryview:
        kept: memoryview | None = getattr(self._threads, "buffer", None)
        if kept is None:
            kept = self._threads.buffer = memoryview(bytearray(_WHOLE))
        return kept

    def write_file(self, path: str, data: bytes | memoryview, *, mtime_ns: int | None = None) -> None:
        """Create or overwrite a file; up to 256 KiB in one round trip. Durable only after `flush`."""
        name = self._name(path)
        if len(data) <= _WHOLE:
            self._run("write", path, lambda channel: operations.write_whole(channel, name, data, mtime_ns))
            return
        try:
            with self.open_writer(path, size=len(data)) as writer:
                writer.write(memoryview(data), 0)
        except ResourceError:
            with suppress(ResourceError):  # half a file must not look like a file
                self.remove_file(path)
            raise
        if mtime_ns is not None:
            self.set_mtime(path, mtime_ns)

    def create_exclusive(self, path: str, data: bytes) -> None:
        """Create a file that must not exist yet, durably."""
        name = self._name(path)
        self._run("create", path, lambda channel: operations.create_exclusive(channel, name, data), repeatable=False)
        self._flush_directories({path.rpartition("/")[0]})

    def append(self, path: str, data: bytes) -> None:
        """Add to the end of a file, creating it if needed, in one write, durably; writers wait for one another."""
        name = self._name(path)
        self._run("append to", path, lambda channel: operations.append(channel, name, data), repeatable=False)
        self._flush_directories({path.rpartition("/")[0]})

    def rename(self, source: str, target: str) -> None:
        """Rename a file or directory on the same share, never over anything."""
        old, new = self._name(source), self._name(target)
        self._run("rename", source, lambda channel: operations.rename(channel, old, new), target, repeatable=False)

    def replace(self, source: str, target: str) -> None:
        """Rename a file over whatever file is at `target`, atomically."""
        old, new = self._name(source), self._name(target)
        self._run("rename", source, lambda channel: operations.replace(channel, old, new), target, repeatable=False)

    def make_directory(self, path: str) -> None:
        """Create the directory and its parents, but never the root."""
        name = self._name(path)
        if not path:
            self._run("create", path, lambda channel: operations.exists(channel, name))
            return
        try:
            self._run("create", path, lambda channel: operations.make_directory(channel, name))
        except ResourceError as error:
            parent = path.rpartition("/")[0]
            if not parent or isinstance(error, NotMountedError) or _status_behind(error) not in NOT_FOUND:
                raise
            self.make_directory(parent)
            self.make_directory(path)

    def remove_file(self, path: str) -> None:
        """Remove one file or one symbolic link."""
        name = self._name(path)
        self._run("remove", path, lambda channel: operations.remove_file(channel, name), repeatable=False)

    def remove_directory(self, path: str) -> None:
        """Remove one empty directory."""
        name = self._name(path)
        self._run("remove", path, lambda channel: operations.remove(channel, name, packets.DIRECTORY), repeatable=False)

    def set_mtime(self, path: str, mtime_ns: int) -> None:
        """Set the modification time, to 100 ns."""
        name = self._name(path)
        self._run("set the time of", path, lambda channel: operations.set_mtime(channel, name, mtime_ns))

    def flush(self, paths: tuple[str, ...]) -> None:
        """Bring these files and their names to the server's stable storage, as far as it keeps SMB's promise."""
        if not paths:
            return
        names = [self._name(path) for path in paths]
        what = paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
        self._run("flush", what, lambda channel: operations.flush(channel, names))
        self._flush_directories({path.rpartition("/")[0] for path in paths})

    def _flush_directories(self, paths: set[str]) -> None:
        """Make names durable; servers that know no such thing for directories keep them in a journal."""
        names = sorted(self._name(path) for path in paths)
        try:
            self._run("flush", "", lambda channel: operations.flush(channel, names))
        except ResourceError as error:
            if _status_behind(error) is None:
                raise

    def space(self) -> Space:
        """Capacity and free bytes of the share, as they are available to this account."""
        return self._run("measure the space of", "", lambda channel: operations.space(channel, self._base))

    def is_held_open(self, path: str) -> bool | None:
        """Whether anybody, this program included, has the file open."""
        name = self._name(path)
        return self._run("look at", path, lambda channel: operations.is_held_open(channel, name))

    def check_name(self, path: str) -> None:
        """Raise `UnsafeNameError` if SMB would refuse or mangle `path`, or it already is a mangled name."""
        check_windows(path, self.location(path))
        check_not_mangled(path, self.location(path))

    def close(self) -> None:
        """Log off and disconnect; a later use connects again."""
        self._pool.close()

    def _name(self, path: str) -> str:
        r"""The server's name for `path`: ``base\a\b``."""
        check_windows(path, self.location(path))
        return "\\".join(part for part in (self._base, path.replace("/", "\\")) if part)

    def _run(
        self,
        doing: str,
        path: str,
        action: Callable[[Channel], _T],
        target: str | None = None,
        *,
        repeatable: bool = True,
        channel_of: Callable[[], Channel] | None = None,
    ) -> _T:
        """Do `action` on a channel, once more on a new one if the old one was broken and repeating does no harm."""
        channel_of = channel_of or self._pool.of_thread
        try:
            try:
                return action(channel_of())
            except BrokenChannelError:
                if not repeatable:
                    raise
                return action(channel_of())
        except (BrokenChannelError, StatusError, OtherSpellingError) as error:
            raise self._translated(error, doing, path, target) from error

    def _translator(self, path: str) -> Translate:
        return lambda error, doing: self._translated(error, doing, path, None)

    def _translated(self, error: Exception, doing: str, path: str, target: str | None) -> ResourceError:
        place = self.location(path)
        if target is not None:
            place = f"{place} to {self.location(target)}"
        if isinstance(error, OtherSpellingError):
            return UnsafeNameError(
                f"cannot {doing} {place}: there is {error.spelling!r} already, which the server takes for the same "
                "name; rename one of them",
                path=place,
            )
        if not isinstance(error, StatusError):
            return UnavailableError(
                f"cannot {doing} {place}: the connection to {self._host} broke off ({described(error)}); try again",
                path=place,
            )
        if error.status in NOT_FOUND and self._root_is_missing():
            return NotMountedError(
                f"cannot use {self._root}: the share has no such directory; check the path, and that the volume is "
                "mounted on the server",
                path=self._root,
            )
        return translated(error, doing, place)

    def _root_is_missing(self) -> bool:
        try:
            operations.exists(self._pool.of_thread(), self._base)
        except StatusError as error:
            return error.status in NOT_FOUND
        except (BrokenChannelError, ResourceError):
            return False
        return False


def _status_behind(error: ResourceError) -> int | None:
    """The server's status that became `error`; None if it was something else."""
    return error.__cause__.status if isinstance(error.__cause__, StatusError) else None
