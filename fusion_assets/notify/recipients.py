"""Who subscribed to which event: text files with one address a line, read fresh for every mail.

What belongs here: the files, and what a line of them means. What does not: sending anything.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

from fusion_assets.config import USER_CONFIG_DIR, Config, Event
from resources.smtp_settings import is_address

__all__ = ["Event", "Parsed", "Subscribers", "parse_recipients", "recipients_folder", "subscribers"]

DEFAULT_FILE = "default.txt"

_COMMENT = re.compile(r"(^|\s)#.*")


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a subscription file says.

    Attributes:
        addresses: In the order of the file, each once.
        bad: Line number (from 1) and text of every line that is no address.
    """

    addresses: tuple[str, ...] = ()
    bad: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Subscribers:
    """Who hears of one event.

    Attributes:
        event: The event.
        addresses: Who; empty for nobody.
        file: The file they stand in; None for nobody.
        problems: A sentence for every bad line and unreadable file that was met.
    """

    event: Event
    addresses: tuple[str, ...]
    file: Path | None
    problems: tuple[str, ...] = ()


def recipients_folder(config: Config) -> Path:
    """Where the subscription files are.

    Args:
        config: The lab; a relative ``[notify] recipients_dir`` counts from the folder of its config.toml.

    Returns:
        The configured folder, else ``recipients`` beside config.toml.
    """
    beside = config.path.parent if config.path else USER_CONFIG_DIR.expanduser()
    return beside / Path(config.notify.recipients_dir or "recipients").expanduser()


def subscribers(folder: Path, event: Event) -> Subscribers:
    """Who hears of `event`: ``<event>.txt`` if it has any address, else ``default.txt``, else nobody.

    A file that cannot be read, or has only bad lines, is named and passed over: better the default's people hear of a
    failure than nobody.

    Args:
        folder: See `recipients_folder`.
        event: The event.
    """
    problems: list[str] = []
    for name in (f"{event.value}.txt", DEFAULT_FILE):
        file = folder / name
        try:
            parsed = parse_recipients(file.read_bytes())
        except FileNotFoundError:
            continue
        except OSError as error:
            problems.append(f"{file}: cannot be read: {error.strerror or error}")
            continue
        problems += [f"{file}: line {line}: {text!r} is not a mail address" for line, text in parsed.bad]
        if parsed.addresses:
            return Subscribers(event, parsed.addresses, file, tuple(problems))
    return Subscribers(event, (), None, tuple(problems))


def parse_recipients(content: bytes) -> Parsed:
    """Read a subscription file: one address a line, ``#`` comments, blank lines and white space around as you like.

    Args:
        content: The bytes, as any editor of Windows or Linux leaves them.
    """
    addresses: dict[str, str] = {}
    bad: list[tuple[int, str]] = []
    for number, line in enumerate(_decoded(content).splitlines(), start=1):
        text = _COMMENT.sub("", line).strip()
        if not text:
            continue
        if is_address(text):
            addresses.setdefault(text.casefold(), text)
        else:
            bad.append((number, text))
    return Parsed(tuple(addresses.values()), tuple(bad))


def _decoded(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace")
    # PowerShell's `"me@lab.org" >> default.txt` appends UTF-16 to whatever is there; without its zero bytes an address
    # is readable again.
    return content.replace(b"\0", b"").decode("utf-8-sig", "replace")
