"""A letter: what every mail is made of, written once as plain text and once as HTML that say the same.

What belongs here: the few kinds of blocks a mail needs, and how they look in every mail reader. What does not: what any
mail says (`backup`, `checks`, `capacity`, ...). Pure, and total: whatever a directory is called, the letter can be
written, its text holds no control characters and its HTML no markup of others.
"""

from __future__ import annotations

import html
import re
import shlex
from dataclasses import dataclass
from datetime import datetime

# More rows than a person reads in a mail; `fusion plan` shows the rest.
MAX_ROWS = 50
MAX_LINES = 60
_MAX_SENTENCE = 300
_MAX_LINE = 500
_BAR_WIDTH = 240  # pixels
_BLOCKS = "▁▂▃▄▅▆▇█"

_OPEN, _CLOSE = '<html><body style="font-family: sans-serif">', "</body></html>\n"


@dataclass(frozen=True, slots=True)
class Message:
    """What is said, to whomever.

    Attributes:
        subject: One line.
        text: For readers of plain text.
        html: The same as HTML; None for text only.
    """

    subject: str
    text: str
    html: str | None = None


@dataclass(frozen=True, slots=True)
class Words:
    """A paragraph.

    Attributes:
        text: Made one line; mail readers wrap it.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    Attributes:
        name: What it is about, e.g. a study.
        says: One sentence; cut when it is longer than a few lines.
        url: Where more of it is seen; empty for nowhere. Only ``http://`` and ``https://`` become links.
    """

    name: str
    says: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Names and what is said of each.

    Attributes:
        rows: As many as there are; `MAX_ROWS` are shown.
        more: What shows those that are not, e.g. ``fusion plan``.
    """

    rows: tuple[Row, ...]
    more: str = ""


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of a log, as they stand there.

    Attributes:
        text: At most the first `MAX_LINES` are shown.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """A line to type.

    Attributes:
        why: When, or what for.
        line: See `typed` for names in it.
    """

    why: str
    line: str


@dataclass(frozen=True, slots=True)
class Commands:
    """What to type.

    Attributes:
        commands: In the order in which a person would.
    """

    commands: tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a plot.

    Attributes:
        label: What it is, e.g. a date.
        value: Its length, in any unit; negative and not finite ones have none.
        shown: The value for a person, e.g. ``1.2 TB``.
    """

    label: str
    value: float
    shown: str


@dataclass(frozen=True, slots=True)
class Bars:
    """A plot of one row of values, for readers that show no images: coloured cells, or blocks of text.

    Attributes:
        bars: From top to bottom; the same from left to right as text.
    """

    bars: tuple[Bar, ...]


Block = Words | Table | Lines | Commands | Bars


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a letter.

    Attributes:
        title: E.g. ``What to type``.
        blocks: What stands under it; a section without any is left out.
    """

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail before it is written.

    Attributes:
        headline: What happened, in lower case: it stands in the subject, and begins the mail.
        host: Where.
        at: When; with its time zone.
        sections: In the order of a reader's questions: what, is anything lost, what do I type.
    """

    headline: str
    host: str
    at: datetime
    sections: tuple[Section, ...]


def write(letter: Letter) -> Message:
    """The letter as a mail.

    Args:
        letter: What to say.
    """
    headline, host = one_line(letter.headline), one_line(letter.host)
    beginning = f"{headline[:1].upper()}{headline[1:]} on {host}."
    sections = [section for section in letter.sections if section.blocks]
    signature = f"fusion-toolkit on {host}, {letter.at.isoformat(sep=' ', timespec='seconds')}"
    parts = [beginning, *(_section_text(section) for section in sections), signature]
    html_parts = [f"<p><b>{_escaped(beginning)}</b></p>", *(_section_html(section) for section in sections)]
    return Message(
        f"[fusion-toolkit] {headline} on {host}",
        "\n\n".join(parts) + "\n",
        f"{_OPEN}{''.join(html_parts)}<p>{_escaped(signature)}</p>{_CLOSE}",
    )


def body(message: Message) -> str:
    """What stands inside the HTML of a message, to be put into another; its text where it has no HTML."""
    if message.html is None:
        return f"<pre>{html.escape(message.text)}</pre>"
    return message.html.removeprefix(_OPEN).removesuffix(_CLOSE)


def page(inside: str) -> str:
    """HTML made of `body` and of markup of our own."""
    return f"{_OPEN}{inside}{_CLOSE}"


def typed(argument: str) -> str:
    """An argument as it can be pasted into a shell; double quotes where they do, since Windows knows no others."""
    shown = one_line(argument)
    if re.fullmatch(r"[\w@%+=:,./\\-]+", shown):
        return shown
    return shlex.quote(shown) if re.search(r'["$`!]', shown) else f'"{shown}"'


def one_line(text: str) -> str:
    """A name or reason as one line that shows: directories may be called anything, line breaks included."""
    return " ".join(_printable(text).split())


