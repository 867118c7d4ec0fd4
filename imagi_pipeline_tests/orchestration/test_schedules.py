from __future__ import annotations

import datetime
import os
import subprocess
import sys
import time
from dataclasses import replace

import dagster as dg
import pytest
from dagster._core.execution.backfill import PartitionBackfill

from imagi_pipeline.contract import REQUEST_ID_TAG
from imagi_pipeline.core.images.compression_settings import ALGORITHM
from imagi_pipeline.definitions import defs
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.orchestration.conftest import Installation
from imagi_pipeline_tests.orchestration.internals.test_backfills import declare_code_location
from imagi_pipeline_tests.records import image_key
from imagi_pipeline_tests.storages import ON_EVERY_STORAGE

HOUR, DAY = 3600, 24 * 3600


@pytest.fixture
def located(installation: Installation) -> Installation:
    """An installation whose daemon has run once, so that a backfill can be launched."""
    declare_code_location(installation.instance)
    return installation


def tick(installation: Installation, schedule: str, later: float = 0) -> str:
    """Evaluate a schedule, a time from now; what it says."""
    moment = datetime.datetime.fromtimestamp(int(time.time() + later), datetime.UTC)
    with dg.build_schedule_context(
        instance=installation.instance,
        scheduled_execution_time=moment,
        resources={"imagi": installation.resource},
    ) as context:
        result = installation.definitions.resolve_schedule_def(schedule)(context)
    assert isinstance(result, dg.SkipReason)
    return str(result.skip_message)


def launched(installation: Installation) -> list[PartitionBackfill]:
    return list(installation.instance.get_backfills())


def csv_of(*urls: str) -> str:
    return "Images\n" + "".join(f"{url}\n" for url in urls)


