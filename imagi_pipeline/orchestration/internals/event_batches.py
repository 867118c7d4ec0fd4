"""Report many events of assets, materializations and observations, at the price of a few.

`context.log_event(AssetMaterialization(...))` costs 9 ms an event on SQLite, because each event is
written in transactions of its own, and Dagster's SQLite storage inherits a `store_event_batch` that
loops. Here a batch is one transaction for each of the two shards of the SQLite event log, and one
`store_event_batch` on any other storage.

It writes what `log_event` writes, with these exceptions: the events have no `logging_tags`, which Dagster
shows nowhere and which repeat other fields; they are not kept in memory for the executor, are not printed by
the run's loggers (the UI shows the event log), and do not reach listeners added with
`instance.add_event_listener`, which Dagster itself never uses.

This relies on internals of Dagster (1.13.27); the tests compare the events with what Dagster writes:

* how `DagsterEvent.asset_materialization`, `asset_observation` and the handler that feeds the event log
  fill the fields of `DagsterEvent`, `StepMaterializationData`, `AssetObservationData` and `EventLogEntry`;
* `SqliteEventLogStorage.store_event`: a materialization is a row (`_event_to_row`) in the shard of
  its run and in the index shard, which also holds the event's tags (`_store_asset_event_tags`) and
  one row per asset (`_store_asset_event`);
* `EventLogStorage.get_latest_tags_by_partition`;
* `PostgresEventLogStorage.store_event_batch`: of one batch only the last event updates the row of
  its asset, so a batch must not mix assets; and of mixed kinds of events it
  makes no batch.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from itertools import groupby

import dagster as dg
from dagster._core.events import AssetObservationData, DagsterEvent, StepMaterializationData
from dagster._core.execution.context.system import StepExecutionContext
from dagster._core.storage.event_log import SqlEventLogStorageTable, SqliteEventLogStorage

CODE_VERSION_TAG = "dagster/code_version"
DATA_VERSION_TAG = "dagster/data_version"

AssetEvent = dg.AssetMaterialization | dg.AssetObservation

_INSERT_EVENT = SqlEventLogStorageTable.insert()
_INSERT_EVENT_RETURNING_ID = _INSERT_EVENT.returning(
    SqlEventLogStorageTable.c.id, sort_by_parameter_order=True
)


def report_events(
    context: dg.OpExecutionContext | dg.AssetExecutionContext,
    reported: Sequence[AssetEvent],
) -> None:
    """Write one event each, in this order, as events of the step of `context`.

    They are in the event log, and so in the UI, when this returns. Raises what the storage of the
    event log raises; the run's own log may then have events that the asset's history lacks.
    """
    step = context.get_step_execution_context()
    storage = step.instance.event_log_storage
    for _, of_one_kind in groupby(reported, key=lambda event: (type(event), event.asset_key)):
        entries = [_log_entry(step, event) for event in of_one_kind]
        if isinstance(storage, SqliteEventLogStorage):
            _store_in_both_shards(storage, entries)
        else:
            storage.store_event_batch(entries)


def reported_data_versions(
    instance: dg.DagsterInstance, asset_key: dg.AssetKey, partitions: Sequence[str]
) -> dict[str, str]:
    """Return the data version of the newest materialization of each of some partitions, in one query.

    A partition without one is left out. At most 30,000 partitions: SQLite takes no longer statement.
    """
    tags = instance.event_log_storage.get_latest_tags_by_partition(
        asset_key,
        dg.DagsterEventType.ASSET_MATERIALIZATION,
        tag_keys=[DATA_VERSION_TAG],
        asset_partitions=partitions,
    )
    return {partition: of_partition[DATA_VERSION_TAG] for partition, of_partition in tags.items()}


def _log_entry(step: StepExecutionContext, reported: AssetEvent) -> dg.EventLogEntry:
    kind, data, message = _of_kind(reported)
    event = DagsterEvent(
        event_type_value=kind.value,
        job_name=step.job_name,
        step_handle=step.step.handle,
        node_handle=step.step.node_handle,
        step_kind_value=step.step.kind.value,
        event_specific_data=data,
        message=message,
        pid=os.getpid(),
    )
    return dg.EventLogEntry(  # type: ignore[no-untyped-call]  # Dagster left __new__ untyped
        error_info=None,
        level=logging.DEBUG,
        user_message=message or f"{kind} for step {step.step.key}",
        run_id=step.run_id,
        timestamp=time.time(),
        step_key=step.step.key,
        job_name=step.job_name,
        dagster_event=event,
    )


def _of_kind(
    reported: AssetEvent,
) -> tuple[dg.DagsterEventType, StepMaterializationData | AssetObservationData, str | None]:
    if isinstance(reported, dg.AssetObservation):
        return dg.DagsterEventType.ASSET_OBSERVATION, AssetObservationData(reported), None
    message = reported.description or f"Materialized value {reported.label}."
    return dg.DagsterEventType.ASSET_MATERIALIZATION, StepMaterializationData(reported), message


def _store_in_both_shards(storage: SqliteEventLogStorage, entries: Sequence[dg.EventLogEntry]) -> None:
    rows = [storage._event_to_row(entry) for entry in entries]
    with storage.run_connection(entries[0].run_id) as connection:
        connection.execute(_INSERT_EVENT, rows)
    with storage.index_transaction() as connection:
        event_ids = connection.execute(_INSERT_EVENT_RETURNING_ID, rows).scalars().all()
        storage._store_asset_event_tags(connection, entries, event_ids)
        # An asset's row shows its newest event only.
        storage._store_asset_event(connection, entries[-1], event_ids[-1])
