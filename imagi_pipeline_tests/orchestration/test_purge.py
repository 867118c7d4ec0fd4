"""What a purge removes and what it leaves, on a real instance and a real storage."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.storage.event_log import SqlEventLogStorage

from imagi_pipeline.contract import REQUEST_ID_TAG, handed_in
from imagi_pipeline.core.csv.limits import CsvLimits
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.storage.landing import publish
from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.orchestration import purge as purge_module
from imagi_pipeline.orchestration.instance import open_instance
from imagi_pipeline.orchestration.internals.run_history import IN_FLIGHT, forget_images
from imagi_pipeline.orchestration.partitions import COMPRESSED_IMAGE
from imagi_pipeline.orchestration.purge import (
    Purge,
    PurgeConfig,
    Purged,
    remove_expired,
    run_purge,
)
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.orchestration.conftest import Installation
from imagi_pipeline_tests.records import image_key, image_record
from imagi_pipeline_tests.storages import ON_EVERY_STORAGE

DAY = 24 * 3600.0
RETENTION = 30.0


def csv_of(urls: list[str]) -> str:
    return "Images\n" + "".join(f"{url}\n" for url in urls)


def purge_it(installation: Installation, *, dry_run: bool = False, days_later: float = 3) -> Purged:
    """Return a purge some days from now: then the runs and images of the test are no longer fresh."""
    now = time.time() + days_later * DAY
    return Purge(
        installation.instance, installation.store, RETENTION, limits=CsvLimits(), dry_run=dry_run, now=now
    ).work()


def hand_in(installation: Installation, urls: list[str], *, days_ago: float = 0) -> str:
    """Return a request that was worked through; its id."""
    request_id = installation.process(csv_of(urls)).request_id
    grow_old(installation, request_id, days_ago)
    return request_id


def grow_old(installation: Installation, request_id: str, days: float) -> None:
    for run in runs_of(installation, request_id):
        installation.instance.add_run_tags(run.run_id, handed_in(time.time() - days * DAY))


def runs_of(installation: Installation, request_id: str) -> list[dg.DagsterRun]:
    runs = installation.instance.get_runs(dg.RunsFilter(tags={REQUEST_ID_TAG: request_id}))
    return list(runs)


def files(store: Store) -> set[str]:
    root = Path(str(store.root))
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def history(installation: Installation) -> dict[str, Any]:
    """Return what Dagster knows: runs, partitions, and every event of images with its metadata and time."""
    instance = installation.instance
    events = instance.fetch_materializations(COMPRESSED_IMAGE, limit=1000).records
    return {
        "runs": {record.dagster_run.run_id for record in instance.get_run_records()},
        "requests": set(instance.get_dynamic_partitions("requests")),
        "images": set(instance.get_dynamic_partitions("images")),
        "events": [(event.storage_id, event.event_log_entry) for event in events],
    }


def index_rows(installation: Installation, table: str, where: str = "true") -> int:
    log = installation.instance.event_log_storage
    assert isinstance(log, SqlEventLogStorage)
    with log.index_connection() as connection:
        return int(connection.execute(sa.text(f"SELECT count(*) FROM {table} WHERE {where}")).scalar_one())


@ON_EVERY_STORAGE
def test_an_expired_request_goes_with_its_files_images_runs_events_and_partitions(
    installation: Installation, image_host: ImageHost
) -> None:
    urls = [*image_host.add("a.jpg", "b.jpg"), f"{image_host.base}/gone.jpg"]
    request_id = hand_in(installation, urls, days_ago=40)
    (run,) = runs_of(installation, request_id)
    assert installation.instance.all_logs(run.run_id)
    purged = purge_it(installation)

    assert purged.requests == [request_id]
    assert purged.images == sorted(purged.images, key=lambda key: key[-16:])
    assert set(purged.images) == {image_key(url) for url in urls}
    assert (purged.runs, purged.kept) == (1, [])
    assert purged.bytes > 1000
    assert files(installation.store) == set()
    assert history(installation) == {"runs": set(), "requests": set(), "images": set(), "events": []}
    assert not list(Path(installation.instance.root_directory).rglob(f"{run.run_id}*"))
    for table in ("event_logs", "asset_event_tags", "asset_check_executions", "dynamic_partitions"):
        assert index_rows(installation, table) == 0


def test_a_purge_gives_the_space_in_our_databases_back(
    installation: Installation, image_host: ImageHost
) -> None:
    hand_in(installation, image_host.add("a.jpg"), days_ago=40)
    purge_it(installation)
    for path in Path(installation.instance.root_directory).glob("database/*.db"):
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA freelist_count").fetchone() == (0,)


@ON_EVERY_STORAGE
def test_what_a_living_request_shares_keeps_its_file_and_its_very_event(
    installation: Installation, image_host: ImageHost
) -> None:
    old, shared, new = image_host.add("old.jpg", "shared.jpg", "new.jpg")
    expired = hand_in(installation, [old, shared], days_ago=40)
    living = hand_in(installation, [shared, new])
    before = installation.metadata("compressed_image", image_key(shared))
    event_before = next(pair for pair in history(installation)["events"] if is_of(pair[1], shared))
    assert event_before[1].run_id == runs_of(installation, expired)[0].run_id
    purged = purge_it(installation)

    assert purged.images == [image_key(old)]
    known = history(installation)
    assert known["requests"] == {living}
    assert known["images"] == {image_key(shared), image_key(new)}
    assert installation.instance.get_materialized_partitions(COMPRESSED_IMAGE) == known["images"]
    assert installation.metadata("compressed_image", image_key(shared)) == before
    assert next(pair for pair in known["events"] if is_of(pair[1], shared)) == event_before
    assert installation.store.read_record(image_key(shared))
    assert installation.store.read_record(image_key(old)) is None

    grow_old(installation, living, 40)
    purge_it(installation)
    assert files(installation.store) == set()
    assert history(installation)["events"] == []
    assert index_rows(installation, "event_logs") == 0


def is_of(event: dg.EventLogEntry, url: str) -> bool:
    return event.get_dagster_event().partition == image_key(url)


@ON_EVERY_STORAGE
def test_of_the_events_of_a_shared_image_only_the_newest_is_kept(
    installation: Installation, image_host: ImageHost
) -> None:
    (url,) = image_host.add("shared.jpg")
    expired = hand_in(installation, [url], days_ago=40)
    hand_in(installation, [url])
    for _ in range(2):
        installation.materialize("compressed_image", partition=image_key(url))
    purge_it(installation)
    events = history(installation)["events"]
    assert len(events) == 2  # of the backfills, which are younger than the retention
    assert not runs_of(installation, expired)

    newest = events[0]
    purge_it(installation, days_later=RETENTION - 1)
    assert history(installation)["events"] == events
    hand_in_again = hand_in(installation, [url])
    purged = purge_it(installation, days_later=RETENTION + 1)
    assert hand_in_again in purged.requests
    assert newest not in history(installation)["events"]


@ON_EVERY_STORAGE
def test_an_event_that_outlived_its_run_goes_once_a_newer_one_replaces_it(
    installation: Installation, image_host: ImageHost
) -> None:
    (url,) = image_host.add("shared.jpg")
    expired = hand_in(installation, [url], days_ago=40)
    hand_in(installation, [url])
    purge_it(installation)
    (outlived,) = history(installation)["events"]
    assert outlived[1].run_id not in history(installation)["runs"]
    assert not runs_of(installation, expired)
    installation.materialize("compressed_image", partition=image_key(url))
    assert outlived in history(installation)["events"]
    purge_it(installation)
    (newest,) = history(installation)["events"]
    assert newest != outlived


def test_runs_of_other_projects_on_the_instance_stay(installation: Installation) -> None:
    other = str(uuid.uuid4())
    partition = {"dagster/partition": str(uuid.uuid4())}
    done = dg.DagsterRunStatus.SUCCESS
    installation.instance.add_run(
        dg.DagsterRun(job_name="nightly", run_id=other, status=done, tags=partition)
    )
    assert purge_it(installation, days_later=RETENTION + 100).runs == 0
    assert installation.instance.has_run(other)


@ON_EVERY_STORAGE
def test_old_image_backfills_go_and_leave_the_events_of_living_images(
    installation: Installation, image_host: ImageHost
) -> None:
    (url,) = image_host.add("a.jpg")
    living = hand_in(installation, [url])
    result = installation.materialize("compressed_image", partition=image_key(url))
    newest = history(installation)["events"][0]
    assert newest[1].run_id == result.run_id
    now = time.time() + (RETENTION + 2) * DAY
    (installation.store.uploads / living).rename(installation.store.uploads / "aside")
    late = installation.upload(csv_of([url]))
    os.utime(str(installation.store.uploads / late / "request.json"), (now, now))
    os.utime(str(installation.store.uploads / late / "products.csv"), (now, now))
    Purge(installation.instance, installation.store, RETENTION, limits=CsvLimits(), now=now).work()

    known = history(installation)
    assert known["runs"] == set()
    assert known["events"] == [newest]
    assert index_rows(installation, "event_logs") == 1


def begin_run(installation: Installation, status: str, tags: dict[str, str]) -> str:
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("imagi_pipeline"), "__repository__")
    run = installation.instance.create_run_for_job(
        job_def=installation.definitions.resolve_job_def("process_csv"),
        tags=tags,
        status=dg.DagsterRunStatus(status),
        remote_job_origin=RemoteJobOrigin(repository, "process_csv"),
    )
    return run.run_id


def test_a_request_with_a_run_in_flight_stays_with_all_it_has(
    installation: Installation, image_host: ImageHost
) -> None:
    request_id = hand_in(installation, image_host.add("a.jpg"), days_ago=40)
    for status in IN_FLIGHT:
        run_id = begin_run(installation, status.value, {REQUEST_ID_TAG: request_id})
        before, known = files(installation.store), history(installation)
        assert purge_it(installation).requests == [], status
        assert (files(installation.store), history(installation)) == (before, known)
        installation.instance.delete_run(run_id)
    assert purge_it(installation).requests == [request_id]


def test_a_run_that_names_its_request_by_partition_only_is_in_flight_too(
    installation: Installation, image_host: ImageHost
) -> None:
    request_id = hand_in(installation, image_host.add("a.jpg"), days_ago=40)
    begin_run(installation, "QUEUED", {"dagster/partition": request_id})
    assert purge_it(installation).requests == []


def test_a_request_that_a_backfill_is_about_to_run_stays(
    installation: Installation, image_host: ImageHost
) -> None:
    request_id = hand_in(installation, image_host.add("a.jpg"), days_ago=40)
    installation.instance.add_backfill(backfill(partition_names=[request_id]))
    assert purge_it(installation).requests == []


def backfill(backfill_id: str = "abcdefgh", **fields: Any) -> PartitionBackfill:
    return PartitionBackfill(
        backfill_id=backfill_id,
        status=fields.pop("status", BulkActionStatus.REQUESTED),
        from_failure=False,
        tags={"imagi/test": "1"},
        backfill_timestamp=time.time(),
        asset_selection=[COMPRESSED_IMAGE],
        **fields,
    )


def image_backfill(installation: Installation, key: str) -> PartitionBackfill:
    graph = installation.definitions.resolve_asset_graph()
    return PartitionBackfill.from_asset_partitions(
        backfill_id="abcdefgh",
        asset_graph=graph,
        partition_names=[key],
        asset_selection=[COMPRESSED_IMAGE],
        backfill_timestamp=time.time(),
        tags={},
        dynamic_partitions_store=installation.instance,
        all_partitions=False,
        title=None,
        description=None,
        run_config=None,
    )


def test_images_stay_while_a_backfill_works_on_images(
    installation: Installation, image_host: ImageHost
) -> None:
    (url,) = image_host.add("a.jpg")
    request_id = hand_in(installation, [url], days_ago=40)
    installation.instance.add_backfill(image_backfill(installation, image_key(url)))
    purged = purge_it(installation)
    assert purged.requests == [request_id]
    assert purged.images == []
    assert "a backfill works on some" in purged.kept[0]
    assert installation.store.read_record(image_key(url))


def test_images_stay_while_a_run_of_images_is_in_flight(
    installation: Installation, image_host: ImageHost
) -> None:
    (url,) = image_host.add("a.jpg")
    hand_in(installation, [url], days_ago=40)
    job = installation.definitions.resolve_implicit_global_asset_job_def()
    installation.instance.create_run_for_job(
        job_def=job.get_subset(asset_selection={COMPRESSED_IMAGE}),
        asset_selection=frozenset({COMPRESSED_IMAGE}),
        status=dg.DagsterRunStatus.STARTED,
    )
    assert purge_it(installation).images == []
    assert installation.store.read_record(image_key(url))


def test_a_request_in_the_landing_folder_stays_or_it_would_be_launched_anew(
    installation: Installation, image_host: ImageHost
) -> None:
    urls = image_host.add("a.jpg")
    request_id = hand_in(installation, urls, days_ago=40)
    publish(installation.store, request_id, RequestManifest("products.csv"), csv_of(urls).encode())
    assert purge_it(installation).requests == []


def test_a_request_stays_for_a_day_after_a_run_however_old_it_is(
    installation: Installation, image_host: ImageHost
) -> None:
    hand_in(installation, image_host.add("a.jpg"), days_ago=400)
    assert purge_it(installation, days_later=0.9).requests == []
    assert len(purge_it(installation, days_later=1.1).requests) == 1


def test_images_of_an_upload_that_no_run_has_parsed_yet_are_referred_to(
    installation: Installation, image_host: ImageHost
) -> None:
    (url,) = image_host.add("a.jpg")
    hand_in(installation, [url], days_ago=40)
    installation.upload(csv_of([url]))
    purged = purge_it(installation)
    assert len(purged.requests) == 1
    assert purged.images == []


def test_a_request_that_comes_while_images_are_removed_keeps_its_images(
    installation: Installation, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = image_host.add(*(f"{number}.jpg" for number in range(6)))
    hand_in(installation, urls, days_ago=40)
    by_folder = sorted(urls, key=lambda url: image_key(url)[-16:])
    real, uploaded = forget_images, list[str]()

    def upload_then_forget(instance: dg.DagsterInstance, keys: list[str]) -> None:
        if not uploaded:
            uploaded.append(installation.upload(csv_of(by_folder)))
        real(instance, keys)

    monkeypatch.setattr(purge_module, "forget_images", upload_then_forget)
    purged = purge_it(installation)
    assert len({key[-16:-14] for key in purged.images}) == 1
    assert installation.store.read_record(image_key(by_folder[-1]))


def test_an_image_that_nobody_refers_to_stays_for_an_hour(installation: Installation) -> None:
    record = image_record("http://a/b.jpg")
    key = image_key(record.url)
    installation.store.write_image(key, record, b"abc")
    assert purge_it(installation, days_later=0.9 / 24).images == []
    assert purge_it(installation, days_later=1.1 / 24).images == [key]
    assert files(installation.store) == set()


def test_files_that_are_no_images_of_ours_stay(installation: Installation) -> None:
    for place in ("compressed/index.html", "compressed/ab/logo.png", "uploads/notes.txt", "landing/.x.part"):
        installation.store.write(installation.store.root / place, b"abc")
    before = files(installation.store)
    purged = purge_it(installation, days_later=400)
    assert (purged.files, files(installation.store)) == (0, before)


def test_what_killed_processes_left_goes_after_a_day(
    installation: Installation, image_host: ImageHost
) -> None:
    store, hidden = installation.store, uuid.uuid4().hex
    living = hand_in(installation, image_host.add("a.jpg"))
    (run,) = runs_of(installation, living)
    kept = files(store)
    for place in (
        f"landing/.{hidden}.part/products.csv",
        f"compressed/ab/.{hidden}.tmp",
        f"reports/.{hidden}.tmp",
        f"work/{living}/{run.run_id}/compress_chunk.json",
        f"work/{living}/{uuid.uuid4()}/compress_chunk.json",
    ):
        store.write(store.root / place, b"abc")
    assert purge_it(installation, days_later=0.9).files == 0
    purged = purge_it(installation, days_later=1.1)
    assert (purged.files, purged.bytes) == (5, 15)
    assert files(store) == kept
    assert not (store.work(living)).exists()


def test_a_dry_run_lists_all_and_changes_nothing(installation: Installation, image_host: ImageHost) -> None:
    old, shared = image_host.add("old.jpg", "shared.jpg")
    hand_in(installation, [old, shared], days_ago=40)
    hand_in(installation, [shared])
    installation.store.write(installation.store.compressed / f"ab/.{uuid.uuid4().hex}.tmp", b"abc")
    installation.instance.add_backfill(
        backfill(partition_names=[], status=BulkActionStatus.COMPLETED_SUCCESS)
    )
    before, known, rows = (
        files(installation.store),
        history(installation),
        index_rows(installation, "event_logs"),
    )
    listed = purge_it(installation, dry_run=True)
    assert (files(installation.store), history(installation)) == (before, known)
    assert index_rows(installation, "event_logs") == rows
    done = purge_it(installation)
    assert listed.dry_run
    listed.dry_run = False
    assert listed == done
    assert done.images == [image_key(old)]


class KilledError(BaseException):
    """Stands for the end of the process."""


def kill_at(monkeypatch: pytest.MonkeyPatch, target: Any, name: str, call: int) -> None:
    """Let the nth call of a function be the last that happens, and not happen."""
    real, calls = getattr(target, name), list[None]()

    def call_or_die(*args: Any, **kwargs: Any) -> Any:
        calls.append(None)
        if len(calls) == call:
            raise KilledError
        return real(*args, **kwargs)

    monkeypatch.setattr(target, name, call_or_die)


STEPS: list[tuple[Callable[[], Any], str, int]] = [
    (lambda: Store, "remove_files", 1),
    (lambda: Store, "remove_folder", 1),
    (lambda: Path, "unlink", 2),
    (lambda: purge_module, "delete_run", 1),
    (lambda: purge_module, "delete_run", 2),
    (lambda: dg.DagsterInstance, "delete_dynamic_partition", 1),
    (lambda: Store, "remove_files", 4),
    (lambda: purge_module, "forget_images", 1),
    (lambda: dg.DagsterInstance, "wipe_asset_cached_status", 1),
]


@dataclass
class Prepared:
    """The folder of an installation with two old requests and a young one that shares an image with them."""

    folder: Path
    living: str
    images: set[str]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch, ImageHost() as host:
        patch.setenv("IMAGI_STORAGE", str(folder / "storage"))
        patch.setenv("DAGSTER_HOME", str(folder / "dagster_home"))
        patch.setenv("IMAGI_ALLOWED_NETWORKS", "127.0.0.0/8")
        first, second, shared, new = host.add("first.jpg", "second.jpg", "shared.jpg", "new.jpg")
        with open_instance() as instance:
            installation = Installation(instance, Store(str(folder / "storage")))
            hand_in(installation, [first, shared], days_ago=50)
            hand_in(installation, [second, shared], days_ago=40)
            living = hand_in(installation, [shared, new])
        yield Prepared(folder, living, {image_key(shared), image_key(new)})


@pytest.mark.parametrize(("target", "name", "call"), STEPS)
def test_a_purge_that_was_killed_is_finished_by_the_next(
    prepared: Prepared,
    tmp_path: Path,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    target: Callable[[], Any],
    name: str,
    call: int,
) -> None:
    shutil.copytree(prepared.folder, tmp_path, dirs_exist_ok=True)
    living, images = prepared.living, prepared.images
    with open_instance() as instance:
        installation = Installation(instance, store)
        survivors = {path for path in files(store) if living in path}
        with monkeypatch.context() as killing:
            kill_at(killing, target(), name, call)
            with pytest.raises(KilledError):
                purge_it(installation)
        assert all(store.read_record(key) for key in images)
        purge_it(installation)

        assert survivors < files(store)
        assert {Path(path).stem for path in files(store) - survivors} == images
        known = history(installation)
        assert (known["requests"], known["images"], len(known["runs"])) == ({living}, images, 1)
        assert instance.get_materialized_partitions(COMPRESSED_IMAGE) == images
        assert len(known["events"]) == 2


@ON_EVERY_STORAGE
def test_old_backfills_are_forgotten_and_young_and_unfinished_ones_are_not(
    installation: Installation,
) -> None:
    for backfill_id, status in (("finished", BulkActionStatus.COMPLETED_SUCCESS), ("under-way", None)):
        fields = {"status": status} if status else {}
        installation.instance.add_backfill(backfill(backfill_id, partition_names=[], **fields))
    assert purge_it(installation, days_later=RETENTION - 1).backfills == 0
    assert purge_it(installation, days_later=RETENTION + 1).backfills == 1
    assert installation.instance.get_backfill("finished") is None
    assert installation.instance.get_backfill("under-way")


@ON_EVERY_STORAGE
def test_the_ui_does_not_count_partitions_that_are_gone(
    installation: Installation, image_host: ImageHost
) -> None:
    hand_in(installation, image_host.add("a.jpg"), days_ago=40)
    (record,) = installation.instance.get_asset_records([COMPRESSED_IMAGE])
    partitions = dg.DynamicPartitionsDefinition(name="images")
    installation.instance.get_status_by_partition(COMPRESSED_IMAGE, record_keys(installation), partitions)
    purge_it(installation)
    (record,) = installation.instance.get_asset_records([COMPRESSED_IMAGE])
    assert record.asset_entry.cached_status is None


def record_keys(installation: Installation) -> list[str]:
    return list(installation.instance.get_dynamic_partitions("images"))


def test_a_purge_works_on_a_bucket(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGI_STORAGE", f"memory://imagi-purge-{uuid.uuid4().hex}")
    store = installation.resource.store()
    living, expired = str(uuid.uuid4()), str(uuid.uuid4())
    manifest = RequestManifest("a.csv").settled(CompressionSettings())
    for url in ("http://a/old.jpg", "http://a/shared.jpg"):
        store.write_image(image_key(url), image_record(url), b"abc")
    store.write_upload(expired, manifest, csv_of(["http://a/old.jpg"]).encode())
    store.write(store.report(expired), b"url\n")
    time.sleep(0.1)
    between = time.time()
    time.sleep(0.1)
    store.write_upload(living, manifest, csv_of(["http://a/shared.jpg"]).encode())
    store.write(store.result(living, "a.csv"), b"Images\n")

    now = between + RETENTION * DAY
    purged = Purge(installation.instance, store, RETENTION, limits=CsvLimits(), now=now).work()
    assert purged.requests == [expired]
    assert purged.images == [image_key("http://a/old.jpg")]
    left = {file.path.rpartition("/")[2] for file in store.files(store.root)}
    shared = image_key("http://a/shared.jpg")
    assert left == {"request.json", "a.csv", f"{shared}.jpg", f"{shared}.json"}
    assert expired not in str(store.files(store.root))


def test_the_run_of_a_purge_tells_what_went(
    installation: Installation, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGI_RETENTION_DAYS", "1")
    (url,) = image_host.add("a.jpg")
    installation.upload(csv_of([url]))
    told = run_purge(installation.definitions, installation.instance)
    assert told
    assert (told["requests"], told["images"], told["dry_run"]) == (0, 0, False)
    (run,) = installation.instance.get_runs(dg.RunsFilter(job_name="purge"))
    assert run.status == dg.DagsterRunStatus.SUCCESS


def test_without_a_retention_the_job_removes_nothing_and_says_so(installation: Installation) -> None:
    installation.upload(csv_of(["http://a/b.jpg"]))
    before = files(installation.store)
    assert run_purge(installation.definitions, installation.instance) == {
        "skipped": "IMAGI_RETENTION_DAYS is not set: everything is kept."
    }
    assert files(installation.store) == before


def test_the_job_can_be_launched_as_a_dry_run(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGI_RETENTION_DAYS", "1")
    request_id = installation.upload(csv_of(["http://a/b.jpg"]))
    for path in (installation.store.uploads / request_id).iterdir():
        os.utime(str(path), (1e9, 1e9))
    result = installation.definitions.resolve_job_def("purge").execute_in_process(
        instance=installation.instance,
        run_config=dg.RunConfig({remove_expired.name: PurgeConfig(dry_run=True)}),
    )
    (output,) = [event for event in result.all_events if event.is_successful_output]
    told = {name: value.value for name, value in output.step_output_data.metadata.items()}
    assert (told["requests"], told["request_list"], told["dry_run"]) == (1, [request_id], True)
    assert installation.store.read_manifest(request_id)


def test_the_command_lists_first_and_then_purges(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-m", "imagi_pipeline", "purge", "--json"]
    unset = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (unset.returncode, "IMAGI_RETENTION_DAYS is not set" in unset.stderr) == (1, True)

    monkeypatch.setenv("IMAGI_RETENTION_DAYS", "30")
    request_id = installation.upload(csv_of(["http://a/b.jpg"]))
    for path in (installation.store.uploads / request_id).iterdir():
        os.utime(str(path), (1e9, 1e9))
    before = files(installation.store)
    listed = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, check=True)
    assert files(installation.store) == before
    assert installation.instance.get_runs_count() == 0
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(listed.stdout)["request_list"] == [request_id]
    assert json.loads(done.stdout) == json.loads(listed.stdout) | {"dry_run": False}
    assert files(installation.store) == set()
    assert installation.instance.get_runs_count(dg.RunsFilter(job_name="purge")) == 1


def tick(installation: Installation) -> dg.RunRequest | dg.SkipReason:
    with dg.build_schedule_context(
        instance=installation.instance,
        resources={"imagi": installation.resource},
        scheduled_execution_time=datetime.now(UTC),
    ) as context:
        result = installation.definitions.resolve_schedule_def("purge_schedule")(context)
    assert isinstance(result, dg.RunRequest | dg.SkipReason)
    return result


def test_the_schedule_is_on_and_skips_while_everything_is_kept(installation: Installation) -> None:
    assert (
        installation.definitions.resolve_schedule_def("purge_schedule").default_status
        == dg.DefaultScheduleStatus.RUNNING
    )
    result = tick(installation)
    assert isinstance(result, dg.SkipReason)
    assert "IMAGI_RETENTION_DAYS is not set" in str(result.skip_message)


def test_the_schedule_launches_one_purge_at_a_time(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGI_RETENTION_DAYS", "30")
    assert isinstance(tick(installation), dg.RunRequest)
    installation.instance.create_run_for_job(
        job_def=installation.definitions.resolve_job_def("purge"), status=dg.DagsterRunStatus.STARTED
    )
    result = tick(installation)
    assert isinstance(result, dg.SkipReason)
    assert "still at work" in str(result.skip_message)


def test_a_purge_empties_a_bucket_of_what_is_expired(
    bucket: Store, storage: str, image_host: ImageHost
) -> None:
    with open_instance() as instance:
        installation = Installation(instance, bucket)
        shared, own, other = image_host.add("shared.jpg", "own.jpg", "other.jpg")
        hand_in(installation, [shared, own], days_ago=RETENTION + 1)
        kept = hand_in(installation, [shared, other])
        purge_it(installation)

    left = [file.path for file in bucket.files(bucket.root)]
    images = [image_key(url) for url in (shared, other)]
    assert sorted(path for path in left if "/compressed/" in path) == sorted(
        f"{bucket.image_folder(key).path}/{key}{suffix}" for key in images for suffix in (".jpg", ".json")
    )
    assert all(kept in path for path in left if "/compressed/" not in path)
