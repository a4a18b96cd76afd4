"""What sensors remember between two ticks, as a person or another version may have left it."""

from __future__ import annotations

import base64
import json
import zlib
from datetime import UTC, datetime, timedelta

from sensors.idle_cursor import IdleCursor, cursor_from_text
from sensors.outages import WELL, outage_since
from tests.real.small_lab import STUDY


def test_a_cursor_that_somebody_edited_begins_anew_and_stops_no_sensor() -> None:
    now = datetime(2026, 1, 5, tzinfo=UTC)
    for text in (None, "", WELL, "garbage", "2026-01-01T00:00:00"):
        assert outage_since(text, now) == now
    assert outage_since("2026-01-01T00:00:00+00:00", now) == now - timedelta(days=4)
    listed = {"memory": {}, "after": "", "blind_since": None, "claims": [STUDY]}
    packed = base64.b64encode(zlib.compress(json.dumps(listed).encode())).decode()
    for text in (None, "", "garbage", packed):
        assert cursor_from_text(text) == IdleCursor()
