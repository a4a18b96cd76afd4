"""What is tried again, and what is not: only a place that did not answer, never a study that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.run import dagster_instance
from fusion_assets.reconcile.locks import study_lock
from fusion_assets.studies.tags import BACKUP, EVICTION, KIND_TAG
from resources.local import LocalStorage
from tests.real.small_lab import LOCK, STUDY
from tests.studies.face import ARCHIVE, Face

pytestmark = pytest.mark.real


def test_a_server_that_does_not_answer_is_asked_again_and_then_named(face: Face) -> None:
    assert face.run("validated", "truenas_copy").success
    face.lab.write(face.lab.path_of("focus003.bin"), b"what goes on being written" * 1000)
    config = face.lab.config.read_text()
    face.lab.config.write_text(config.replace(face.lab.server.url, "http://127.0.0.1:9"))
    ran = face.run(*ARCHIVE)
    assert not ran.success
    assert ran.retries == 2
    assert "127.0.0.1:9" in ran.errors
    assert tuple(ran.made) == ("validated", "truenas_copy"), "the copy does not need S3"
    assert ran.failed_checks == set(), "a server that is away says nothing of the bytes"


def test_whoever_waits_at_the_command_line_is_told_that_a_server_is_away(face: Face) -> None:
    lab = face.lab
    assert face.run("validated", "truenas_copy").success
    plans = list(lab.plans().values())
    lab.config.write_text(lab.config.read_text().replace(lab.server.url, "http://127.0.0.1:9"))
    done = lab.apply(plans, retry_seconds=0.01)
    assert done.failed
    assert len(done.warnings) == 2, "two of three tries are followed by another"
    for warning in done.warnings:
        assert warning.startswith(f"{STUDY}: ")
        assert "http://127.0.0.1:9 does not answer" in warning
        assert "trying again in 0 s" in warning


def test_a_bad_name_is_not_tried_again(face: Face) -> None:
    (face.lab.source / "no study").mkdir()
    ran = face.run(study="no study")
    assert (ran.success, ran.retries) == (False, 0)


def test_refused_credentials_are_not_tried_again(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not/the/secret")
    ran = face.run(*ARCHIVE)
    assert (ran.success, ran.retries) == (False, 0)
    assert "credentials are refused" in ran.errors


def test_a_locked_study_is_not_waited_for_and_says_whose_the_lock_is(face: Face) -> None:
    other = LocalStorage(face.lab.source)
    with study_lock(other, STUDY, STUDY):
        text = (face.lab.study / LOCK).read_text()
    (face.lab.study / LOCK).write_text(text.replace('"pid": ', '"pid": 9'))  # somebody else's
    ran = face.run(*ARCHIVE)
    assert (ran.success, ran.retries) == (False, 0)
    assert "is locked by" in ran.errors
    assert not face.lab.copy.exists()


def test_the_daemon_runs_one_run_of_a_study_and_two_transfers_at_a_time_and_keeps_room_for_an_eviction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "set anew by the instance, and put back at the end of the test")
    with dagster_instance(tmp_path / "home") as instance:
        concurrency = instance.get_concurrency_config()
        queue = concurrency.run_queue_config
        assert queue.tag_concurrency_limits == [
            {"key": "dagster/partition", "value": {"applyLimitPerUniqueValue": True}, "limit": 1},
            {"key": KIND_TAG, "value": EVICTION, "limit": 1},
            {"key": KIND_TAG, "value": BACKUP, "limit": 3},
        ]
        assert queue.max_concurrent_runs >= 1 + 3 + 2, "an eviction is never kept waiting by backups"
        assert concurrency.pool_config.default_pool_limit == 2
        assert not instance.run_retries_enabled
