"""Whoever stops a transfer, or breaks it, gets an answer soon: nothing hangs, nothing goes on behind their back."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from resources.errors import UnavailableError
from tests.transfer.lab import BACKUP, RUN, SIDECAR, TINY, Lab


def threads_of_ours() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("copy", "prove", "transfer"))]


@pytest.mark.parametrize(
    ("place", "method"),
    [
        ("source", "open_reader"),
        ("source", "read_into"),
        ("source", "stat"),
        ("nas", "write_file"),
        ("nas", "open_writer"),
        ("nas", "write"),
        ("nas", "flush"),
        ("nas", "open_reader"),
        ("nas", "read_into"),
        ("nas", "set_mtime"),
        ("nas", "append"),
        ("nas", "replace"),
        ("nas", "make_directory"),
    ],
)
def test_a_place_that_fails_at_any_step_ends_everything_with_that_error(lab, place, method):
    def fail(called: str, path: str) -> None:
        if called == method and (place == "nas" or path != RUN):
            raise UnavailableError(f"{place} broke at {method}")

    getattr(lab, place).before = fail
    began = time.monotonic()
    with pytest.raises(UnavailableError, match=f"{place} broke at {method}"):
        lab.copy_and_archive()
    assert time.monotonic() - began < 5
    assert threads_of_ours() == []
    assert SIDECAR not in lab.in_s3()
    assert lab.bucket.uploads == {}
    getattr(lab, place).before = lambda *_: None
    lab.copy_and_archive()
    lab.check_copied()
    lab.check_archived()


def test_ctrl_c_stops_all_threads_and_aborts_the_uploads(lab):
    def slow(method: str, key: str) -> None:
        if method == "put_part":
            time.sleep(0.05)

    lab.bucket.before = slow
    seen = []

    def interrupted(progress) -> None:
        seen.append(progress)
        if lab.bucket.requests["put_part"]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lab.copy_and_archive(progress=interrupted)
    assert threads_of_ours() == []
    assert lab.bucket.uploads == {}
    assert SIDECAR not in lab.in_s3()
    lab.bucket.before = lambda *_: None
    lab.copy_and_archive()
    lab.check_copied()
    lab.check_archived()


def test_a_broken_nas_read_while_uploading_is_an_error_of_the_nas_not_of_s3(lab):
    def fail(method: str, path: str) -> None:
        if method == "open_reader" and path == f"{BACKUP}/{RUN}/Scan1/{RUN}.qptiff.partial":
            lab.nas.after_read = broken

    def broken(path: str, data: memoryview) -> None:
        if path.endswith(".qptiff.partial"):
            raise UnavailableError("the NAS went away")

    lab.nas.before = fail
    with pytest.raises(UnavailableError, match="the NAS went away"):
        lab.copy_and_archive()
    assert lab.bucket.uploads == {}


def test_the_bandwidth_limit_holds_for_the_whole_study(tmp_path):
    lab = Lab(tmp_path, {f"tile{n}.tif": 3000 for n in range(10)} | {"large.qptiff": 30_000})
    began = time.monotonic()
    lab.copy_study(options=replace(TINY, bandwidth_limit=60_000))
    assert time.monotonic() - began > 60_000 / 60_000 - 0.3
    lab.check_copied()


def test_a_limited_transfer_can_be_stopped_at_once(tmp_path):
    lab = Lab(tmp_path, {"large.qptiff": 30_000})
    began = time.monotonic()

    def interrupted(progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lab.copy_study(options=replace(TINY, bandwidth_limit=100), progress=interrupted)
    assert time.monotonic() - began < 5
