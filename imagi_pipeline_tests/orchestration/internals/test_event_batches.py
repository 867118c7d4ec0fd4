"""What a batch leaves in the event log, compared with what Dagster itself writes there."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.event_log import InMemoryEventLogStorage, SqlEventLogStorage
from dagster._serdes import ConfigurableClassData

from imagi_pipeline.orchestration.internals.event_batches import AssetEvent, report_events
from imagi_pipeline_tests.storages import ON_EVERY_STORAGE

IMAGE = dg.AssetKey(["shop", "compressed_image"])
IMAGES = dg.DynamicPartitionsDefinition(name="images")
KEYS = ["shoe-red-01", "shoe-blue-02", "hat-03"]

Reporter = Callable[[dg.OpExecutionContext, Sequence[AssetEvent]], None]


def report_one_by_one(context: dg.OpExecutionContext, materializations: Sequence[AssetEvent]) -> None:
    for materialization in materializations:
        context.log_event(materialization)


def image(key: str, **fields: Any) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        IMAGE,
        partition=key,
        metadata={
            "url": dg.MetadataValue.url(f"https://images.example/{key}"),
            "bytes": 1234,
            "ratio": 0.5,
            "settings": {"quality": 80},
        },
        tags={"dagster/code_version": "2", "dagster/data_version": f"digest-{key}"},
        **fields,
    )


EVENTS: list[AssetEvent] = [
    *(image(key) for key in KEYS),
    dg.AssetMaterialization("unpartitioned"),
    dg.AssetObservation(IMAGE, partition=KEYS[1], description="Gone.", metadata={"attempts": 3}),
    dg.AssetObservation(IMAGE, partition=KEYS[2], tags={"why": "404"}),
    image(KEYS[1]),
    image(KEYS[0], description="Compressed again."),
    dg.AssetMaterialization(["shop", "thumbnail"], partition=KEYS[0]),
]


@pytest.fixture
def instance(storage: str) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions("images", KEYS)
        yield instance


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance as Dagster makes it by itself."""
    home = tmp_path / "plain"
    home.mkdir()
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home))) as instance:
        instance.add_dynamic_partitions("images", KEYS)
        yield instance


def run_step(
    instance: dg.DagsterInstance, body: Callable[[dg.OpExecutionContext], None]
) -> dg.ExecuteInProcessResult:
    @dg.op
    def compress(context: dg.OpExecutionContext) -> None:
        body(context)

    @dg.job
    def process_csv() -> None:
        compress()

    return process_csv.execute_in_process(instance=instance)


def report_from_op(instance: dg.DagsterInstance, report: Reporter) -> str:
    return run_step(instance, lambda context: report(context, EVENTS)).run_id


def report_from_mapped_op(instance: dg.DagsterInstance, report: Reporter) -> str:
    @dg.op(out=dg.DynamicOut(int))
    def chunks() -> Iterator[dg.DynamicOutput[int]]:
        yield dg.DynamicOutput(0, mapping_key="chunk_0")
        yield dg.DynamicOutput(1, mapping_key="chunk_1")

    @dg.op
    def compress(context: dg.OpExecutionContext, chunk: int) -> None:
        report(context, EVENTS[chunk:])

    @dg.graph
    def report_graph() -> None:
        chunks().map(compress)

    @dg.job(tags={"imagi/file": "products.csv"})
    def process_csv() -> None:
        report_graph()

    return process_csv.execute_in_process(instance=instance).run_id


def report_from_asset(instance: dg.DagsterInstance, report: Reporter) -> str:
    @dg.asset(
        partitions_def=dg.StaticPartitionsDefinition(["request-1"]),
        retry_policy=dg.RetryPolicy(max_retries=1),
    )
    def compression_report(context: dg.AssetExecutionContext) -> None:
        if context.retry_number == 0:
            raise ConnectionError("the second attempt reports")
        report(context.op_execution_context, EVENTS)

    job = dg.Definitions(
        assets=[compression_report], jobs=[dg.define_asset_job("process_csv")]
    ).resolve_job_def("process_csv")
    return job.execute_in_process(
        instance=instance, partition_key="request-1", tags={"imagi/file": "products.csv"}
    ).run_id


