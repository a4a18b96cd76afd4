"""What the sensor of idle studies remembers between two ticks, as the text that Dagster keeps for it.

Every tick stores it again, so it is small: abbreviated fingerprints, compressed; about 45 bytes a study, and 30 more
for one that waits for room on the NAS.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from datetime import datetime

from fusion_assets.reconcile.idle import Observation, memory_from_json, memory_to_json
from fusion_assets.reconcile.room import Claim, Claims

# 64 bits tell two states of one study apart; a study has a handful of them in its life.
_FINGERPRINT_DIGITS = 16


@dataclass(frozen=True, slots=True)
class IdleCursor:
    """Where the sensor stands.

    Attributes:
        memory: How each study at the source looked, and since when.
        after: The last study that was looked at; empty when the next look begins with the first.
        blind_since: Since when the lab could not be looked at; None while it can.
        claims: The room on the NAS that studies wait for or fill.
    """

    memory: Mapping[str, Observation] = field(default_factory=dict)
    after: str = ""
    blind_since: datetime | None = None
    claims: Claims = field(default_factory=dict)

    def to_text(self) -> str:
        """The cursor as text."""
        short = {
            study: Observation(seen.fingerprint[:_FINGERPRINT_DIGITS], seen.since.replace(microsecond=0))
            for study, seen in self.memory.items()
        }
        content = {
            "memory": memory_to_json(short),
            "after": self.after,
            "blind_since": self.blind_since.isoformat() if self.blind_since else None,
            "claims": {study: astuple(claim) for study, claim in self.claims.items()},
        }
        return base64.b64encode(zlib.compress(json.dumps(content).encode("utf-8"), 9)).decode("ascii")


def cursor_from_text(text: str | None) -> IdleCursor:
    """Read what `IdleCursor.to_text` wrote.

    Args:
        text: The text; None or anything unreadable gives an empty cursor, which only means that every study has to be
            seen twice again.
    """
    try:
        content = json.loads(zlib.decompress(base64.b64decode(text or "", validate=True)))
        blind_since = content["blind_since"]
        return IdleCursor(
            memory_from_json(content["memory"]),
            str(content["after"]),
            datetime.fromisoformat(blind_since) if blind_since else None,
            {study: Claim(*claim) for study, claim in content.get("claims", {}).items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, zlib.error):
        return IdleCursor()
