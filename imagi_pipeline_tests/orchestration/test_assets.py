from __future__ import annotations

import csv
import io
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from imagi_pipeline.core import reports
from imagi_pipeline.core.engine import compress_images
from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.orchestration.instance import request_status
from imagi_pipeline.settings import Settings
from imagi_pipeline_tests.image_host import ImageHost, jpeg
from imagi_pipeline_tests.orchestration.conftest import Installation
from imagi_pipeline_tests.records import image_key, image_keys
from imagi_pipeline_tests.storages import ON_EVERY_STORAGE

IMAGES = dg.AssetKey("compressed_image")


def csv_of(urls: list[str]) -> str:
    return "id,Images\n" + "".join(f"{number},{url}\n" for number, url in enumerate(urls))


def materializations(installation: Installation, run_id: str) -> list[dg.EventLogEntry]:
    events = installation.instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    return list(events)


def materializations_of(
    installation: Installation, run_id: str, asset: dg.AssetKey
) -> list[dg.EventLogEntry]:
    events = materializations(installation, run_id)
    return [event for event in events if event.dagster_event and event.dagster_event.asset_key == asset]


def result_rows(installation: Installation, request_id: str) -> list[dict[str, str]]:
    data = installation.store.result(request_id, "products.csv").read_text()
    return list(csv.DictReader(io.StringIO(data)))


@ON_EVERY_STORAGE
def test_a_csv_comes_back_with_the_urls_of_stored_images(
    installation: Installation, image_host: ImageHost
) -> None:
    urls = image_host.add("red.jpg", "blue.jpg")
    done = installation.process(csv_of([f'"{urls[0]},{image_host.base}/gone.jpg,{urls[1]}"', urls[0]]))

    assert (done.status, done.rows) == ("completed", 2)
    assert (done.images_total, done.images_done, done.images_failed) == (3, 3, 1)
    first, second = result_rows(installation, done.request_id)
    red, missing, blue = first["Output Image Urls"].split(",")
    assert missing == ""
    assert second["Output Image Urls"] == red
    for url in (red, blue):
        path = url.removeprefix("http://127.0.0.1:8000/media/")
        assert (installation.store.compressed / path).is_file()
    assert "gone.jpg" in first["Image Errors"]
    assert "404" in first["Image Errors"]
    assert second["Image Errors"] == ""


def test_every_image_is_a_partition_and_a_failed_one_is_missing(
    installation: Installation, image_host: ImageHost
) -> None:
    urls = [*image_host.add("a.jpg", "b.jpg"), f"{image_host.base}/gone.jpg"]
    installation.process(csv_of(urls))

    keys = {image_key(url) for url in urls}
    assert set(installation.instance.get_dynamic_partitions("images")) == keys
    assert installation.instance.get_materialized_partitions(IMAGES) == keys - {image_key(urls[2])}


def test_a_failed_image_leaves_on_its_partition_why_and_which_requests_name_it(
    installation: Installation, image_host: ImageHost
) -> None:
    missing, busy = f"{image_host.base}/gone.jpg", f"{image_host.base}/busy.jpg"
    image_host.failures = {"/busy.jpg": [503] * 9}
    first = installation.process(csv_of([*image_host.add("a.jpg"), busy, missing]))
    (observed,) = observations(installation, busy)
    assert (observed["source_url"], observed["may_pass"]) == (busy, True)
    assert observed["attempts"] == Settings().attempts
    assert observed["requests"] == f"products.csv ({first.request_id})"

    second = installation.process(csv_of([missing]))
    installation.materialize("compressed_image", partition=image_key(missing))
    newest, *others = observations(installation, missing)
    assert len(others) == 2
    named = [f"products.csv ({request.request_id})" for request in (second, first)]
    assert newest["requests"].splitlines() == named
    assert (newest["error_code"], newest["attempts"], newest["may_pass"]) == ("http_404", 1, False)
    assert "answered 404 Not Found" in newest["error"]


def observations(installation: Installation, url: str) -> list[dict[str, Any]]:
    """The metadata of what was observed of an image, the newest first."""
    wanted = dg.AssetRecordsFilter(asset_key=IMAGES, asset_partitions=[image_key(url)])
    records = installation.instance.fetch_observations(wanted, limit=10).records
    found = [record.event_log_entry.asset_observation for record in records]
    return [{name: value.value for name, value in each.metadata.items()} for each in found if each]


