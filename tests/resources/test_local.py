"""What only a local directory has: links, page caches, permissions, mounts, and the systems it may run on."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from resources import local, local_files, local_system
from resources.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    HeldOpenError,
    NotFoundError,
    NotMountedError,
    ResourceError,
    StorageFullError,
    UnavailableError,
    UnsafeNameError,
)
from resources.local import LocalStorage
from resources.os_errors import translated
from resources.storage import Storage
from tests.real.requirements import require

NOBODY = 65534


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    (tmp_path / "disk").mkdir()
    return LocalStorage(tmp_path / "disk")


@pytest.fixture
def disk(storage: LocalStorage) -> Path:
    return Path(storage.root)


@pytest.fixture
def tiny_volume(tmp_path: Path) -> Iterator[Path]:
    """A volume of 1 MiB that also has no O_DIRECT of its own device: a tmpfs."""
    require(available=os.geteuid() == 0, what="root, to mount a small tmpfs")
    volume = tmp_path / "tiny"
    volume.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "fusion-test", volume], check=True)
    yield volume
    subprocess.run(["umount", volume], check=True)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may do everything; the operating system's "no" is only heard by others."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def cached_pages(path: Path) -> int:
    """How many pages of the file this machine's memory holds."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        pages = (ctypes.c_ubyte * -(-len(mapped) // mmap.PAGESIZE))()
        start = ctypes.c_char.from_buffer(mapped)
        assert ctypes.CDLL(None).mincore(ctypes.byref(start), ctypes.c_size_t(len(mapped)), pages) == 0
        del start
    return sum(page & 1 for page in pages)


def test_links_are_named_and_never_followed(storage: LocalStorage, disk: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"original")
    (disk / "to_file").symlink_to(outside / "precious")
    (disk / "to_directory").symlink_to(outside)
    (disk / "dangling").symlink_to("nowhere")
    assert [(e.path, e.kind, e.size) for e in storage.walk()] == [
        ("dangling", "symlink", 0),
        ("to_directory", "symlink", 0),
        ("to_file", "symlink", 0),
    ]
    assert storage.stat("to_file").kind == "symlink"
    for attempt in (
        storage.open_reader,
        storage.open_writer,
        storage.read_file,
        lambda path: storage.read_file(path, uncached=True),
        lambda path: storage.write_file(path, b"overwritten"),
        lambda path: storage.append(path, b"more"),
    ):
        with pytest.raises(UnsafeNameError, match="link"):
            attempt("to_file")
    with pytest.raises(ResourceError):
        storage.list("to_directory")
    for name in ("to_file", "to_directory", "dangling"):
        storage.remove_file(name)
    assert list(disk.iterdir()) == []
    assert (outside / "precious").read_bytes() == b"original"


def test_a_time_is_set_on_the_link_and_not_on_what_it_points_to(storage: LocalStorage, disk: Path) -> None:
    (disk / "f").write_bytes(b"1")
    (disk / "link").symlink_to("f")
    before = storage.stat("f").mtime_ns
    storage.set_mtime("link", 1_000_000_000)
    assert storage.stat("f").mtime_ns == before
    assert storage.stat("link").mtime_ns == 1_000_000_000


def test_a_root_that_is_itself_a_link_works(disk: Path, tmp_path: Path) -> None:
    (disk / "f").write_bytes(b"1")
    (tmp_path / "shortcut").symlink_to(disk)
    linked = LocalStorage(tmp_path / "shortcut")
    linked.check_mounted()
    assert [e.path for e in linked.list()] == ["f"]
    assert linked.stat("").kind == "directory"


