"""What only SMB has, against a real Samba: names it mangles, cases it ignores, logins, sharing, wires that break."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from resources import smb_channel
from resources import smb_packets as packets
from resources.errors import (
    AccessDeniedError,
    HeldOpenError,
    NotFoundError,
    NotMountedError,
    ResourceError,
    StorageFullError,
    UnavailableError,
    UnsafeNameError,
)
from resources.open_storage import open_storage
from resources.smb import SmbServer
from resources.smb_errors import CANNOT_DELETE
from resources.smb_pool import Pool
from resources.smb_storage import SmbStorage
from resources.storage import Storage, replace_file
from tests.real.requirements import require
from tests.real.samba import PASSWORD, SHARE, USERNAME, Place, SambaServer, mark_read_only, running, share_of
from tests.real.wire import Wire

pytestmark = pytest.mark.real


def opened(server: SmbServer, address: str = f"smb://nas/{SHARE}") -> Storage:
    return open_storage(address, {"nas": server})


@pytest.fixture
def other_client(samba: SambaServer) -> Iterator[Pool]:
    """Another program on the share, to hold files open in ways a storage never does."""
    pool = Pool(samba.login(connections=1), SHARE)
    yield pool
    pool.close()


@contextmanager
def held(client: Pool, place: Place, path: str, *, sharing: int = packets.SHARE_NONE) -> Iterator[None]:
    """The file, open in another program that shares it with nobody (or as `sharing` says)."""
    channel = client.of_thread()
    name = f"{place.disk.name}\\{path}"
    [ticket] = channel.ask(packets.create(name, packets.READ_DATA, packets.OPEN, packets.FILE, share=sharing))
    file_id, _ = packets.parse_created(ticket.checked().body)
    try:
        yield
    finally:
        channel.ask(packets.close(file_id))


# Names


@pytest.mark.parametrize("name", ["CON", "aux.tif", "trail.", "space ", "col:on", 'quo"te', "a<b", "tab\tbed", "a\\b"])
def test_a_name_samba_would_mangle_is_refused_before_anything_is_written(share: Place, name: str) -> None:
    for attempt in (
        share.storage.check_name,
        share.storage.make_directory,
        share.storage.open_writer,
        lambda path: share.storage.write_file(path, b"1"),
        lambda path: share.storage.create_exclusive(path, b"1"),
        lambda path: share.storage.append(path, b"1"),
    ):
        with pytest.raises(UnsafeNameError):
            attempt(f"d/{name}")
    assert list(share.disk.iterdir()) == []


@pytest.mark.parametrize("name", ["CON", "aux.tif", "trail.", "space ", "col:on"])
def test_a_mangled_name_in_a_study_is_an_error_and_not_a_strange_file(share: Place, name: str) -> None:
    share.storage.make_directory("study")
    (share.disk / "study" / name).write_bytes(b"1")
    with pytest.raises(UnsafeNameError, match="rename it on the server"):
        share.storage.list("study")


def test_a_mangled_name_beside_the_studies_does_not_hide_them(share: Place) -> None:
    (share.disk / "study").mkdir()
    (share.disk / "oops.").mkdir()
    names = [entry.path for entry in share.storage.list()]
    assert "study" in names
    assert len(names) == 2
    [mangled] = set(names) - {"study"}
    with pytest.raises(UnsafeNameError):
        share.storage.check_name(mangled)


def test_case_tif_never_overwrites_case_TIF(share: Place) -> None:  # noqa: N802 - the case is the point
    share.storage.write_file("Case.tif", b"precious")
    share.storage.make_directory("Scan1")
    share.storage.write_file("new.partial", b"new")
    for attempt in (
        lambda: share.storage.write_file("case.TIF", b"lost"),
        lambda: share.storage.open_writer("case.TIF"),
        lambda: share.storage.make_directory("scan1"),
        lambda: share.storage.replace("new.partial", "case.TIF"),
    ):
        with pytest.raises(UnsafeNameError, match=r"Case\.tif|Scan1"):
            attempt()
    with pytest.raises(ResourceError):
        share.storage.rename("new.partial", "case.TIF")
    assert {p.name for p in share.disk.iterdir()} == {"Case.tif", "Scan1", "new.partial"}
    assert (share.disk / "Case.tif").read_bytes() == b"precious"
    share.storage.write_file("Case.tif", b"a new version under its own name is fine")


def test_two_names_that_differ_in_case_only_are_both_listed_and_read(share: Place) -> None:
    share.storage.write_file("a.tif", b"lower")
    (share.disk / "A.tif").write_bytes(b"UPPER")
    assert [entry.path for entry in share.storage.list()] == ["A.tif", "a.tif"]
    assert share.storage.read_file("a.tif") == b"lower"
    assert share.storage.read_file("A.tif") == b"UPPER"
    share.storage.write_file("a.tif", b"still lower")
    assert (share.disk / "A.tif").read_bytes() == b"UPPER"


def test_a_listing_longer_than_one_answer_is_whole(share: Place) -> None:
    names = {f"{i:05d}_{'x' * 60}.tif" for i in range(9_000)}  # 230 bytes each: two answers of 1 MiB
    for name in names:
        (share.disk / name).touch()
    found = share.storage.list()
    assert {entry.path for entry in found} == names
    assert found == sorted(found, key=lambda entry: entry.path)


# Files that others use


def test_a_file_held_open_elsewhere_is_told_from_an_idle_one(share: Place, other_client: Pool) -> None:
    share.storage.write_file("f.qptiff", b"1")
    assert share.storage.is_held_open("f.qptiff") is False
    with held(other_client, share, "f.qptiff"):
        assert share.storage.is_held_open("f.qptiff") is True
        for attempt in (
            lambda: share.storage.read_file("f.qptiff"),
            lambda: share.storage.open_reader("f.qptiff"),
            lambda: share.storage.rename("f.qptiff", "g.qptiff"),
            lambda: share.storage.remove_file("f.qptiff"),
            lambda: share.storage.write_file("f.qptiff", b"2"),
        ):
            with pytest.raises(HeldOpenError, match="another program"):
                attempt()
    with held(other_client, share, "f.qptiff", sharing=packets.SHARE_ALL):
        assert share.storage.is_held_open("f.qptiff") is True
        assert share.storage.read_file("f.qptiff") == b"1"
    assert share.storage.is_held_open("f.qptiff") is False


def test_reading_never_keeps_the_instrument_from_writing(share: Place, samba: SambaServer) -> None:
    share.storage.write_file("f", b"12345")
    instrument = opened(samba.login(), share.storage.root)
    with share.storage.open_reader("f") as reader:
        instrument.write_file("f", b"written meanwhile")
        assert reader.stat().size == 17
        instrument.rename("f", "g")
    instrument.close()


def test_a_sidecar_is_replaced_while_somebody_reads_it(share: Place, other_client: Pool) -> None:
    replace_file(share.storage, "sidecar", b"old")
    with (
        share.storage.open_reader("sidecar") as reader,
        held(other_client, share, "sidecar", sharing=packets.SHARE_READ),
    ):
        replace_file(share.storage, "sidecar", b"new")
        buffer = memoryview(bytearray(3))
        assert reader.readinto(buffer, 0) == 3
    assert bytes(buffer) == b"old"
    assert share.storage.read_file("sidecar") == b"new"


def test_two_hosts_append_to_one_ledger_without_losing_a_line(share: Place, samba: SambaServer) -> None:
    hosts = [opened(samba.login(connections=1), share.storage.root) for _ in range(2)]

    def append(number: int) -> None:
        for i in range(25):
            hosts[number].append("2026-11.jsonl", f"{number}:{i:02d}\n".encode())

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(append, range(2)))
    lines = (share.disk / "2026-11.jsonl").read_text().splitlines()
    assert sorted(lines) == [f"{n}:{i:02d}" for n in range(2) for i in range(25)]
    for host in hosts:
        host.close()


# Rights and logins


def test_what_the_account_may_not_do_is_denied_and_not_missing(share: Place) -> None:
    (share.disk / "secret").write_bytes(b"root only")
    (share.disk / "secret").chmod(0o600)
    (share.disk / "closed").mkdir(mode=0o700)
    for attempt in (
        lambda: share.storage.read_file("secret"),
        lambda: share.storage.write_file("secret", b""),
        lambda: share.storage.list("closed"),
        lambda: share.storage.write_file("closed/f", b""),
        lambda: share.storage.make_directory("closed/d"),
        lambda: share.storage.set_mtime("secret", 0),
    ):
        with pytest.raises(AccessDeniedError, match="permission denied"):
            attempt()
    assert (share.disk / "secret").read_bytes() == b"root only"


def test_a_read_only_share_is_read_and_not_written(share: Place, samba: SambaServer) -> None:
    share.storage.write_file("f", b"1")
    storage = opened(samba.login(), f"smb://nas/readonly/{share.disk.name}")
    assert storage.read_file("f") == b"1"
    for attempt in (
        lambda: storage.write_file("g", b""),
        lambda: storage.open_writer("f"),
        lambda: storage.remove_file("f"),
        lambda: storage.rename("f", "g"),
        lambda: storage.make_directory("d"),
    ):
        with pytest.raises(AccessDeniedError):
            attempt()
    storage.close()
    assert [p.name for p in share.disk.iterdir()] == ["f"]


@pytest.mark.parametrize("what", ["file", "directory"])
def test_what_bears_the_read_only_attribute_is_removed(share: Place, other_client: Pool, what: str) -> None:
    if what == "file":
        share.storage.write_file("old", b"pixels")
    else:
        share.storage.make_directory("old")
    name, channel = f"{share.disk.name}\\old", other_client.of_thread()
    mark_read_only(channel, name)
    _, refused, _ = channel.ask(
        packets.create(name, packets.DELETE, packets.OPEN, 0), packets.remove(), packets.close()
    )
    assert refused.status == CANNOT_DELETE
    (share.storage.remove_file if what == "file" else share.storage.remove_directory)("old")
    assert not list(share.disk.iterdir())


@pytest.mark.parametrize("change", [{"password": "wrong"}, {"password": ""}, {"username": "nobody-here"}])
def test_a_refused_login_says_so_without_the_password(samba: SambaServer, change: dict[str, str]) -> None:
    server = dataclasses.replace(samba.login(), **change)
    storage = opened(server)
    for attempt in (storage.check_mounted, storage.list, lambda: storage.read_file("f")):
        with pytest.raises(AccessDeniedError, match=r"password_env|account") as caught:
            attempt()
        assert "wrong" not in str(caught.value)


def test_the_password_is_nowhere_to_be_seen(samba: SambaServer) -> None:
    server = samba.login()
    storage = opened(server)
    storage.list()
    for text in (repr(server), str(server), repr(storage), repr(vars(storage)), storage.location("x")):
        assert PASSWORD not in text
        assert USERNAME in repr(server)
    storage.close()


def test_a_share_the_account_may_not_enter_is_denied(samba: SambaServer) -> None:
    storage = opened(samba.login(), "smb://nas/forbidden")
    with pytest.raises(AccessDeniedError):
        storage.check_mounted()


def test_a_missing_share_or_directory_is_not_an_empty_one(samba: SambaServer, share: Place) -> None:
    (share.disk / "file").write_bytes(b"1")
    for address in ("smb://nas/no-such-share/x", f"smb://nas/{SHARE}/no-such-directory", f"{share.storage.root}/file"):
        storage = opened(samba.login(), address)
        with pytest.raises(NotMountedError) as caught:
            storage.check_mounted()
        assert "no-such" in str(caught.value) or "file" in str(caught.value)
        with pytest.raises(ResourceError):
            storage.list()
        storage.close()


def test_a_server_that_is_not_there_is_unavailable(samba: SambaServer) -> None:
    for server in (
        dataclasses.replace(samba.login(), port=1),
        dataclasses.replace(samba.login(), host="no-such-host.invalid"),
    ):
        with pytest.raises(UnavailableError, match=server.host):
            opened(server).list()


def test_a_server_before_smb_3_is_refused_in_words() -> None:
    with contextmanager(running)("off", "SMB2_10") as server, pytest.raises(ResourceError, match="SMB 3"):
        opened(server.login(encrypt=False)).list()


@pytest.mark.parametrize("answer", [b"", b"\0\0\0\2ab", b"\0\0\0\x40" + b"x" * 64])
def test_what_is_no_smb_server_is_unavailable_and_prints_nothing(
    answer: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1"):
            opened(SmbServer("127.0.0.1", listener.getsockname()[1], "u", "p")).list()
    assert capfd.readouterr() == ("", "")


# The wire


def test_nothing_travels_readable_when_encryption_is_on(samba: SambaServer, share: Place) -> None:
    marker = b"patient data that must not be overheard " * 2500  # 100 kB: the streamed way of encrypting, too
    with Wire(samba.port) as wire:
        storage = opened(dataclasses.replace(samba.login(), port=wire.port), share.storage.root)
        storage.write_file("study_name.tif", marker)
        assert storage.read_file("study_name.tif") == marker
        assert [entry.path for entry in storage.list()] == ["study_name.tif"]
        assert len(wire.seen) > 2 * len(marker)
        assert b"overheard" not in wire.seen
        assert "study_name".encode("utf-16-le") not in wire.seen
        storage.close()
        unencrypted = opened(dataclasses.replace(samba.login(encrypt=False), port=wire.port), share.storage.root)
        assert unencrypted.read_file("study_name.tif") == marker
        assert b"overheard" in wire.seen  # so that the test above can fail
        unencrypted.close()


@pytest.mark.parametrize("encrypt", [True, False])
def test_an_answer_altered_on_the_way_is_never_taken_for_data(
    samba: SambaServer, share: Place, *, encrypt: bool
) -> None:
    data = os.urandom(200_000)
    share.storage.write_file("f", data)
    with Wire(samba.port) as wire:
        storage = opened(dataclasses.replace(samba.login(encrypt=encrypt), port=wire.port), share.storage.root)
        assert storage.read_file("f") == data

        def flip(piece: bytes) -> bytes:
            return piece[:20_000] + bytes([piece[20_000] ^ 1]) + piece[20_001:] if len(piece) > 20_001 else piece

        wire.alter = flip
        with pytest.raises(UnavailableError, match=r"altered|signature"):
            storage.read_file("f")
        wire.alter = bytes
        assert storage.read_file("f") == data
        storage.close()


def test_a_server_that_cannot_encrypt_is_refused_until_the_configuration_allows_it(
    samba_without_encryption: SambaServer,
) -> None:
    with pytest.raises(AccessDeniedError, match="encrypt = false"):
        opened(samba_without_encryption.login()).list()
    with contextmanager(share_of)(samba_without_encryption, encrypt=False) as place:
        data = os.urandom(9 << 20)
        with place.storage.open_writer("f", size=len(data)) as writer:
            writer.write(memoryview(data), 0)
            writer.flush()
        assert place.storage.read_file("f") == data
        place.storage.write_file("small", b"signed")
        assert place.storage.read_file("small") == b"signed"


@pytest.mark.parametrize("encrypt", [True, False])
def test_an_old_nas_that_speaks_smb_3_0_is_served_as_well(old_samba: SambaServer, *, encrypt: bool) -> None:
    """AES-CCM to encrypt and AES-CMAC to sign, where SMB 3.1.1 has GCM and GMAC."""
    with contextmanager(share_of)(old_samba, encrypt=encrypt) as place:
        for length in (0, 1, 20_000, 200_000, 5_000_000):
            data = os.urandom(length)
            place.storage.write_file("f", data)
            assert place.storage.read_file("f", uncached=True) == data
            assert (place.disk / "f").read_bytes() == data


def test_a_connection_that_broke_while_idle_is_made_again(samba: SambaServer, share: Place) -> None:
    share.storage.write_file("f", b"1")
    with Wire(samba.port) as wire:
        storage = opened(dataclasses.replace(samba.login(connections=1), port=wire.port), share.storage.root)
        for attempt in (
            lambda: storage.read_file("f"),
            lambda: storage.list(),  # noqa: PLW0108 - beside its like
            lambda: storage.write_file("g", b"2"),
            lambda: storage.open_reader("f").close(),
            lambda: storage.flush(("f",)),
            lambda: storage.space(),  # noqa: PLW0108
        ):
            attempt()
            wire.cut()
            attempt()
        assert wire.connections == 7
        storage.close()


def test_what_must_not_be_done_twice_is_not_repeated_blindly(samba: SambaServer, share: Place) -> None:
    with Wire(samba.port) as wire:
        storage = opened(dataclasses.replace(samba.login(connections=1), port=wire.port), share.storage.root)
        storage.list()
        wire.cut()
        with pytest.raises(UnavailableError, match="try again"):
            storage.append("ledger", b"line\n")
        storage.append("ledger", b"line\n")
        storage.close()
    assert (share.disk / "ledger").read_bytes() == b"line\n"


def test_a_change_after_a_long_pause_is_made_on_a_connection_that_was_tried_first(
    samba: SambaServer, share: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smb_channel, "_TRUSTED_SECONDS", 0)
    with Wire(samba.port) as wire:
        storage = opened(dataclasses.replace(samba.login(connections=1), port=wire.port), share.storage.root)
        storage.append("ledger", b"1\n")
        wire.cut()
        storage.append("ledger", b"2\n")
        storage.close()
    assert (share.disk / "ledger").read_bytes() == b"1\n2\n"


def test_a_server_killed_in_the_middle_is_unavailable_and_works_again_when_it_is_back(own_samba: SambaServer) -> None:
    with contextmanager(share_of)(own_samba) as place:
        storage = place.storage
        storage.write_file("old", b"kept")
        piece = memoryview(os.urandom(1 << 20))
        writer = storage.open_writer("big", size=64 << 20)
        reader = storage.open_reader("old")
        threading.Timer(0.1, own_samba.kill).start()

        def write_on() -> None:
            for number in range(1_000_000):
                writer.write(piece, number % 64 << 20)

        with pytest.raises(UnavailableError, match="broke off"):
            write_on()
        with pytest.raises(UnavailableError):
            reader.readinto(memoryview(bytearray(4)), 0)
        writer.close()
        reader.close()
        for attempt in (storage.list, storage.check_mounted, lambda: storage.read_file("old")):
            with pytest.raises(UnavailableError, match=r"127\.0\.0\.1"):
                attempt()
        own_samba.start()
        assert storage.read_file("old") == b"kept"
        storage.write_file("new", b"written after the restart")
        assert (place.disk / "new").read_bytes() == b"written after the restart"


def test_threads_share_the_few_connections_that_are_allowed(samba: SambaServer, share: Place) -> None:
    with Wire(samba.port) as wire:
        storage = opened(dataclasses.replace(samba.login(connections=2), port=wire.port), share.storage.root)
        contents = {f"{i}": os.urandom(1 + i * 997) for i in range(24)}
        big = os.urandom(3_000_000)

        def both_ways(name: str) -> bool:
            storage.write_file(name, contents[name])
            with storage.open_writer(f"{name}.big") as writer:
                writer.write(memoryview(big), 0)
            return storage.read_file(name) == contents[name] and storage.read_file(f"{name}.big") == big

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(both_ways, contents))
        assert wire.connections == 2
        storage.close()


def test_closing_logs_off_and_a_later_use_logs_in_again(samba: SambaServer, share: Place) -> None:
    with Wire(samba.port) as wire:
        storage = opened(dataclasses.replace(samba.login(connections=1), port=wire.port), share.storage.root)
        storage.list()
        storage.close()
        storage.close()
        storage.list()
        storage.close()
        assert wire.connections == 2


def test_a_server_that_answers_slowly_is_waited_for(samba: SambaServer, share: Place) -> None:
    with Wire(samba.port) as wire:
        storage = opened(dataclasses.replace(samba.login(), port=wire.port), share.storage.root)
        storage.list()

        def slowly(piece: bytes) -> bytes:
            time.sleep(0.05)
            return piece

        wire.alter = slowly
        storage.write_file("f", b"1")
        assert storage.read_file("f") == b"1"
        storage.close()


# Space


@pytest.fixture
def tiny(samba: SambaServer) -> Iterator[Path]:
    """The share ``tiny``, on a volume of 2 MiB."""
    require(available=os.geteuid() == 0, what="root, to mount a small tmpfs")
    volume = samba.base / "tiny"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=777", "fusion-test", volume], check=True)
    yield volume
    subprocess.run(["umount", "--lazy", volume], check=True)


def test_a_full_nas_is_known_before_the_first_byte_where_the_server_says_so(samba: SambaServer, tiny: Path) -> None:
    storage = opened(samba.login(), "smb://nas/tiny")
    assert storage.space().total == 2 << 20
    with pytest.raises(StorageFullError, match="free some space"):
        storage.open_writer("big.partial", size=8 << 20)
    assert list(tiny.iterdir()) == []
    storage.close()


def test_a_nas_that_fills_up_while_writing_is_said_so_and_keeps_no_half_files(samba: SambaServer, tiny: Path) -> None:
    storage = opened(samba.login(), "smb://nas/tiny")
    with pytest.raises(StorageFullError), storage.open_writer("f") as writer:
        writer.write(memoryview(bytes(8 << 20)), 0)
    storage.remove_file("f")
    with pytest.raises(StorageFullError):
        storage.write_file("f", bytes(4 << 20))
    assert list(tiny.iterdir()) == []
    (tiny / "filler").write_bytes(bytes((2 << 20) - 8192))
    for attempt in (
        lambda: storage.write_file("g", bytes(100_000)),
        lambda: storage.create_exclusive("g", bytes(100_000)),
    ):
        with pytest.raises(StorageFullError):
            attempt()
        assert [p.name for p in tiny.iterdir()] == ["filler"]
    storage.close()


def test_the_root_may_be_the_share_itself(samba: SambaServer, share: Place) -> None:
    storage = opened(samba.login())
    assert isinstance(storage, SmbStorage)
    storage.check_mounted()
    assert storage.stat("").kind == "directory"
    storage.write_file(f"{share.disk.name}/f", b"1")
    assert share.storage.read_file("f") == b"1"
    with pytest.raises(NotFoundError):
        storage.stat("no-such-study")
    storage.close()