def test_failed_images_stand_side_by_side_so_that_a_backfill_of_them_is_one_run(
    installation: Installation, image_host: ImageHost
) -> None:
    urls = image_host.add(*(f"{number}.jpg" for number in range(20)))
    for number in range(0, 20, 3):
        del image_host.files[f"/{number}.jpg"]
    installation.process(csv_of(urls))
    keys = installation.instance.get_dynamic_partitions("images")
    failed = set(keys) - installation.instance.get_materialized_partitions(IMAGES)
    assert len(failed) == 7
    assert set(keys[-7:]) == failed


def test_an_image_event_tells_source_sizes_and_versions(
    installation: Installation, image_host: ImageHost
) -> None:
    (url,) = image_host.add("a.jpg")
    installation.process(csv_of([url]))
    event = installation.instance.get_latest_materialization_event(IMAGES)
    assert event
    assert event.asset_materialization
    record = installation.store.read_record(image_key(url))
    assert record
    metadata = {name: value.value for name, value in event.asset_materialization.metadata.items()}
    assert metadata["source_url"] == url
    assert metadata["bytes_before"] == len(image_host.files["/a.jpg"])
    assert metadata["bytes_after"] == record.bytes
    assert metadata["dimensions"] == "320x240 -> 320x240"
    assert metadata["format"] == f"JPEG -> JPEG ({record.encoder})"
    tags = event.asset_materialization.tags or {}
    assert tags["dagster/code_version"] == record.algorithm
    assert tags["dagster/data_version"] == record.data_version


def test_five_events_of_images_share_a_page_of_the_database(
    installation: Installation, image_host: ImageHost
) -> None:
    installation.process(
        csv_of(image_host.add("catalogue/2026/spring/women/running-shoe-blue-42-side-view.jpg"))
    )
    path = Path(installation.instance.root_directory) / "database" / "event_log.db"
    with closing(sqlite3.connect(path)) as database:
        (page,) = database.execute("PRAGMA page_size").fetchone()
        (event,) = database.execute(
            "SELECT length(event) FROM event_logs WHERE asset_key LIKE '%compressed_image%'"
        ).fetchone()
    beside = 250  # the other columns
    assert 5 * (event + beside) < page


def test_an_image_of_two_requests_is_one_image(installation: Installation, image_host: ImageHost) -> None:
    urls = image_host.add("a.jpg")
    installation.process(csv_of(urls))
    second = installation.process(csv_of(urls))

    assert image_host.asked["/a.jpg"] == 1
    report = installation.metadata("compression_report", second.request_id)
    assert (report["compressed"], report["reused"]) == (0, 1)
    reported = materializations(installation, str(second.run_id))
    assert not [event for event in reported if event.get_dagster_event().asset_key == IMAGES]


@ON_EVERY_STORAGE
def test_an_image_that_was_stored_by_a_run_that_died_is_reported_by_the_next(
    installation: Installation, image_host: ImageHost
) -> None:
    urls = image_host.add("a.jpg")
    list(
        compress_images(
            image_keys(urls), installation.store, Settings().compression, Settings().engine_limits
        )
    )
    installation.process(csv_of(urls))
    assert image_host.asked["/a.jpg"] == 1
    assert installation.instance.get_materialized_partitions(IMAGES) == {image_key(urls[0])}


def test_the_report_shows_savings_failures_and_pictures(
    installation: Installation, image_host: ImageHost
) -> None:
    urls = [*image_host.add("a.jpg"), f"{image_host.base}/gone.jpg"]
    done = installation.process(csv_of(urls))

    shown: dict[str, Any] = installation.metadata("compression_report", done.request_id)
    assert shown["file"] == "products.csv"
    before, after = len(image_host.files["/a.jpg"]), done.bytes_after
    assert (shown["bytes_before"], shown["bytes_after"]) == (before, after) == (done.bytes_before, after)
    assert shown["savings_percent"] == pytest.approx(100 * (1 - shown["bytes_after"] / before), abs=0.01)
    failure = shown["failures"].records[0].data
    assert (failure["error_code"], failure["host"], failure["rows"]) == ("http_404", "127.0.0.1", "3")
    assert shown["contact_sheet"].count("data:image/jpeg;base64,") == 2
    assert len(shown["contact_sheet"]) < 50_000


def test_the_report_is_in_the_order_of_the_csv(installation: Installation, image_host: ImageHost) -> None:
    urls = image_host.add(*(f"{number}.jpg" for number in range(9)))
    done = installation.process(csv_of(urls))
    data = installation.store.report(done.request_id).read_bytes()
    assert [row["url"] for row in reports.Table(data)] == urls


