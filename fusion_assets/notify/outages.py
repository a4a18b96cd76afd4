"""The words of mails about what cannot be seen or does not go on: the lab, a sensor, a lock left behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fusion_assets.notify.backup import MAX_COMMANDS
from fusion_assets.notify.letter import Command, Commands, Message, Row, Section, Table, Words, counted, one_line, typed
from fusion_assets.notify.origin import Origin

_NOTHING_STARTED = (
    "Nothing was started and nothing deleted meanwhile: what cannot be seen is never taken for gone. As soon as it can "
    "be seen again, the sensor goes on by itself."
)
_NOTHING_HAPPENS = (
    "What is not started cannot delete anything: studies stay where they are. But nothing is archived, and no errors "
    "of the instrument are mailed, until this goes on."
)


@dataclass(frozen=True, slots=True)
class Stopped:
    """Something that should go on by itself and does not.

    Attributes:
        name: What, e.g. ``sensor idle_studies``.
        why: What is known of the cause, in a sentence; empty for nothing.
        last_heard: When it last went well; None when it never did, or that is not known.
    """

    name: str
    why: str = ""
    last_heard: datetime | None = None


@dataclass(frozen=True, slots=True)
class LeftLock:
    """A lock that nobody may ever leave.

    Attributes:
        study: The study's name at the source.
        says: Whose it is, since when, and what is known of its owner.
        is_gone: Whether a crash left it; else its owner may be at work still, though for long.
    """

    study: str
    says: str
    is_gone: bool = True


def unseen_lab_message(why: str, *, since: datetime, origin: Origin) -> Message:
    """The mail about a lab that could not be looked at for some time: its source, its NAS, its ledger or S3.

    Args:
        why: What happened when it was tried; it names the place.
        since: When it first could not be looked at.
        origin: Where.
    """
    places = "See that the instrument is switched on, and that its share and the NAS are mounted and answer."
    return origin.letter(
        "the lab cannot be looked at",
        Section("What happened", (Words(f"It cannot be looked at since {origin.shown(since)}: {why}"),)),
        Section("What is safe", (Words(_NOTHING_STARTED),)),
        Section("What to do", (Words(places), _plan(origin))),
    )


def silence_message(stopped: Sequence[Stopped], origin: Origin) -> Message:
    """The mail of ``heartbeat``: what was not heard of, or failed, and since when.

    Args:
        stopped: At least one.
        origin: Where.
    """
    names = f"{stopped[0].name} does not go on" if len(stopped) == 1 else f"{len(stopped)} things do not go on"
    rows = tuple(Row(each.name, _last_heard(each, origin)) for each in stopped)
    commands = (
        Command("To see what runs (Linux)", "systemctl status fusion-daemon fusion-code-server"),
        Command("To start what does not run", "sudo systemctl start fusion-code-server fusion-daemon"),
        # Runs are children of the code server, which is left alone.
        Command("To start the daemon anew; no run is interrupted by that", "sudo systemctl restart fusion-daemon"),
    )
    ui = (Words(f"Ticks and their errors are seen at {origin.ui_url}/overview/sensors"),) if origin.ui_url else ()
    return origin.letter(
        names,
        Section("What is missing", (Table(rows),)),
        Section("What is safe", (Words(_NOTHING_HAPPENS),)),
        Section("What to type", (Commands(commands), *ui)),
    )


def left_locks_message(locks: Sequence[LeftLock], origin: Origin) -> Message:
    """The mail about locks that a crash left behind, or whose owners hang or cannot be seen.

    Args:
        locks: At least one.
        origin: Where.
    """
    count = len(locks)
    rows = tuple(Row(lock.study, lock.says) for lock in locks)
    commands = tuple(
        Command(
            f"To remove the lock of {one_line(lock.study)}, once you know that nothing works on it any more",
            origin.command(f"fusion unlock {typed(lock.study)}"),
        )
        for lock in locks[:MAX_COMMANDS]
    )
    safe = "A locked study is left alone: nothing of it is copied, archived or deleted until its lock is removed."
    owners = "by what no longer runs" if all(lock.is_gone for lock in locks) else "for long"
    return origin.letter(
        f"{counted(count, 'study is', 'studies are')} locked {owners}",
        Section("What is locked", (Table(rows, "fusion plan"),)),
        Section("What is safe", (Words(safe),)),
        Section("What to type", (Commands(commands),)),
    )


def _last_heard(stopped: Stopped, origin: Origin) -> str:
    heard = f"last went well {origin.shown(stopped.last_heard)}" if stopped.last_heard else "has not gone well yet"
    return f"{heard}: {stopped.why}" if stopped.why else heard


def _plan(origin: Origin) -> Commands:
    return Commands((Command("To see whether it can be looked at again", origin.command("fusion plan")),))
