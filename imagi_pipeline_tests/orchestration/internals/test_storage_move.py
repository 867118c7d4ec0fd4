"""A home with Dagster's own storage, filled by real runs, moved to ours."""

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._daemon.types import DaemonHeartbeat

from imagi_pipeline.orchestration.internals import storage_move
from imagi_pipeline.orchestration.internals.embedded_storage import EmbeddedEventLogStorage
from imagi_pipeline.orchestration.internals.storage_move import MoveError, move_storage
from imagi_pipeline.orchestration.run_launcher import hold_run_lock
from imagi_pipeline_tests.storages import DAGSTERS_OWN, furnish

KEYS = ["a", "b", "c"]
KEYS_DEF = dg.DynamicPartitionsDefinition(name="keys")


@dg.asset(partitions_def=KEYS_DEF)
def first(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    context.log.info("a message of the run's own log")
    return dg.MaterializeResult(metadata={"number": 1})


@dg.asset(partitions_def=KEYS_DEF, deps=[first], check_specs=[dg.AssetCheckSpec("good", asset="second")])
def second() -> Iterator[dg.MaterializeResult[None]]:
    yield dg.MaterializeResult(
        metadata={"number": 2}, check_results=[dg.AssetCheckResult(passed=True, check_name="good")]
    )


JOB = dg.Definitions(
    assets=[first, second], jobs=[dg.define_asset_job("job", executor_def=dg.in_process_executor)]
).resolve_job_def("job")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("filled")
    furnish(home, DAGSTERS_OWN)
    with opened(home) as instance:
        instance.add_dynamic_partitions("keys", KEYS)
        for key in KEYS:
            JOB.execute_in_process(instance=instance, partition_key=key)
    return home


@pytest.fixture
def home(filled: Path, tmp_path: Path) -> Path:
    shutil.copytree(filled, tmp_path / "moved")
    return tmp_path / "moved"


@contextmanager
def opened(home: Path) -> Iterator[dg.DagsterInstance]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        with dg.DagsterInstance.get() as instance:
            yield instance


def known(home: Path) -> dict[str, Any]:
    """Return what Dagster answers to every kind of question."""
    with opened(home) as instance:
        runs = instance.get_run_records()
        assets = [dg.AssetKey("first"), dg.AssetKey("second")]
        check = dg.AssetCheckKey(assets[1], "good")
        return {
            "runs": [(record.dagster_run, record.start_time, record.end_time) for record in runs],
            "logs": {run.dagster_run.run_id: instance.all_logs(run.dagster_run.run_id) for run in runs},
            "partitions": instance.get_dynamic_partitions("keys"),
            "events": {key: instance.fetch_materializations(key, limit=100).records for key in assets},
            "assets": [record.asset_entry for record in instance.get_asset_records(assets)],
            "checks": instance.event_log_storage.get_asset_check_execution_history(check, limit=10),
            "ended": instance.fetch_run_status_changes(
                dg.DagsterEventType.PIPELINE_SUCCESS, limit=100
            ).records,
            "tags": instance.event_log_storage.get_latest_tags_by_partition(
                assets[1], dg.DagsterEventType.ASSET_MATERIALIZATION, ["dagster/data_version"]
            ),
            "sensors": instance.all_instigator_state(instigator_type=InstigatorType.SENSOR),
        }


def storage_of(home: Path) -> type[Any]:
    with opened(home) as instance:
        return type(instance.event_log_storage)


def old_files(home: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(home)): path.read_bytes()
        for folder in ("history", "schedules")
        for path in (home / folder).rglob("*.db")
    }


def test_dagster_knows_the_same_as_before_in_the_same_order_and_by_the_same_ids(home: Path) -> None:
    before, files = known(home), old_files(home)
    moved = move_storage(home)
    assert storage_of(home) is EmbeddedEventLogStorage
    assert known(home) == before
    assert moved.runs == 3
    assert moved.events == sum(map(len, before["logs"].values()))
    assert moved.bytes_after < moved.bytes_before
    assert old_files(moved.kept) == files


def test_the_rest_of_dagster_yaml_stays_as_it_was(home: Path) -> None:
    said = (home / "dagster.yaml").read_text()
    move_storage(home)
    assert (home / "dagster.yaml").read_text().endswith("\n" + said)


def test_runs_go_on_after_the_move_with_new_ids(home: Path) -> None:
    newest = known(home)["events"][dg.AssetKey("first")][0].storage_id
    move_storage(home)
    with opened(home) as instance:
        JOB.execute_in_process(instance=instance, partition_key="a")
        after = instance.fetch_materializations(dg.AssetKey("first"), limit=1).records[0]
        assert after.storage_id > newest


def test_what_was_purged_from_the_index_does_not_come_back_as_an_asset(home: Path) -> None:
    with opened(home) as instance:
        instance.wipe_assets([dg.AssetKey("first")])
    with closing(sqlite3.connect(home / "history" / "runs" / "index.db")) as index, index:
        index.execute("DELETE FROM event_logs WHERE asset_key = '[\"first\"]'")
    before = known(home)
    move_storage(home)
    with opened(home) as instance:
        assert not instance.fetch_materializations(dg.AssetKey("first"), limit=1).records
    assert known(home)["logs"] == before["logs"]


STEPS = ["_copy", "_merge_run", "give_back_space", "_compare", "_sync", "_name_our_storage", "Moved"]


class KilledError(BaseException):
    pass


@pytest.mark.parametrize("step", STEPS)
def test_a_move_that_was_killed_has_changed_nothing_and_can_be_repeated(
    home: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before = known(home)
    original, calls = getattr(storage_move, step), 0

    def kill(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == (2 if step in {"_copy", "_merge_run", "give_back_space", "_compare"} else 1):
            raise KilledError
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(storage_move, step, kill)
        with pytest.raises(KilledError):
            move_storage(home)
    assert known(home) == before
    if storage_of(home) is SqliteEventLogStorage:
        move_storage(home)
    assert storage_of(home) is EmbeddedEventLogStorage
    assert known(home) == before


def test_a_home_whose_service_runs_is_left_alone(home: Path) -> None:
    with opened(home) as instance:
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "SENSOR", "an id", []))
    refused(home, "The service seems to run")


def test_a_home_with_a_run_at_work_is_left_alone(home: Path) -> None:
    with opened(home) as instance, hold_run_lock(instance, "a-run"):
        refused(home, "at work")


def test_a_database_that_somebody_writes_is_left_alone(home: Path) -> None:
    with closing(sqlite3.connect(home / "history" / "runs.db")) as writer:
        writer.execute("BEGIN IMMEDIATE")
        refused(home, "is in use")


def test_a_home_that_was_moved_is_not_moved_again(home: Path) -> None:
    move_storage(home)
    refused(home, "names a storage already")


def test_an_event_that_did_not_arrive_stops_the_move(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_move, "_ADD_EVENT", storage_move._ADD_EVENT.replace("(?,", "('other' || ?,"))
    refused(home, "nothing has changed")


def refused(home: Path, why: str) -> None:
    settings = (home / "dagster.yaml").read_text()
    with pytest.raises(MoveError, match=why):
        move_storage(home)
    assert (home / "dagster.yaml").read_text() == settings
