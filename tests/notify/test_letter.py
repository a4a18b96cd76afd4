"""Every mail, whatever the names in it: the text and the HTML say the same, and neither holds what others put in."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_assets.notify.grouping import MAX_TOLD, grouped
from fusion_assets.notify.letter import (
    MAX_LINES,
    MAX_ROWS,
    Bar,
    Bars,
    Letter,
    Lines,
    Message,
    Row,
    Section,
    Table,
    Words,
    counted,
    sized,
    sparkline,
    write,
)
from tests.notify.all_mails import AT, all_mails

TAGS = {"html", "body", "p", "b", "h3", "table", "tr", "td", "pre", "dl", "dt", "dd", "code", "a", "hr", "div"}
ATTRIBUTES = {"style", "cellpadding", "cellspacing", "valign", "align", "bgcolor", "width", "height", "href"}


class Page(HTMLParser):
    """What a reader of the HTML sees, and the markup it is made of."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert tag in TAGS
        assert {name for name, _ in attrs} <= ATTRIBUTES
        assert all(value.startswith(("http://", "https://")) for name, value in attrs if name == "href")
        if tag != "hr":
            self.open.append(tag)
        self.seen.append(" ")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.seen.append(" ")

    def handle_data(self, data: str) -> None:
        self.seen.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)


def said(text: str) -> str:
    """What is said, without how it is set: white space, and the marks and the plot that only the text has."""
    return re.sub(r"[\s:|▁-█\[\]-]+", "", text)


def check(message: Message) -> None:
    assert message.html is not None
    page = Page(message.html)
    assert page.open == []
    assert said("".join(page.seen)) == said(message.text)
    assert message.subject.isprintable()
    assert message.subject.startswith("[fusion-toolkit] ")
    assert all(line.isprintable() for line in message.text.split("\n"))
    for part in (message.subject, message.text, message.html):
        part.encode()


@pytest.mark.parametrize("kind", list(all_mails()))
def test_text_and_html_say_the_same(kind: str) -> None:
    check(all_mails()[kind])


@pytest.mark.parametrize("kind", [kind for kind in all_mails() if kind not in ("sample", "unwritten")])
def test_every_mail_says_what_is_safe_and_what_to_type(kind: str) -> None:
    text = all_mails()[kind].text
    assert "What is safe" in text or kind == "digest"
    assert re.search(r"^    (fusion|systemctl) ", text, re.MULTILINE)


def test_the_mail_about_a_silent_daemon_interrupts_no_run() -> None:
    """Runs are children of the code server; and systemctl knows only those units by a glob that are loaded."""
    typed = re.findall(r"^    (sudo systemctl .*)$", all_mails()["silence"].text, re.MULTILINE)
    assert typed == ["sudo systemctl start fusion-code-server fusion-daemon", "sudo systemctl restart fusion-daemon"]


outside = st.text(st.characters(), max_size=80) | st.sampled_from(
    [
        "<script>alert(1)</script>",
        "<!--",
        "</pre>",
        "&lt;",
        "\"'><a href=x>",
        "a\r\nBcc: x@y.z",
        "\udcff",
        "\0",
        "\u202e",
    ]
)


@settings(deadline=None, max_examples=60)
@given(outside)
def test_whatever_comes_from_outside_is_shown_and_is_never_markup(text: str) -> None:
    for message in all_mails(lambda _: text).values():
        check(message)


rows = st.builds(Row, outside, outside, outside | st.just("https://dagster.lab.example/runs/1"))
blocks = st.one_of(
    st.builds(Words, outside),
    st.builds(Table, st.lists(rows, max_size=60).map(tuple), outside),
    st.builds(Lines, st.text(st.characters(), max_size=300)),
    st.builds(Bars, st.lists(st.builds(Bar, outside, st.floats(), outside), max_size=10).map(tuple)),
)
sections = st.builds(Section, outside, st.lists(blocks, max_size=3).map(tuple))


@settings(deadline=None, max_examples=100)
@given(outside, outside, st.lists(sections, max_size=3))
def test_any_letter_can_be_written(headline: str, host: str, parts: list[Section]) -> None:
    check(write(Letter(headline, host, AT, tuple(parts))))


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.builds(lambda head, host: write(Letter(head, host, AT, ())), outside, outside), min_size=2, max_size=30)
)
def test_any_mails_can_be_gathered(messages: list[Message]) -> None:
    one = grouped(messages)
    check(one)
    assert one.text.splitlines()[0].startswith(f"{len(messages)} mails")


def test_what_is_gathered_is_listed_whole_and_told_in_part() -> None:
    messages = [Message(f"[fusion-toolkit] s{number}", f"About s{number}.\n") for number in range(1000)]
    one = grouped(messages)
    check(one)
    assert one.subject == "[fusion-toolkit] s0, and 999 more"
    assert one.text.count("\nAbout s") == MAX_TOLD
    assert "200. s199\nand 800 more\n" in one.text
    assert len(one.text) < 10_000


def test_a_mail_alone_is_left_as_it_is() -> None:
    message = Message("subject", "text")
    assert grouped([message]) is message


def test_a_storm_stays_a_mail_a_person_reads() -> None:
    table = Table(tuple(Row(f"s{number}", "why " * 1000) for number in range(100_000)), "fusion plan")
    lines = Lines("\n".join(f"line {number} {'x' * 5000}" for number in range(10_000)))
    message = write(Letter("much", "h", AT, (Section("What", (table, lines)),)))
    check(message)
    assert f"and {100_000 - MAX_ROWS} more; fusion plan shows them all" in message.text
    assert f"... and {10_000 - MAX_LINES} more lines" in message.text
    assert len(message.text) < 60_000


def test_a_section_without_anything_in_it_is_left_out() -> None:
    message = write(Letter("x", "h", AT, (Section("Nothing", ()), Section("Something", (Words("here"),)))))
    assert "Nothing" not in message.text
    assert "Something\n  here\n" in message.text


def test_lines_of_a_log_keep_their_indentation() -> None:
    message = write(Letter("x", "h", AT, (Section("Log", (Lines("ERROR a\r\n\tat b\n  at c"),)),)))
    assert "  | ERROR a\n  |     at b\n  |   at c\n" in message.text
    assert "ERROR a\n    at b\n  at c</pre>" in str(message.html)


def test_only_addresses_of_the_web_are_links() -> None:
    message = write(Letter("x", "h", AT, (Section("See", (Table((Row("there", "it is", "javascript:alert(1)"),)),)),)))
    assert "<a" not in str(message.html)
    assert "there: it is (javascript:alert(1))" in message.text


def test_a_plot_is_to_scale() -> None:
    bars = tuple(Bar(f"d{value}", value, f"{value} GB") for value in (0, 1, 60, 120))
    message = write(Letter("x", "h", AT, (Section("Plot", (Bars(bars),)),)))
    assert re.findall(r"width: (\d+)px", str(message.html)) == ["2", "120", "240"]
    assert "[ ▁▅█]" in message.text
    assert sparkline([]) == ""
    assert sparkline([float("nan"), -1, 0, float("inf"), 1]) == "    █"


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "1.0 MB"),
        (99_900_000, "99.9 MB"),
        (123e12, "123 TB"),
        (-2e9, "-2.0 GB"),
    ],
)
def test_sizes_are_shown_as_disks_are_sold(count: float, shown: str) -> None:
    assert sized(count) == shown


def test_one_study_is_not_counted_as_studies() -> None:
    assert [counted(count, "study", "studies") for count in (0, 1, 2000)] == ["0 studies", "1 study", "2,000 studies"]
