"""The words of ``fusion notify test``."""

from __future__ import annotations

from pathlib import Path

from fusion_assets.notify.letter import Message, Section, Words
from fusion_assets.notify.origin import Origin
from fusion_assets.notify.recipients import Event


def sample_message(event: Event, file: Path | None, origin: Origin) -> Message:
    """A mail that says that it is a test.

    Args:
        event: The event whose subscribers get it.
        file: The file its subscribers stand in.
        origin: Where it was sent from.
    """
    why = f"You get it because your address is in {file}. Mails of this event will reach you in the same way."
    return origin.letter(
        f"TEST of {event.value}",
        Section("What happened", (Words(f"This is a test of the event {event.value}. Nothing is wrong."),)),
        Section("Why you get it", (Words(why),)),
    )
