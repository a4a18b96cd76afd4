"""The connections to one share: opened when first needed, spread over threads, opened again when broken.

What belongs here: which connection serves whom, and when to log in again. What does not: what is asked over them.
"""

from __future__ import annotations

import itertools
import threading

from resources.smb import SmbServer
from resources.smb_channel import Channel
from resources.smb_login import log_in


class Pool:
    """Up to `SmbServer.connections` channels to one share. Nothing is connected before the first use.

    Args:
        server: Where, and as whom.
        share: The share's name.
    """

    def __init__(self, server: SmbServer, share: str) -> None:
        self._server, self._share = server, share
        self._channels: list[Channel | None] = [None] * server.connections
        self._locks = [threading.Lock() for _ in self._channels]
        self._next = itertools.count()
        self._threads = threading.local()

    def of_thread(self) -> Channel:
        """The calling thread's channel: always the same one, so that its requests keep their order."""
        slot: int | None = getattr(self._threads, "slot", None)
        if slot is None:
            slot = self._threads.slot = next(self._next) % len(self._channels)
        return self._channel(slot)

    def for_handle(self) -> Channel:
        """A channel for one open file: they take turns, so that a file read and a file written do not share one."""
        return self._channel(next(self._next) % len(self._channels))

    def _channel(self, slot: int) -> Channel:
        with self._locks[slot]:
            channel = self._channels[slot]
            if channel is None or not channel.is_alive():
                channel = self._channels[slot] = Channel(log_in(self._server, self._share))
            return channel

    def close(self) -> None:
        """Log off everywhere; a later use logs in again."""
        for slot, lock in enumerate(self._locks):
            with lock:
                channel, self._channels[slot] = self._channels[slot], None
            if channel is not None and not channel.is_broken:
                channel.close()