REPORTED_EVENTS = """
    SELECT event, dagster_event_type, step_key, asset_key, partition FROM event_logs
    WHERE dagster_event_type IN ('ASSET_MATERIALIZATION', 'ASSET_OBSERVATION') AND run_id = :run_id
    AND asset_key != '["compression_report"]' ORDER BY id
"""
EVENT_TAGS = """
    SELECT tags.asset_key, tags.key, tags.value, tags.event_timestamp = event_logs.timestamp AS is_of_event
    FROM asset_event_tags AS tags JOIN event_logs ON event_logs.id = tags.event_id
    WHERE event_logs.run_id = :run_id AND tags.asset_key != '["compression_report"]' ORDER BY tags.id
"""
ASSET_ROWS = """
    SELECT * FROM asset_keys WHERE last_run_id = :run_id AND asset_key != '["compression_report"]'
    ORDER BY asset_key
"""
# They name a moment or a run, so no two runs agree on them.
LEFT_OUT = "logging_tags"
INCOMPARABLE = {"id", "timestamp", "last_materialization_timestamp", "create_timestamp"}


def stored(instance: dg.DagsterInstance, run_id: str) -> dict[str, list[dict[str, Any]]]:
    """Everything that the reported events of a run left, without moments, ids and run ids.

    In Dagster's own storage the log of a run and the index are two files, elsewhere they are one.
    """
    log = instance.event_log_storage
    assert isinstance(log, SqlEventLogStorage)
    with log.run_connection(run_id) as connection:
        in_run = rows(connection, REPORTED_EVENTS, run_id)
    with log.index_connection() as connection:
        return {
            "run": in_run,
            "index": rows(connection, REPORTED_EVENTS, run_id),
            "tags": rows(connection, EVENT_TAGS, run_id),
            "assets": rows(connection, ASSET_ROWS, run_id),
        }


def rows(connection: sa.Connection, query: str, run_id: str) -> list[dict[str, Any]]:
    found = connection.execute(sa.text(query), {"run_id": run_id}).mappings()
    return [comparable(dict(row), run_id) for row in found]


def comparable(value: Any, run_id: str) -> Any:
    if isinstance(value, dict):
        return {
            key: comparable(inner, run_id)
            for key, inner in value.items()
            if key not in INCOMPARABLE | {"storage_id", LEFT_OUT}
        }
    if isinstance(value, list):
        return [comparable(inner, run_id) for inner in value]
    if isinstance(value, str) and value.startswith("{"):
        return comparable(json.loads(value), run_id)
    return "the run" if value == run_id else value


@ON_EVERY_STORAGE
@pytest.mark.parametrize("report_from", [report_from_op, report_from_mapped_op, report_from_asset])
def test_a_batch_stores_what_log_event_stores_but_for_what_is_left_out(
    plain: dg.DagsterInstance,
    instance: dg.DagsterInstance,
    report_from: Callable[[dg.DagsterInstance, Reporter], str],
) -> None:
    expected = stored(plain, report_from(plain, report_one_by_one))
    assert stored(instance, report_from(instance, report_events)) == expected
    assert len(expected["run"]) >= len(EVENTS)
    assert expected["run"] == expected["index"]
    assert expected["tags"]
    assert len(expected["assets"]) == 3


@ON_EVERY_STORAGE
def test_the_asset_row_names_the_newest_event_of_its_asset(instance: dg.DagsterInstance) -> None:
    report_from_op(instance, report_events)
    newest = instance.fetch_materializations(IMAGE, limit=1).records[0]
    asset = instance.get_asset_records([IMAGE])[0].asset_entry
    assert asset.last_materialization_record == newest
    assert newest.partition_key == KEYS[0]
    assert newest.event_log_entry.message == "Compressed again."


