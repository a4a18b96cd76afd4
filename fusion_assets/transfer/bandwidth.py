"""The bandwidth limit: a token bucket that everybody who reads the source takes from.

What belongs here: how long to wait. What does not: who reads what.
"""

from __future__ import annotations

import threading
import time

from fusion_assets.transfer.crew import Stop

_BURST_SECONDS = 0.25  # how much may go at once after a pause


class Bandwidth:
    """A limit in bytes per second; None lets everything pass.

    Args:
        limit: Bytes per second.
        stop: Ends the waiting.
    """

    def __init__(self, limit: float | None, stop: Stop) -> None:
        self._limit = limit
        self._stop = stop
        self._lock = threading.Lock()
        self._free_at = time.monotonic()

    def take(self, count: int) -> None:
        """Wait until `count` more bytes may be read."""
        if self._limit is None:
            return
        with self._lock:
            now = time.monotonic()
            # Each taker books its bytes behind the ones booked before; unused time is kept for one short burst.
            self._free_at = max(self._free_at, now - _BURST_SECONDS) + count / self._limit
            pause = self._free_at - now
        if pause > 0:
            self._stop.wait(pause)
