"""One bounded look at the log: read on where the last look ended, and say which errors are new.

What belongs here: reading in pieces, when a block or a last line without an end counts as complete, and what a log that
cannot be read means. What does not: which file is read (`follow`), what lines mean (`blocks`), and mails: whoever calls
posts them, before the state is saved (`take_look`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from fusion_assets.config import Config
from fusion_assets.monitor.blocks import Parser
from fusion_assets.monitor.encodings import HEAD_BYTES, Piece, cut, decoder, detect, mark_length
from fusion_assets.monitor.follow import Followed, follow, following, recognised
from fusion_assets.monitor.groups import ErrorGroup, Gathering
from fusion_assets.monitor.patterns import AUTOMATIC, Patterns, compile_patterns
from fusion_assets.monitor.place import LogPlace
from fusion_assets.monitor.state import MonitorState, Position, Trouble, load_state, only_one_look, save_state
from fusion_assets.state import state_folder
from resources.errors import NotFoundError, ResourceError
from resources.storage import Reader

# A look at 64 MiB takes 0.3 s on a local disk and about 1 s over SMB.
BUDGET_BYTES = 64 << 20
# Just below the size from which on `resources.local_files` drops what it read from the cache: the log is in use.
PIECE_BYTES = (1 << 20) - 4096
# Programs write a stack trace at once; a log that has not grown for this long has all of its last entry.
QUIET = timedelta(seconds=5)
# A last line without an end is left alone for longer: it may be half a line. But a program may also write line ends
# only before the next line, or die: its last error must not wait for ever.
PARTIAL_QUIET = timedelta(seconds=60)
# Instruments restart their software and rotate their logs; what heals within minutes is nobody's concern.
TELL_AFTER = timedelta(minutes=15)
# How far before the end a first look searches for the sample and cycle that are being worked on.
LOOK_BACK = 4 * PIECE_BYTES


@dataclass(frozen=True, slots=True)
class Tailed:
    """What one look found.

    Attributes:
        groups: The errors that are new, in the order of the log; each with how often it was found.
        known: Errors that were reported already within the days for which they are kept.
        state: To be kept for the next look, once the errors are reported.
        bytes_read: How much of the log was read.
        more: Whether there is more to be read at once.
        waits: Whether the log ends with something that is not complete yet; the next look in some seconds may take it.
        notes: What a person might want to know, e.g. that the log was replaced.
        warning: What a person must be told now, since the log could not be read for a while; empty otherwise.
        recovered: Whether that was told, and the log can be read again.
    """

    groups: tuple[ErrorGroup, ...]
    known: tuple[ErrorGroup, ...]
    state: MonitorState
    bytes_read: int = 0
    more: bool = False
    waits: bool = False
    notes: tuple[str, ...] = ()
    warning: str = ""
    recovered: bool = False

    @property
    def trouble(self) -> str:
        """Why the log could not be read; empty if it could."""
        return self.state.trouble.sentence if self.state.trouble else ""


def take_look(
    config: Config,
    place: LogPlace,
    report: Callable[[Tailed], None],
    *,
    now: datetime,
    from_start: bool = False,
    budget: int = BUDGET_BYTES,
) -> Tailed:
    """Look once: read the state, read on in the log, report, and only then save the state.

    If the process dies in between, the next look finds the same errors with the same keys again: whoever reports must
    recognise them by these (the mailbox does).

    Args:
        config: The lab.
        place: Its log, from `open_log`.
        report: Makes sure that what was found is told; if it raises, the look counts as not taken.
        now: The time, UTC.
        from_start: Read the log from its beginning, whatever was read before.
        budget: How many bytes to read at the most.

    Raises:
        ConfigError: The patterns are wrong, or the state cannot be understood.
        filelock.Timeout: Another process has been looking for ten seconds.
    """
    patterns, folder = compile_patterns(config.monitor.patterns), state_folder(config)
    with only_one_look(folder):
        before = MonitorState() if from_start else load_state(folder)
        state = MonitorState(place.address, Position(place.name)) if from_start else before
        keep = timedelta(days=config.monitor.sent_keep_days)
        tailed = read_new_blocks(place, state, patterns, now=now, keep=keep, budget=budget)
        report(tailed)
        if tailed.state != before:  # most looks find nothing; none of them waits for the disk
            save_state(folder, tailed.state)
    return tailed


def read_new_blocks(
    place: LogPlace,
    state: MonitorState,
    patterns: Patterns,
    *,
    now: datetime,
    keep: timedelta,
    budget: int = BUDGET_BYTES,
) -> Tailed:
    """Read on in the log; one file of it, if it was rotated meanwhile.

    A first look begins at the end of the log: years of old errors are nobody's news. A log that was not there at the
    first look is read from its beginning when it comes.

    Args:
        place: The log.
        state: From the last look.
        patterns: How to read it.
        now: The time, UTC.
        keep: For how long an error that was reported is not reported again.
        budget: How many bytes to read at the most.

    Returns:
        What is new. A log that cannot be read is no error but said in it: see `Tailed.trouble` and `Tailed.warning`.
    """
    if state.log != place.address:
        state = MonitorState(place.address, sent=state.sent)
    state = state.as_of(now)
    gathering = Gathering(patterns, lambda key: key in state.sent and now - state.sent[key] < keep)
    try:
        position = state.position or _first_position(place, patterns)
        with follow(place, position) as followed:
            read = _read_on(followed, patterns, gathering, budget, now)
            is_over = not followed.is_log and read.is_done
            position = read.position
            if is_over and position.offset == followed.position.offset:  # what was found has been reported before
                position = replace(following(place, followed.entry), context=position.context)
    except ResourceError as error:
        return _not_read(place, state, error, now)
    groups = gathering.groups()
    new = tuple(group for group in groups if not group.known)
    recovered = state.trouble is not None and state.trouble.told
    state = replace(state, position=position, trouble=None)
    return Tailed(
        new,
        tuple(group for group in groups if group.known),
        state.remembering({group.key: now for group in new}, now, keep),
        read.bytes_read,
        read.more or is_over,
        read.waits,
        (followed.note,) if followed.note else (),
        recovered=recovered,
    )


@dataclass(frozen=True, slots=True)
class _Read:
    """How far one look came in one file."""

    position: Position
    bytes_read: int
    more: bool
    waits: bool
    is_done: bool


def _read_on(followed: Followed, patterns: Patterns, gathering: Gathering, budget: int, now: datetime) -> _Read:
    """Read one file on, up to the length it had when it was opened."""
    reader, before, size = followed.reader, followed.position, followed.entry.size
    codec, text_begins = codec_of(reader, before.codec, patterns)
    begin = max(before.offset, text_begins)
    parser = Parser(patterns, decoder(codec), gathering.add, begin, before.context)
    end, is_partial = feed(
        reader, parser.feed, codec, begin, size, is_enough=lambda at: at - begin >= budget or gathering.is_full
    )
    more = end < size and not is_partial
    # Zeros at the end are room that a logger reserved, or what a power cut left: never a line.
    left = _bytes(reader, end, size).rstrip(b"\0") if is_partial else b""
    since = before.since if before.since and before.size == size and before.since <= now else now
    is_over = not more and now - since >= (PARTIAL_QUIET if left and followed.is_log else QUIET)
    if is_over:
        if left and (piece := cut(_bytes(reader, end, size), end, codec, all_of_it=True)):
            parser.feed(piece)
        parser.finish()
    position = Position(
        name=followed.entry.path,
        file_id=followed.entry.file_id,
        offset=parser.offset,
        codec=codec if parser.offset > begin else before.codec,
        context=parser.context,
        size=size,
        since=since,
    )
    waits = not more and not is_over and (parser.is_open or bool(left) or not followed.is_log)
    position = recognised(position, reader)
    return _Read(position, end - begin, more, waits, is_over)


def feed(
    reader: Reader,
    take: Callable[[Piece], None],
    codec: str,
    begin: int,
    size: int,
    *,
    is_enough: Callable[[int], bool] = lambda _: False,
) -> tuple[int, bool]:
    """Read whole lines, in pieces.

    Args:
        reader: The open log.
        take: Called with each piece.
        codec: The log's encoding.
        begin: Where to begin, in bytes.
        size: Up to where to read.
        is_enough: Asked before each piece, with the offset, whether to stop there.

    Returns:
        Where the last line ends, and whether only a part of a line is left.
    """
    at = begin
    buffer = memoryview(bytearray(min(PIECE_BYTES, max(0, size - at))))
    while at < size and not is_enough(at):
        raw = bytes(buffer[: reader.readinto(buffer[: size - at], at)])
        # A full piece without a line end is part of an endless line, and taken as it comes.
        piece = cut(raw, at, codec) or (cut(raw, at, codec, all_of_it=True) if len(raw) == PIECE_BYTES else None)
        if piece is None:
            return at, True
        take(piece)
        at = piece.end
    return at, False


def codec_of(reader: Reader, known: str, patterns: Patterns) -> tuple[str, int]:
    """A log's encoding, and where its text begins: behind its byte order mark.

    Args:
        reader: The open log.
        known: What was found out before; empty for nothing.
        patterns: They may set the encoding.
    """
    head = _bytes(reader, 0, HEAD_BYTES)
    codec = (known or detect(head)) if patterns.encoding == AUTOMATIC else patterns.encoding
    return codec, mark_length(head, codec)


def _bytes(reader: Reader, start: int, end: int) -> bytes:
    buffer = memoryview(bytearray(end - start))
    return bytes(buffer[: reader.readinto(buffer, start)])


def _first_position(place: LogPlace, patterns: Patterns) -> Position:
    """The end of the log, and the sample and cycle that were named last before it."""
    with place.storage.open_reader(place.name) as reader:
        entry = reader.stat()
        codec, text_begins = codec_of(reader, "", patterns)
        begin = max(text_begins, (entry.size - LOOK_BACK) & ~1)
        parser = Parser(patterns, decoder(codec), lambda _: None, begin)
        feed(reader, parser.feed, codec, begin, entry.size)
        parser.drop_open()
        position = Position(
            place.name, entry.file_id, parser.offset, codec=codec, context=parser.context, size=entry.size
        )
        return recognised(position, reader)


def _not_read(place: LogPlace, state: MonitorState, error: ResourceError, now: datetime) -> Tailed:
    """The log cannot be read: remember since when, and have it told once when that becomes long."""
    if state.position is None and isinstance(error, NotFoundError) and _is_mounted(place):
        state = replace(state, position=Position(place.name))
    trouble = state.trouble or Trouble(str(error), now)
    since = min(trouble.since, now)
    is_due = not trouble.told and now - since >= TELL_AFTER
    warning = f"since {since:%Y-%m-%d %H:%M} UTC: {error}; errors in it are not noticed" if is_due else ""
    state = replace(state, trouble=Trouble(str(error), since, trouble.told or is_due))
    return Tailed((), (), state, warning=warning)


def _is_mounted(place: LogPlace) -> bool:
    """Whether anything lies where the log should be: an empty directory is most likely a share that is not mounted."""
    try:
        return bool(place.storage.list())
    except ResourceError:
        return False
