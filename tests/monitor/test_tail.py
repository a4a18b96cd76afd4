"""Looks at a log that grows on a real disk: nothing is missed, nothing is told twice, nothing is told half."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_assets.config import ConfigError, parse_config
from fusion_assets.monitor import tail
from fusion_assets.monitor.blocks import Context
from fusion_assets.monitor.patterns import compile_patterns
from fusion_assets.monitor.place import LogPlace, open_log, split_address
from fusion_assets.monitor.state import MonitorState, Position, load_state
from fusion_assets.monitor.tail import read_new_blocks, take_look
from resources.errors import HeldOpenError
from resources.local import LocalStorage
from tests.monitor.synthetic import DEFAULT, KEEP, NAME, NOW, Watched, error, first_lines, info, read_slowly
from tests.monitor.test_blocks import LOGS


@pytest.fixture
def log(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_an_error_is_reported_when_its_end_is_seen_and_never_again(log: Watched) -> None:
    log.write(info("a"), error("stuck"), "  at A()")
    assert first_lines(log.look()) == []
    log.write("  at B()", info("b"))
    (group,) = log.look().groups
    assert group.block.lines == (error("stuck"), "  at A()", "  at B()")
    assert log.look_until_quiet() == []


def test_an_error_at_the_end_is_reported_once_the_log_has_been_quiet(log: Watched) -> None:
    log.write(error("stuck"), "  at A()")
    assert log.look().waits
    assert first_lines(log.look(after=2)) == []
    assert first_lines(log.look(after=4)) == [error("stuck")]
    log.write("  at B()", info("b"))
    assert log.look_until_quiet() == []


def test_a_log_that_grows_is_not_quiet(log: Watched) -> None:
    log.write(error("stuck"))
    for _ in range(5):
        assert first_lines(log.look(after=4)) == []
        log.write("  at A()")
    log.look(after=4)
    (group,) = log.look(after=6).groups
    assert len(group.block.lines) == 6


def test_half_a_line_is_not_read_before_it_is_whole(log: Watched) -> None:
    log.write(info("a"), error("stu"), end="")
    assert log.look().waits
    log.look(after=30)
    log.write("ck", info("b"))
    assert first_lines(log.look(after=1)) == [info("a") + error("stuck")]


def test_a_last_line_without_an_end_is_reported_after_a_minute_of_silence(log: Watched) -> None:
    log.write(info("a"))
    log.write(error("the program died here"), end="")
    log.look()
    assert first_lines(log.look(after=50)) == []
    assert first_lines(log.look(after=11)) == [error("the program died here")]
    log.write("", info("restarted"), error("next"), info("c"))
    assert first_lines(log.look()) == [error("next")]


def test_zeros_that_a_power_cut_left_are_no_line_and_do_not_hide_what_follows(log: Watched) -> None:
    log.write(info("a"))
    log.write("\0" * 5000, end="")
    log.look()
    assert not log.look(after=100).waits
    log.write("", error("after the restart"), info("b"))
    assert first_lines(log.look()) == [error("after the restart")]


def test_a_line_longer_than_a_piece_does_not_stop_the_monitor(log: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "PIECE_BYTES", 4096)
    log.write(info("x" * 50_000), error("stuck"), info("b"))
    assert log.look_until_quiet() == [error("stuck")]


def test_the_sample_and_cycle_survive_a_restart(log: Watched) -> None:
    log.write(info("Sample: A"), info("cycle 3"))
    log.look()
    log.write(error("stuck"), info("b"))
    (group,) = log.look().groups
    assert group.block.context == Context("A", "3")


def test_a_look_that_was_not_saved_is_taken_again_with_the_same_keys(log: Watched) -> None:
    log.write(error("stuck"), info("a"))
    lost = log.look(save=False)
    log.write(error("other"), info("b"))
    again = log.look()
    assert [group.key for group in again.groups][:1] == [group.key for group in lost.groups]
    assert len(again.groups) == 2


def test_an_error_that_comes_again_is_not_new_within_its_days_but_counted(log: Watched) -> None:
    log.write(error("stuck"), info("a"))
    assert len(log.look().groups) == 1
    log.write(*[error("stuck", f"2026-01-05 13:00:{second:02}") for second in range(60)], info("b"))
    tailed = log.look()
    assert tailed.groups == ()
    assert [group.count for group in tailed.known] == [60]
    log.now += KEEP
    log.write(error("stuck"), info("c"))
    assert len(log.look().groups) == 1


def test_a_storm_of_100_000_errors_is_one_group(log: Watched) -> None:
    log.write(*[error("stuck", f"2026-01-05 11:{n // 60 % 60:02}:{n % 60:02},{n % 1000:03}") for n in range(100_000)])
    log.write(info("over"))
    tailed = log.look()
    ((group,), more) = tailed.groups, tailed.more
    assert group.count == 100_000
    assert not more
    assert len(log.state.sent) == 1


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [("utf-8", b""), ("utf-8", b"\xef\xbb\xbf"), ("utf-16-le", b""), ("utf-16-le", b"\xff\xfe"), ("cp1252", b"")],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_common_encoding_and_line_end_is_read(log: Watched, encoding: str, mark: bytes, end: str) -> None:
    log.file.write_bytes(mark)
    log.look()
    for number in range(3):
        log.write(info("Sample: Müller"), error(f"µ-stage {number} stück"), "  at A()", encoding=encoding, end=end)
        log.write(info("later"), encoding=encoding, end=end)
        log.look(budget=1)
    log.look_until_quiet()
    assert log.reported == [error(f"µ-stage {number} stück") for number in range(3)]
    assert log.state.position is not None
    if end != "\r":
        assert log.state.position.offset == log.file.stat().st_size
    assert log.state.position.context == Context("Müller")


def test_the_encoding_is_found_out_once_and_kept(log: Watched) -> None:
    log.write(info("Müller"), encoding="utf-16-le")
    log.look()
    assert log.state.position is not None
    assert log.state.position.codec == "utf-16-le"


def test_an_encoding_that_was_configured_is_used(tmp_path: Path) -> None:
    log = Watched(tmp_path, compile_patterns({"encoding": "gb18030"}))
    log.write(error("平台卡住"), info("b"), encoding="gb18030")
    assert first_lines(log.look()) == [error("平台卡住")]


@settings(max_examples=60, deadline=None)
@given(LOGS, st.sampled_from(["utf-8", "utf-16-le"]), st.data())
def test_wherever_the_monitor_is_stopped_and_started_each_error_is_told_once(
    text: str, encoding: str, data: st.DataObject
) -> None:
    """Looks at random moments of the writing, some of them lost before they were saved, with tiny pieces."""
    raw = text.encode(encoding)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6), label="cuts"))
    lost = data.draw(st.lists(st.booleans(), min_size=len(cuts), max_size=len(cuts)), label="lost")
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tail, "PIECE_BYTES", 4096)
        log = Watched(Path(folder))
        log.file.write_bytes(b"")
        found: list[tuple[tuple[str, ...], Context]] = []
        patch.setattr(tail, "Gathering", _recording(tail.Gathering, found))
        at = 0
        for end, is_lost in zip([*cuts, len(raw)], [*lost, False], strict=True):
            with log.file.open("ab") as file:
                file.write(raw[at:end])
            at = end
            before = len(found)
            log.look(budget=data.draw(st.sampled_from([1, 10_000]), label="budget"), save=not is_lost)
            if is_lost:
                del found[before:]
        log.look_until_quiet()
        assert found == read_slowly(text)


def _recording(gathering, found):  # a subclass, so that every block is seen, also those that are known
    class Recording(gathering):
        def add(self, block):
            found.append((block.lines, block.context))
            super().add(block)

    return Recording


def test_a_first_look_begins_at_the_end_but_knows_the_sample(tmp_path: Path) -> None:
    log = Watched(tmp_path)
    log.state = MonitorState()
    log.write(info("Sample: A, cycle 2"), *[error(f"old {number}") for number in range(50)])
    log.write(error("half"), end="")
    assert log.look().groups == ()
    log.write(" a line", info("a"), error("new"), info("b"))
    (half, new) = log.look().groups
    assert half.block.lines == (error("half") + " a line",)
    assert new.block.context == Context("A", "2")


def test_a_first_look_at_a_large_log_reads_only_its_end(tmp_path: Path) -> None:
    log = Watched(tmp_path)
    log.state = MonitorState()
    with log.file.open("wb") as file:
        file.truncate(50 << 30)  # a sparse file: to read 50 GiB of it would take minutes
    log.write("", info("Sample: A"))
    log.look()
    log.write(error("new"), info("b"))
    assert first_lines(log.look()) == [error("new")]


def test_a_log_that_comes_after_the_first_look_is_read_from_its_beginning(tmp_path: Path) -> None:
    log = Watched(tmp_path)
    log.state = MonitorState()
    (tmp_path / "other.txt").write_text("so that the folder is not an empty mount point")
    assert "there is no" in log.look().trouble or "nothing at that path" in log.look().trouble
    log.write(error("first"), info("b"))
    assert first_lines(log.look()) == [error("first")]


def test_an_empty_mount_point_is_not_a_log_that_does_not_exist_yet(tmp_path: Path) -> None:
    log = Watched(tmp_path)
    log.state = MonitorState()
    assert log.look().trouble
    log.write(error("years old"), info("b"))  # the share is mounted now
    assert first_lines(log.look()) == []


def test_a_log_that_cannot_be_read_is_told_once_after_a_quarter_of_an_hour(log: Watched) -> None:
    log.write(info("a"))
    log.look()
    log.file.unlink()
    assert [bool(log.look(after=300).warning) for _ in range(6)] == [False, False, False, True, False, False]
    assert "there is no" in log.look().trouble
    log.write(info("a"))
    assert log.look().trouble == ""


def test_a_log_that_its_writer_holds_is_read_when_it_lets_go(log: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    log.write(info("a"))
    log.look()
    log.write(error("stuck"), info("b"))
    with monkeypatch.context() as patch:
        patch.setattr(log.place.storage, "open_reader", _held)
        assert "holds it open" in log.look().trouble
    assert first_lines(log.look()) == [error("stuck")]
    assert log.state.trouble is None


def _held(path: str, *, uncached: bool = False):
    raise HeldOpenError(f"cannot open {path}: another program holds it open")


def test_a_backlog_is_read_in_bounded_looks(log: Watched) -> None:
    log.write(*[info(f"moved {number}") for number in range(50_000)], error("stuck"), info("b"))
    looks = [log.look(budget=1_100_000)]
    while looks[-1].more:
        looks.append(log.look(budget=1_100_000))
    assert len(looks) > 1
    assert all(look.bytes_read <= 1_100_000 + tail.PIECE_BYTES for look in looks)
    assert log.reported == [error("stuck")]


def test_another_log_in_the_configuration_is_a_first_look(log: Watched, tmp_path: Path) -> None:
    log.write(error("stuck"), info("a"))
    log.look()
    (tmp_path / "Other.log").write_text(error("old") + "\n" + info("a") + "\n")
    other = LogPlace(log.place.storage, "Other.log", "Other.log")
    tailed = read_new_blocks(other, log.state, DEFAULT, now=log.now, keep=KEEP)
    assert tailed.groups == ()
    assert set(tailed.state.sent) == set(log.state.sent)


def lab(folder: Path, **monitor: object):
    data = {
        "source": {"root": str(folder), "log": str(folder / NAME)},
        "truenas": {"root": "/nas"},
        "s3": {"bucket": "lab"},
        "monitor": monitor,
    }
    return parse_config(data, path=folder / "config.toml")


def test_the_state_is_saved_only_after_the_errors_were_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    config = lab(tmp_path)
    (tmp_path / NAME).write_text(error("stuck") + "\n" + info("a") + "\n")

    def fails(tailed: tail.Tailed) -> None:
        raise OSError("the disk is full")

    with open_log(config) as place:
        with pytest.raises(OSError, match="full"):
            take_look(config, place, fails, now=NOW, from_start=True)
        assert load_state(tmp_path / ".fusion") == MonitorState()
        seen: list[int] = []
        take_look(config, place, lambda tailed: seen.append(len(tailed.groups)), now=NOW, from_start=True)
        take_look(config, place, lambda tailed: seen.append(len(tailed.groups)), now=NOW + timedelta(seconds=1))
    assert seen == [1, 0]


def test_a_config_without_a_log_says_what_to_write(tmp_path: Path) -> None:
    config = parse_config({"source": {"root": "/s"}, "truenas": {"root": "/n"}, "s3": {"bucket": "lab"}})
    with pytest.raises(ConfigError, match=r"source\.log is missing"), open_log(config):
        pass


@pytest.mark.parametrize(
    ("address", "directory", "name"),
    [
        ("/var/log/Fusion.log", "/var/log", "Fusion.log"),
        ("/Fusion.log", "/", "Fusion.log"),
        ("Fusion.log", ".", "Fusion.log"),
        ("smb://host/share/Fusion.log", "smb://host/share", "Fusion.log"),
        ("smb://host/share/a/b/Fusion.log", "smb://host/share/a/b", "Fusion.log"),
        ("\\\\host\\share\\a\\Fusion.log", "\\\\host\\share\\a", "Fusion.log"),
    ],
)
def test_an_address_is_a_directory_and_a_name(address: str, directory: str, name: str) -> None:
    assert split_address(address) == (directory, name)


@pytest.mark.parametrize("address", ["/var/log/", "smb://host/share", "smb://host/share/"])
def test_an_address_without_a_file_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="names no file"):
        split_address(address)


def test_the_position_is_always_at_the_end_of_a_line(log: Watched) -> None:
    for number in range(20):
        log.write(info("a"), error(f"stuck {number}"), "  at A()", end="\r\n")
        log.write("hal", end="")
        log.look(after=1)
        assert log.state.position is not None
        assert log.file.read_bytes()[: log.state.position.offset].endswith((b"\r\n", b""))
        log.write("f", end="\r\n")


def test_a_clock_that_jumps_back_delays_the_last_error_and_loses_nothing(log: Watched) -> None:
    log.write(error("stuck"))
    log.look()
    assert log.look(after=-3600).groups == ()
    assert first_lines(log.look(after=6)) == [error("stuck")]


def test_an_error_that_was_reported_by_a_clock_a_year_ahead_is_news_again_after_its_days_and_not_after_a_year(
    log: Watched,
) -> None:
    year, keep = 365 * 86400, KEEP.total_seconds()
    log.write(error("stuck") + "\n" + info("b") + "\n")
    assert first_lines(log.look(after=year)) == [error("stuck")]
    log.write(error("stuck") + "\n" + info("c") + "\n")
    assert log.look(after=-year).groups == (), "it was reported just now"
    log.write(error("stuck") + "\n" + info("d") + "\n")
    assert first_lines(log.look(after=keep + 1)) == [error("stuck")]


def test_reading_goes_through_the_storage(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(error("stuck") + "\n" + info("b") + "\n")
    place = LogPlace(LocalStorage(str(tmp_path)), NAME, NAME)
    tailed = read_new_blocks(place, MonitorState(NAME, Position(NAME)), DEFAULT, now=NOW, keep=KEEP)
    assert first_lines(tailed) == [error("stuck")]