def test_a_relative_root_that_is_not_there_says_where_it_was_looked_for(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(disk)
    with pytest.raises(NotMountedError, match=f"cannot use nas/store: there is no such directory in {disk};"):
        LocalStorage("nas/store").check_mounted()
    with pytest.raises(NotMountedError, match="there is no such directory;"):
        LocalStorage(disk / "nas").check_mounted()


def test_a_root_that_is_a_file_or_unreadable_is_not_a_mounted_root(disk: Path) -> None:
    (disk / "f").write_bytes(b"1")
    with pytest.raises(NotMountedError, match="not a directory"):
        LocalStorage(disk / "f").check_mounted()
    storage = LocalStorage(disk)
    with as_nobody():
        if os.geteuid() != NOBODY:
            disk.chmod(0)
        with pytest.raises(NotMountedError, match="rights"):
            storage.check_mounted()


def test_permission_denied_is_said_and_is_not_a_missing_file(storage: LocalStorage, disk: Path) -> None:
    (disk / "f").write_bytes(b"1")
    disk.chmod(0o755 if os.geteuid() == 0 else 0)
    for attempt in (
        lambda: storage.read_file("f"),
        lambda: storage.list("gone"),
        lambda: storage.write_file("new", b""),
        lambda: storage.make_directory("d"),
        lambda: storage.rename("f", "g"),
        lambda: storage.remove_file("f"),
        lambda: storage.append("f", b"x"),
    ):
        with as_nobody(), pytest.raises(AccessDeniedError, match="permission denied"):
            attempt()
    disk.chmod(0o755)
    assert (disk / "f").read_bytes() == b"1"


def test_what_was_written_is_not_answered_from_memory(storage: LocalStorage, disk: Path) -> None:
    size = 4 << 20
    buffer = memoryview(mmap.mmap(-1, size))
    with storage.open_writer("big", size=size + 3) as writer:
        writer.write(buffer, 0)
        writer.write(memoryview(b"end"), size)
        writer.flush()
    assert cached_pages(disk / "big") == 0
    with storage.open_reader("big", uncached=True) as reader:
        assert reader.readinto(buffer, 0) == size
        assert cached_pages(disk / "big") == 0
    storage.write_file("small", b"x" * 20_000)
    storage.flush(("small",))
    assert storage.read_file("small", uncached=True) == b"x" * 20_000
    assert storage.read_back_claim == "read back past the page cache (O_DIRECT)"


def test_copying_a_big_file_does_not_flood_the_page_cache(storage: LocalStorage, disk: Path) -> None:
    (disk / "big").write_bytes(bytes(16 << 20))
    assert cached_pages(disk / "big") > 4000  # so that the test can fail
    storage.flush(("big",))
    with storage.open_reader("big") as reader:
        buffer = memoryview(bytearray(2 << 20))
        for offset in range(0, 16 << 20, 2 << 20):
            reader.readinto(buffer, offset)
    assert cached_pages(disk / "big") * 4096 < 4 << 20


def test_a_full_disk_is_known_before_the_first_byte_and_leaves_nothing(tiny_volume: Path) -> None:
    storage = LocalStorage(tiny_volume)
    with pytest.raises(StorageFullError, match=r"big\.partial"):
        storage.open_writer("big.partial", size=2 << 20)
    assert storage.list() == []


def test_a_disk_that_fills_up_while_writing_is_said_so(tiny_volume: Path) -> None:
    storage = LocalStorage(tiny_volume)
    with storage.open_writer("f") as writer, pytest.raises(StorageFullError, match="free some space"):
        writer.write(memoryview(bytes(2 << 20)), 0)
    storage.remove_file("f")
    with pytest.raises(StorageFullError):
        storage.write_file("f", bytes(2 << 20))
    assert storage.list() == []
    storage.append("f", b"x")
    with pytest.raises(StorageFullError):
        storage.append("f", bytes(2 << 20))
    storage.remove_file("f")
    (tiny_volume / "filler").write_bytes(bytes(1 << 20))
    with pytest.raises(StorageFullError):
        storage.create_exclusive("lock", b"who")
    assert [e.path for e in storage.list()] == ["filler"]


def test_a_volume_in_memory_is_read_back_but_nothing_more_is_claimed(tiny_volume: Path) -> None:
    storage = LocalStorage(tiny_volume)
    data = os.urandom(300_001)
    with storage.open_writer("f", size=len(data)) as writer:
        writer.write(memoryview(data), 0)
        writer.flush()
    assert storage.read_file("f", uncached=True) == data
    with storage.open_reader("f", uncached=True) as reader:
        buffer = memoryview(mmap.mmap(-1, 4096 * 80))
        assert bytes(buffer[: reader.readinto(buffer, 0)]) == data
    assert "memory" in storage.read_back_claim


def test_the_claim_follows_what_is_mounted_now(storage: LocalStorage, disk: Path) -> None:
    require(available=os.geteuid() == 0, what="root, to mount a small tmpfs")
    before = storage.read_back_claim
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "fusion-test", disk], check=True)
    try:
        assert "memory" in storage.read_back_claim
    finally:
        subprocess.run(["umount", disk], check=True)
    assert storage.read_back_claim == before


