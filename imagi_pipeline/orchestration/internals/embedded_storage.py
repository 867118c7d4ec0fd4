"""Store Dagster's data on one machine, in three SQLite files, and keep the connections.

Dagster's own SQLite storage makes a database for each run, stamped by Alembic with all its migrations, writes
each asset event in two of them, and opens a connection for each event. A run of 12 events takes 0.28 s of CPU
with it and 0.06 s here. `dagster.yaml` names it, so every process with that DAGSTER_HOME uses it.

The files are as durable as Dagster's own: write-ahead log, `synchronous = FULL`. They give back the space of
what a purge deletes (`shrink`), while everything runs.

This relies on internals of Dagster (1.13.28), which the tests try:

* `ConsolidatedSqliteEventLogStorage`, `SqliteRunStorage`, `SqliteScheduleStorage`: the names of their files,
  how they make them, and that all their queries go through `_connect` or `connect` and `has_table`;
* `SqlEventLogStorage`: a row of an event is `_event_to_row`; `_store_asset_event_tags`, `_store_asset_event`
  and `store_asset_check_event` are what belongs to it elsewhere.
"""

from __future__ import annotations

import fcntl
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import dagster as dg
import sqlalchemy as sa
from dagster._core.event_api import EventHandlerFn
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.event_log import ConsolidatedSqliteEventLogStorage, SqlEventLogStorageTable
from dagster._core.storage.event_log.base import EventLogConnection
from dagster._core.storage.event_log.schema import DynamicPartitionsTable
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._core.storage.sqlite import create_db_conn_string
from dagster._serdes import ConfigurableClass, ConfigurableClassData
from sqlalchemy.dialects import sqlite

from imagi_pipeline.orchestration.internals.event_watch import EventWatch
from imagi_pipeline.orchestration.internals.kept_connections import SECONDS_TO_WAIT_FOR_A_LOCK, sqlite_engine

FOLDER = "database"
"""Below DAGSTER_HOME; a backup of its files is a backup of all runs and events."""

EVENTS, RUNS, SCHEDULES = "event_log", "runs", "schedules"

_BYTES_GIVEN_BACK_AT_ONCE = 4 * 1024**2  # other processes write between two portions
_BYTES_OF_A_PAGE = {f"{EVENTS}.db": 16_384}
"""The event of an image takes 3,000 bytes: SQLite's own page of 4,096 has room for one, these for five."""

_INSERT_EVENT = SqlEventLogStorageTable.insert()
_ADD_PARTITION = sqlite.insert(DynamicPartitionsTable).on_conflict_do_nothing()
_INSERT_EVENTS = _INSERT_EVENT.returning(SqlEventLogStorageTable.c.id, sort_by_parameter_order=True)


class EmbeddedStorage(DagsterStorage[dg.DagsterInstance], ConfigurableClass):
    """Runs, events and schedules in `<base_dir>/database`, which is made when it is not there."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        folder = str(_made(Path(base_dir).absolute()))
        self._events = EmbeddedEventLogStorage(folder)
        self._runs = EmbeddedRunStorage(create_db_conn_string(folder, RUNS))
        self._schedules = EmbeddedScheduleStorage(create_db_conn_string(folder, SCHEDULES))
        super().__init__()  # type: ignore[no-untyped-call]

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """Return what `dagster.yaml` says of this."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Return what `dagster.yaml` may say under `storage: custom: config`."""
        return {"base_dir": dg.StringSource}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """Return the storage that `dagster.yaml` describes."""
        return cls(config_value["base_dir"], inst_data)

    def register_instance(self, instance: dg.DagsterInstance) -> None:
        """Tell all three storages which instance they belong to."""
        super().register_instance(instance)
        for storage in (self._events, self._runs, self._schedules):
            if not storage.has_instance:
                storage.register_instance(instance)

    @property
    def event_log_storage(self) -> EmbeddedEventLogStorage:
        """Return where the events of runs and assets are."""
        return self._events

    @property
    def run_storage(self) -> EmbeddedRunStorage:
        """Return where the runs and backfills are."""
        return self._runs

    @property
    def schedule_storage(self) -> EmbeddedScheduleStorage:
        """Return where the states and ticks of schedules and sensors are."""
        return self._schedules


@contextmanager
def _transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.connect() as connection, connection.begin():
        yield connection


class EmbeddedRunStorage(SqliteRunStorage):
    """Dagster's storage, with connections that are kept."""

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        """Open a connection with a transaction."""
        with _transaction(sqlite_engine(_path(self._conn_string))) as connection:
            yield connection


class EmbeddedScheduleStorage(SqliteScheduleStorage):
    """Dagster's storage, with connections that are kept."""

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        """Open a connection with a transaction."""
        with _transaction(sqlite_engine(_path(self._conn_string))) as connection:
            yield connection


