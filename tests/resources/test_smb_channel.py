"""One connection under a server that answers late, out of order, stingily or not at all."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from resources import smb_channel, smb_packets
from resources.smb_channel import Channel
from resources.smb_errors import PENDING, SUCCESS, BrokenChannelError
from resources.smb_login import Login
from resources.smb_protection import Keys, sign

KEYS = Keys(session=7, gcm=False, gmac=False, encryption=b"", decryption=b"", signing=b"k" * 16)
Answer = Callable[[list[bytes]], list[bytes]]
"""From the requests that came in one packet to the packets to send back."""


def response(message_id: int, *, status: int = SUCCESS, credits: int = 1, flags: int = 0) -> bytes:  # noqa: A002
    fixed = struct.pack(
        "<4sHHIHHIIQIIQ16s", b"\xfeSMB", 64, 1, status, smb_packets.ECHO, credits, flags | smb_packets.FLAG_RESPONSE,
        0, message_id, 0, 0, 7, bytes(16),
    )  # fmt: skip
    header = bytearray(fixed)
    sign(KEYS, header, [b"\4\0\0\0"], message_id)
    return bytes(header) + b"\4\0\0\0"


def number_of(request: bytes) -> int:
    return int.from_bytes(request[24:32], "little")


class Server:
    """The other end of a socket pair, answering in its own thread."""

    def __init__(self, answer: Answer) -> None:
        self.ours, theirs = socket.socketpair()
        self._socket, self._answer = theirs, answer
        self.asked = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError), self._socket, self._socket.makefile("rb") as stream:
            while length := int.from_bytes(stream.read(4), "big"):
                packet = stream.read(length)
                requests = []
                while packet:
                    following = int.from_bytes(packet[20:24], "little") or len(packet)
                    requests.append(packet[:following])
                    packet = packet[following:]
                self.asked += len(requests)
                for piece in self._answer(requests):
                    self._socket.sendall(len(piece).to_bytes(4, "big") + piece)

    def channel(self, credits: int = 64) -> Channel:  # noqa: A002
        return Channel(
            Login(
                socket=self.ours,
                keys=KEYS,
                encrypt=False,
                session=7,
                tree=1,
                message_id=5,
                credits=credits,
                max_request=1 << 20,
                unbuffered=True,
            )
        )


def echo() -> smb_packets.Request:
    return smb_packets.plain(smb_packets.ECHO)


def honest(requests: list[bytes]) -> list[bytes]:
    return [response(number_of(request)) for request in requests]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(smb_channel, "_SILENCE_SECONDS", 1)
    return


def test_many_threads_wait_their_turn_on_few_credits() -> None:
    server = Server(honest)
    channel = server.channel(credits=2)
    with ThreadPoolExecutor(8) as pool:
        answered = list(pool.map(lambda _: channel.ask(echo())[0].status, range(200)))
    assert answered == [SUCCESS] * 200
    assert server.asked == 200


def test_answers_out_of_order_reach_whoever_asked() -> None:
    kept: list[bytes] = []

    def in_pairs(requests: list[bytes]) -> list[bytes]:
        kept.extend(requests)
        if len(kept) < 2:
            return []
        second, first = kept.pop(), kept.pop()
        return [response(number_of(second)), response(number_of(first))]

    channel = Server(in_pairs).channel()
    early, late = channel.send(echo()), channel.send(echo())
    assert channel.wait(early)[0].status == SUCCESS
    assert channel.wait(late)[0].status == SUCCESS


def test_a_request_the_server_is_still_working_on_is_waited_for() -> None:
    def slowly(requests: list[bytes]) -> list[bytes]:
        number = number_of(requests[0])
        return [response(number, status=PENDING, flags=smb_packets.FLAG_ASYNC), response(number, credits=0)]

    channel = Server(slowly).channel()
    assert channel.ask(echo())[0].status == SUCCESS
    assert channel.ask(echo())[0].status == SUCCESS


def test_what_nobody_asked_for_is_ignored() -> None:
    def with_break(requests: list[bytes]) -> list[bytes]:
        return [response(2**64 - 1, credits=0), *honest(requests)]

    assert Server(with_break).channel().ask(echo())[0].status == SUCCESS


@pytest.mark.parametrize(
    "answer",
    [
        lambda requests: [],
        lambda requests: [b"\xfeSMB"],
        lambda requests: [b"garbage" * 20],
        lambda requests: [response(number_of(requests[0]))[:-1] + b"x"],
        lambda requests: [response(number_of(requests[0]), credits=0)],
    ],
    ids=["silence", "cut short", "garbage", "altered", "no more credits"],
)
def test_a_connection_once_broken_stays_broken_for_everybody(answer: Answer) -> None:
    channel = Server(answer).channel(credits=2)
    with ThreadPoolExecutor(3) as pool:
        failures = [pool.submit(channel.ask, echo()).exception(timeout=20) for _ in range(4)]
    assert isinstance(failures[-1], BrokenChannelError)
    assert all(failure is None or isinstance(failure, BrokenChannelError) for failure in failures)
    assert channel.is_broken
    with pytest.raises(BrokenChannelError):
        channel.ask(echo())
    channel.close()


def test_a_server_that_goes_away_wakes_all_who_wait() -> None:
    def never(requests: list[bytes]) -> list[bytes]:
        raise OSError

    channel = Server(never).channel()
    with ThreadPoolExecutor(4) as pool:
        failures = [future.exception(timeout=20) for future in [pool.submit(channel.ask, echo()) for _ in range(4)]]
    assert all(isinstance(failure, BrokenChannelError) for failure in failures)


def test_an_idle_connection_is_asked_before_it_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(honest)
    channel = server.channel()
    assert channel.is_alive()
    assert server.asked == 0
    monkeypatch.setattr(smb_channel, "_TRUSTED_SECONDS", -1)
    assert channel.is_alive()
    assert server.asked == 1
    server.ours.shutdown(socket.SHUT_RDWR)
    assert not channel.is_alive()
