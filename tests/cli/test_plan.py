"""What `fusion plan` and `fusion explain` show a person of a study."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cli.output import print_plan
from fusion_assets.reconcile.conditions import Condition, Name, false, true
from fusion_assets.reconcile.plan import KNOWN_INVALID, Desired, ObservedStudy, StudyPlan, plan_study, summarize

STUDY = "20260105_WW_HCC_run1"
BROKEN = f"[R5] {STUDY}/notes.txt: is neither an .xpd nor an .fpr file | hint: move it out"


def planned(**conditions: Condition) -> StudyPlan:
    """A new study at the source, with `conditions`."""
    stand = {name: false("NotYet") for name in Name} | {name: true("Yes") for name in (Name.UNLOCKED, Name.IDLE)}
    stand |= {Name(name): condition for name, condition in conditions.items()}
    return plan_study(Desired(delete_source=True), ObservedStudy(STUDY, STUDY, at_source=True, conditions=stand))


def shown(capsys: pytest.CaptureFixture[str], plans: Sequence[StudyPlan], *, verbose: bool = False) -> list[str]:
    print_plan(plans, summarize(plans), verbose=verbose)
    return capsys.readouterr().out.splitlines()


def test_a_condition_is_shown_without_its_name_a_second_time_and_without_trailing_blanks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = planned(Unlocked=true("Unlocked"), Idle=true("Idle", "unchanged since 2026-11-21 07:36 UTC"))
    (_, unlocked, idle, *rest, _, end) = shown(capsys, [plan], verbose=True)
    assert unlocked == "    Unlocked        True"
    assert idle == "    Idle            True     unchanged since 2026-11-21 07:36 UTC"
    assert [line.rstrip() for line in rest] == rest
    assert end.startswith("Plan: 1 study: ")


@pytest.mark.parametrize(
    ("reason", "verdict"), [("BreaksStandard", "pending  validated: "), (KNOWN_INVALID, "failed   ")]
)
def test_whoever_reads_only_the_plan_sees_what_is_wrong_with_a_study_and_the_way_out(
    capsys: pytest.CaptureFixture[str], reason: str, verdict: str
) -> None:
    (line, *_) = shown(capsys, [planned(Validated=false(reason, BROKEN))])
    assert line == f"{STUDY}  {verdict}{BROKEN}"