def counted(count: int, one: str, many: str = "") -> str:
    """A number with its noun, e.g. ``1 study`` or ``3 studies``; `many` is `one` with an s unless it is given."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def sized(count: float) -> str:
    """Bytes for a person, in the units disks are sold in: ``1.2 TB``."""
    size, units = abs(float(count)), ("B", "kB", "MB", "GB", "TB", "PB")
    power = 0
    while size >= 999.5 and power < len(units) - 1:  # noqa: PLR2004 - 999.5 would be shown as 1000
        size, power = size / 1000, power + 1
    shown = f"{size:.0f}" if power == 0 or size >= 99.95 else f"{size:.1f}"  # noqa: PLR2004 - three digits at most
    return f"{'-' if count < 0 else ''}{shown} {units[power]}"


def sparkline(values: list[float]) -> str:
    """Values as blocks of text, one each; a value that has no length is a space."""
    highest = max((value for value in values if _has_length(value)), default=0.0)
    return "".join(
        _BLOCKS[round(value / highest * (len(_BLOCKS) - 1))] if _has_length(value) else " " for value in values
    )


def _section_text(section: Section) -> str:
    lines = [line for block in section.blocks for line in _block_text(block)]
    return "\n".join([one_line(section.title), *(f"  {line}" for line in lines)])


def _section_html(section: Section) -> str:
    return f"<h3>{_escaped(section.title)}</h3>{''.join(_block_html(block) for block in section.blocks)}"


def _block_text(block: Block) -> list[str]:
    match block:
        case Words(text):
            return [one_line(text)]
        case Table():
            rows = [f"{one_line(row.name)}: {_short(row.says)}{_seen_at(row.url)}" for row in block.rows[:MAX_ROWS]]
            return rows + _and_more(block)
        case Lines(text):
            return [f"| {line}" for line in _shown_lines(text)]
        case Commands(commands):
            return [part for each in commands for part in (f"{one_line(each.why)}:", f"  {one_line(each.line)}")]
        case Bars(bars):
            line = sparkline([bar.value for bar in bars])
            return [f"[{line}]", *(f"{one_line(bar.label)}: {one_line(bar.shown)}" for bar in bars)]


def _block_html(block: Block) -> str:
    match block:
        case Words(text):
            return f"<p>{_escaped(text)}</p>"
        case Table():
            return _table_html(block)
        case Lines(text):
            lines = "\n".join(html.escape(line) for line in _shown_lines(text))
            return f'<pre style="background-color: #f4f4f4; padding: 8px; white-space: pre-wrap">{lines}</pre>'
        case Commands(commands):
            code = '<code style="font-size: 14px">'
            items = [f"<dt>{_escaped(each.why)}:</dt><dd>{code}{_escaped(each.line)}</code></dd>" for each in commands]
            return f"<dl>{''.join(items)}</dl>"
        case Bars(bars):
            return _bars_html(bars)


def _table_html(table: Table) -> str:
    rows = []
    for row in table.rows[:MAX_ROWS]:
        link = f" ({_anchor(row.url)})" if row.url else ""
        says = f"{html.escape(_short(row.says))}{link}"
        rows.append(f'<tr valign="top"><td>{_escaped(row.name)}</td><td>{says}</td></tr>')
    more = "".join(f"<p>{_escaped(line)}</p>" for line in _and_more(table))
    return f'<table cellpadding="4">{"".join(rows)}</table>{more}'


def _bars_html(bars: tuple[Bar, ...]) -> str:
    highest = max((bar.value for bar in bars if _has_length(bar.value)), default=0.0)
    rows = []
    for bar in bars:
        width = max(1, round(bar.value / highest * _BAR_WIDTH)) if _has_length(bar.value) else 0
        # A table in the cell, with a bgcolor and a width: what every mail reader shows, Outlook's included.
        cell = (
            f'<table cellpadding="0" cellspacing="0"><tr><td bgcolor="#4a7ebb" width="{width}" height="12" '
            f'style="background-color: #4a7ebb; width: {width}px; height: 12px; font-size: 1px">'
            "&nbsp;</td></tr></table>"
        )
        rows.append(
            f'<tr><td>{_escaped(bar.label)}</td><td width="{_BAR_WIDTH}">{cell if width else ""}</td>'
            f'<td align="right">{_escaped(bar.shown)}</td></tr>'
        )
    return f'<table cellpadding="2" cellspacing="0" style="margin-top: 12px">{"".join(rows)}</table>'


def _has_length(value: float) -> bool:
    return 0 < value < float("inf")


def _anchor(url: str) -> str:
    return f'<a href="{_escaped(url)}">{_escaped(url)}</a>' if re.match(r"https?://", url) else _escaped(url)


def _seen_at(url: str) -> str:
    return f" ({one_line(url)})" if url else ""


def _and_more(table: Table) -> list[str]:
    hidden = len(table.rows) - MAX_ROWS
    if hidden <= 0:
        return []
    return [f"and {hidden} more" + (f"; {one_line(table.more)} shows them all" if table.more else "")]


def _shown_lines(text: str) -> list[str]:
    lines = text.splitlines()
    hidden = len(lines) - MAX_LINES
    shown = [_printable(line.expandtabs(4)[:_MAX_LINE]).rstrip() for line in lines[:MAX_LINES]]
    return shown if hidden <= 0 else [*shown, f"... and {hidden} more lines"]


def _short(reason: str) -> str:
    """A reason as one line; the log has the whole of it."""
    shown = one_line(reason)
    return shown if len(shown) <= _MAX_SENTENCE else f"{shown[: _MAX_SENTENCE - 1]}…"


def _printable(text: str) -> str:
    shown = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(char if char.isprintable() else " " for char in shown)


def _escaped(text: str) -> str:
    return html.escape(one_line(text))
