"""For how long the ledger's word stands that a study is invalid."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.manifest.record import Record, Status
from fusion_assets.reconcile.invalidity import found_good as fields_of_good
from fusion_assets.reconcile.invalidity import known_invalid
from tests.manifest.records import record

NAME = record().backup_name


def failed(fingerprint: str, why: str = "[D2] a.qptiff: is cut short") -> Record:
    return replace(record(), status=Status.FAILED_VALIDATION, extra={"fingerprint": fingerprint, "reason": why})


def copied(fingerprint: str, before: list[Record]) -> Record:
    """What a transfer appends: in progress, with what the record before carried along."""
    carried = before[-1].extra if before else {}
    return replace(record(), status=Status.IN_PROGRESS, extra={**carried, "fingerprint": fingerprint, "reason": "gone"})


def test_a_copy_that_was_begun_later_does_not_hide_that_an_image_is_broken() -> None:
    history = [failed("a"), copied("a", [])]
    assert known_invalid(history) == {NAME: {"a": "[D2] a.qptiff: is cut short"}}


def test_a_study_that_was_found_good_is_invalid_again_when_it_fails_again() -> None:
    history = [failed("a")]
    history.append(replace(copied("a", []), extra={"fingerprint": "a", **fields_of_good(history, "a")}))
    assert known_invalid(history) == {NAME: {}}
    history.append(failed("a"))
    history.append(copied("a", history[:2]))
    assert known_invalid(history) == {NAME: {"a": "[D2] a.qptiff: is cut short"}}


@given(st.lists(st.tuples(st.sampled_from(["fail", "pass", "copy"]), st.sampled_from("ab")), max_size=12))
def test_the_last_validation_of_a_state_decides_whatever_was_appended_in_between(
    events: list[tuple[str, str]],
) -> None:
    history: list[Record] = []
    last: dict[str, str] = {}
    for kind, fingerprint in events:
        if kind == "fail":
            history.append(replace(failed(fingerprint), extra={**copied(fingerprint, history).extra, "reason": "why"}))
        elif kind == "pass" and last.get(fingerprint) == "fail":
            good = fields_of_good(history, fingerprint)
            history.append(replace(record(), extra={**copied(fingerprint, history).extra, **good}))
        elif kind == "copy":
            history.append(copied(fingerprint, history))
        if kind != "copy":
            last[fingerprint] = kind
    expected = {fingerprint: "why" for fingerprint, kind in last.items() if kind == "fail"}
    assert known_invalid(history).get(NAME, {}) == expected
