"""Give a home that has Dagster's own SQLite storage ours instead: `imagi home --move-storage`.

A copy is made beside the old files, its counts are compared with theirs, and only then is `dagster.yaml`
replaced, which is the moment of the change. If the move is killed before that, the old storage is as it was;
the old files are never changed, and lie in `before_move` afterwards.

An event keeps the id that it has in Dagster's index, because sensors, tags and checks refer to it. Events
that are in the file of a run alone get ids after those; `EmbeddedEventLogStorage` shows the log of such a
run in the order of time.

This relies on internals of Dagster (1.13.28), which the tests try: where `DagsterSqliteStorage` has its
files, and that an event is the same row in the file of its run and in the index.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from imagi_pipeline.orchestration.internals.embedded_storage import (
    EVENTS,
    FOLDER,
    RUNS,
    SCHEDULES,
    give_back_space,
)
from imagi_pipeline.orchestration.storage_checks import named_storage, network_file_system

KEPT = "before_move"
SECONDS_OF_SILENCE = 60.0
"""Seconds of silence after which a daemon does not run: it shows every 30 s that it lives."""

_EVENTS_OF_RUN = """
    SELECT run_id, event, dagster_event_type, timestamp, step_key FROM event_logs
    WHERE run_id = ? ORDER BY id
"""
_ADD_EVENT = """
    INSERT INTO event_logs (run_id, event, dagster_event_type, timestamp, step_key) VALUES (?, ?, ?, ?, ?)
