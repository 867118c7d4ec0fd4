"""Keep database connections for the life of a process, and never share them across a fork.

Dagster's storages open a connection for each event and each query, which is half of what an event costs. Here
all storages of a process that name the same database share one pool.

A forked child must neither use nor close a connection of its parent: SQLite would lose its locks, PostgreSQL
would end the parent's session. So the child starts with no pool, and the parent's stay referenced for ever.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

MOST_DATABASES = 12
"""With more, the pool used longest ago is closed: a service has three, a run of the tests hundreds."""

CONNECTIONS_KEPT = 5
"""Connections for each database; threads that find all in use open one more, which is closed after use."""

SECONDS_TO_WAIT_FOR_A_LOCK = 60
BYTES_OF_JOURNAL = 4 * 1024**2
"""At this size, SQLite copies what is in its write-ahead log into the file, and begins the log again."""
BYTES_OF_JOURNAL_KEPT = 16 * 1024**2
"""The write-ahead log of SQLite is cut to this size after it was longer."""

_pools: dict[str, sa.Engine] = {}
_pools_of_parent: list[dict[str, sa.Engine]] = []
_lock = threading.Lock()


def sqlite_engine(path: Path) -> sa.Engine:
    """Return the engine of a SQLite file. To connect raises OperationalError when the file is not there."""
    return _kept(f"sqlite:///{path}", lambda: _new_sqlite_engine(path))


def postgres_engine(url: str, **options: Any) -> sa.Engine:
    """Return the engine of a PostgreSQL database; `options` are those of `create_engine`."""
    # A server that was restarted has closed what is kept here: each connection is tried before it is used.
    return _kept(url, lambda: sa.create_engine(url, **_POOL, pool_pre_ping=True, **options))


def close_kept_connections() -> None:
    """Close all connections of this process that are not in use; the next use opens them again.

    It is public for who stops a database while it works, as the tests do.
    """
    with _lock:
        for engine in _pools.values():
            engine.dispose()
        _pools.clear()


_POOL: dict[str, Any] = {
    "poolclass": QueuePool,
    "pool_size": CONNECTIONS_KEPT,
    "max_overflow": -1,
    "pool_use_lifo": True,  # the one that was used last has its pages in its cache
}


def _kept(name: str, make: Callable[[], sa.Engine]) -> sa.Engine:
    with _lock:
        engine = _pools.pop(name) if name in _pools else make()
        _pools[name] = engine  # last, as the one used most recently
        if len(_pools) > MOST_DATABASES:
            _pools.pop(next(iter(_pools))).dispose()
    return engine


def _new_sqlite_engine(path: Path) -> sa.Engine:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            f"file:{quote(str(path))}?mode=rw",  # never makes an empty database where one was removed
            uri=True,
            timeout=SECONDS_TO_WAIT_FOR_A_LOCK,
            check_same_thread=False,  # the pool gives a connection to one thread at a time
        )

    def prepare(connection: sqlite3.Connection, entry: ConnectionPoolEntry) -> None:
        connection.execute("PRAGMA synchronous = FULL")  # a commit outlives a power failure
        connection.execute(f"PRAGMA journal_size_limit = {BYTES_OF_JOURNAL_KEPT}")
        pages = BYTES_OF_JOURNAL // connection.execute("PRAGMA page_size").fetchone()[0]
        connection.execute(f"PRAGMA wal_autocheckpoint = {pages}")
        entry.info["file"] = _identity(path)

    def check(_: object, entry: ConnectionPoolEntry, __: object) -> None:
        if entry.info["file"] != _identity(path):
            raise sa.exc.DisconnectionError("The file was replaced, by a backup for example.")

    engine = sa.create_engine("sqlite://", creator=connect, **_POOL)
    sa.event.listen(engine, "connect", prepare)
    sa.event.listen(engine, "checkout", check)
    return engine


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _start_without_pools() -> None:
    global _pools, _lock
    _pools_of_parent.append(_pools)
    _pools, _lock = {}, threading.Lock()


os.register_at_fork(after_in_child=_start_without_pools)
