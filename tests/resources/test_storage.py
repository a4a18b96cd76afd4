"""What every storage promises, asked of each implementation in the same words."""

from __future__ import annotations

import mmap
import os
import threading
import unicodedata
from concurrent.futures import ThreadPoolExecutor

import pytest

from resources.errors import (
    AlreadyExistsError,
    NotFoundError,
    NotMountedError,
    ResourceError,
    UnsafeNameError,
)
from resources.storage import Entry, Storage, replace_file
from tests.real.samba import Place

BIG = os.urandom(1 << 20) * 9 + b"the tail is no whole block"  # longer than any single request


def aligned(data: bytes) -> memoryview:
    buffer = memoryview(mmap.mmap(-1, -(-len(data) // 4096) * 4096))
    buffer[: len(data)] = data
    return buffer[: len(data)]


def read_back(storage: Storage, path: str, *, uncached: bool, step: int = 1 << 20) -> bytes:
    pieces, buffer = [], memoryview(mmap.mmap(-1, step))
    with storage.open_reader(path, uncached=uncached) as reader:
        offset = 0
        while count := reader.readinto(buffer, offset):
            pieces.append(bytes(buffer[:count]))
            offset += count
    return b"".join(pieces)


def test_a_listing_names_sizes_times_and_kinds_without_following_links(place: Place) -> None:
    (place.disk / "s" / "Scan1").mkdir(parents=True)
    (place.disk / "s" / "b.qptiff").write_bytes(b"12345")
    (place.disk / "s" / "a.xpd").write_bytes(b"")
    os.utime(place.disk / "s" / "b.qptiff", ns=(5, 1_700_000_000_123_456_700))
    found = place.storage.list("s")
    assert [(e.path, e.kind, e.size) for e in found] == [
        ("s/Scan1", "directory", 0),
        ("s/a.xpd", "file", 0),
        ("s/b.qptiff", "file", 5),
    ]
    assert found[2].mtime_ns == 1_700_000_000_123_456_700
    assert found[2].name == "b.qptiff"
    assert place.storage.stat("s/b.qptiff") == found[2]
    assert [e.path for e in place.storage.list()] == ["s"]


def test_a_missing_directory_is_an_error_and_not_an_empty_listing(place: Place) -> None:
    with pytest.raises(NotFoundError, match="gone"):
        place.storage.list("gone")
    with pytest.raises(NotFoundError):
        list(place.storage.walk("gone"))
    with pytest.raises(NotFoundError, match="gone"):
        place.storage.stat("gone/a")


def test_a_file_cannot_be_listed_as_a_directory(place: Place) -> None:
    place.storage.write_file("a", b"1")
    with pytest.raises(ResourceError, match="a"):
        place.storage.list("a")


def test_a_thousand_names_of_every_script_are_all_listed(place: Place) -> None:
    names = sorted([f"{i:04d}_{'x' * 60}.tif" for i in range(1000)] + ["café.tif", "研究.tif", "a b+c&d%#;=!~'[].tif"])
    for name in names:
        (place.disk / name).write_bytes(b"1")
    assert [e.path for e in place.storage.list()] == sorted(names)


def test_both_unicode_forms_of_a_name_stay_two_files(place: Place) -> None:
    for form in ("NFC", "NFD"):
        place.storage.write_file(unicodedata.normalize(form, "café"), form.encode())
    assert place.storage.read_file(unicodedata.normalize("NFC", "café")) == b"NFC"
    assert place.storage.read_file(unicodedata.normalize("NFD", "café")) == b"NFD"


def test_walking_gives_directories_before_their_contents_in_order(place: Place) -> None:
    for path in ("b/x/1", "b/x/2", "b/a", "c", "a/z"):
        (place.disk / path).parent.mkdir(parents=True, exist_ok=True)
        (place.disk / path).write_bytes(b"1")
    assert [e.path for e in place.storage.walk()] == ["a", "a/z", "b", "b/a", "b/x", "b/x/1", "b/x/2", "c"]
    assert [e.path for e in place.storage.walk("b/x")] == ["b/x/1", "b/x/2"]


@pytest.mark.parametrize("uncached", [False, True])
def test_a_big_file_comes_back_byte_for_byte(place: Place, *, uncached: bool) -> None:
    data, step = aligned(BIG), 4 << 20
    with place.storage.open_writer("big", size=len(data)) as writer:
        for offset in range(0, len(data), step):
            writer.write(data[offset : offset + step], offset)
        writer.flush()
    assert (place.disk / "big").read_bytes() == BIG
    assert read_back(place.storage, "big", uncached=uncached) == BIG
    assert place.storage.read_file("big", uncached=uncached) == BIG


def test_parts_written_out_of_order_from_several_threads_make_one_whole_file(place: Place) -> None:
    data = aligned(BIG)
    with place.storage.open_writer("big", size=len(data)) as writer, ThreadPoolExecutor(4) as pool:
        # Odd steps: no part but the first is aligned to a block.
        steps = range(0, len(data), 777_777)
        list(pool.map(lambda at: writer.write(data[at : at + 777_777], at), reversed(steps)))
        writer.flush()
    assert (place.disk / "big").read_bytes() == BIG


def test_several_threads_read_one_open_file_at_different_places(place: Place) -> None:
    (place.disk / "big").write_bytes(BIG)
    with place.storage.open_reader("big", uncached=True) as reader, ThreadPoolExecutor(4) as pool:

        def part(offset: int) -> bytes:
            buffer = memoryview(bytearray(100_001))
            return bytes(buffer[: reader.readinto(buffer, offset)])

        assert b"".join(pool.map(part, range(0, len(BIG), 100_001))) == BIG


@pytest.mark.parametrize("uncached", [False, True])
@pytest.mark.parametrize("length", [0, 1, 4095, 4096, 4097, 65536, 200_000])
def test_a_small_file_of_any_length_comes_back_whole(place: Place, length: int, *, uncached: bool) -> None:
    data = os.urandom(length)
    place.storage.write_file("small", data, mtime_ns=1_600_000_000_000_000_100)
    place.storage.flush(("small",))
    assert place.storage.read_file("small", uncached=uncached) == data
    assert read_back(place.storage, "small", uncached=uncached) == data
    entry = place.storage.stat("small")
    assert (entry.size, entry.mtime_ns) == (length, 1_600_000_000_000_000_100)


@pytest.mark.parametrize("uncached", [False, True])
@pytest.mark.parametrize("length", [0, 1, 4096, 10_000, 262_144, 300_000])
@pytest.mark.parametrize("room", [0, 1, 4096, 8192, 266_240, 400_000])
def test_a_buffer_gets_the_start_of_a_file_and_tells_when_that_is_all(
    place: Place, length: int, room: int, *, uncached: bool
) -> None:
    data = os.urandom(length)
    place.storage.write_file("small", data)
    for buffer in (memoryview(mmap.mmap(-1, room + 4096))[:room], memoryview(bytearray(room + 1))[1:]):
        count = place.storage.read_into("small", buffer, uncached=uncached)
        assert count == min(length, room)
        assert bytes(buffer[:count]) == data[:count]


def test_reading_into_a_buffer_names_what_is_not_there(place: Place) -> None:
    with pytest.raises(NotFoundError, match="missing"):
        place.storage.read_into("missing", memoryview(bytearray(10)))


def test_writing_again_leaves_nothing_of_a_longer_file(place: Place) -> None:
    place.storage.write_file("f", b"a long first version")
    place.storage.write_file("f", memoryview(b"short"))
    assert (place.disk / "f").read_bytes() == b"short"
    with place.storage.open_writer("f") as writer:
        writer.write(memoryview(b"x"), 0)
    assert (place.disk / "f").read_bytes() == b"x"


def test_a_file_ends_where_its_last_byte_was_written_whatever_size_was_announced(place: Place) -> None:
    with place.storage.open_writer("f", size=10_000_000) as writer:
        writer.write(aligned(b"x" * 8192), 0)
        writer.write(memoryview(b"yz"), 8192)
    assert (place.disk / "f").stat().st_size == 8194
    assert (place.disk / "f").stat().st_blocks * 512 < 100_000
    with place.storage.open_writer("empty", size=5):
        pass
    assert (place.disk / "empty").read_bytes() == b""


def test_a_reader_sees_that_the_file_grew(place: Place) -> None:
    (place.disk / "f").write_bytes(b"12345")
    with place.storage.open_reader("f") as reader:
        before = reader.stat()
        with (place.disk / "f").open("ab") as file:
            file.write(b"678")
        after = reader.stat()
    assert before == Entry("f", "file", 5, before.mtime_ns, before.file_id)
    assert (after.path, after.size) == ("f", 8)
    assert after.mtime_ns >= before.mtime_ns


def test_reading_past_the_end_gives_nothing(place: Place) -> None:
    place.storage.write_file("f", b"12345")
    for uncached in (False, True):
        with place.storage.open_reader("f", uncached=uncached) as reader:
            assert reader.readinto(memoryview(bytearray(10)), 5) == 0
            assert reader.readinto(memoryview(mmap.mmap(-1, 4096)), 8192) == 0
            assert reader.readinto(memoryview(bytearray(10)), 3) == 2


def test_closing_twice_is_fine(place: Place) -> None:
    writer = place.storage.open_writer("f")
    writer.close()
    writer.close()
    reader = place.storage.open_reader("f")
    reader.close()
    reader.close()


def test_opening_what_is_not_there_says_so(place: Place) -> None:
    for attempt in (place.storage.open_reader, place.storage.read_file, place.storage.remove_file):
        with pytest.raises(NotFoundError, match=r"gone\.tif"):
            attempt("gone.tif")
    for path in ("gone/a", "gone/b/a"):
        with pytest.raises(NotFoundError, match="gone"):
            place.storage.write_file(path, b"")
        with pytest.raises(NotFoundError, match="gone"):
            place.storage.open_writer(path)
    with pytest.raises(NotFoundError):
        place.storage.set_mtime("gone", 0)
    with pytest.raises(NotFoundError):
        place.storage.remove_directory("gone")
    with pytest.raises(NotFoundError):
        place.storage.is_held_open("gone")
    with pytest.raises(NotFoundError):
        place.storage.flush(("gone",))


def test_only_one_of_many_takes_the_lock(place: Place) -> None:
    outcomes = []
    barrier = threading.Barrier(4)

    def take(number: int) -> None:
        barrier.wait()
        try:
            place.storage.create_exclusive("lock", f"{number}".encode())
            outcomes.append(number)
        except AlreadyExistsError:
            pass

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(take, range(4)))
    assert len(outcomes) == 1
    assert (place.disk / "lock").read_bytes() == f"{outcomes[0]}".encode()


def test_two_writers_append_whole_lines(place: Place) -> None:
    def append(number: int) -> None:
        for i in range(20):
            place.storage.append("ledger", f"{number}:{i:03d}:{'x' * 100}\n".encode())

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(append, range(2)))
    lines = (place.disk / "ledger").read_text().splitlines()
    assert sorted(lines) == sorted(f"{n}:{i:03d}:{'x' * 100}" for n in range(2) for i in range(20))


def test_renaming_never_overwrites(place: Place) -> None:
    place.storage.make_directory("d")
    place.storage.write_file("a", b"a")
    place.storage.write_file("b", b"b")
    place.storage.write_file("d/x", b"x")
    for target in ("b", "d"):
        with pytest.raises(AlreadyExistsError, match=target):
            place.storage.rename("a", target)
    assert (place.disk / "b").read_bytes() == b"b"
    place.storage.rename("a", "c")
    place.storage.rename("d", "e")
    assert place.storage.read_file("c") == b"a"
    assert place.storage.read_file("e/x") == b"x"
    assert [e.path for e in place.storage.walk()] == ["b", "c", "e", "e/x"]
    with pytest.raises(NotFoundError):
        place.storage.rename("a", "f")


def test_a_directory_is_never_renamed_into_an_empty_one(place: Place) -> None:
    place.storage.make_directory("a")
    place.storage.make_directory("b")
    with pytest.raises(AlreadyExistsError):
        place.storage.rename("a", "b")


def test_replacing_swaps_the_content_and_removes_the_old_name(place: Place) -> None:
    place.storage.write_file("new", b"new")
    place.storage.write_file("old", b"old version")
    place.storage.replace("new", "old")
    place.storage.write_file("other", b"other")
    place.storage.replace("other", "fresh")
    assert {e.path: place.storage.read_file(e.path) for e in place.storage.list()} == {
        "old": b"new",
        "fresh": b"other",
    }


def test_replacing_a_file_through_its_partial_leaves_no_partial(place: Place) -> None:
    replace_file(place.storage, "sidecar", b"1")
    replace_file(place.storage, "sidecar", b"2")
    assert [(e.path, place.storage.read_file(e.path)) for e in place.storage.list()] == [("sidecar", b"2")]


def test_directories_are_made_with_their_parents_and_an_old_one_is_fine(place: Place) -> None:
    place.storage.make_directory("a/b/c")
    place.storage.make_directory("a/b/c")
    place.storage.make_directory("a/b")
    place.storage.make_directory("")
    assert (place.disk / "a" / "b" / "c").is_dir()


def test_a_file_in_the_place_of_a_directory_is_not_mistaken_for_one(place: Place) -> None:
    place.storage.write_file("a", b"1")
    with pytest.raises(AlreadyExistsError, match="a"):
        place.storage.make_directory("a")
    with pytest.raises(ResourceError):
        place.storage.make_directory("a/b")
    assert (place.disk / "a").read_bytes() == b"1"


def test_making_the_same_directory_from_many_threads_works(place: Place) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(place.storage.make_directory, ["a/b/c/d"] * 8))
    assert (place.disk / "a/b/c/d").is_dir()