class EmbeddedEventLogStorage(ConsolidatedSqliteEventLogStorage):
    """Dagster's one-file event log, with connections that are kept and batches in one transaction."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        self._tables: set[str] = set()
        self.folder = Path(base_dir)
        self._path = self.folder / f"{EVENTS}.db"
        self._watch = EventWatch(self._path, self.get_records_for_run)

    @contextmanager
    def _connect(self) -> Iterator[sa.Connection]:
        with _transaction(sqlite_engine(self._path)) as connection:
            yield connection

    def has_table(self, table_name: str) -> bool:
        """Return whether there is a table; tables are never removed."""
        if table_name not in self._tables:
            with self._connect() as connection:
                if not sa.inspect(connection).has_table(table_name):
                    return False
            self._tables.add(table_name)
        return True

    def store_event(self, event: dg.EventLogEntry) -> None:
        """Store an event, and what belongs to it, in one transaction."""
        self.store_event_batch([event])

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        """Store events in this order, and what belongs to them, in one transaction; all of them or none."""
        if not events:
            return
        with self._connect() as connection:
            event_ids = self._insert(connection, events)
            of_assets = [
                (event, event_id)
                for event, event_id in zip(events, event_ids, strict=True)
                if event.dagster_event_type in ASSET_EVENTS and event.get_dagster_event().asset_key
            ]
            if of_assets:
                self._store_asset_event_tags(connection, *map(list, zip(*of_assets, strict=True)))
            # The row of an asset shows its newest event of each type only.
            newest = {(_asset(event), event.dagster_event_type): (event, at) for event, at in of_assets}
            for event, event_id in newest.values():
                self._store_asset_event(connection, event, event_id)
        for event, event_id in zip(events, event_ids, strict=True):
            if event.dagster_event_type in ASSET_CHECK_EVENTS:
                self.store_asset_check_event(event, event_id)

    def _insert(self, connection: sa.Connection, events: Sequence[dg.EventLogEntry]) -> Sequence[int]:
        rows = [self._event_to_row(event) for event in events]
        if len(rows) == 1:
            key = connection.execute(_INSERT_EVENT, rows[0]).inserted_primary_key
            assert key is not None
            return [key[0]]
        return connection.execute(_INSERT_EVENTS, rows).scalars().all()

    def get_records_for_run(self, *arguments: Any, **options: Any) -> EventLogConnection:
        """Return the log of a run; of one that was moved here (`storage_move`), in the order of time."""
        found = super().get_records_for_run(*arguments, **options)
        if found.records and min(record.storage_id for record in found.records) <= self._moved:
            is_ascending = found.records[0].storage_id <= found.records[-1].storage_id
            records = sorted(found.records, key=lambda record: record.timestamp, reverse=not is_ascending)
            return EventLogConnection(records, found.cursor, found.has_more)
        return found

    @cached_property
    def _moved(self) -> int:
        """Return the last id of the events that were moved here out of the index of Dagster's own storage."""
        with self._connect() as connection:
            return int(connection.execute(sa.text("PRAGMA user_version")).scalar_one())

    def add_dynamic_partitions(self, partitions_def_name: str, partition_keys: Sequence[str]) -> None:
        """Add what is not there yet. Dagster's way fails when two processes add the same one at once."""
        rows = [{"partitions_def_name": partitions_def_name, "partition": key} for key in partition_keys]
        if rows:
            with self._connect() as connection:
                connection.execute(_ADD_PARTITION, rows)

    def watch(self, run_id: str, cursor: str | None, callback: EventHandlerFn) -> None:
        """Call back for each event of a run after the cursor, when any process stores it."""
        self._watch.add(run_id, cursor, callback)

    def end_watch(self, run_id: str, handler: EventHandlerFn) -> None:
        """Call back no more."""
        self._watch.remove(run_id, handler)

    def dispose(self) -> None:
        """End all watching. The connections stay, for the next instance of this process."""
        self._watch.stop()


def shrink(instance: dg.DagsterInstance) -> int | None:
    """Give the space of what was deleted back to the file system; return the bytes, None if it cannot.

    It goes in portions, so that others read and write meanwhile. Raises OperationalError on a full disk.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, EmbeddedEventLogStorage):
        return None
    return sum(map(_shrink_file, storage.folder.glob("*.db")))


def _asset(event: dg.EventLogEntry) -> dg.AssetKey | None:
    return event.get_dagster_event().asset_key


def _path(conn_string: str) -> Path:
    return Path(str(sa.engine.make_url(conn_string).database))


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=SECONDS_TO_WAIT_FOR_A_LOCK, check_same_thread=False)


def _made(base_dir: Path) -> Path:
    """Return the folder of the databases; if it is not there, one process makes it, whole or not at all."""
    folder = base_dir / FOLDER
    if folder.exists():
        return folder
    base_dir.mkdir(parents=True, exist_ok=True)
    with (base_dir / f".{FOLDER}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = base_dir / f".{FOLDER}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            make_databases(unfinished)
            unfinished.rename(folder)
    return folder


def make_databases(folder: Path) -> None:
    """Make the three databases, empty, in a folder that is made too."""
    folder.mkdir()
    ConsolidatedSqliteEventLogStorage(str(folder))
    SqliteRunStorage.from_local(str(folder))
    SqliteScheduleStorage.from_local(str(folder))
    for path in folder.glob("*.db"):
        give_back_space(path)


def give_back_space(path: Path) -> None:
    """Make a database that nobody uses small, and able to be shrunk later."""
    with closing(_open(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")  # with WAL, the size of pages stays as it is
        if size := _BYTES_OF_A_PAGE.get(path.name):
            connection.execute(f"PRAGMA page_size = {size}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("VACUUM")
        connection.execute("PRAGMA journal_mode = WAL")


def _shrink_file(path: Path) -> int:
    before = path.stat().st_size
    with closing(_open(path)) as connection:
        connection.isolation_level = None
        pages = _BYTES_GIVEN_BACK_AT_ONCE // connection.execute("PRAGMA page_size").fetchone()[0]
        while connection.execute("PRAGMA freelist_count").fetchone()[0]:
            connection.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    return before - path.stat().st_size