"""


class MoveError(OSError):
    """Why a storage cannot be moved; nothing has changed."""


@dataclass(frozen=True)
class Moved:
    """How much was moved, and where the old files are."""

    runs: int
    events: int
    bytes_before: int
    bytes_after: int
    kept: Path


def move_storage(home: Path) -> Moved:
    """Give a home that is not in use our storage. Raises MoveError when that cannot be."""
    _check(home)
    index, runs, schedules = _old_files(home)
    target, unfinished = home / FOLDER, home / f".{FOLDER}.unfinished"
    for leftover in (target, unfinished):  # not in use, since dagster.yaml names another storage
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        with _nobody_writes(index, runs, schedules):
            before = _size(home / "history") + _size(home / "schedules")
            unfinished.mkdir()
            _copy(runs, unfinished / f"{RUNS}.db")
            _copy(schedules, unfinished / f"{SCHEDULES}.db")
            _copy(index, unfinished / f"{EVENTS}.db")
            events = _merge(index.parent, unfinished / f"{EVENTS}.db")
            for path in unfinished.glob("*.db"):
                give_back_space(path)
            _compare(runs, unfinished / f"{RUNS}.db")
            _compare(schedules, unfinished / f"{SCHEDULES}.db")
            count = _count(runs, "runs")
            unfinished.rename(target)
            _sync(home)
            _name_our_storage(home)
    except sqlite3.Error as error:
        raise MoveError(
            f"The copy cannot be made: {error}. Is the disk full? Nothing has changed."
        ) from error
    kept = home / KEPT
    kept.mkdir(exist_ok=True)
    for folder in ("history", "schedules"):
        (home / folder).rename(kept / folder)
    return Moved(count, events, before, _size(target), kept)


def _check(home: Path) -> None:
    if not (home / "dagster.yaml").exists():
        raise MoveError(f"{home} has no dagster.yaml.")
    if named := named_storage(home):
        raise MoveError(f"dagster.yaml names a storage already ({', '.join(named)}): nothing is moved.")
    if missing := [path for path in _old_files(home) if not path.exists()]:
        raise MoveError(f"{missing[0]} does not exist: there is nothing to move.")
    if kind := network_file_system(home):
        raise MoveError(f"{home} is on a network share ({kind}), where our storage cannot be.")
    if (home / KEPT / "history").exists():
        raise MoveError(f"{home / KEPT} has the files of an earlier move: remove it first.")
    with closing(sqlite3.connect(_old_files(home)[1])) as connection:
        (last,) = connection.execute("SELECT max(timestamp) FROM daemon_heartbeats").fetchone()
        (at_work,) = connection.execute(
            "SELECT count(*) FROM runs WHERE status IN ('STARTING', 'STARTED', 'CANCELING')"
        ).fetchone()
    silence = time.time() - _seconds(last)
    if silence < SECONDS_OF_SILENCE:
        raise MoveError(
            f"The service seems to run: its daemon gave a sign of life {silence:.0f} seconds ago. Stop it, "
            "and try again after a minute."
        )
    if any(_is_held(lock) for lock in (home / "run_locks").glob("*.lock")):
        raise MoveError(f"{at_work} runs are at work: let them end, and stop the service.")
    free, needed = shutil.disk_usage(home).free, _size(home / "history") + _size(home / "schedules")
    if free < 2 * needed:
        raise MoveError(f"The move needs {2 * needed:,} bytes of disk, and {free:,} are free.")


def _old_files(home: Path) -> tuple[Path, Path, Path]:
    """Return the databases of the index of events, of the runs and of the schedules."""
    history = home / "history"
    return history / "runs" / "index.db", history / "runs.db", home / "schedules" / "schedules.db"


@contextmanager
def _nobody_writes(*paths: Path) -> Iterator[None]:
    with ExitStack() as stack:
        for path in paths:
            connection = stack.enter_context(closing(sqlite3.connect(path, timeout=1)))
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                raise MoveError(f"{path} is in use: stop the service.") from error
        yield


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def _merge(folder: Path, target: Path) -> int:
    """Add what the files of runs have and the index does not; return how many events there are then."""
    with closing(sqlite3.connect(target)) as events:
        (last,) = events.execute("SELECT coalesce(max(id), 0) FROM event_logs").fetchone()
        for shard in sorted(folder.glob("*.db"), key=lambda path: path.stat().st_mtime):
            if shard.name != "index.db":
                _merge_run(shard, events)
        # This tells the storage which logs are not in order.
        events.execute(f"PRAGMA user_version = {last}")
        events.commit()
        (count,) = events.execute("SELECT count(*) FROM event_logs").fetchone()
        return int(count)


def _merge_run(shard: Path, events: sqlite3.Connection) -> None:
    run_id = shard.stem
    known = Counter(row[1] for row in events.execute(_EVENTS_OF_RUN, (run_id,)))
    in_index = known.total()
    with closing(sqlite3.connect(shard)) as run:
        rows = run.execute(_EVENTS_OF_RUN, (run_id,)).fetchall()
    missing = []
    for row in rows:
        if known[row[1]]:
            known[row[1]] -= 1
        else:
            # An event of an asset that is not in the index was purged: it stays only in the log of its run.
            missing.append(row)
    events.executemany(_ADD_EVENT, missing)
    (count,) = events.execute("SELECT count(*) FROM event_logs WHERE run_id = ?", (run_id,)).fetchone()
    if count < len(rows) or count != in_index + len(missing):
        raise MoveError(f"Of the {len(rows)} events of run {run_id}, {count} arrived: nothing has changed.")


def _compare(old: Path, new: Path) -> None:
    with closing(sqlite3.connect(old)) as connection:
        tables = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
    for table in tables:
        if (before := _count(old, table)) != (after := _count(new, table)):
            raise MoveError(f"Of {before} rows of {table}, {after} arrived: nothing has changed.")


def _count(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0])  # noqa: S608


def _name_our_storage(home: Path) -> None:
    """Put the block `storage` of our dagster.yaml before what the home's dagster.yaml says, in one write."""
    lines = (resources.files("imagi_pipeline.orchestration") / "dagster.yaml").read_text().splitlines(True)
    start = lines.index("storage:\n")
    end = next(number for number in range(start + 1, len(lines)) if not lines[number].startswith((" ", "#")))
    settings = home / "dagster.yaml"
    written = home / ".dagster.yaml.new"
    with written.open("w") as file:
        file.write("".join(lines[start:end]) + "\n" + settings.read_text())
        file.flush()
        os.fsync(file.fileno())
    written.replace(settings)
    _sync(home)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _is_held(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _seconds(timestamp: object) -> float:
    """Return the seconds since 1970 of a time as SQLAlchemy writes it, in UTC; 0 for none."""
    return datetime.fromisoformat(str(timestamp)).replace(tzinfo=UTC).timestamp() if timestamp else 0.0
