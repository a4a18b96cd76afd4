"""The words of the weekly `digest`: what was archived, released and evicted, what failed, how full the NAS will be."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fusion_assets.notify.letter import Bar, Bars, Command, Commands, Message, Row, Section, Table, counted, sized
from fusion_assets.notify.origin import Origin


@dataclass(frozen=True, slots=True)
class Moved:
    """How much was archived, released or evicted.

    Attributes:
        studies: How many.
        total_bytes: Of all of them.
    """

    studies: int = 0
    total_bytes: int = 0

    def __str__(self) -> str:
        return f"{counted(self.studies, 'study', 'studies')}, {sized(self.total_bytes)}" if self.studies else "none"


@dataclass(frozen=True, slots=True)
class Unverified:
    """The copy that was not read again for the longest time.

    Attributes:
        study: Its name.
        proven_at: When every byte of it was last proven.
    """

    study: str
    proven_at: datetime


@dataclass(frozen=True, slots=True)
class Digest:
    """What happened in a while.

    Attributes:
        since: Its beginning; with a time zone.
        archived: Proven on the NAS and in S3.
        released: Removed from the instrument.
        evicted: Removed from the NAS.
        failures: How many runs failed.
        astray: How many studies the last inventory found not in their declared state; None when there is no recent one.
        damaged: How many copies the last scrub of this time found damaged, or could not read.
        too_full: Whether less of the NAS is free than is wanted.
        stuck_mails: How many mails have waited for more than a day.
        free: Free bytes on the NAS now; None when that is not known.
        total: Its size, bytes.
        forecast: When it will be full and how sure that is, in a sentence.
        oldest: The copy that was not read again for the longest time; None when there is none.
        archived_daily: Bytes archived by day, e.g. ``("2026-03-01", 1_200_000_000)``, oldest first.
    """

    since: datetime
    archived: Moved
    released: Moved
    evicted: Moved
    failures: int
    astray: int | None
    damaged: int = 0
    too_full: bool = False
    stuck_mails: int = 0
    free: int | None = None
    total: int = 0
    forecast: str = ""
    oldest: Unverified | None = None
    archived_daily: tuple[tuple[str, int], ...] = ()


def digest_message(digest: Digest, origin: Origin) -> Message:
    """The weekly mail, which says that all is well, or what is not.

    Args:
        digest: What happened.
        origin: Where.
    """
    happened = (
        Row("archived", str(digest.archived)),
        Row("released from the instrument", str(digest.released)),
        Row("evicted from the NAS", str(digest.evicted)),
        Row("failed runs", f"{digest.failures:,}" if digest.failures else "none"),
        Row("studies not in their declared state now", _astray(digest)),
        Row("copies the scrub found damaged or unreadable", f"{digest.damaged:,}" if digest.damaged else "none"),
        Row("mails that wait for more than a day", f"{digest.stuck_mails:,}" if digest.stuck_mails else "none"),
    )
    bars = tuple(Bar(day, size, sized(size)) for day, size in digest.archived_daily)
    commands = (
        Command("To see where every study stands", origin.command("fusion plan")),
        Command("To see how the NAS is filled, and which mails wait", origin.command("fusion status")),
    )
    return origin.letter(
        _headline(digest),
        Section(f"Since {origin.shown(digest.since)}", (Table(happened),)),
        Section("Archived by day", (Bars(bars),) if bars else ()),
        Section("The NAS", (Table(_nas(digest, origin)),)),
        Section("What to type", (Commands(commands),) if _wrong(digest) else ()),
    )


def _headline(digest: Digest) -> str:
    archived = f"digest: {counted(digest.archived.studies, 'study', 'studies')} archived"
    return ", ".join([archived, *(_wrong(digest) or ["all is well"])])


def _wrong(digest: Digest) -> list[str]:
    """What keeps all from being well, worst first; what is not known does."""
    found = {
        f"{counted(digest.damaged, 'damaged copy', 'damaged copies')}": digest.damaged,
        f"{digest.astray or 0:,} not as declared": digest.astray,
        "no recent inventory": digest.astray is None,
        "the NAS is too full": digest.too_full,
        f"{counted(digest.failures, 'failed run')}": digest.failures,
        f"{counted(digest.stuck_mails, 'mail')} waiting": digest.stuck_mails,
    }
    return [words for words, is_so in found.items() if is_so]


def _astray(digest: Digest) -> str:
    if digest.astray is None:
        return "not known: no inventory was taken in the last two days"
    return f"{digest.astray:,}" if digest.astray else "none"


def _nas(digest: Digest, origin: Origin) -> tuple[Row, ...]:
    space = "not known" if digest.free is None else f"{sized(digest.free)} of {sized(digest.total)}"
    if digest.free is not None and digest.total > 0:
        space += f" ({100 * digest.free / digest.total:.1f} %)"
    rows = [Row("free now", space)]
    if digest.forecast:
        rows.append(Row("forecast", digest.forecast))
    if digest.oldest:
        days = (origin.at - digest.oldest.proven_at).days
        proven = f"{origin.shown(digest.oldest.proven_at)}, {counted(days, 'day')} ago"
        rows.append(Row("copy not read again for the longest time", f"{digest.oldest.study}, last proven {proven}"))
    return tuple(rows)
