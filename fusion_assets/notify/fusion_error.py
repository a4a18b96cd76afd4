"""The words of `fusion_error`: what the instrument's log says, how often, on which sample and cycle, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fusion_assets.notify.letter import Block, Command, Commands, Lines, Message, Row, Section, Table, Words, counted
from fusion_assets.notify.origin import Origin

# Of so many errors the lines are shown; of more, the first line each.
MAX_QUOTED = 10

_SAFE = (
    "Studies are not concerned: the monitor only reads the instrument's log, and nothing is deleted because of it. "
    "Whether the instrument went on after the error is not known here: have a look at it."
)
_UNSEEN = (
    "Studies are not concerned: the monitor only reads the instrument's log. As soon as it can be read again, the "
    "monitor goes on where it stopped; errors that are written meanwhile are mailed then."
)


@dataclass(frozen=True, slots=True)
class FusionError:
    """One error of the instrument.

    Attributes:
        lines: What the log says, first line first; at least one.
        count: How often it was found since the last mail, apart from times in it.
        offset: Where it begins in the log for the first time, in bytes.
        sample: The sample named last before it; None if none was.
        cycle: The cycle named last before it; None if none was.
    """

    lines: tuple[str, ...]
    count: int = 1
    offset: int = 0
    sample: str | None = None
    cycle: str | None = None


def fusion_error_message(errors: Sequence[FusionError], log: str, keep_days: float, origin: Origin) -> Message:
    """The mail about errors in the instrument's log.

    Args:
        errors: At least one, each different, in the order of the log.
        log: Where the log is.
        keep_days: For how many days the same error is not mailed again.
        origin: Where.
    """
    quoted = tuple(block for error in errors[:MAX_QUOTED] for block in _quoted(error))
    rows = tuple(Row(f"byte {error.offset:,}", f"{_times(error)}{error.lines[0]}") for error in errors[MAX_QUOTED:])
    others = (Words("Further errors, their first lines:"), Table(rows, "the log")) if rows else ()
    kept = f"The same error is not mailed again for {counted(round(keep_days), 'day')}." if keep_days >= 1 else ""
    return origin.letter(
        _headline(errors),
        Section("What the log says", (Words(f"{log}:"), *quoted, *others)),
        Section("What is safe", (Words(_SAFE), *((Words(kept),) if kept else ()))),
        Section(
            "What to type",
            (
                Commands(
                    (
                        Command(
                            "To see what else in the log counts as an error, and what does not",
                            origin.command("fusion monitor learn"),
                        ),
                    )
                ),
            ),
        ),
    )


def unread_log_message(log: str, says: str, origin: Origin) -> Message:
    """The mail about a log that could not be read for some time.

    Args:
        log: Where it should be.
        says: Since when, and what happened when it was tried.
        origin: Where.
    """
    return origin.letter(
        "the instrument's log cannot be read",
        Section("What happened", (Table((Row(log, says),)),)),
        Section("What is safe", (Words(_UNSEEN),)),
        Section(
            "What to type",
            (
                Words("See that the instrument is on, its share is mounted, and source.log in config.toml is right."),
                Commands(
                    (Command("To try whether it can be read", origin.command("fusion monitor learn")),),
                ),
            ),
        ),
    )


def _headline(errors: Sequence[FusionError]) -> str:
    if len(errors) == 1:
        return f"instrument error: {errors[0].lines[0][:120]}"
    total = sum(error.count for error in errors)
    return f"{len(errors)} different instrument errors" + (f", {total:,} in all" if total > len(errors) else "")


def _quoted(error: FusionError) -> tuple[Block, ...]:
    named = [
        f"sample {error.sample}" if error.sample else "no sample named before",
        f"cycle {error.cycle}" if error.cycle else "no cycle named before",
    ]
    return Words(f"{_times(error)}{', '.join(named)}, at byte {error.offset:,}:"), Lines("\n".join(error.lines))


def _times(error: FusionError) -> str:
    return f"{error.count:,} times, " if error.count > 1 else ""