def test_only_an_empty_directory_is_removed(place: Place) -> None:
    place.storage.make_directory("d")
    place.storage.write_file("d/f", b"1")
    with pytest.raises(ResourceError, match="empty"):
        place.storage.remove_directory("d")
    assert (place.disk / "d" / "f").exists()
    place.storage.remove_file("d/f")
    place.storage.remove_directory("d")
    assert list(place.disk.iterdir()) == []


def test_removing_a_file_does_not_remove_a_directory_nor_the_other_way_round(place: Place) -> None:
    place.storage.make_directory("d")
    place.storage.write_file("f", b"1")
    with pytest.raises(ResourceError, match="directory"):
        place.storage.remove_file("d")
    with pytest.raises(ResourceError, match="directory"):
        place.storage.remove_directory("f")
    assert sorted(p.name for p in place.disk.iterdir()) == ["d", "f"]


def test_the_time_of_a_file_and_of_a_directory_can_be_set(place: Place) -> None:
    place.storage.write_file("f", b"1")
    place.storage.make_directory("d")
    for path in ("f", "d"):
        place.storage.set_mtime(path, 1_234_567_890_123_456_700)
        assert place.storage.stat(path).mtime_ns == 1_234_567_890_123_456_700


@pytest.mark.parametrize("count", [0, 1, 5, 40])
def test_flushing_few_or_many_files_works_and_changes_nothing(place: Place, count: int) -> None:
    place.storage.make_directory("d")
    paths = tuple(f"d/{i}" for i in range(count))
    for path in paths:
        place.storage.write_file(path, path.encode())
    place.storage.flush(paths)
    assert [place.storage.read_file(path) for path in paths] == [path.encode() for path in paths]


