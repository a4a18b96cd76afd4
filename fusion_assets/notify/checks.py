"""The words of `check_failed`: which check of which study failed, what it found, and where that is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fusion_assets.notify.backup import MAX_COMMANDS
from fusion_assets.notify.letter import Command, Commands, Message, Row, Section, Table, Words, counted, one_line, typed
from fusion_assets.notify.origin import Origin

_SAFE = (
    "A failed check deletes nothing and lets nothing be deleted: a study leaves the instrument or the NAS only when "
    "every proof was repeated and passed at that moment."
)


@dataclass(frozen=True, slots=True)
class FailedCheck:
    """An asset check that failed.

    Attributes:
        study: The study's name at the source; empty for a check that names none.
        asset: What was checked, e.g. ``truenas_copy``.
        check: Its name.
        severity: ``ERROR`` or ``WARN``.
        found: What it found, in a sentence.
        blocking: Whether it stopped the study.
        run_id: The Dagster run it was evaluated in; empty for none.
    """

    study: str
    asset: str
    check: str
    severity: str
    found: str
    blocking: bool = False
    run_id: str = ""


def check_failed_message(checks: Sequence[FailedCheck], origin: Origin) -> Message:
    """The mail about failed checks.

    Args:
        checks: At least one.
        origin: Where.
    """
    studies = list(dict.fromkeys(check.study for check in checks if check.study))
    rows = tuple(
        Row(
            f"{check.study} {check.asset} {check.check}",
            f"{check.severity}{', the study was stopped' if check.blocking else ''}: {check.found}",
            origin.run_url(check.run_id),
        )
        for check in checks
    )
    commands = (
        Command("To see where every study stands", origin.command("fusion plan")),
        *(
            Command(f"To see every condition of {one_line(study)}", origin.command(f"fusion explain {typed(study)}"))
            for study in studies[:MAX_COMMANDS]
        ),
    )
    return origin.letter(
        _headline(checks, studies),
        Section("What was found", (Table(rows, "the Dagster UI"),)),
        Section("What is safe", (Words(_SAFE),)),
        Section("What to type", (Commands(commands),)),
    )


def _headline(checks: Sequence[FailedCheck], studies: Sequence[str]) -> str:
    if len(checks) == 1:
        of = f" for {checks[0].study}" if checks[0].study else ""
        return f"check {checks[0].check} failed{of}"
    if not studies:
        return f"{len(checks)} checks failed"
    return f"{len(checks)} checks failed, of {counted(len(studies), 'study', 'studies')}"
