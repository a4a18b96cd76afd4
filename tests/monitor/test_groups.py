"""Which errors are the same, and what a storm of them becomes."""

from __future__ import annotations

from fusion_assets.monitor.blocks import Block
from fusion_assets.monitor.groups import KEY_LENGTH, MAX_GROUPS, STORM, Gathering, error_key
from fusion_assets.monitor.patterns import compile_patterns
from tests.monitor.synthetic import DEFAULT, error


def block(text: str, offset: int = 0) -> Block:
    return Block(offset, tuple(text.splitlines()))


def test_the_same_error_at_another_time_has_the_same_key() -> None:
    moments = ["2026-01-05 12:00:00,123", "2026-01-05T12:00:00Z", "2026/01/05 12:00:00", "05.01.2026 12:00:00"]
    keys = {error_key(block(error("stuck\n  since 2026-01-04 11:00:00", moment)), DEFAULT) for moment in moments}
    assert keys == {"<TS> [12] ERROR Stage - stuck\nsince <TS>"}


def test_a_key_is_the_first_200_characters_after_moments_were_replaced() -> None:
    one, other = (block(error("x" * 180 + end)) for end in ("A", "B"))
    assert error_key(one, DEFAULT) != error_key(block(error("y")), DEFAULT)
    assert len(error_key(one, DEFAULT)) == KEY_LENGTH
    assert error_key(one, DEFAULT) == error_key(other, DEFAULT)


def test_a_timestamp_of_the_labs_own_form_is_replaced_too() -> None:
    patterns = compile_patterns({"timestamp": r"^T\+\d+s"})
    assert error_key(block("T+12s ERROR stuck"), patterns) == error_key(block("T+9999s ERROR stuck"), patterns)


def test_the_same_error_is_counted_and_not_repeated() -> None:
    gathering = Gathering(DEFAULT, lambda _: False)
    for number in range(100_000):
        gathering.add(block(error("stuck"), number))
    ((group,), _) = gathering.groups(), None
    assert (group.count, group.block.offset, group.last) == (100_000, 0, 99_999)


def test_a_storm_of_errors_that_differ_in_a_number_becomes_one() -> None:
    gathering = Gathering(DEFAULT, lambda _: False)
    for number in range(10_000):
        gathering.add(block(error(f"frame {number} dropped"), number))
    groups = gathering.groups()
    assert len(groups) == STORM + 1
    assert sum(group.count for group in groups) == 10_000
    assert groups[-1].key.endswith("frame <N> dropped")


def test_a_storm_that_was_reported_stays_known_at_the_next_look() -> None:
    storm = Gathering(DEFAULT, lambda _: False)
    for number in range(100):
        storm.add(block(error(f"frame {number} dropped")))
    sent = {group.key for group in storm.groups()}
    later = Gathering(DEFAULT, sent.__contains__)
    for number in range(100, 200):
        later.add(block(error(f"frame {number} dropped")))
    ((group,), _) = later.groups(), None
    assert group.known
    assert group.count == 100


def test_what_a_look_found_does_not_depend_on_what_follows_it() -> None:
    """A look that is taken again after a crash, with more lines in the log, must give the same keys first."""
    blocks = [block(error(f"{word} {number}")) for number in range(60) for word in ("frame", "tile")]
    short, long = (Gathering(DEFAULT, lambda _: False) for _ in range(2))
    for each in blocks[:50]:
        short.add(each)
    for each in blocks:
        long.add(each)
    keys = [group.key for group in short.groups()]
    assert [group.key for group in long.groups()][: len(keys)] == keys


def test_a_thousand_different_errors_end_a_look() -> None:
    gathering = Gathering(DEFAULT, lambda _: False)
    for number in range(MAX_GROUPS):
        assert not gathering.is_full
        gathering.add(block(error("".join(chr(97 + int(digit)) for digit in str(number)))))
    assert gathering.is_full
