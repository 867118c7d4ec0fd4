"""Tell whoever follows a run in the UI of its events as soon as any process stores them.

Dagster watches the file of the database, but with a write-ahead log a commit changes another file. So we ask
SQLite itself, ten times a second as long as somebody watches, whether anything was committed.

This relies on internals of Dagster (1.13.28), which the tests try: `EventLogStorage.watch` and `end_watch`.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from dagster._core.event_api import EventHandlerFn, EventLogCursor
from dagster._core.storage.event_log.base import EventLogConnection

SECONDS_BETWEEN_LOOKS = 0.1
"""A look costs 20 microseconds when nothing was committed."""

_log = logging.getLogger(__name__)


class EventWatch:
    """Calls back for the new events of runs, in a thread that ends when nobody watches any more."""

    def __init__(self, path: Path, events_after: Callable[[str, str | None], EventLogConnection]) -> None:
        """`events_after` gives the events of a run after a cursor."""
        self._path = path
        self._events_after = events_after
        self._cursors: dict[tuple[str, EventHandlerFn], str | None] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._is_new = False

    def add(self, run_id: str, cursor: str | None, callback: EventHandlerFn) -> None:
        """Call back for each event of a run after the cursor."""
        with self._lock:
            self._cursors[run_id, callback] = cursor
            self._is_new = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="event watch", daemon=True)
                self._thread.start()

    def remove(self, run_id: str, callback: EventHandlerFn) -> None:
        """Call back no more."""
        with self._lock:
            self._cursors.pop((run_id, callback), None)

    def stop(self) -> None:
        """End all watching."""
        self._stopping.set()
        thread = self._thread
        if thread and thread is not threading.current_thread():
            thread.join()

    def _work(self) -> None:
        with closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True)) as connection:
            version = None
            while self._goes_on():
                committed = connection.execute("PRAGMA data_version").fetchone()
                with self._lock:
                    is_new, self._is_new = self._is_new, False
                if is_new or committed != version:
                    self._tell()
                version = committed
                self._stopping.wait(SECONDS_BETWEEN_LOOKS)

    def _goes_on(self) -> bool:
        with self._lock:
            if self._cursors and not self._stopping.is_set():
                return True
            self._thread = None
            return False

    def _tell(self) -> None:
        with self._lock:
            watched = list(self._cursors.items())
        for (run_id, callback), cursor in watched:
            try:
                self._tell_one(run_id, callback, cursor)
            except Exception:  # noqa: BLE001 - of whoever watches
                # The UI may have gone, or the database may be busy; neither may end the watch of the others.
                _log.exception("The events of run %s could not be told.", run_id)

    def _tell_one(self, run_id: str, callback: EventHandlerFn, cursor: str | None) -> None:
        found = self._events_after(run_id, cursor)
        with self._lock:
            if (run_id, callback) not in self._cursors:
                return
            self._cursors[run_id, callback] = found.cursor
        for record in found.records:
            callback(record.event_log_entry, str(EventLogCursor.from_storage_id(record.storage_id)))
