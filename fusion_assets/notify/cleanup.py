"""The words of `cleanup_failure`: what could not be evicted and why, what is safe, what to type."""

from __future__ import annotations

from dataclasses import dataclass

from fusion_assets.notify.backup import MAX_COMMANDS, FailedStudy
from fusion_assets.notify.letter import Command, Commands, Message, Row, Section, Table, Words, counted, one_line, typed
from fusion_assets.notify.origin import Origin

_SAFE = (
    "S3 was not touched: a cleanup never deletes there. A copy leaves the NAS only when every one of its files was "
    "proven to be in S3 at that moment; a copy of which that could not be shown is still on the NAS, whole. Running "
    "the cleanup again is safe: an eviction that was broken off is finished or put right."
)


@dataclass(frozen=True, slots=True)
class CleanupFailure:
    """A ``fusion cleanup run`` that ended with an exit code other than 0, or evictions of the daemon that failed.

    Attributes:
        failed: The studies whose copies could not be evicted, each with why.
        recap: The recap's total; empty when there is none.
        trouble: Why the cleanup as a whole stopped or never began; empty when only studies failed.
        space: How much is free now, in words; empty when that is not known.
    """

    failed: tuple[FailedStudy, ...] = ()
    recap: str = ""
    trouble: str = ""
    space: str = ""


def cleanup_failure_message(failure: CleanupFailure, origin: Origin) -> Message:
    """The mail about a failed cleanup.

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
        Section("What failed", (Table(rows, "fusion cleanup run --dry-run"),) if rows else ()),
        Section("How full the NAS is", (Words(failure.space),) if failure.space else ()),
        Section("What is safe", (Words(_SAFE),)),
        Section("What to type", (Commands(_commands(failure, origin)),)),
        Section("Recap", (Words(failure.recap),) if failure.recap else ()),
    )


def _headline(failure: CleanupFailure) -> str:
    studies = f"{counted(len(failure.failed), 'study', 'studies')} not evicted"
    if failure.trouble:
        return f"cleanup stopped, {studies}" if failure.failed else "cleanup stopped"
    return f"cleanup: {studies}" if failure.failed else "cleanup failed"


def _commands(failure: CleanupFailure, origin: Origin) -> tuple[Command, ...]:
    locked = [each for each in failure.failed if each.locked][:MAX_COMMANDS]
    return (
        Command(
            "To see what would be evicted, and why other copies stay", origin.command("fusion cleanup run --dry-run")
        ),
        Command("To see where every study stands", origin.command("fusion plan")),
        *(
            Command(
                f"To remove the lock of {one_line(each.study)}, once you know that nothing works on it any more",
                origin.command(f"fusion unlock {typed(each.study)}"),
            )
            for each in locked
        ),
        Command("Then, to go on", origin.command("fusion cleanup run")),
    )
