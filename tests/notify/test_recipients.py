"""Who hears of what, from files that lab members edit with whatever they have."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.config import parse_config
from fusion_assets.notify.recipients import Event, parse_recipients, recipients_folder, subscribers
from resources.smtp import is_address

LAB = {"source": {"root": "/s"}, "truenas": {"root": "/n"}, "s3": {"bucket": "lab-archive"}}


def write(folder: Path, name: str, content: str | bytes) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def test_the_events_are_the_labs() -> None:
    assert [event.value for event in Event] == [
        "backup_failure",
        "cleanup_failure",
        "fusion_error",
        "monitor_crash",
        "toolkit_error",
        "check_failed",
        "capacity_warning",
        "digest",
        "heartbeat",
    ]


def test_the_events_own_file_comes_first(tmp_path: Path) -> None:
    own = write(tmp_path, "backup_failure.txt", "ops@lab\n")
    write(tmp_path, "default.txt", "all@lab\n")
    found = subscribers(tmp_path, Event.BACKUP_FAILURE)
    assert (found.addresses, found.file, found.problems) == (("ops@lab",), own, ())


@pytest.mark.parametrize("own", [None, "", "# ops@lab\n\n   \n", "\ufeff"])
def test_an_event_without_addresses_falls_back_to_the_default(tmp_path: Path, own: str | None) -> None:
    if own is not None:
        write(tmp_path, "backup_failure.txt", own)
    default = write(tmp_path, "default.txt", "all@lab\n")
    found = subscribers(tmp_path, Event.BACKUP_FAILURE)
    assert (found.addresses, found.file, found.problems) == (("all@lab",), default, ())


def test_without_any_file_nobody_hears_and_nothing_breaks(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        found = subscribers(folder, Event.FUSION_ERROR)
        assert (found.addresses, found.file, found.problems) == ((), None, ())


def test_a_file_of_typing_errors_is_named_and_the_default_hears_of_the_failure(tmp_path: Path) -> None:
    own = write(tmp_path, "backup_failure.txt", "# us\nops at lab\n")
    write(tmp_path, "default.txt", "all@lab\n")
    found = subscribers(tmp_path, Event.BACKUP_FAILURE)
    assert found.addresses == ("all@lab",)
    assert found.problems == (f"{own}: line 2: 'ops at lab' is not a mail address",)


def test_an_unreadable_file_is_named_and_the_default_hears_of_the_failure(tmp_path: Path) -> None:
    (tmp_path / "backup_failure.txt").mkdir()
    write(tmp_path, "default.txt", "all@lab\n")
    found = subscribers(tmp_path, Event.BACKUP_FAILURE)
    assert found.addresses == ("all@lab",)
    assert len(found.problems) == 1
    assert "backup_failure.txt: cannot be read" in found.problems[0]


def test_a_new_subscriber_counts_at_once(tmp_path: Path) -> None:
    file = write(tmp_path, "default.txt", "a@lab\n")
    assert subscribers(tmp_path, Event.TOOLKIT_ERROR).addresses == ("a@lab",)
    with file.open("a") as handle:
        handle.write("b@lab")
    assert subscribers(tmp_path, Event.TOOLKIT_ERROR).addresses == ("a@lab", "b@lab")


def test_a_file_as_people_leave_it_is_understood() -> None:
    content = "\ufeff# who\r\n\r\n\t ops@lab.org  \r\nboss@lab.org # on Mondays\r\nOps@Lab.org\r\nx@y,z@w\r\n"
    parsed = parse_recipients(content.encode())
    assert parsed.addresses == ("ops@lab.org", "boss@lab.org")
    assert parsed.bad == ((6, "x@y,z@w"),)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_what_windows_editors_and_powershell_write_is_read(encoding: str) -> None:
    assert parse_recipients("ops@lab.org\r\nboss@lab.org\r\n".encode(encoding)).addresses == (
        "ops@lab.org",
        "boss@lab.org",
    )


def test_an_address_appended_by_powershell_to_a_plain_file_is_read() -> None:
    content = b"# who\r\nops@lab.org\r\n" + "new@lab.org\r\n".encode("utf-16-le")
    assert parse_recipients(content).addresses == ("ops@lab.org", "new@lab.org")


addresses = st.from_regex(r"[a-z][a-z0-9.+_-]{0,8}[a-z]@[a-z][a-z0-9]{0,8}(\.[a-z]{2,5}){0,2}", fullmatch=True).filter(
    is_address
)
spaces = st.text(" \t", max_size=3)


@given(st.lists(st.tuples(spaces, addresses, spaces, st.sampled_from(["", " # why", "\t#"])), max_size=8), st.data())
def test_every_address_is_found_once_whatever_stands_between(
    lines: list[tuple[str, str, str, str]], data: st.DataObject
) -> None:
    noise = st.sampled_from(["", "   ", "# comment a@b", "\t# é"])
    text = ""
    for before, address, after, comment in lines:
        text += (
            data.draw(noise) + "\n" + before + address + after + comment + data.draw(st.sampled_from(["\n", "\r\n"]))
        )
    parsed = parse_recipients(text.encode())
    assert parsed.addresses == tuple(dict.fromkeys(address for _, address, _, _ in lines))
    assert parsed.bad == ()


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader_and_only_addresses_come_out(content: bytes) -> None:
    parsed = parse_recipients(content)
    assert all(is_address(address) for address in parsed.addresses)
    assert not any(is_address(text) for _, text in parsed.bad)


def test_the_folder_is_beside_the_configuration_unless_it_says_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    assert recipients_folder(parse_config(LAB, path=path)) == tmp_path / "recipients"
    relative = {**LAB, "notify": {"recipients_dir": "people"}}
    assert recipients_folder(parse_config(relative, path=path)) == tmp_path / "people"
    absolute = {**LAB, "notify": {"recipients_dir": str(tmp_path / "elsewhere")}}
    assert recipients_folder(parse_config(absolute, path=path)) == tmp_path / "elsewhere"
