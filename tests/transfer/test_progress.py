"""Progress: often enough for a bar, seldom enough for a log, from one thread, and never wrong at the end."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fusion_assets.transfer.progress import Progress
from tests.transfer.lab import STUDY

COUNTS = st.integers(0, 1000)


def test_it_is_told_from_the_calling_thread_and_at_most_ten_times_a_second(lab):
    told: list[tuple[float, int]] = []
    lab.nas.before = lambda method, path: time.sleep(0.01)
    lab.copy_and_archive(progress=lambda _: told.append((time.monotonic(), threading.get_ident())))
    assert {thread for _, thread in told} == {threading.get_ident()}
    assert len(told) >= 3
    gaps = [after - before for (before, _), (after, _) in pairwise(told[:-1])]
    assert min(gaps) > 0.09


def test_the_last_word_is_that_all_is_done(lab):
    told: list[Progress] = []
    lab.copy_and_archive(progress=told.append)
    last = told[-1]
    total = sum(STUDY.values())
    assert (last.files, last.files_done, last.total_bytes) == (len(STUDY), len(STUDY), total)
    assert (last.to_copy, last.copied, last.to_read_back, last.read_back, last.uploaded) == (total,) * 5
    assert last.fraction == 1.0
    assert last.current in STUDY
    assert [p.fraction for p in told] == sorted(p.fraction for p in told)


def test_a_run_with_nothing_to_do_is_done(lab):
    lab.copy_and_archive()
    told: list[Progress] = []
    lab.copy_and_archive(progress=told.append)
    assert told[-1].fraction == 1.0
    lab.copy_study(progress=told.append)
    assert told[-1].fraction == 1.0
    lab.archive_copy(progress=told.append)
    assert told[-1].fraction == 1.0


@given(st.lists(COUNTS, min_size=6, max_size=6))
def test_it_is_only_complete_when_every_file_is(counts):
    files, done, to_copy, copied, to_read_back, read_back = counts
    progress = Progress(files, 0, min(done, files), to_copy, copied, to_read_back, read_back, 0, "", 0.0)
    assert 0.0 <= progress.fraction <= 1.0
    assert (progress.fraction == 1.0) == (progress.files_done == files)
