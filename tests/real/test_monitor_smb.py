"""The instrument's log on a real Samba: locked by its writer, renamed, replaced, the server gone; and its speed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from fusion_assets.config import parse_config
from fusion_assets.monitor import MonitorState, Tailed, open_log, read_new_blocks, take_look
from fusion_assets.monitor.place import LogPlace
from fusion_assets.monitor.state import Position
from resources.smb_pool import Pool
from tests.monitor.synthetic import DEFAULT, KEEP, NAME, NOW, Watched, error, first_lines, info
from tests.real.samba import PASSWORD, SHARE, USERNAME, Place, SambaServer
from tests.real.test_smb import held

pytestmark = pytest.mark.real


@pytest.fixture
def log(share: Place) -> Watched:
    """A log written on the instrument's own disk, and read over SMB."""
    log = Watched(share.disk)
    log.place = LogPlace(share.storage, NAME, share.storage.location(NAME))
    log.state = MonitorState(log.place.address, Position(NAME))
    log.write(*[info(f"moved {number}") for number in range(100)], info("Sample: A, cycle 3"))
    log.look()
    return log


@pytest.fixture
def writer(samba: SambaServer) -> Iterator[Pool]:
    """The program that writes the log."""
    pool = Pool(samba.login(connections=1), SHARE)
    yield pool
    pool.close()


def test_a_log_its_writer_does_not_share_is_read_when_it_is_let_go(log: Watched, share: Place, writer: Pool) -> None:
    log.write(error("stuck"), info("on"))
    with held(writer, share, NAME):
        tailed = log.look(after=60)
        assert "another program holds it open" in tailed.trouble
        assert tailed.warning == ""
        assert "another program holds it open" in log.look(after=900).warning
    tailed = log.look(after=60)
    assert tailed.recovered
    assert first_lines(tailed) == [error("stuck")]


def test_a_log_renamed_over_smb_is_read_to_its_end_and_followed(log: Watched) -> None:
    log.write(error("before"), "  at A()")
    log.place.storage.rename(NAME, "Fusion.1.log")
    log.write(error("after"), info("on"))
    assert log.look_until_quiet() == [error("before"), error("after")]
    assert log.look_until_quiet() == []


def test_a_rotated_log_that_is_still_held_is_waited_for(log: Watched, share: Place, writer: Pool) -> None:
    log.write(error("before"))
    log.place.storage.rename(NAME, "Fusion.1.log")
    log.write(error("after"), info("on"))
    with held(writer, share, "Fusion.1.log"):
        assert "Fusion.1.log" in log.look(after=6).trouble
    assert log.look_until_quiet() == [error("before"), error("after")]


def test_a_log_replaced_by_one_that_is_not_smaller_is_read_from_its_beginning(log: Watched) -> None:
    log.file.unlink()
    log.write(error("new log"), *[info(f"turned {number}") for number in range(200)])
    assert first_lines(log.look()) == [error("new log")]


def test_a_log_is_followed_while_it_is_written(log: Watched) -> None:
    for number in range(20):
        log.write(error(f"stuck {chr(97 + number)}"), "  at A()", info("on"), end="\r\n")
        log.write(info("half a li"), end="")
        log.look(after=1)
        log.write("ne")
    assert log.look_until_quiet() == []
    assert log.reported == [error(f"stuck {chr(97 + number)}") for number in range(20)]


def test_a_server_that_goes_away_and_comes_back_costs_only_time(own_samba: SambaServer) -> None:
    folder = own_samba.directory("logs")
    log = Watched(folder)
    log.write(info("a"))
    config = parse_config(
        {
            "source": {"root": str(folder), "log": f"smb://instrument/{SHARE}/logs/{NAME}"},
            "truenas": {"root": "/nas"},
            "s3": {"bucket": "lab-archive"},
            "smb": {
                "instrument": {
                    "host": "127.0.0.1", "port": own_samba.port, "username": USERNAME, "password_env": "LAB_PASSWORD",
                }
            },
        },
        path=folder.parent.parent / "config.toml",
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_PASSWORD", PASSWORD)
        patch.delenv("DAGSTER_HOME", raising=False)
        with open_log(config) as place:
            found: list[Tailed] = []
            for minute in range(4):
                if minute == 1:
                    own_samba.kill()
                    log.write(error("while it was away"), info("on"))
                if minute == 2:
                    own_samba.start()
                now = NOW + timedelta(minutes=minute)
                take_look(config, place, found.append, now=now, from_start=minute == 0)
    assert [bool(each.trouble) for each in found] == [False, True, False, False]
    assert [first_lines(each) for each in found] == [[], [], [error("while it was away")], []]


def test_a_backlog_over_smb_is_read_in_large_pieces(log: Watched) -> None:
    with log.file.open("ab") as file:
        lines = "".join(info(f"moved {number}") + "\n" for number in range(100_000)).encode()
        for _ in range(10):
            file.write(lines)
    log.write(error("stuck"), info("on"))
    tailed = read_new_blocks(log.place, log.state, DEFAULT, now=NOW, keep=KEEP, budget=1 << 30)
    assert tailed.bytes_read > 40_000_000
    assert first_lines(tailed) == [error("stuck")]
