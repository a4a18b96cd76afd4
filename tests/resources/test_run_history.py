"""Dagster's history on a real disk: several processes at once, a fork, a history that plain Dagster wrote."""

# No `from __future__ import annotations` here: Dagster reads the annotations of assets as objects, not as text.

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log import ConsolidatedSqliteEventLogStorage

from cli.run import prepare_instance

ROOT = Path(__file__).parents[2]
PARTITIONS = dg.DynamicPartitionsDefinition(name="studies")


@dg.asset(partitions_def=PARTITIONS, check_specs=[dg.AssetCheckSpec("whole", asset="copied")])
def copied(context: dg.AssetExecutionContext):
    context.log.info("at work")
    yield dg.AssetCheckResult(passed=True)
    yield dg.MaterializeResult(metadata={"files": 3})


def run(instance: dg.DagsterInstance, study: str) -> str:
    instance.add_dynamic_partitions("studies", [study])
    result = dg.materialize([copied], instance=instance, partition_key=study)
    return str(result.run_id)


def record(instance: dg.DagsterInstance, study: str) -> None:
    """As the webserver's and the daemon's threads write: a run in a thread deadlocks in Dagster's logging."""
    instance.add_dynamic_partitions("studies", [study])
    instance.report_runless_asset_event(dg.AssetMaterialization("copied", partition=study))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Dagster home as `fusion` makes it."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    return prepare_instance(tmp_path / "home")


@pytest.fixture
def python(home: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts other processes at the same Dagster home."""
    started: list[subprocess.Popen[str]] = []

    def start(program: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", f"import dagster as dg, sys\ninstance = dg.DagsterInstance.get()\n{program}"]
        started.append(subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def assert_intact(home: Path) -> None:
    for database in (home / "history").glob("*.db"):
        with sqlite3.connect(database) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_shipped_settings_keep_the_events_of_all_runs_in_one_database(home):
    with dg.DagsterInstance.get() as instance:
        for study in ("a", "b"):
            run(instance, study)
    found = {path.relative_to(home).as_posix() for path in home.rglob("*.db")}
    assert found == {"history/event_log.db", "history/runs.db", "schedules/schedules.db"}


def test_a_webserver_sees_the_runs_that_another_process_is_writing(home, python):
    reader = python(
        "for line in sys.stdin:\n"
        "    run = instance.get_run_by_id(line.strip())\n"
        "    print(run.status.value, len(instance.all_logs(run.run_id)), flush=True)\n"
    )
    with dg.DagsterInstance.get() as instance:
        for study in ("a", "b", "c"):
            run_id = run(instance, study)
            written = len(instance.all_logs(run_id))
            reader.stdin.write(f"{run_id}\n")
            reader.stdin.flush()
            assert reader.stdout.readline().split() == ["SUCCESS", str(written)]
    reader.communicate()
    assert reader.returncode == 0


def test_the_log_of_a_run_appears_in_the_ui_while_another_process_writes_it(home, python):
    with dg.DagsterInstance.get() as instance:
        told, seen = threading.Event(), []
        run_id = instance.create_run_for_job(dg.job(name="empty")(lambda: None)).run_id

        def tell(event: object, cursor: str) -> None:
            seen.append(event)
            told.set()

        instance.watch_event_logs(run_id, None, tell)
        writer = python(
            f"run = instance.get_run_by_id({run_id!r})\n"
            "instance.report_engine_event('at work', run)\n"
            "print('written', flush=True)\n"
            "sys.stdin.read()  # and its connections stay open, as those of a run do\n"
        )
        assert writer.stdout.readline() == "written\n"
        assert told.wait(20)
        assert "at work" in str(seen)
        writer.communicate()


def test_several_processes_and_threads_write_at_once_and_lose_nothing(home, python):
    add = "for number in range(30): instance.add_dynamic_partitions('studies', [f'{name}-{number}'])"
    processes = [python(f"name = {name!r}\n{add}") for name in "ab"]
    with dg.DagsterInstance.get() as instance:
        threads = [threading.Thread(target=record, args=(instance, f"thread-{i}")) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for process in processes:
            process.communicate()
            assert process.returncode == 0
        assert len(instance.get_dynamic_partitions("studies")) == 2 * 30 + 8
        assert instance.get_materialized_partitions(copied.key) == {f"thread-{i}" for i in range(8)}
    assert_intact(home)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on Windows")
def test_a_forked_child_uses_connections_of_its_own(home):
    with dg.DagsterInstance.get() as instance:
        run(instance, "before")
        with instance.event_log_storage.index_connection() as connection:
            kept = connection.engine
        child = os.fork()
        if not child:
            try:
                instance.add_dynamic_partitions("studies", ["child"])
                with instance.event_log_storage.index_connection() as connection:
                    os._exit(connection.engine is kept)
            finally:
                os._exit(1)  # never a second pytest
        for number in range(20):
            instance.add_dynamic_partitions("studies", [f"parent-{number}"])
        assert os.waitpid(child, 0)[1] == 0
        run(instance, "after")
        assert len(instance.get_dynamic_partitions("studies")) == 1 + 1 + 20 + 1
    assert_intact(home)


def test_processes_that_find_a_new_home_together_all_get_a_whole_one(home, python):
    processes = [python("print(len(instance.get_runs()), instance.all_asset_keys())") for _ in range(4)]
    assert [process.communicate()[0] for process in processes] == ["0 []\n"] * 4
    assert [process.returncode for process in processes] == [0] * 4


def test_a_home_whose_maker_was_killed_is_made_anew(home, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(Killed):
            dg.DagsterInstance.get()
    with dg.DagsterInstance.get() as instance:
        run(instance, "a")


def test_what_plain_dagster_recorded_is_taken_over_and_left_as_it_was(home):
    shipped = (home / "dagster.yaml").read_text()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.get() as plain:
        assert not isinstance(plain.event_log_storage, ConsolidatedSqliteEventLogStorage)
        run_id = run(plain, "old")
    (home / "dagster.yaml").write_text(shipped)
    with dg.DagsterInstance.get() as instance:
        assert isinstance(instance.event_log_storage, ConsolidatedSqliteEventLogStorage)
        assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.SUCCESS
        assert instance.get_dynamic_partitions("studies") == ["old"]
        assert instance.get_materialized_partitions(copied.key) == {"old"}
        assert instance.get_latest_materialization_event(copied.key).run_id == run_id
        run(instance, "new")
        assert instance.get_materialized_partitions(copied.key) == {"old", "new"}
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.get() as plain:
        assert plain.get_materialized_partitions(copied.key) == {"old"}


def test_no_commit_waits_for_the_disk(home):
    with dg.DagsterInstance.get() as instance, instance.event_log_storage.index_connection() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
