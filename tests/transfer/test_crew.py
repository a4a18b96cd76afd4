"""Threads that work together and end together, whatever any of them does."""

from __future__ import annotations

import hashlib
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_assets.transfer.bandwidth import Bandwidth
from fusion_assets.transfer.crew import Crew, Handover, Stop, StoppedError, Turns, open_crew
from resources.errors import UnavailableError


def test_every_item_is_worked_on_once():
    done: list[int] = []
    with open_crew("test", threads=4, memory=1 << 20) as crew:
        crew.run(range(1000), lambda item, _: done.append(item), buffer_size=4096)
        crew.run(range(1000, 1003), lambda item, _: done.append(item), buffer_size=4096)
        crew.run([], lambda item, _: done.append(item), buffer_size=4096)
    assert sorted(done) == list(range(1003))


def test_no_two_threads_ever_share_a_buffer():
    def fill(item: int, buffer: memoryview) -> None:
        buffer[:] = bytes([item % 256]) * len(buffer)
        time.sleep(0.0001)
        assert set(buffer) == {item % 256}

    with open_crew("test", threads=4, memory=4 * 4096) as crew:
        crew.run(range(200), fill, buffer_size=4000)


@pytest.mark.parametrize(("memory", "buffer_size", "workers"), [(4096 * 3, 4096, 3), (4096 * 3, 8192, 1)])
def test_only_as_many_threads_work_as_the_memory_has_buffers(memory, buffer_size, workers):
    names: set[str] = set()

    def note(item: int, buffer: memoryview) -> None:
        names.add(threading.current_thread().name)
        assert len(buffer) == buffer_size
        time.sleep(0.001)

    with open_crew("test", threads=8, memory=memory) as crew:
        crew.run(range(50), note, buffer_size=buffer_size)
    assert len(names) == workers


def test_the_first_error_is_the_one_that_is_raised_and_the_rest_is_left_undone():
    done: list[int] = []

    def work(item: int, _: memoryview) -> None:
        if item == 10:
            raise ValueError("item 10")
        time.sleep(0.001)
        done.append(item)

    with pytest.raises(ValueError, match="item 10"), open_crew("test", threads=2, memory=8192) as crew:
        crew.run(range(10_000), work, buffer_size=4096)
    assert len(done) < 100


def test_threads_that_wait_for_their_turn_are_released_when_another_fails():
    stop = Stop()
    crew = Crew("test", threads=4, memory=4 * 4096, stop=stop)
    turns = Turns(stop)

    def work(item: int, _: memoryview) -> None:
        if item == 0:
            time.sleep(0.05)
            raise ValueError("the first never had its turn")
        with turns.turn(item):
            pass

    with pytest.raises(StoppedError):
        crew.run(range(100), work, buffer_size=4096)
    crew.close()
    assert str(stop.error) == "the first never had its turn"


@settings(max_examples=20, deadline=None)
@given(pieces=st.lists(st.binary(max_size=50), max_size=40), threads=st.integers(1, 6))
def test_a_digest_taken_in_turns_is_that_of_the_bytes_in_order(pieces, threads):
    digest = hashlib.sha256()
    stop = Stop()
    turns = Turns(stop)
    crew = Crew("test", threads=threads, memory=threads * 4096, stop=stop)

    def work(numbered: tuple[int, bytes], _: memoryview) -> None:
        number, data = numbered
        with turns.turn(number):
            digest.update(data)

    crew.run(enumerate(pieces), work, buffer_size=4096)
    crew.close()
    assert digest.digest() == hashlib.sha256(b"".join(pieces)).digest()


def test_nobody_waits_at_a_full_or_an_empty_queue_when_all_stop():
    stop = Stop()
    full: Handover[int] = Handover(1, stop)
    empty: Handover[int] = Handover(1, stop)
    ended: list[str] = []

    def put() -> None:
        full.put(1)
        with pytest.raises(StoppedError):
            full.put(2)
        ended.append("put")

    def take() -> None:
        with pytest.raises(StoppedError):
            list(empty)
        ended.append("take")

    threads = [threading.Thread(target=put), threading.Thread(target=take)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    stop.fail(ValueError("enough"))
    for thread in threads:
        thread.join(5)
    assert sorted(ended) == ["put", "take"]


def test_the_reason_to_stop_is_the_first_one():
    stop = Stop()
    stop.fail(StoppedError())
    stop.fail(ValueError("first"))
    stop.fail(KeyError("second"))
    assert str(stop.error) == "first"


def test_several_readers_together_keep_below_the_bandwidth_limit():
    bandwidth = Bandwidth(100_000, Stop())
    began = time.monotonic()
    with open_crew("test", threads=4, memory=4 * 4096) as crew:
        crew.run(range(50), lambda _, buffer: bandwidth.take(1000), buffer_size=4096)
    assert time.monotonic() - began >= 50_000 / 100_000 - 0.3


def test_no_limit_is_no_waiting():
    began = time.monotonic()
    Bandwidth(None, Stop()).take(1 << 60)
    assert time.monotonic() - began < 1


def test_work_that_waits_gets_every_thread_and_work_that_computes_does_not():
    def threads_for(work) -> int:
        seen: set[int] = set()

        def noted(item: int, buffer: memoryview) -> None:
            seen.add(threading.get_ident())
            work()

        with open_crew("test", threads=8, memory=8 * 4096) as crew:
            crew.run(range(60), noted, buffer_size=4096, mostly_python=True)
        return len(seen - {threading.get_ident()})

    assert threads_for(lambda: time.sleep(0.01)) == 8
    assert threads_for(lambda: sum(range(100_000))) < 8


def test_all_items_are_done_once_also_when_the_first_are_tried_alone():
    for count in (0, 1, 3, 4, 5, 100):
        done: list[int] = []
        with open_crew("test", threads=3, memory=3 * 4096) as crew:
            crew.run(range(count), lambda item, _, done=done: done.append(item), buffer_size=4096, mostly_python=True)
        assert sorted(done) == list(range(count))


def test_an_item_that_fails_while_it_is_tried_alone_stops_the_crew_with_its_error():
    def fail(item: int, buffer: memoryview) -> None:
        raise UnavailableError(f"item {item}")

    with pytest.raises(UnavailableError, match="item 0"), open_crew("test", threads=3, memory=3 * 4096) as crew:
        crew.run(range(10), fail, buffer_size=4096, mostly_python=True)
