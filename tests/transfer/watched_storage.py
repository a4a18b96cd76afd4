"""A local storage that counts the bytes that pass, and can be made to fail, or to lie, at chosen moments."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from resources.local import LocalStorage

MUTATIONS = (
    "write_file",
    "open_writer",
    "create_exclusive",
    "append",
    "rename",
    "replace",
    "make_directory",
    "remove_file",
    "remove_directory",
    "set_mtime",
    "flush",
)


class WatchedStorage:
    """Everything goes to a `LocalStorage`; `before` is told the method and its path first, and may raise."""

    def __init__(self, root: Path) -> None:
        self.path = root
        self._storage = LocalStorage(root)
        self._lock = threading.Lock()
        self.read: Counter[str] = Counter()
        self.written: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.uncached: set[str] = set()
        self.before: Callable[[str, str], None] = lambda method, path: None
        self.after_read: Callable[[str, memoryview], None] = lambda path, data: None  # what arrives may be spoilt

    def __getattr__(self, name: str):
        method = getattr(self._storage, name)
        if not callable(method):
            return method

        def called(*args, **kwargs):
            self._note(name, str(args[0]) if args else "")
            return method(*args, **kwargs)

        return called

    def _note(self, name: str, path: str) -> None:
        with self._lock:
            self.calls[name] += 1
        self.before(name, path)

    def count(self, counter: Counter[str], path: str, count: int) -> None:
        with self._lock:
            counter[path] += count

    def open_reader(self, path: str, *, uncached: bool = False):
        self._note("open_reader", path)
        if uncached:
            self.uncached.add(path)
        return WatchedFile(self, path, self._storage.open_reader(path, uncached=uncached))

    def open_writer(self, path: str, *, size: int = 0):
        self._note("open_writer", path)
        return WatchedFile(self, path, self._storage.open_writer(path, size=size))

    def read_file(self, path: str, *, uncached: bool = False) -> bytes:
        self._note("read_file", path)
        data = self._storage.read_file(path, uncached=uncached)
        self.count(self.read, path, len(data))
        return data

    def read_into(self, path: str, buffer: memoryview, *, uncached: bool = False) -> int:
        self._note("read_into", path)
        if uncached:
            self.uncached.add(path)
        count = self._storage.read_into(path, buffer, uncached=uncached)
        self.count(self.read, path, count)
        self.after_read(path, buffer[:count])
        return count

    def write_file(self, path: str, data, *, mtime_ns: int | None = None) -> None:
        self._note("write_file", path)
        self._storage.write_file(path, data, mtime_ns=mtime_ns)
        self.count(self.written, path, len(data))


class WatchedFile:
    """An open file of a `WatchedStorage`."""

    def __init__(self, storage: WatchedStorage, path: str, file) -> None:
        self._storage, self._path, self._file = storage, path, file

    def readinto(self, buffer: memoryview, offset: int) -> int:
        count = self._file.readinto(buffer, offset)
        self._storage.count(self._storage.read, self._path, count)
        self._storage.after_read(self._path, buffer[:count])
        return count

    def write(self, data: memoryview, offset: int) -> None:
        self._storage._note("write", self._path)
        self._file.write(data, offset)
        self._storage.count(self._storage.written, self._path, len(data))

    def flush(self) -> None:
        self._storage._note("flush", self._path)
        self._file.flush()

    def stat(self):
        return self._file.stat()

    def close(self) -> None:
        self._file.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
