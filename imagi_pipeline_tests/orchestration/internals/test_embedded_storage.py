"""Our storage under what happens to databases: two starts at once, a full disk, forks, backups, a purge."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster._core.storage.event_log import SqlEventLogStorage

from imagi_pipeline.orchestration.instance import open_instance
from imagi_pipeline.orchestration.internals.embedded_storage import (
    EmbeddedStorage,
    shrink,
)
from imagi_pipeline.orchestration.internals.kept_connections import sqlite_engine


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with open_instance() as instance:
        yield instance


def folder(instance: dg.DagsterInstance) -> Path:
    return Path(instance.root_directory) / "database"


def report(instance: dg.DagsterInstance, count: int, *, size: int = 10) -> None:
    events = [dg.AssetMaterialization("thing", metadata={"text": "x" * size}) for _ in range(count)]
    for event in events:
        instance.report_runless_asset_event(event)


def materializations(instance: dg.DagsterInstance) -> int:
    return len(instance.fetch_materializations(dg.AssetKey("thing"), limit=10_000).records)


def python(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


OPEN_AND_REPORT = """
import dagster as dg
from imagi_pipeline.orchestration.internals.embedded_storage import EmbeddedStorage
with dg.DagsterInstance.get() as instance:
    instance.add_dynamic_partitions("images", [str(number) for number in range(5)])
    instance.report_runless_asset_event(dg.AssetMaterialization("thing"))
"""


@pytest.mark.usefixtures("storage")  # the home has a dagster.yaml, and nothing else
def test_processes_that_start_at_once_on_an_empty_home_make_one_whole_storage() -> None:
    processes = [python(OPEN_AND_REPORT) for _ in range(4)]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0], errors
    with open_instance() as instance:
        assert materializations(instance) == 4
        assert set(instance.get_dynamic_partitions("images")) == {"0", "1", "2", "3", "4"}


def test_two_that_add_the_same_partitions_at_once_both_succeed(instance: dg.DagsterInstance) -> None:
    keys = [str(number) for number in range(200)]
    failed: list[BaseException] = []

    def add() -> None:
        try:
            for key in keys:
                instance.add_dynamic_partitions("images", [key])
        except sa.exc.DatabaseError as error:
            failed.append(error)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert instance.get_dynamic_partitions("images") == keys


def test_what_a_process_that_was_killed_left_half_made_is_made_anew(tmp_path: Path) -> None:
    unfinished = tmp_path / ".database.unfinished"
    unfinished.mkdir()
    (unfinished / "event_log.db").write_bytes(b"half a databa")
    storage = EmbeddedStorage(str(tmp_path))
    assert storage.event_log_storage.has_table("event_logs")
    assert not unfinished.exists()


def test_each_commit_is_on_the_disk_before_it_is_told(instance: dg.DagsterInstance) -> None:
    for path in folder(instance).glob("*.db"):
        with sqlite_engine(path).connect() as connection:
            assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
            assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == 2  # FULL


def test_a_forked_child_opens_connections_of_its_own(instance: dg.DagsterInstance) -> None:
    report(instance, 1)
    child = os.fork()
    if child == 0:
        try:
            report(instance, 1)
        finally:
            os._exit(0 if materializations(instance) == 2 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    report(instance, 1)
    assert materializations(instance) == 3
    with closing(sqlite3.connect(folder(instance) / "event_log.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_file_that_was_put_back_from_a_backup_is_noticed(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    report(instance, 1)
    path = folder(instance) / "event_log.db"
    copy = tmp_path / "copy.db"
    back_up(path, copy)
    report(instance, 1)
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    copy.rename(path)
    assert materializations(instance) == 1


def test_a_removed_database_is_an_error_and_not_an_empty_one(instance: dg.DagsterInstance) -> None:
    (folder(instance) / "event_log.db").unlink()
    with pytest.raises(sa.exc.OperationalError, match="unable to open database file"):
        report(instance, 1)
    assert not (folder(instance) / "event_log.db").exists()


def test_a_full_disk_fails_the_writer_loses_nothing_and_heals(instance: dg.DagsterInstance) -> None:
    report(instance, 3)
    engine = sqlite_engine(folder(instance) / "event_log.db")
    # Each connection has a limit of its own: keep the one that is in the pool.
    with engine.connect() as connection:
        pages = connection.execute(sa.text("PRAGMA page_count")).scalar_one()
        connection.execute(sa.text(f"PRAGMA max_page_count = {pages}"))
    with pytest.raises(sa.exc.OperationalError, match="database or disk is full"):
        report(instance, 1, size=500_000)
    assert materializations(instance) == 3
    with engine.connect() as connection:
        connection.execute(sa.text("PRAGMA max_page_count = 1000000"))
    report(instance, 1, size=500_000)
    assert materializations(instance) == 4


def test_a_batch_is_stored_whole_or_not_at_all(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    report(instance, 1)
    (record,) = instance.fetch_materializations(dg.AssetKey("thing"), limit=1).records
    log = instance.event_log_storage

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(log, "_store_asset_event", fail)
        with pytest.raises(KeyboardInterrupt):
            log.store_event_batch([record.event_log_entry] * 100)
    assert materializations(instance) == 1
    log.store_event_batch([record.event_log_entry] * 100)
    assert materializations(instance) == 101


def test_readers_go_on_while_a_long_write_is_under_way(instance: dg.DagsterInstance) -> None:
    report(instance, 2)
    with closing(sqlite3.connect(folder(instance) / "event_log.db")) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM event_logs")
        assert materializations(instance) == 2
        writer.rollback()
    assert materializations(instance) == 2


def test_the_file_shrinks_after_a_purge_while_others_write(instance: dg.DagsterInstance) -> None:
    path = folder(instance) / "event_log.db"
    report(instance, 30, size=100_000)
    log = instance.event_log_storage
    assert isinstance(log, SqlEventLogStorage)
    with log.index_connection() as at_work:
        for table in ("event_logs", "asset_keys"):
            at_work.execute(sa.text(f"DELETE FROM {table}"))
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            report(instance, 1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        freed = shrink(instance)
    finally:
        done.set()
        writer.join()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert path.stat().st_size < 1_500_000
    assert freed is not None
    assert materializations(instance) > 0


def back_up(source: Path, copy: Path) -> None:
    """As docs/operations.md says."""
    subprocess.run([sys.executable, "-c", BACKUP, str(source), str(copy)], check=True, timeout=60)


BACKUP = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as source, sqlite3.connect(sys.argv[2]) as copy:
    source.backup(copy)
"""