def test_free_space_is_what_the_volume_has(place: Place) -> None:
    space = place.storage.space()
    volume = os.statvfs(place.disk)
    assert space.total == volume.f_blocks * volume.f_frsize
    assert abs(space.free - volume.f_bavail * volume.f_frsize) < 2 << 30  # others write meanwhile
    assert 0 < space.free < space.total


def test_a_rename_keeps_the_identity_of_the_file(place: Place) -> None:
    place.storage.write_file("a", b"1")
    before = place.storage.stat("a").file_id
    place.storage.rename("a", "b")
    assert place.storage.stat("b").file_id == before != 0
    assert place.storage.list()[0].file_id == before


def test_the_root_is_there_or_the_error_names_it(place: Place) -> None:
    place.storage.check_mounted()
    place.disk.rename(place.disk.with_name("elsewhere"))
    with pytest.raises(NotMountedError) as caught:
        place.storage.check_mounted()
    assert place.storage.root in str(caught.value)


def test_a_root_that_disappeared_is_not_mistaken_for_missing_files_nor_made_anew(place: Place) -> None:
    place.disk.rename(place.disk.with_name("elsewhere"))
    for attempt in (
        place.storage.list,
        lambda: place.storage.list("study"),
        lambda: place.storage.stat("study/f"),
        lambda: place.storage.read_file("study/f"),
        lambda: place.storage.make_directory("study/Scan1"),
        lambda: place.storage.make_directory(""),
        lambda: place.storage.write_file("f", b""),
        lambda: place.storage.open_writer("f"),
        lambda: place.storage.rename("a", "b"),
        lambda: place.storage.remove_file("f"),
    ):
        with pytest.raises(NotMountedError):
            attempt()
    assert not place.disk.exists()


