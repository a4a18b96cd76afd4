"""The parser: the same blocks however a log is cut, and the sample and cycle that belong to them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_assets.monitor.blocks import MAX_LINES, NOTHING, Block, Context, Parser
from fusion_assets.monitor.encodings import cut, decoder
from fusion_assets.monitor.patterns import Patterns, compile_patterns
from tests.monitor.synthetic import DEFAULT, as_read, error, info, read_slowly

LINES = st.sampled_from(
    [
        info("moved"),
        info("Sample: Tonsil-7"),
        info("sample name = 'Müller 3', cycle 4 of 12"),
        info("CYCLE 5"),
        info("recycle 9 resampled: no"),
        error("objective stuck"),
        error("objective stuck", "2026-01-05 12:00:00"),
        error("sample 'X1' lost in cycle 6"),
        "ERROR without a moment",
        "   at Akoya.Stage.Move() in Stage.cs:line 12",
        "caused by: FATAL µ-controller, cycle 7",
        "",
        "Cycle: 8",
        "2026/01/05 12:00:01 [ERR] other framework",
        "an error in small letters",
    ]
)
LOGS = st.lists(st.tuples(LINES, st.sampled_from(["\n", "\r\n", "\r", "\n\n"])), max_size=40).map(
    lambda lines: "".join(line + end for line, end in lines) + "\n"
)
ENCODINGS = st.sampled_from(["utf-8", "utf-16-le", "utf-16-be", "cp1252"])


def parse(text: str, encoding: str, sizes: list[int], patterns: Patterns = DEFAULT) -> tuple[list[Block], Parser]:
    """Feed a log in pieces of these many lines' worth of bytes, each cut where its lines end."""
    raw, blocks = text.encode(encoding), list[Block]()
    parser = Parser(patterns, decoder(encoding), blocks.append)
    at, turn = 0, 0
    while at < len(raw):
        size = sizes[turn % len(sizes)]
        turn += 1
        while (piece := cut(raw[at : at + size], at, encoding)) is None and at + size < len(raw):
            size *= 2
        if piece is None:
            break
        parser.feed(piece)
        at = piece.end
    return blocks, parser


@settings(max_examples=300, deadline=None)
@given(LOGS, ENCODINGS, st.lists(st.integers(1, 400), min_size=1, max_size=5))
def test_however_a_log_is_cut_the_blocks_are_those_of_reading_it_line_by_line(
    text: str, encoding: str, sizes: list[int]
) -> None:
    blocks, parser = parse(text, encoding, sizes)
    parser.finish()
    assert [as_read(block) for block in blocks] == read_slowly(text)
    assert parser.offset == len(text.encode(encoding))
    raw = text.encode(encoding)
    for block in blocks:
        assert raw[block.offset :].decode(encoding).startswith(block.lines[0])


@settings(max_examples=300, deadline=None)
@given(LOGS, LOGS, ENCODINGS)
def test_a_restart_where_the_parser_says_neither_repeats_nor_misses_a_block(
    before: str, after: str, encoding: str
) -> None:
    whole, _ = parse(before + after, encoding, [10_000])
    blocks, parser = parse(before, encoding, [10_000])
    rest = (before + after).encode(encoding)[parser.offset :]
    resumed = Parser(DEFAULT, decoder(encoding), blocks.append, parser.offset, parser.context)
    if rest and (piece := cut(rest, parser.offset, encoding)):
        resumed.feed(piece)
    assert blocks == whole
    assert (resumed.offset, resumed.context) != (0, None)


def test_an_error_takes_its_stack_trace_along_and_not_the_next_entry() -> None:
    text = "\n".join([error("stuck"), "   at A()", "", "   at B()", info("on we go"), "   at C()"]) + "\n"
    ((block,), _) = parse(text, "utf-8", [1000])
    assert block.lines == (error("stuck"), "   at A()", "   at B()")


def test_an_error_bears_the_sample_and_cycle_named_last_before_it_and_not_those_after_it() -> None:
    lines = [info("Sample: A"), info("cycle 1"), info("cycle 2"), error("stuck"), info("Sample: B"), info("cycle 3")]
    ((block,), parser) = parse("\n".join(lines) + "\n", "utf-8", [1000])
    assert block.context == Context("A", "2")
    assert parser.context == Context("B", "3")


def test_the_sample_survives_a_gigabyte_of_lines_that_do_not_name_it() -> None:
    lines = [info("Sample: A, cycle 7"), *[info(f"moved {number}") for number in range(5000)], error("stuck")]
    blocks, parser = parse("\n".join(lines) + "\n", "utf-8", [4096])
    parser.finish()
    assert blocks[0].context == Context("A", "7")


def test_a_log_without_known_timestamps_does_not_become_one_endless_block() -> None:
    lines = [f"05|01|26 ERROR number {number}" for number in range(3 * MAX_LINES)]
    blocks, parser = parse("\n".join(lines) + "\n", "utf-8", [100_000])
    parser.finish()
    assert [len(block.lines) for block in blocks] == [MAX_LINES] * 3
    assert [block.is_cut for block in blocks] == [True, True, False]


def test_a_line_of_a_megabyte_does_not_stop_the_parser() -> None:
    text = "\n".join([error("x" * 1_000_000), info("fine"), error("next")]) + "\n"
    blocks, parser = parse(text, "utf-8", [2_000_000])
    parser.finish()
    assert len(blocks[0].lines[0]) == 8192
    assert blocks[1].lines == (error("next"),)


def test_patterns_without_words_to_search_for_find_the_same() -> None:
    patterns = compile_patterns({"error": r"\bE[A-Z]{4}\b|\[[EF]..\]|\bF[A-Z]+", "cycle": r"(?i)\bc.cle\W+(\d)"})
    assert patterns.error.words == ()
    text = "\n".join([info("cycle 3"), error("a"), info("b"), error("c"), "  at d"]) + "\r\n"
    blocks, parser = parse(text, "utf-8", [64], patterns)
    parser.finish()
    assert [as_read(block) for block in blocks] == read_slowly(text, patterns)
    assert [block.context.cycle for block in blocks] == ["3", "3"]


def test_nothing_is_named_before_anything_is_named() -> None:
    ((block,), _) = parse(error("stuck") + "\n" + info("next") + "\n", "utf-8", [1000])
    assert block.context == NOTHING
