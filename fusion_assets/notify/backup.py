"""The words of `backup_failure`: what failed and why, what is safe, what to type."""

from __future__ import annotations

from dataclasses import dataclass

from fusion_assets.notify.letter import Command, Commands, Message, Row, Section, Table, Words, counted, one_line, typed
from fusion_assets.notify.origin import Origin

MAX_COMMANDS = 5

_SAFE = (
    "Nothing unproven was deleted. A study leaves the instrument's disk only when its copy on the NAS and its archive "
    "in S3 were both proven intact at that moment; whatever never was is still at the source. Running the backup again "
    "is safe: it goes on where it stopped."
)
_TRIED_AGAIN = (
    "What a server or the network caused is tried again by itself, after longer and longer pauses. What is wrong with "
    "a study itself is tried again as soon as something in the study changes."
)
_LOOKED_AT_AGAIN = (
    "Nothing is started before a person has put that right. The daemon looks again every few minutes, and goes on by "
    "itself once it is."
)


@dataclass(frozen=True, slots=True)
class FailedStudy:
    """A study that failed.

    Attributes:
        study: Its name at the source.
        reason: Why, in one sentence.
        path: Where it is at the source, if its names or its structure are what is wrong; else empty.
        locked: Whether a lock that a crash left behind is what is wrong.
        step: The step that failed, e.g. ``s3_archive``; empty for none.
        run_id: The Dagster run it failed in; empty for none.
        away: What the other places have of it, if it has left the instrument; empty while it has not.
    """

    study: str
    reason: str
    path: str = ""
    locked: bool = False
    step: str = ""
    run_id: str = ""
    away: str = ""


@dataclass(frozen=True, slots=True)
class BackupFailure:
    """A ``fusion backup run`` or ``apply`` that did not end with exit code 0, or runs of the daemon that failed.

    Attributes:
        failed: What failed, in the order in which it was tried.
        recap: The recap's total, e.g. ``ok=3 changed=2 skipped=0 failed=1``; empty when there is none.
        trouble: Why the run as a whole stopped or never began; empty when only studies failed.
        by_daemon: Whether sensors started it, and will start it again.
        stuck: Whether nothing is started before a person has put right what is wrong.
    """

    failed: tuple[FailedStudy, ...] = ()
    recap: str = ""
    trouble: str = ""
    by_daemon: bool = False
    stuck: bool = False


def backup_failure_message(failure: BackupFailure, origin: Origin) -> Message:
    """The mail about a failed backup.

    Args:
        failure: What happened.
        origin: Where.
    """
    rows = tuple(
        Row(each.study, f"{each.step}: {each.reason}" if each.step else each.reason, origin.run_url(each.run_id))
        for each in failure.failed
    )
    return origin.letter(
        _headline(failure),
        Section("Why it stopped", (Words(failure.trouble),) if failure.trouble else ()),
        Section("What failed", (Table(rows, "fusion plan"),) if rows else ()),
        Section("What is safe", (Words(_SAFE), *_away(failure))),
        Section("What happens next", _next(failure)),
        Section("What to type", (Commands(_commands(failure, origin)),)),
        Section("Recap", (Words(failure.recap),) if failure.recap else ()),
    )


def _away(failure: BackupFailure) -> tuple[Words, ...]:
    return tuple(Words(f"{one_line(each.study)}: {each.away}") for each in failure.failed if each.away)[:MAX_COMMANDS]


def _next(failure: BackupFailure) -> tuple[Words, ...]:
    if failure.stuck:
        return (Words(_LOOKED_AT_AGAIN),)
    return (Words(_TRIED_AGAIN),) if failure.by_daemon else ()


def _headline(failure: BackupFailure) -> str:
    failed = failure.failed
    studies = f"{counted(len(failed), 'study', 'studies')} failed"
    if failure.trouble:
        return f"backup stopped, {studies}" if failed else "backup stopped"
    return f"backup: {studies}" if failed else "backup failed"


def _commands(failure: BackupFailure, origin: Origin) -> tuple[Command, ...]:
    commands = [Command("To see where every study stands, and what would be done", origin.command("fusion plan"))]
    commands += [
        Command(f"To see what is wrong with {one_line(each.study)}", f"fusion validate study {typed(each.path)}")
        for each in [each for each in failure.failed if each.path][:MAX_COMMANDS]
    ]
    commands += [
        Command(
            f"To remove the lock in {one_line(each.study)}, once you know that nothing works on it any more",
            origin.command(f"fusion unlock {typed(each.study)}"),
        )
        for each in [each for each in failure.failed if each.locked][:MAX_COMMANDS]
    ]
    commands += [
        Command(
            f"To see what each place has of {one_line(each.study)}",
            origin.command(f"fusion explain {typed(each.study)}"),
        )
        for each in [each for each in failure.failed if each.away or failure.stuck][:MAX_COMMANDS]
    ]
    if failure.stuck:
        return tuple(commands)
    then = "Or, to go on at once" if failure.by_daemon else "Then, to go on"
    # A backup is of what is at the source; `apply` also finishes what has left it.
    line = "fusion apply" if any(each.away for each in failure.failed) else "fusion backup run"
    return (*commands, Command(then, origin.command(line)))
