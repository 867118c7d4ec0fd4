"""Remove runs, events and partitions for good, many at a time, and keep what must be kept of them.

`DagsterInstance.delete_run` erases every materialization that the run reported, also of images that other
requests share. If those were reported once more, they would have a new time and a new run, which then could
never be deleted. So here a run is deleted except for the newest materialization of each image: these events
stay as they are, with their time, metadata and run id, and the UI shows them without a link to the run.
Events of images that go are removed by `forget_images`, as are their partitions; Dagster has no call for
many partitions, and `wipe_asset_partitions` is not implemented.

This relies on internals of Dagster (1.13.27), which the tests try:

* `SqlEventLogStorage.delete_events_for_run`: what a run has in the event log is its rows in `event_logs` and
  their tags in `asset_event_tags`; its checks are rows of `asset_check_executions`, which Dagster leaves;
* `SqliteEventLogStorage`: the index shard has the events of assets and the changes of runs' status, a file
  for each run has all of its events;
* `SqlEventLogStorage.get_latest_storage_id_by_partition` and `delete_dynamic_partition`;
* `PartitionBackfill` and the name of a job's partition set, which tell whose a backfill is;
* `SqlRunStorage.delete_run`, and its tables `bulk_actions` and `backfill_tags`;
* `LegacyEventLogStorage` and `LegacyRunStorage`: how an instance wraps what `storage:` in dagster.yaml names;
* `AssetBackfillData.target_subset`;
* `IMPLICIT_ASSET_JOB_NAME`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import dagster as dg
import sqlalchemy as sa
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
from dagster._core.events import ASSET_EVENTS
from dagster._core.execution.backfill import (
    BULK_ACTION_TERMINAL_STATUSES,
    BulkActionsFilter,
    BulkActionStatus,
    PartitionBackfill,
)
from dagster._core.remote_representation.external_data import partition_set_snap_name_for_job_name
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log import SqlEventLogStorage, SqlEventLogStorageTable, SqliteEventLogStorage
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    DynamicPartitionsTable,
)
from dagster._core.storage.legacy_storage import LegacyEventLogStorage, LegacyRunStorage
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import BackfillTagsTable, BulkActionsTable

from imagi_pipeline.contract import FILE_TAG, JOB_NAME, REQUEST_ID_TAG
from imagi_pipeline.core.storage.keys import is_request_id
from imagi_pipeline.orchestration.partitions import COMPRESSED_IMAGE, images_partitions_def

OUR_ASSETS = frozenset(
    {
        dg.AssetKey("uploaded_csv"),
        COMPRESSED_IMAGE,
        dg.AssetKey("compression_report"),
        dg.AssetKey("enriched_csv"),
    }
)

JOB_OF_SINGLE_ASSETS = IMPLICIT_ASSET_JOB_NAME
"""The job of the runs that materialize chosen assets, from the UI or by a backfill of them."""

IN_FLIGHT = [status for status in dg.DagsterRunStatus if status not in FINISHED_STATUSES]

_T = TypeVar("_T")
_UNDER_WAY = [status for status in BulkActionStatus if status not in BULK_ACTION_TERMINAL_STATUSES]
_ROWS_IN_A_STATEMENT = 10_000  # SQLite takes 32,766 values in one
_RECORDS_IN_A_PAGE = 1_000


def run_records(instance: dg.DagsterInstance, filters: dg.RunsFilter | None = None) -> Iterator[dg.RunRecord]:
    """Yield all records of runs, newest first, without holding them all in memory."""
    cursor = None
    while page := instance.get_run_records(filters, limit=_RECORDS_IN_A_PAGE, cursor=cursor):
        yield from page
        cursor = page[-1].dagster_run.run_id


def request_of_run(run: dg.DagsterRun) -> str | None:
    """Return the request that a run works on; None for a run of images, a purge and the like."""
    partition = partition_of_run(run)
    is_ours = (
        run.job_name == JOB_NAME
        or FILE_TAG in run.tags
        or bool(OUR_ASSETS & (run.asset_selection or frozenset()))
    )
    return partition if is_ours and is_request_id(partition) else None


def partition_of_run(run: dg.DagsterRun) -> str:
    """Return the partition of a run, empty if it has none."""
    return run.tags.get(REQUEST_ID_TAG, "")


def partitions_under_way(instance: dg.DagsterInstance) -> tuple[set[str], bool]:
    """Return the partitions that backfills may still launch runs for, and whether one of them works on
    images.
    """
    partitions: set[str] = set()
    works_on_images = False
    for backfill in instance.get_backfills(filters=BulkActionsFilter(statuses=_UNDER_WAY)):
        partitions.update(backfill.partition_names or ())
        data = backfill.asset_backfill_data
        if data is None:
            continue
        for asset, subset in data.target_subset.partitions_subsets_by_asset_key.items():
            if asset == COMPRESSED_IMAGE:
                works_on_images = True
            else:
                partitions.update(subset.get_partition_keys())
    return partitions, works_on_images


def newest_image_events(instance: dg.DagsterInstance) -> frozenset[int]:
    """Return the events that say of each image that it is there, as the ids that `delete_run` spares."""
    newest = _event_log(instance).get_latest_storage_id_by_partition(
        COMPRESSED_IMAGE, dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    return frozenset(newest.values())


def delete_run(instance: dg.DagsterInstance, run_id: str, spared: Collection[int]) -> None:
    """Delete a finished run with its logs and events, except the events of these ids.

    The run itself is removed last, so that a purge that was killed here finds it again.
    """
    storage = _event_log(instance)
    with storage.index_transaction() as connection:
        rows = connection.execute(
            sa.select(SqlEventLogStorageTable.c.id).where(SqlEventLogStorageTable.c.run_id == run_id)
        )
        _delete_events(connection, [row.id for row in rows if row.id not in spared])
        connection.execute(
            AssetCheckExecutionsTable.delete().where(AssetCheckExecutionsTable.c.run_id == run_id)
        )
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    if isinstance(storage, SqliteEventLogStorage):
        shard = storage.path_for_shard(run_id)
        for suffix in ("-wal", "-shm", ""):
            Path(shard + suffix).unlink(missing_ok=True)
    instance.run_storage.delete_run(run_id)


def forget_images(instance: dg.DagsterInstance, keys: Sequence[str]) -> None:
    """Remove the partitions of images together with all events of them."""
    with _event_log(instance).index_transaction() as connection:
        for some in _portions(keys):
            rows = connection.execute(
                sa.select(SqlEventLogStorageTable.c.id).where(
                    SqlEventLogStorageTable.c.asset_key == COMPRESSED_IMAGE.to_string(),
                    # Without the types, no index can be used.
                    SqlEventLogStorageTable.c.dagster_event_type.in_(kind.value for kind in ASSET_EVENTS),
                    SqlEventLogStorageTable.c.partition.in_(some),
                )
            )
            _delete_events(connection, [row.id for row in rows])
            connection.execute(
                DynamicPartitionsTable.delete().where(
                    DynamicPartitionsTable.c.partitions_def_name == images_partitions_def.name,
                    DynamicPartitionsTable.c.partition.in_(some),
                )
            )


def forget_superseded(instance: dg.DagsterInstance, newest: Collection[int]) -> None:
    """Delete the events that `delete_run` once spared and that newer ones of their images have replaced."""
    with _event_log(instance).index_transaction() as connection:
        events = connection.execute(
            sa.select(SqlEventLogStorageTable.c.id, SqlEventLogStorageTable.c.run_id).where(
                SqlEventLogStorageTable.c.asset_key == COMPRESSED_IMAGE.to_string(),
                SqlEventLogStorageTable.c.dagster_event_type.in_(kind.value for kind in ASSET_EVENTS),
            )
        )
        replaced = [event for event in events if event.id not in newest]
        runs = {record.dagster_run.run_id for record in run_records(instance)} if replaced else set()
        _delete_events(connection, [event.id for event in replaced if event.run_id not in runs])


def delete_backfills(instance: dg.DagsterInstance, before: float) -> int:
    """Delete the records of our finished backfills that were launched before a time; return their number."""
    storage = instance.run_storage
    if isinstance(storage, LegacyRunStorage):
        storage = storage._storage.run_storage
    assert isinstance(storage, SqlRunStorage)
    old = BulkActionsFilter(
        statuses=list(BULK_ACTION_TERMINAL_STATUSES), created_before=datetime.fromtimestamp(before, UTC)
    )
    keys = [backfill.backfill_id for backfill in instance.get_backfills(filters=old) if _is_ours(backfill)]
    with storage.connect() as connection:
        for some in _portions(keys):
            connection.execute(BackfillTagsTable.delete().where(BackfillTagsTable.c.backfill_id.in_(some)))
            connection.execute(BulkActionsTable.delete().where(BulkActionsTable.c.key.in_(some)))
    return len(keys)


def _is_ours(backfill: PartitionBackfill) -> bool:
    if backfill.partition_set_origin:
        return backfill.partition_set_name == partition_set_snap_name_for_job_name(JOB_NAME)
    return bool(OUR_ASSETS & set(backfill.asset_selection or ()))


def _delete_events(connection: sa.Connection, event_ids: Sequence[int]) -> None:
    for some in _portions(event_ids):
        connection.execute(AssetEventTagsTable.delete().where(AssetEventTagsTable.c.event_id.in_(some)))
        connection.execute(SqlEventLogStorageTable.delete().where(SqlEventLogStorageTable.c.id.in_(some)))


def _event_log(instance: dg.DagsterInstance) -> SqlEventLogStorage:
    storage = instance.event_log_storage
    if isinstance(storage, LegacyEventLogStorage):
        storage = storage._storage.event_log_storage
    assert isinstance(storage, SqlEventLogStorage)
    return storage


def _portions(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), _ROWS_IN_A_STATEMENT):
        yield items[start : start + _ROWS_IN_A_STATEMENT]
