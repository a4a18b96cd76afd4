"""The words of `capacity_warning`: how much is free, when the NAS will be full, why space does not rise, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fusion_assets.notify.letter import Bar, Bars, Command, Commands, Message, Row, Section, Table, Words, sized
from fusion_assets.notify.origin import Origin

_SAFE = (
    "Nothing that is not proven to be in S3 is deleted to make space, and S3 is never touched. What has no room on the "
    "NAS stays at the instrument until there is some."
)


@dataclass(frozen=True, slots=True)
class CapacityWarning:
    """The NAS is, or will be, too full.

    Attributes:
        what: What is wrong, as a headline in lower case, e.g. ``free space did not rise``.
        why: What is known of the cause, in a sentence; empty for nothing.
        free: Free bytes now.
        total: Size, bytes.
        threshold_pct: Below this share of `total` free, copies are evicted.
        forecast: When the NAS will be full and how sure that is, in a sentence; empty for no forecast.
        held: Whether something holds the space of what was deleted, most likely snapshots, so that evicting stopped.
        locked: Whether the lock of a cleanup stands in the way, so that nothing is evicted.
        history: Free bytes at moments before now, e.g. ``("2026-03-01", 1_200_000_000_000)``, oldest first.
    """

    what: str
    why: str
    free: int
    total: int
    threshold_pct: float
    forecast: str = ""
    held: bool = False
    locked: bool = False
    history: tuple[tuple[str, int], ...] = ()


def capacity_warning_message(warning: CapacityWarning, origin: Origin) -> Message:
    """The mail about space on the NAS.

    Args:
        warning: What is wrong.
        origin: Where.
    """
    threshold = warning.total * warning.threshold_pct / 100
    rows = (
        Row("free now", f"{sized(warning.free)} of {sized(warning.total)}{_share(warning.free, warning.total)}"),
        Row("threshold", f"{sized(threshold)} ({warning.threshold_pct:g} %)"),
        *((Row("missing", sized(threshold - warning.free)),) if warning.free < threshold else ()),
        *((Row("forecast", warning.forecast),) if warning.forecast else ()),
    )
    bars = tuple(Bar(label, free, f"{sized(free)} free") for label, free in warning.history)
    return origin.letter(
        warning.what,
        Section("What happened", (Words(warning.why),) if warning.why else ()),
        Section("How full the NAS is", (Table(rows), *((Bars(bars),) if bars else ()))),
        Section("What is safe", (Words(_SAFE),)),
        Section("What to type", (Commands(_commands(warning, origin)),)),
    )


def unmeasured_message(why: str, *, since: datetime, origin: Origin) -> Message:
    """The mail about a NAS of which nobody could tell for some time how full it is, or what may leave it.

    Args:
        why: What happened when it was tried; it names the place.
        since: When it first could not be told.
        origin: Where.
    """
    what = "See that the NAS and S3 answer, and that this program may read all of its folder there, the trash included."
    look = Command("To see whether room can be made again", origin.command("fusion cleanup run --dry-run"))
    return origin.letter(
        "the NAS cannot be measured",
        Section("What happened", (Words(f"It cannot be measured since {origin.shown(since)}: {why}"),)),
        Section("What is safe", (Words(f"Nothing is evicted meanwhile, so that the NAS may fill. {_SAFE}"),)),
        Section("What to do", (Words(what), Commands((look,)))),
    )


def _share(free: int, total: int) -> str:
    return f" ({100 * free / total:.1f} %)" if total > 0 else ""


def _commands(warning: CapacityWarning, origin: Origin) -> tuple[Command, ...]:
    look = Command(
        "To see what would be evicted, and why other copies stay", origin.command("fusion cleanup run --dry-run")
    )
    now = Command("To evict now", origin.command("fusion cleanup run"))
    if warning.locked:
        unlock = origin.command("fusion unlock --cleanup")
        return (Command("To remove the lock, once you know that nothing makes room any more", unlock), now, look)
    keep = Command("To keep a study on the NAS", origin.command('fusion pin STUDY --reason "why"'))
    if not warning.held:
        return (look, keep, now)
    return (
        Command(
            "First let snapshots expire, or empty the recycle bin, on the NAS itself; then",
            origin.command("fusion cleanup run"),
        ),
        Command("To evict in spite of them", origin.command("fusion cleanup run --despite-snapshots")),
        look,
    )