def test_a_copy_by_sqlites_backup_while_it_works_is_a_backup(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    report(instance, 5)
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            report(instance, 1)

    writer = threading.Thread(target=write)
    writer.start()
    home = tmp_path / "other"
    (home / "database").mkdir(parents=True)
    try:
        for path in folder(instance).glob("*.db"):
            back_up(path, home / "database" / path.name)
    finally:
        done.set()
        writer.join()
    (home / "dagster.yaml").write_text((Path(instance.root_directory) / "dagster.yaml").read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        with dg.DagsterInstance.get() as restored:
            assert 5 <= materializations(restored) <= materializations(instance)


@dg.op
def any_op() -> None:
    pass


@dg.job(executor_def=dg.in_process_executor)
def watched_job() -> None:
    any_op()


def test_who_watches_a_run_hears_each_event_once_and_soon(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(watched_job)
    heard: list[str] = []
    ended = threading.Event()

    def hear(event: dg.EventLogEntry, _: str) -> None:
        heard.append(event.message)
        if event.dagster_event_type == dg.DagsterEventType.PIPELINE_SUCCESS:
            ended.set()

    instance.watch_event_logs(run.run_id, None, hear)
    execute_run(InMemoryJob(watched_job), run, instance)
    assert ended.wait(10)
    time.sleep(3 * 0.1)
    assert heard == [event.message for event in instance.all_logs(run.run_id)]
    instance.end_watch_event_logs(run.run_id, hear)


def test_events_of_other_processes_are_heard(instance: dg.DagsterInstance) -> None:
    heard = threading.Event()
    instance.watch_event_logs("another", None, lambda *_: heard.set())
    other = python(
        """
import dagster as dg
from dagster._core.events import EngineEventData
with dg.DagsterInstance.get() as instance:
    instance.report_engine_event("it speaks", run_id="another", job_name="any")
"""
    )
    _, error = other.communicate(timeout=60)
    assert other.returncode == 0, error
    assert heard.wait(5)


def test_nobody_looks_when_nobody_watches(instance: dg.DagsterInstance) -> None:
    def hear(event: dg.EventLogEntry, _: str) -> None:
        pass

    def looks() -> bool:
        return any(thread.name == "event watch" for thread in threading.enumerate())

    instance.watch_event_logs("a", None, hear)
    assert looks()
    instance.end_watch_event_logs("a", hear)
    for _ in range(50):
        if not looks():
            break
        time.sleep(0.1)
    assert not looks()


def test_a_process_that_is_killed_while_it_writes_leaves_whole_transactions(
    instance: dg.DagsterInstance,
) -> None:
    writer = python(
        """
import dagster as dg
with dg.DagsterInstance.get() as instance:
    instance.report_runless_asset_event(dg.AssetMaterialization("thing"))
    print("begun", flush=True)
    while True:
        instance.report_runless_asset_event(dg.AssetMaterialization("thing"))
"""
    )
    assert writer.stdout
    assert writer.stdout.readline() == "begun\n"
    time.sleep(0.2)
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    written = materializations(instance)
    assert written >= 1
    report(instance, 1)
    assert materializations(instance) == written + 1


def test_dagsters_migration_command_knows_this_storage(instance: dg.DagsterInstance) -> None:
    for storage in (instance.run_storage, instance.schedule_storage):
        assert storage
        assert (versions := storage.alembic_version())
        assert versions[0] == versions[1]
    instance.upgrade()
