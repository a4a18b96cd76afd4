"""The words of the standing inventory: which studies are not in their declared state although they should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fusion_assets.notify.backup import MAX_COMMANDS
from fusion_assets.notify.letter import Command, Commands, Message, Row, Section, Table, Words, one_line, typed
from fusion_assets.notify.origin import Origin

_SAFE = (
    "Nothing of these studies is deleted while they stand like this: a deletion needs every proof to be repeated and "
    "passed at that moment. Each is listed here once, and again only when it stands in another way."
)


@dataclass(frozen=True, slots=True)
class Standing:
    """A study that is not in its declared state.

    Attributes:
        study: Its name at the source.
        state: How it stands, in a word, e.g. ``failed``.
        why: Why, in a sentence.
    """

    study: str
    state: str
    why: str


def inventory_message(standing: Sequence[Standing], of: int, origin: Origin) -> Message:
    """The mail about studies that need a person.

    Args:
        standing: At least one.
        of: How many studies there are.
        origin: Where.
    """
    count = len(standing)
    rows = tuple(Row(each.study, f"{each.state}: {each.why}") for each in standing)
    commands = (
        Command("To see where every study stands, and what would be done", origin.command("fusion plan")),
        *(
            Command(
                f"To see every condition of {one_line(each.study)}",
                origin.command(f"fusion plan -v --limit {typed(each.study)}"),
            )
            for each in standing[:MAX_COMMANDS]
        ),
    )
    return origin.letter(
        f"{count:,} of {of:,} studies {'is' if count == 1 else 'are'} not as declared",
        Section("What needs a person", (Table(rows, "fusion plan"),)),
        Section("What is safe", (Words(_SAFE),)),
        Section("What to type", (Commands(commands),)),
    )
