"""The words about a failed job of no single study: the scrub, the inventory, the digest, or one a person started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fusion_assets.notify.letter import Command, Commands, Message, Row, Section, Table, Words
from fusion_assets.notify.origin import Origin

_SAFE = "Nothing unproven was deleted: no study leaves the instrument or the NAS by a job that failed."
_NEXT = "What a schedule starts is started again at its next time. It is not tried again before."

# What each is called, and what is missing until it runs.
_KNOWN: Mapping[str, tuple[str, str]] = {
    "scrub_copies": (
        "the weekly scrub",
        "Copies that the scrub did not come to are proven again when it runs; what it found before is recorded.",
    ),
    "take_inventory": (
        "the daily inventory",
        "Until the inventory is taken, silence does not mean that every study is as declared.",
    ),
    "weekly_digest_job": ("the weekly digest", "Nothing but the digest itself is missing."),
}


@dataclass(frozen=True, slots=True)
class FailedJob:
    """A run of a job that failed.

    Attributes:
        job: Its name in the Dagster UI.
        reason: Why, in one sentence.
        step: The step that failed; empty for none.
        run_id: The Dagster run; empty for none.
    """

    job: str
    reason: str
    step: str = ""
    run_id: str = ""


def job_failure_message(failed: Sequence[FailedJob], origin: Origin) -> Message:
    """The mail about failed jobs.

    Args:
        failed: At least one.
        origin: Where.
    """
    rows = tuple(
        Row(each.job, f"{each.step}: {each.reason}" if each.step else each.reason, origin.run_url(each.run_id))
        for each in failed
    )
    missing = [Words(_KNOWN[each.job][1]) for each in failed if each.job in _KNOWN]
    at = f" ({origin.ui_url})" if origin.ui_url else ""
    names = " or ".join(each.job for each in failed)
    by_hand = f"To run it at once: Jobs in the Dagster UI{at}, {names}, and launch it."
    return origin.letter(
        _headline(failed),
        Section("What failed", (Table(rows, "the Dagster UI"),)),
        Section("What is safe", (Words(_SAFE), *missing)),
        Section("What happens next", (Words(_NEXT), Words(by_hand))),
        Section(
            "What to type",
            (Commands((Command("To see where every study stands", origin.command("fusion plan")),)),),
        ),
    )


def _headline(failed: Sequence[FailedJob]) -> str:
    if len(failed) > 1:
        return f"{len(failed)} jobs failed"
    job = failed[0].job
    return f"{_KNOWN[job][0]} failed" if job in _KNOWN else f"job {job} failed"
