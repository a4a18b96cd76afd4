"""What a person reads when the instrument's log has errors."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from fusion_assets.notify.fusion_error import MAX_QUOTED, FusionError, fusion_error_message, unread_log_message
from fusion_assets.notify.origin import Origin

ORIGIN = Origin("fusion-pc", datetime(2026, 3, 1, 2, 30, 5, tzinfo=UTC), Path("/etc/fusion/config.toml"))
LOG = "smb://instrument/logs/Fusion.log"
STUCK = FusionError(("12:00 ERROR stage <stuck>", "   at A()"), 3, 12_345, "Tonsil-7", "4")


def test_the_mail_shows_the_error_its_sample_and_cycle_how_often_and_where() -> None:
    message = fusion_error_message([STUCK], LOG, 30, ORIGIN)
    assert message.subject == "[fusion-toolkit] instrument error: 12:00 ERROR stage <stuck> on fusion-pc"
    assert "  3 times, sample Tonsil-7, cycle 4, at byte 12,345:" in message.text.splitlines()
    assert "  | 12:00 ERROR stage <stuck>\n  |    at A()" in message.text
    assert LOG in message.text
    assert "ERROR stage &lt;stuck&gt;" in str(message.html)


def test_the_mail_says_what_is_safe_and_what_to_type() -> None:
    message = fusion_error_message([STUCK], LOG, 30, ORIGIN)
    for text in (message.text, str(message.html)):
        assert "Studies are not concerned" in text
        assert "fusion monitor learn --config /etc/fusion/config.toml" in text
        assert "not mailed again for 30 days" in text
    assert "not mailed again" not in fusion_error_message([STUCK], LOG, 0, ORIGIN).text


def test_an_error_without_a_sample_says_so() -> None:
    text = fusion_error_message([FusionError(("ERROR x",))], LOG, 30, ORIGIN).text
    assert "no sample named before, no cycle named before" in text


def test_a_storm_of_errors_is_a_mail_one_can_read() -> None:
    errors = [FusionError((f"ERROR {number}", *["at A()"] * 500), 1000) for number in range(1000)]
    message = fusion_error_message(errors, LOG, 30, ORIGIN)
    assert "1000 different instrument errors, 1,000,000 in all" in message.subject
    assert len(message.text.splitlines()) < 800
    assert f"1,000 times, ERROR {MAX_QUOTED}" in message.text
    assert "... and 441 more lines" in message.text


def test_a_log_that_cannot_be_read_is_told_with_what_to_look_at() -> None:
    text = unread_log_message(LOG, "since 12:00 UTC: another program holds it open", ORIGIN).text
    assert "since 12:00 UTC: another program holds it open" in text
    assert "source.log" in text