@ON_EVERY_STORAGE
def test_transient_failures_become_one_backfill_of_their_requests(
    located: Installation, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGI_ATTEMPTS", "1")
    good, first, second = image_host.add("good.jpg", "first.jpg", "second.jpg")
    image_host.failures = {"/first.jpg": [503], "/second.jpg": [503]}
    located.process(csv_of(good))
    located.process(csv_of(f"{image_host.base}/gone.jpg"))
    failed = [located.process(csv_of(url)).request_id for url in (first, second)]

    assert "3 not due yet" in tick(located, "retry_failed_images_schedule")
    assert launched(located) == []
    said = tick(located, "retry_failed_images_schedule", 2 * HOUR)
    (backfill,) = launched(located)
    assert backfill.backfill_id in said
    assert sorted(backfill.partition_names or ()) == sorted(failed)
    assert backfill.title == "Re-try failed images: 2 requests"
    assert backfill.tags["imagi/only_failed"] == "true"


def test_the_same_time_launches_once_and_the_next_nothing_that_is_in_flight(
    located: Installation, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGI_ATTEMPTS", "1")
    (url,) = image_host.add("a.jpg")
    image_host.failures = {"/a.jpg": [503]}
    located.process(csv_of(url))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    assert "Launched" in tick(located, "retry_failed_images_schedule", 2 * HOUR)
    assert "was launched already" in tick(located, "retry_failed_images_schedule", 2 * HOUR)
    assert "1 with a run in flight" in tick(located, "retry_failed_images_schedule", 3 * HOUR)
    assert len(launched(located)) == 1


def test_without_any_request_there_is_nothing_to_do(located: Installation) -> None:
    for schedule in ("retry_failed_images_schedule", "refresh_images_schedule", "recompress_images_schedule"):
        assert tick(located, schedule) == "Nothing to do. Requests not run: none."


def test_a_request_whose_partition_is_gone_is_left_alone(
    located: Installation, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGI_ATTEMPTS", "1")
    (url,) = image_host.add("a.jpg")
    image_host.failures = {"/a.jpg": [503]}
    done = located.process(csv_of(url))
    located.instance.delete_dynamic_partition("requests", done.request_id)
    assert "Requests not run: none" in tick(located, "retry_failed_images_schedule", 2 * HOUR)


def test_old_images_are_refreshed_by_the_requests_that_refer_to_them(
    located: Installation, image_host: ImageHost
) -> None:
    done = located.process(csv_of(*image_host.add("a.jpg")))
    assert "1 refreshed lately" in tick(located, "refresh_images_schedule", 29 * DAY)
    assert "Launched" in tick(located, "refresh_images_schedule", 31 * DAY)
    (backfill,) = launched(located)
    assert backfill.partition_names == [done.request_id]
    assert backfill.title == "Refresh images: 1 request"
    assert "imagi/only_failed" not in backfill.tags


def test_a_request_with_a_run_in_flight_is_not_refreshed(
    located: Installation, image_host: ImageHost
) -> None:
    done = located.process(csv_of(*image_host.add("a.jpg")))
    located.instance.create_run_for_job(
        located.definitions.resolve_job_def("process_csv"),
        tags={REQUEST_ID_TAG: done.request_id},
        status=dg.DagsterRunStatus.STARTED,
    )
    assert "1 with a run in flight" in tick(located, "refresh_images_schedule", 31 * DAY)
    assert launched(located) == []


@ON_EVERY_STORAGE
def test_images_of_an_older_algorithm_are_made_anew_once(
    located: Installation, image_host: ImageHost
) -> None:
    (url, gone) = image_host.add("a.jpg", "gone.jpg")
    done = located.process(csv_of(url, gone))
    assert "1 with nothing to do" in tick(located, "recompress_images_schedule", 1)
    for name in (url, gone):
        record = located.store.read_record(image_key(name))
        assert record
        older = replace(record, settings="v2-balanced-q80-same")
        located.store.write_record(image_key(name), older)
    located.instance.run_storage.wipe()  # of today's version there was no run then
    assert "Launched" in tick(located, "recompress_images_schedule", 2)
    assert launched(located)[0].partition_names == [done.request_id]

    # What could not be made again, since it is gone, is not tried again each day.
    del image_host.files["/gone.jpg"]
    located.instance.run_storage.wipe()
    located.run(done.request_id)
    records = [located.store.read_record(image_key(name)) for name in (url, gone)]
    assert [record and record.algorithm for record in records] == [ALGORITHM, "v2"]
    assert "1 with nothing to do" in tick(located, "recompress_images_schedule", 3)


def test_another_default_makes_no_delivered_image_anew(
    located: Installation, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    located.process(csv_of(*image_host.add("a.jpg")))
    monkeypatch.setenv("IMAGI_QUALITY", "50")
    located.instance.run_storage.wipe()
    assert "1 with nothing to do" in tick(located, "recompress_images_schedule")


def test_a_request_of_an_earlier_version_without_the_tag_is_looked_at_by_its_records(
    located: Installation, image_host: ImageHost
) -> None:
    (url,) = image_host.add("a.jpg")
    located.process(csv_of(url))
    located.instance.run_storage.wipe()
    assert "1 with nothing to do" in tick(located, "recompress_images_schedule")


def test_only_the_retries_run_by_default() -> None:
    running = {
        name: defs.resolve_schedule_def(f"{name}_images_schedule").default_status
        for name in ("retry_failed", "refresh", "recompress")
    }
    assert running == {
        "retry_failed": dg.DefaultScheduleStatus.RUNNING,
        "refresh": dg.DefaultScheduleStatus.STOPPED,
        "recompress": dg.DefaultScheduleStatus.STOPPED,
    }


def test_times_and_time_zone_are_settings() -> None:
    code = (
        "from imagi_pipeline.definitions import defs\n"
        "found = defs.resolve_schedule_def('refresh_images_schedule')\n"
        "print(found.cron_schedule, found.execution_timezone)\n"
    )
    environment = os.environ | {"IMAGI_REFRESH_CRON": "5 1 * * 0", "IMAGI_TIME_ZONE": "Europe/Berlin"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout == "5 1 * * 0 Europe/Berlin\n"
