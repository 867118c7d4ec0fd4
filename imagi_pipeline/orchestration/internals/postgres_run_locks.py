"""Show other machines that a run is alive, by a lock in PostgreSQL that is freed when its holder is gone.

The lock belongs to a separate connection. If the machine of the holder vanished without closing it, the
server notices by its keepalives within half a minute. A server that was restarted has forgotten its locks:
each holder looks every few seconds, and takes its lock again. A pooler such as PgBouncer must leave a
connection to one client.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

SECONDS_BETWEEN_LOOKS = 5.0
_KEEPALIVES = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
_TAKE = sa.text("SELECT pg_advisory_lock_shared(hashtextextended(:name, 0))")
_TAKE_ALONE = sa.text("SELECT pg_advisory_lock(hashtextextended(:name, 0))")
_TRY = sa.text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))")


@contextlib.contextmanager
def hold_lock(url: str, run_id: str) -> Iterator[None]:
    """Hold the lock of a run, as any number of processes may, until the context ends or the process dies."""
    stop = threading.Event()
    holder = threading.Thread(target=_hold, args=(url, run_id, stop), name="imagi-run-lock", daemon=True)
    holder.start()
    try:
        yield
    finally:
        stop.set()
        holder.join()


@contextlib.contextmanager
def alone(url: str, name: str) -> Iterator[None]:
    """Let one process or thread at a time be within, of all that name the same; a name is no run's id.

    Raises DBAPIError without a database.
    """
    with _engine(url).connect() as connection:
        connection.execute(_TAKE_ALONE, {"name": name})
        yield


def is_held(url: str, run_id: str) -> bool:
    """Return whether a process on whatever machine holds the lock of a run. Raises DBAPIError without an
    answer.
    """
    with _engine(url).connect() as connection:
        return not connection.execute(_TRY, {"name": run_id}).scalar_one()


def _hold(url: str, run_id: str, stop: threading.Event) -> None:
    while not stop.is_set():
        with contextlib.suppress(DBAPIError), _engine(url).connect() as connection:
            connection.execute(_TAKE, {"name": run_id})
            while not stop.wait(SECONDS_BETWEEN_LOOKS):
                connection.execute(sa.text("SELECT 1"))
        stop.wait(1)


def _engine(url: str) -> sa.Engine:
    options = {"options": _KEEPALIVES}
    return sa.create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=options)