@pytest.mark.parametrize("report", [report_one_by_one, report_events])
@ON_EVERY_STORAGE
def test_dagster_answers_every_question_about_partitions_as_after_log_event(
    plain: dg.DagsterInstance, instance: dg.DagsterInstance, report: Reporter
) -> None:
    def answers(instance: dg.DagsterInstance, report: Reporter) -> dict[str, Any]:
        run_step(instance, lambda context: report(context, [image(key) for key in KEYS[:2]]))
        history = instance.fetch_materializations(IMAGE, limit=10, ascending=True).records
        statuses = instance.get_status_by_partition(IMAGE, KEYS, IMAGES)
        newest_of_first = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=IMAGE, asset_partitions=KEYS[:1]), limit=1
        ).records[0]
        assert newest_of_first.asset_materialization is not None
        newest_ids = instance.event_log_storage.get_latest_storage_id_by_partition(
            IMAGE, dg.DagsterEventType.ASSET_MATERIALIZATION
        )
        return {
            "materialized": instance.get_materialized_partitions(IMAGE),
            "history": [record.asset_materialization for record in history],
            "newest_of_first": newest_of_first.asset_materialization.tags,
            "oldest_first": sorted(newest_ids, key=lambda key: newest_ids[key]),
            "newest_tags": instance.event_log_storage.get_latest_tags_by_partition(
                IMAGE, dg.DagsterEventType.ASSET_MATERIALIZATION, ["dagster/data_version"]
            ),
            "statuses": statuses,
        }

    expected = answers(plain, report_one_by_one)
    assert answers(instance, report) == expected
    assert expected["materialized"] == set(KEYS[:2])
    assert [str(status) for status in expected["statuses"].values()] == [
        "AssetPartitionStatus.MATERIALIZED",
        "AssetPartitionStatus.MATERIALIZED",
        "None",
    ]


class BatchRecordingStorage(InMemoryEventLogStorage):
    """A storage that is not the default one, and remembers how it was called."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        self.batches: list[Sequence[dg.EventLogEntry]] = []

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        self.batches.append(events)
        super().store_event_batch(events)


def test_a_storage_of_another_kind_gets_one_batch_for_each_row_of_events_of_one_asset(
    tmp_path: Path,
) -> None:
    storage = {"module": __name__, "class": BatchRecordingStorage.__name__}
    reference = InstanceRef.from_dir(str(tmp_path), overrides={"event_log_storage": storage})
    with dg.DagsterInstance.from_ref(reference) as instance:
        result = run_step(instance, lambda context: report_events(context, EVENTS))
        event_log = instance.event_log_storage
        assert isinstance(event_log, BatchRecordingStorage)
        assert [len(batch) for batch in event_log.batches] == [3, 1, 2, 2, 1]
        run_log = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        made = [event for event in EVENTS if isinstance(event, dg.AssetMaterialization)]
        assert [entry.asset_materialization for entry in run_log] == made
        assert instance.get_materialized_partitions(IMAGE) == set(KEYS)


def test_an_empty_batch_writes_nothing(instance: dg.DagsterInstance) -> None:
    result = run_step(instance, lambda context: report_events(context, []))
    assert result.success
    assert instance.fetch_materializations(IMAGE, limit=1).records == []


@ON_EVERY_STORAGE
def test_a_second_batch_continues_the_history_of_the_first(instance: dg.DagsterInstance) -> None:
    def two_batches(context: dg.OpExecutionContext) -> None:
        report_events(context, [image(KEYS[0]), image(KEYS[1])])
        report_events(context, [image(KEYS[2]), image(KEYS[0])])

    result = run_step(instance, two_batches)
    history = instance.fetch_materializations(IMAGE, limit=10, ascending=True).records
    in_order = [KEYS[0], KEYS[1], KEYS[2], KEYS[0]]
    assert [record.partition_key for record in history] == in_order
    run_log = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    assert [entry.get_dagster_event().partition for entry in run_log] == in_order


@ON_EVERY_STORAGE
def test_a_batch_of_a_thousand_arrives_whole_and_in_order(instance: dg.DagsterInstance) -> None:
    keys = [f"image-{number:04}" for number in range(1000)]
    run_step(
        instance,
        lambda context: report_events(context, [image(key) for key in keys]),
    )
    history = instance.fetch_materializations(IMAGE, limit=1000, ascending=True).records
    assert [record.partition_key for record in history] == keys
    tags = instance.event_log_storage.get_latest_tags_by_partition(
        IMAGE, dg.DagsterEventType.ASSET_MATERIALIZATION, ["dagster/data_version"]
    )
    assert tags == {key: {"dagster/data_version": f"digest-{key}"} for key in keys}
