"""What a Windows server does and Samba does not, played by a server that answers from a script."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from resources import smb_operations, smb_packets
from resources.smb_channel import Ticket
from resources.smb_errors import ACCESS_DENIED, NAME_COLLISION, SHARING_VIOLATION, SUCCESS, StatusError
from resources.smb_files import SmbReader, SmbWriter
from resources.smb_packets import Request
from resources.storage import Entry


class Windows:
    """Answers as Windows does when a rename meets a target that a program holds open."""

    knows_unbuffered = True
    max_request = 1 << 20
    is_broken = False

    def __init__(self, held_for: int, *, allowed: bool = True) -> None:
        self.held_for, self.allowed = held_for, allowed
        self.renamed = False

    def ask(self, *requests: Request) -> list[Ticket]:
        return [Ticket(request, status, b"") for request, status in zip(requests, self.statuses(requests), strict=True)]

    def statuses(self, requests: tuple[Request, ...]) -> Iterator[int]:
        for request in requests:
            if request.command == smb_packets.SET_INFO:
                yield self.rename(overwrite=bool(request.body[32]))
            elif request == smb_packets.create(
                "old", smb_packets.READ_DATA, smb_packets.OPEN, smb_packets.FILE, share=smb_packets.SHARE_NONE
            ):
                yield SHARING_VIOLATION if self.held_for else SUCCESS
            else:
                yield SUCCESS

    def rename(self, *, overwrite: bool) -> int:
        if not overwrite:
            return NAME_COLLISION
        if self.held_for or not self.allowed:
            self.held_for = max(0, self.held_for - 1)
            return ACCESS_DENIED
        self.renamed = True
        return SUCCESS


@pytest.fixture(autouse=True)
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []
    monkeypatch.setattr(smb_operations.time, "sleep", taken.append)
    monkeypatch.setattr(smb_operations, "check_spelling", lambda channel, name: None)
    return taken


def test_a_sidecar_is_replaced_as_soon_as_its_reader_is_done(naps: list[float]) -> None:
    server = Windows(held_for=4)
    smb_operations.replace(server, "new", "old")
    assert server.renamed
    assert 0 < sum(naps) < 1


def test_a_sidecar_that_stays_open_is_said_to_be_held_after_a_few_seconds(naps: list[float]) -> None:
    with pytest.raises(StatusError) as caught:
        smb_operations.replace(Windows(held_for=1000), "new", "old")
    assert caught.value.status == SHARING_VIOLATION
    assert 1 < sum(naps) < 10


def test_a_replacement_the_account_may_not_make_is_denied_at_once(naps: list[float]) -> None:
    with pytest.raises(StatusError) as caught:
        smb_operations.replace(Windows(held_for=0, allowed=False), "new", "old")
    assert caught.value.status == ACCESS_DENIED
    assert naps == []


class Stingy:
    """Reads and writes less than it is asked to, as SMB allows."""

    knows_unbuffered = False
    max_request = 1000
    is_broken = False

    def __init__(self, content: bytes = b"", most: int = 300) -> None:
        self.content, self.most = bytearray(content), most

    def send(self, request: Request) -> list[Ticket]:
        ticket = Ticket(request, SUCCESS)
        offset = int.from_bytes(request.body[8:16], "little")
        if request.into is not None:
            piece = self.content[offset : offset + min(self.most, len(request.into))]
            request.into[: len(piece)] = piece
            ticket.count = len(piece)
        else:
            piece = request.data[: self.most]
            self.content.extend(bytes(max(0, offset - len(self.content))))  # sent ahead: there is a hole before it
            self.content[offset : offset + len(piece)] = piece
            ticket.body = bytes(4) + len(piece).to_bytes(4, "little")
        return [ticket]

    def wait(self, tickets: list[Ticket]) -> list[Ticket]:
        return tickets

    def ask(self, request: Request) -> list[Ticket]:
        return self.send(request)


@pytest.mark.parametrize("length", [0, 1, 299, 300, 301, 1000, 5000])
def test_short_reads_and_writes_are_put_together(length: int) -> None:
    data = bytes(i % 251 for i in range(length))

    def no_error(error: Exception, doing: str) -> Exception:
        raise AssertionError(doing) from error

    server = Stingy()
    SmbWriter(server, b"h" * 16, no_error).write(memoryview(data), 0)
    assert server.content == data
    reader = SmbReader(Stingy(data), b"h" * 16, Entry("f", "file", length, 0), no_error, uncached=True)
    buffer = memoryview(bytearray(length + 700))
    assert reader.readinto(buffer, 0) == length
    assert bytes(buffer[:length]) == data
