"""Dagster's history of runs in SQLite, fast: one database for all events, and connections that are kept.

Named by dagster.yaml. Dagster's own SQLite storage makes a database for every run and opens a connection for every
statement: 240 commits and 290 connections for one study, each commit waiting for the disk. What belongs here: how the
databases are made, opened and kept open. What does not: what is in them (Dagster's own classes) and where they lie.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

# Dagster has no public names for its SQLite storages; its version is pinned exactly.
from dagster import StringSource
from dagster._core.event_api import EventHandlerFn
from dagster._core.storage.event_log import ConsolidatedSqliteEventLogStorage
from dagster._core.storage.event_log.polling_event_watcher import SqlPollingEventWatcher
from dagster._core.storage.legacy_storage import CompositeStorage
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._core.storage.sqlite import create_db_conn_string
from dagster._serdes import ConfigurableClassData
from filelock import FileLock
from sqlalchemy import Connection, Engine, create_engine, event

_EVENTS = "event_log"
# As Dagster's own: behind other writers on a slow disk, 5 s were not enough.
_BUSY_SECONDS = 30


class RunHistory(CompositeStorage):
    """Runs, events and schedules of one Dagster home, readable and writable by several processes at once.

    Runs and schedules lie where Dagster's own SQLite storage has them. So does what it knows of assets, checks and
    partitions, which is taken over once; the step-by-step logs of runs before that stay in their own files.
    """

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """The Dagster home."""
        return {"base_dir": StringSource}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Open the databases, and make those that are not there.

        Args:
            inst_data: How dagster.yaml names this class.
            config_value: ``base_dir``, the Dagster home.
        """
        home = Path(config_value["base_dir"])
        history = home / "history"
        history.mkdir(parents=True, exist_ok=True)
        # Webserver, daemon and code server are started together, and find a new home together.
        with FileLock(history / "made.lock"):
            _make_events(history)
            return cls(
                run_storage=_Runs.from_local(str(history)),
                event_log_storage=_Events(str(history)),
                schedule_storage=SqliteScheduleStorage.from_local(str(home / "schedules")),
                inst_data=inst_data,
            )


class _Connections:
    """The connections of this process to one database, kept open."""

    def __init__(self, url: str) -> None:
        self._url = url
        # SQLite forbids to carry a connection across a fork, and even to close it there: each process has its own.
        self._engines: dict[int, Engine] = {}

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        engine = self._engines.get(os.getpid()) or self._engines.setdefault(os.getpid(), _open(self._url))
        with engine.begin() as connection:
            yield connection

    def close(self) -> None:
        if engine := self._engines.pop(os.getpid(), None):
            engine.dispose()


class _Runs(SqliteRunStorage):
    """Dagster's runs, through connections that are kept."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._connections = _Connections(conn_string)
        super().__init__(conn_string, inst_data)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        with self._connections.begin() as connection:
            yield connection

    def dispose(self) -> None:
        self._connections.close()


class _Events(ConsolidatedSqliteEventLogStorage):
    """Dagster's events of all runs in one database, through connections that are kept."""

    def __init__(self, base_dir: str) -> None:
        self._connections = _Connections(create_db_conn_string(base_dir, _EVENTS))
        self._watcher = SqlPollingEventWatcher(self)
        super().__init__(base_dir)

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        with self._connections.begin() as connection:
            yield connection

    def has_table(self, table_name: str) -> bool:
        """Whether there is such a table; asked 46 times a study."""
        with self._connections.begin() as connection:
            return bool(connection.dialect.has_table(connection, table_name))

    def watch(self, run_id: str, cursor: str | None, callback: EventHandlerFn) -> None:
        """Ask every moment: the file itself, which Dagster would watch, changes only when its journal is full."""
        self._watcher.watch_run(run_id, cursor, callback)

    def end_watch(self, run_id: str, handler: EventHandlerFn) -> None:
        self._watcher.unwatch_run(run_id, handler)

    def dispose(self) -> None:
        self._watcher.close()
        self._connections.close()


def _open(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _do_not_wait_for_the_disk(connection: sqlite3.Connection, _: object) -> None:
        # A power cut may take the last events of a run, but never the database: the journal (WAL) is still written in
        # order. History may lose them; what is true of a study is in the ledger and in the places themselves.
        connection.execute("PRAGMA synchronous=NORMAL")

    return engine


def _make_events(history: Path) -> None:
    """Make the database of events aside: one whose maker was killed in the middle is never taken for whole."""
    database = history / f"{_EVENTS}.db"
    if database.exists():
        return
    with TemporaryDirectory(dir=history) as aside:
        made, before = Path(aside) / database.name, history / "runs" / "index.db"
        if before.exists():
            with closing(sqlite3.connect(before)) as source, closing(sqlite3.connect(made)) as target:
                source.backup(target)
        ConsolidatedSqliteEventLogStorage(aside)
        made.replace(database)