def test_the_location_is_what_a_person_would_type(place: Place) -> None:
    assert place.storage.location("") == place.storage.root
    assert place.storage.location("s/Scan1/a b.xpd") == place.storage.root + "/s/Scan1/a b.xpd"
    with pytest.raises(NotFoundError) as caught:
        place.storage.stat("s/Scan1")
    assert caught.value.path == place.storage.location("s/Scan1")


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "a//b", "a/", "./a", "a/./b", "..", "a\0b"])
def test_no_path_leads_out_of_the_root(place: Place, path: str) -> None:
    for attempt in (
        place.storage.check_name,
        place.storage.stat,
        place.storage.list,
        place.storage.read_file,
        place.storage.make_directory,
        place.storage.remove_file,
        lambda p: place.storage.write_file(p, b""),
        lambda p: place.storage.rename("a", p),
    ):
        with pytest.raises(UnsafeNameError):
            attempt(path)


def test_names_of_the_longest_length_work_and_longer_ones_are_refused(place: Place) -> None:
    longest = "n" * 255
    place.storage.check_name(longest)
    place.storage.write_file(longest, b"1")
    assert place.storage.read_file(longest) == b"1"
    assert [e.path for e in place.storage.list()] == [longest]
    for attempt in (place.storage.check_name, lambda p: place.storage.write_file(p, b"1")):
        with pytest.raises(UnsafeNameError):
            attempt(longest + "n")


def test_a_path_far_beyond_260_characters_works(place: Place) -> None:
    directory = "/".join([f"{i}_" + "d" * 100 for i in range(6)])
    place.storage.make_directory(directory)
    place.storage.write_file(f"{directory}/f", b"deep")
    place.storage.rename(f"{directory}/f", f"{directory}/g")
    assert place.storage.read_file(f"{directory}/g") == b"deep"
    assert len(list(place.storage.walk())) == 7


def test_the_claim_about_reading_back_is_a_clause(place: Place) -> None:
    assert place.storage.read_back_claim.startswith("read back ")