def test_the_checks_say_what_is_wrong(installation: Installation, image_host: ImageHost) -> None:
    installation.process(csv_of([*image_host.add("a.jpg"), f"{image_host.base}/gone.jpg"]))
    storage = installation.instance.event_log_storage
    checks = {
        key: storage.get_asset_check_execution_history(key, limit=1)[0]
        for key in (
            dg.AssetCheckKey(dg.AssetKey("enriched_csv"), "has_the_rows_of_the_upload"),
            dg.AssetCheckKey(dg.AssetKey("compression_report"), "every_image_compressed"),
        )
    }
    passed = {key.name: record.status.value for key, record in checks.items()}
    assert passed == {"has_the_rows_of_the_upload": "SUCCEEDED", "every_image_compressed": "FAILED"}


def test_a_check_that_breaks_fails_no_request(
    installation: Installation, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("a check with a mistake in it")

    monkeypatch.setattr("imagi_pipeline.orchestration.assets.rows_of_the_upload", broken)
    done = installation.process(csv_of(image_host.add("a.jpg")))
    assert done.status == "completed"
    key = dg.AssetCheckKey(dg.AssetKey("enriched_csv"), "has_the_rows_of_the_upload")
    (record,) = installation.instance.event_log_storage.get_asset_check_execution_history(key, limit=2)
    assert record.status.value == "FAILED"
    assert record.evaluation
    assert record.evaluation.severity == dg.AssetCheckSeverity.WARN
    assert "a check with a mistake in it" in str(record.evaluation.description)


def test_a_small_request_writes_few_events_and_tags(
    installation: Installation, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launch by a daemon adds two to four events."""
    written: list[dict[str, str]] = []
    add_run_tags = dg.DagsterInstance.add_run_tags

    def add(instance: dg.DagsterInstance, run_id: str, new_tags: dict[str, str]) -> None:
        written.append(new_tags)
        add_run_tags(instance, run_id, new_tags)

    monkeypatch.setattr(dg.DagsterInstance, "add_run_tags", add)
    monkeypatch.setattr("imagi_pipeline.orchestration.progress.SECONDS_BETWEEN_FLUSHES", 3600.0)
    manifest = RequestManifest("products.csv", created=1.0)
    done = installation.process(csv_of(image_host.add("a.jpg", "b.jpg", "c.jpg")), manifest)
    assert len(installation.instance.all_logs(str(done.run_id))) <= 27
    ours = [tags for tags in written if any(name.startswith("imagi/") for name in tags)]
    assert len(ours) <= 3, ours


def test_what_all_requests_saved_is_told_by_host_and_format(
    installation: Installation, image_host: ImageHost
) -> None:
    urls = image_host.add("a.jpg", "b.jpg")
    first = installation.process(csv_of(urls))
    installation.process(csv_of([urls[0], f"{image_host.base}/gone.jpg"]))
    result = installation.materialize("savings")
    (event,) = result.asset_materializations_for_node("savings")
    shown: dict[str, Any] = {name: value.value for name, value in event.metadata.items()}
    (row,) = shown["by_host"].records
    assert (row.data["host"], row.data["source_format"], row.data["images"]) == ("127.0.0.1", "JPEG", "2")
    assert (shown["bytes_before"], shown["bytes_after"]) == (first.bytes_before, first.bytes_after)


def evaluate_check(
    installation: Installation, asset: str, name: str, request_id: str | None = None
) -> dg.AssetCheckEvaluation:
    """Execute one check by itself; the button of the UI does it for checks without requests."""
    key = dg.AssetCheckKey(dg.AssetKey(asset), name)
    job = installation.definitions.resolve_implicit_global_asset_job_def()
    result = job.get_subset(asset_selection=set(), asset_check_selection={key}).execute_in_process(
        instance=installation.instance, tags={"dagster/partition": request_id} if request_id else {}
    )
    (evaluation,) = result.get_asset_check_evaluations()
    return evaluation


def test_a_damaged_result_fails_its_check(installation: Installation, image_host: ImageHost) -> None:
    done = installation.process(csv_of(image_host.add("a.jpg", "b.jpg")))
    path = installation.store.result(done.request_id, "products.csv")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], lines[2], lines[1]]))
    check = evaluate_check(installation, "enriched_csv", "has_the_rows_of_the_upload", done.request_id)
    assert (check.passed, check.partition) == (False, done.request_id)


def test_an_image_that_vanished_from_the_storage_fails_its_check(
    installation: Installation, image_host: ImageHost
) -> None:
    done = installation.process(csv_of(image_host.add("a.jpg", "b.jpg")))
    assert evaluate_check(installation, "compressed_image", "every_image_has_its_record").passed
    row, _ = result_rows(installation, done.request_id)
    image = installation.store.compressed / row["Output Image Urls"].rpartition("/media/")[2]
    image.unlink()
    os.utime(
        str(image.with_suffix(".json")), (1, 1)
    )  # it was not stored just now, perhaps with its image to come
    evaluation = evaluate_check(installation, "compressed_image", "every_image_has_its_record")
    assert not evaluation.passed
    assert image.stem in str(evaluation.description)


@ON_EVERY_STORAGE
def test_many_chunks_count_as_one_request(
    installation: Installation, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGI_CHUNK_SIZE", "3")
    urls = [*image_host.add(*(f"{number}.jpg" for number in range(8))), f"{image_host.base}/gone.jpg"]
    done = installation.process(csv_of(urls))
    assert (done.images_total, done.images_done, done.images_failed) == (9, 9, 1)
    assert len(result_rows(installation, done.request_id)) == 9
    assert not list((installation.store.root / "work").iterdir())


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"", "empty_csv", "empty"),
        (b"PK\x03\x04 [Content_Types].xml xl/", "not_a_csv", "Excel"),
        (b"id,name\n1,shoe\n", "no_image_references", "names no image"),
        (b"id,Images\n1,img/a.jpg\n", "no_image_references", "row 2"),
    ],
)
def test_a_request_that_cannot_be_done_says_why(
    installation: Installation, data: bytes, code: str, words: str
) -> None:
    done = installation.process(data)
    assert (done.status, done.error_code) == ("failed", code)
    assert done.error
    assert words in done.error


@pytest.mark.parametrize(
    ("content", "end"), [(csv_of([]), "failed"), ("Images\nhttp://127.0.0.1:9/a.jpg\n", "completed")]
)
def test_the_end_of_a_run_is_told_in_the_storage(installation: Installation, content: str, end: str) -> None:
    request_id = installation.upload(content)
    os.utime(installation.store.uploads.path + f"/{request_id}", (1, 1))
    assert installation.store.end_told(request_id) == 1
    done = installation.run(request_id)
    assert done.status == end
    assert done.finished
    assert done.finished - 10 < installation.store.end_told(request_id) <= done.finished
    assert Store("memory://imagi-told").end_told(request_id) == 0


def test_a_storage_that_fails_is_named_as_the_reason(
    installation: Installation, image_host: ImageHost
) -> None:
    installation.store.compressed.parent.mkdir(parents=True)
    installation.store.compressed.write_text("a file where a folder should be")
    done = installation.process(csv_of(image_host.add("a.jpg")))
    assert (done.status, done.error_code) == ("failed", "storage_failure")


def test_options_that_came_with_the_csv_hold_in_every_step(
    installation: Installation, image_host: ImageHost
) -> None:
    image_host.add("a.jpg", "b.jpg")
    manifest = RequestManifest("products.csv", ("pack",), image_host.base + "/")
    done = installation.process("front,pack\na.jpg,b.jpg\n", manifest)
    assert (done.status, done.images_total, done.images_failed) == ("completed", 1, 0)
    assert image_host.asked == {"/b.jpg": 1}


def test_one_asset_of_a_request_can_be_materialized_from_the_ui(
    installation: Installation, image_host: ImageHost
) -> None:
    done = installation.process(csv_of(image_host.add("a.jpg")))
    path = installation.store.result(done.request_id, "products.csv")
    before = path.read_bytes()
    path.unlink()
    assert installation.materialize("enriched_csv", partition=done.request_id).success
    assert path.read_bytes() == before


def test_the_enriched_csv_alone_compresses_nothing(
    installation: Installation, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = installation.process(csv_of(image_host.add("a.jpg", "b.jpg", "c.jpg")))
    monkeypatch.setenv("IMAGI_REUSE_FOR", "0")
    monkeypatch.setenv("IMAGI_CHUNK_SIZE", "1")
    again = installation.materialize("enriched_csv", partition=done.request_id)
    assert again.success
    assert sum(image_host.asked.values()) == 3
    (event,) = materializations(installation, again.run_id)
    assert event.get_dagster_event().asset_key == dg.AssetKey("enriched_csv")


def test_the_report_alone_can_be_materialized_from_the_ui(
    installation: Installation, image_host: ImageHost
) -> None:
    done = installation.process(csv_of(image_host.add("a.jpg")))
    path = installation.store.report(done.request_id)
    path.unlink()
    again = installation.materialize("compression_report", partition=done.request_id)
    assert again.success
    assert path.exists()
    run = installation.instance.get_run_by_id(again.run_id)
    assert run
    assert run.tags["imagi/progress"].startswith("1 of 1 images, 0 failed")


def test_an_image_that_is_gone_keeps_its_url_and_the_csv_says_why(
    installation: Installation, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = image_host.add("a.jpg", "b.jpg")
    done = installation.process(csv_of(urls))
    before = result_rows(installation, done.request_id)
    del image_host.files["/a.jpg"]
    monkeypatch.setenv("IMAGI_REUSE_FOR", "0")
    again = installation.run(done.request_id)

    assert (again.status, again.images_failed) == ("completed", 1)
    after = result_rows(installation, done.request_id)
    assert [row["Output Image Urls"] for row in after] == [row["Output Image Urls"] for row in before]
    assert "404 Not Found" in after[0]["Image Errors"]
    assert after[0]["Image Errors"].endswith("is kept.")
    assert after[1]["Image Errors"] == ""
    assert not materializations_of(installation, str(again.run_id), IMAGES)


def test_every_run_of_a_request_tells_its_owner_and_when_it_came(
    installation: Installation, image_host: ImageHost
) -> None:
    manifest = RequestManifest("products.csv", owner="shop")
    request_id = installation.upload(csv_of(image_host.add("a.jpg")), manifest)
    first = installation.run(request_id, manifest)
    installation.definitions.resolve_job_def("process_csv").execute_in_process(
        instance=installation.instance, tags={"dagster/partition": request_id} if request_id else {}
    )
    again = request_status(installation.instance, request_id)
    assert again
    assert again.run_id != first.run_id
    assert (again.owner, again.created, again.file) == ("shop", first.created, "products.csv")


def test_materializing_a_request_that_was_never_uploaded_says_so(installation: Installation) -> None:
    installation.instance.add_dynamic_partitions("requests", ["made-up"])
    result = installation.materialize("uploaded_csv", partition="made-up")
    assert not result.success
    (failure,) = result.get_step_failure_events()
    assert "no upload with the request id made-up" in str(failure.step_failure_data.user_failure_data)


def test_of_many_images_the_good_ones_are_materialized_and_the_others_fail(
    installation: Installation, image_host: ImageHost
) -> None:
    urls = image_host.add("a.jpg", "b.jpg", "c.jpg")
    body = image_host.files.pop("/b.jpg")
    installation.process(csv_of(urls))
    keys = installation.instance.get_dynamic_partitions("images")
    image_host.files["/a.jpg"] = jpeg(77)

    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    result = installation.materialize("compressed_image", **tags)
    assert not result.success
    (failure,) = result.get_step_failure_events()
    described = str(failure.step_failure_data.user_failure_data)
    assert "1 of 3 images failed" in described
    assert "b.jpg" in described
    good = {image_key(url) for url in (urls[0], urls[2])}
    assert installation.instance.get_materialized_partitions(IMAGES) == good

    image_host.files["/b.jpg"] = body
    again = installation.materialize("compressed_image", partition=image_key(urls[1]))
    assert again.success
    assert installation.instance.get_materialized_partitions(IMAGES) == set(keys)
    assert installation.metadata("compressed_image", image_key(urls[1]))["source_url"] == urls[1]
    assert len(materializations(installation, again.run_id)) == 1


def test_an_image_that_no_request_names_fails_with_its_key(installation: Installation) -> None:
    installation.instance.add_dynamic_partitions("images", ["made-up"])
    result = installation.materialize("compressed_image", partition="made-up")
    (failure,) = result.get_step_failure_events()
    assert "made-up: no request names this image" in str(failure.step_failure_data.user_failure_data)


def test_a_new_request_makes_no_image_stale_and_no_other_request_a_target(
    installation: Installation,
) -> None:
    graph = installation.definitions.resolve_asset_graph()
    report = graph.get(dg.AssetKey("compression_report"))
    images = graph.get(IMAGES)
    nothing = dg.SpecificPartitionsPartitionMapping([])
    assert report.partition_mappings[IMAGES] == nothing
    assert images.partition_mappings[dg.AssetKey("uploaded_csv")] == nothing