@pytest.mark.parametrize("filesystem", ["cifs", "nfs4", "fuse.sshfs", "remote"])
def test_a_mounted_share_admits_that_the_server_may_answer_from_memory(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, filesystem: str
) -> None:
    monkeypatch.setattr(local_system, "filesystem_type", lambda path: filesystem)
    assert "the server's may have answered" in storage.read_back_claim
    for i in range(20):
        storage.write_file(f"{i}", b"1")
    storage.flush(tuple(f"{i}" for i in range(20)))


def test_a_mounted_smb_share_refuses_the_names_smb_mangles(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.check_name("Scan1: a?.tif")
    monkeypatch.setattr(local_system, "filesystem_type", lambda path: "cifs")
    with pytest.raises(UnsafeNameError):
        LocalStorage(storage.root).check_name("Scan1: a?.tif")


def test_a_name_that_is_not_text_is_listed_and_refused(storage: LocalStorage, disk: Path) -> None:
    (disk / os.fsdecode(b"broken\xff.tif")).write_bytes(b"1")
    [entry] = storage.list()
    assert storage.read_file(entry.path) == b"1"
    with pytest.raises(UnsafeNameError, match="UTF-8"):
        storage.check_name(entry.path)


def test_nobody_can_say_who_has_a_file_open_on_posix(storage: LocalStorage, disk: Path) -> None:
    with (disk / "f").open("wb"):
        assert storage.is_held_open("f") is None


def test_without_positional_calls_parts_still_land_in_their_places(
    storage: LocalStorage, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Windows way: one lock, a seek, a transfer; and no O_DIRECT, no cache advice, no preallocation."""
    monkeypatch.setattr(local_files, "_POSITIONAL", False)
    monkeypatch.setattr(local_files, "_DIRECT", 0)
    monkeypatch.setattr(local_files, "_drop_cache", None)
    monkeypatch.setattr(local_system, "_libc", lambda: None)
    data = os.urandom(1_000_000)
    with storage.open_writer("f", size=len(data)) as writer:
        for offset in reversed(range(0, len(data), 33_333)):
            writer.write(memoryview(data)[offset : offset + 33_333], offset)
        writer.flush()
    assert (disk / "f").read_bytes() == data
    buffer = memoryview(bytearray(len(data)))
    with storage.open_reader("f", uncached=True) as reader:
        assert reader.readinto(buffer[:500], 999_500) == 500
        assert reader.readinto(buffer, 0) == len(data)
    assert bytes(buffer) == data
    assert storage.read_file("f", uncached=True) == data


def test_without_renameat2_a_rename_still_refuses_to_overwrite(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_system, "_libc", lambda: None)
    storage.write_file("a", b"a")
    storage.write_file("b", b"b")
    with pytest.raises(AlreadyExistsError):
        storage.rename("a", "b")
    storage.rename("a", "c")
    assert {e.path: storage.read_file(e.path) for e in storage.list()} == {"b": b"b", "c": b"a"}


def test_many_files_are_flushed_one_by_one_where_there_is_no_syncfs(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_system, "_libc", lambda: None)
    flushed = []
    monkeypatch.setattr(local_system, "sync", lambda full: flushed.append(Path(full).name))
    storage.make_directory("d")
    paths = tuple(f"d/{i:02d}" for i in range(20))
    for path in paths:
        storage.write_file(path, b"1")
    storage.flush(paths)
    assert flushed == [f"{i:02d}" for i in range(20)] + ["d"]


MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:25 / /mnt/my\\040nas rw,relatime shared:5 - cifs //nas/fusion rw,vers=3.1.1
31 30 0:26 / /mnt/my\\040nas/deep rw - tmpfs none rw
32 22 0:27 / /mnt/my rw master:1 - nfs4 nas:/x rw
33 22 0:28 / /over rw - tmpfs none rw
34 33 0:29 / /over rw - fuse.sshfs h: rw
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "ext4"),
        ("/home/x", "ext4"),
        ("/mnt/my nas", "cifs"),
        ("/mnt/my nas/a", "cifs"),
        ("/mnt/my nas/deep/a", "tmpfs"),
        ("/mnt/my", "nfs4"),
        ("/mnt/mysterious", "ext4"),
        ("/over/x", "fuse.sshfs"),
    ],
)
def test_the_mount_table_says_what_a_path_lies_on(path: str, expected: str) -> None:
    assert local_system.type_from_mount_table(MOUNTS, path) == expected


@pytest.mark.parametrize(
    ("given", "literal"),
    [
        ("D:\\studies", "\\\\?\\D:\\studies"),
        ("\\\\nas\\fusion\\x", "\\\\?\\UNC\\nas\\fusion\\x"),
        ("\\\\?\\D:\\studies", "\\\\?\\D:\\studies"),
    ],
)
def test_windows_paths_are_given_in_the_form_that_may_be_long(
    given: str, literal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_WINDOWS", True)
    assert local._long_path(given) == literal


def test_a_study_with_the_read_only_attribute_is_removed_on_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows refuses what bears the attribute, as these stand-ins for its calls do."""

    def refusing(remove: Callable[[str], None]) -> Callable[[str], None]:
        def call(full: str) -> None:
            if not Path(full).stat().st_mode & stat.S_IWUSR:
                raise PermissionError(errno.EACCES, "Access is denied", full)
            remove(full)

        return call

    study = tmp_path / "study"
    study.mkdir()
    (study / "scan.qptiff").write_bytes(b"pixels")
    (study / "scan.qptiff").chmod(0o400)
    study.chmod(0o500)
    storage = LocalStorage(tmp_path)
    monkeypatch.setattr(local.os, "unlink", refusing(os.unlink))
    monkeypatch.setattr(local.os, "rmdir", refusing(os.rmdir))
    with pytest.raises(AccessDeniedError):
        storage.remove_directory("study")
    monkeypatch.setattr(local, "_WINDOWS", True)
    study.chmod(0o700)
    storage.remove_file("study/scan.qptiff")
    study.chmod(0o500)
    storage.remove_directory("study")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("code", "winerror", "expected"),
    [
        (errno.ENOENT, None, NotFoundError),
        (errno.EEXIST, None, AlreadyExistsError),
        (errno.EACCES, None, AccessDeniedError),
        (errno.EPERM, None, AccessDeniedError),
        (errno.EROFS, None, AccessDeniedError),
        (errno.ENOSPC, None, StorageFullError),
        (errno.EDQUOT, None, StorageFullError),
        (errno.EIO, None, UnavailableError),
        (errno.ESTALE, None, UnavailableError),
        (errno.EHOSTDOWN, None, UnavailableError),
        (errno.ENOTCONN, None, UnavailableError),
        (errno.ETIMEDOUT, None, UnavailableError),
        (errno.ENAMETOOLONG, None, UnsafeNameError),
        (errno.EILSEQ, None, UnsafeNameError),
        (errno.EBUSY, None, HeldOpenError),
        (errno.EACCES, 32, HeldOpenError),
        (errno.EACCES, 33, HeldOpenError),
        (errno.EACCES, 5, AccessDeniedError),
        (errno.EINVAL, 123, UnsafeNameError),
        (errno.EINVAL, 64, UnavailableError),
    ],
)
def test_every_error_of_the_system_has_a_meaning(
    code: int, winerror: int | None, expected: type[ResourceError]
) -> None:
    error = OSError(code, os.strerror(code))
    if winerror is not None:
        error.winerror = winerror  # type: ignore[attr-defined]  # what Windows sets
    ours = translated(error, "read", "/mnt/nas/x")
    assert type(ours) is expected
    assert str(ours).startswith("cannot read /mnt/nas/x: ")
    assert ours.path == "/mnt/nas/x"


def test_an_error_without_a_meaning_keeps_the_systems_words() -> None:
    ours = translated(OSError(errno.EDOM, "Numerical argument out of domain"), "read", "/x")
    assert type(ours) is ResourceError
    assert "Numerical argument" in str(ours)


def test_a_local_storage_is_a_storage(storage: LocalStorage) -> None:
    checked: Storage = storage
    checked.close()
    storage.write_file("f", b"after closing, a local directory is still there")
