from __future__ import annotations

import time

import dagster as dg
import pytest

from imagi_pipeline.contract import ONLY_FAILED_TAG, REQUEST_ID_TAG
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline.definitions import defs
from imagi_pipeline.orchestration.repairs import Cursor
from imagi_pipeline.orchestration.sensors import repaired_images_sensor
from imagi_pipeline_tests.image_host import ImageHost, jpeg
from imagi_pipeline_tests.orchestration.conftest import Installation
from imagi_pipeline_tests.orchestration.internals.test_backfills import declare_code_location, end, launch
from imagi_pipeline_tests.records import image_key
from imagi_pipeline_tests.storages import ON_EVERY_STORAGE


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagi_pipeline.orchestration.repairs.SECONDS_TO_SETTLE", 0.0)


class Looks:
    """The looks of the sensor, one after the other, as the daemon has them."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self.cursor: str | None = None
        self.said: str | None = None

    def look(self) -> list[dg.RunRequest]:
        with dg.build_sensor_context(
            instance=self._installation.instance,
            cursor=self.cursor,
            resources={"imagi": self._installation.resource},
        ) as context:
            result = repaired_images_sensor(context)
            self.cursor = context.cursor
        if isinstance(result, dg.SkipReason):
            self.said = result.skip_message
            return []
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        self.said = result.skip_reason.skip_message if result.skip_reason else None
        return list(result.run_requests or [])


@pytest.fixture
def looks(installation: Installation) -> Looks:
    return Looks(installation)


def csv_of(*urls: str) -> str:
    return "Images\n" + "".join(f"{url}\n" for url in urls)


def repair(installation: Installation, image_host: ImageHost, url: str, **tags: str) -> str:
    """Put an image where it was missing and materialize it as the UI does; the id of the run."""
    image_host.files[url.removeprefix(image_host.base)] = jpeg(7)
    run = installation.materialize("compressed_image", partition=image_key(url), **tags)
    assert run.success
    return run.run_id


@ON_EVERY_STORAGE
def test_the_requests_of_a_repaired_image_are_run_again_once(
    installation: Installation, image_host: ImageHost, looks: Looks
) -> None:
    (good,), bad = image_host.add("good.jpg"), f"{image_host.base}/bad.jpg"
    manifest = RequestManifest("products.csv", owner="shop", created=5.0)
    affected = installation.process(csv_of(good, bad), manifest)
    installation.process(csv_of(good))
    installation.process(csv_of(f"{image_host.base}/another.jpg"))
    assert looks.look() == []
    assert looks.said == "No image was repaired outside of a request."

    run_id = repair(installation, image_host, bad)
    (request,) = looks.look()
    assert request.partition_key == affected.request_id
    assert request.run_key == f"{run_id}:{affected.request_id}"
    assert request.tags == {
        "imagi/file": "products.csv",
        "imagi/owner": "shop",
        "imagi/created": "1970-01-01T00:00:05Z",
        "imagi/settings": CompressionSettings().fingerprint,
        ONLY_FAILED_TAG: "true",
        "dagster/priority": "-10",
        "imagi/size": "large",
    }
    assert looks.look() == []

    done = installation.definitions.resolve_job_def("process_csv").execute_in_process(
        instance=installation.instance, partition_key=affected.request_id, tags=dict(request.tags)
    )
    assert done.success
    assert (
        bad not in installation.store.result(affected.request_id, "products.csv").read_text().split(",")[-1]
    )
    assert image_host.asked["/good.jpg"] == 1
    assert looks.look() == []


def test_a_daemon_that_was_killed_after_a_look_asks_for_the_same_run_again(
    installation: Installation, image_host: ImageHost, looks: Looks
) -> None:
    bad = f"{image_host.base}/bad.jpg"
    installation.process(csv_of(bad))
    repair(installation, image_host, bad)
    (first,) = looks.look()
    looks.cursor = None
    (again,) = looks.look()
    assert again.run_key == first.run_key


def test_runs_of_requests_are_no_repairs(
    installation: Installation, image_host: ImageHost, looks: Looks
) -> None:
    done = installation.process(csv_of(f"{image_host.base}/bad.jpg"))
    image_host.files["/bad.jpg"] = jpeg(7)
    installation.run(done.request_id)
    assert installation.materialize("enriched_csv", partition=done.request_id).success
    assert looks.look() == []
    assert not Cursor.read(looks.cursor).repairs


def test_a_repair_that_no_request_waits_for_is_no_work(
    installation: Installation, image_host: ImageHost, looks: Looks
) -> None:
    (url,) = image_host.add("good.jpg")
    installation.process(csv_of(url))
    repair(installation, image_host, url)
    assert looks.look() == []
    assert looks.said == "Images were repaired, but no request says that they failed."
    looks.look()
    assert looks.said == "No image was repaired outside of a request."


def test_of_a_run_that_failed_the_good_images_are_repairs(
    installation: Installation, image_host: ImageHost, looks: Looks
) -> None:
    bad, worse = f"{image_host.base}/bad.jpg", f"{image_host.base}/worse.jpg"
    done = installation.process(csv_of(bad, worse))
    image_host.files["/bad.jpg"] = jpeg(7)
    keys = installation.instance.get_dynamic_partitions("images")
    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    assert not installation.materialize("compressed_image", **tags).success
    assert [request.partition_key for request in looks.look()] == [done.request_id]


def test_a_request_with_a_run_in_flight_is_run_once_that_has_ended(
    installation: Installation, image_host: ImageHost, looks: Looks
) -> None:
    bad = f"{image_host.base}/bad.jpg"
    done = installation.process(csv_of(bad))
    in_flight = installation.instance.create_run_for_job(
        installation.definitions.resolve_job_def("process_csv"),
        tags={REQUEST_ID_TAG: done.request_id},
        status=dg.DagsterRunStatus.STARTED,
    )
    repair(installation, image_host, bad)
    assert looks.look() == []
    assert "Waiting for the end of" in str(looks.said)
    installation.instance.report_run_canceled(in_flight)
    assert [request.partition_key for request in looks.look()] == [done.request_id]


def test_a_backfill_of_images_is_looked_at_once_all_its_runs_have_ended(
    installation: Installation, image_host: ImageHost, looks: Looks
) -> None:
    bad, worse = f"{image_host.base}/bad.jpg", f"{image_host.base}/worse.jpg"
    done = installation.process(csv_of(bad, worse))
    declare_code_location(installation.instance)
    launch(installation.instance, "images")
    repair(installation, image_host, bad, **{"dagster/backfill": "images"})
    assert looks.look() == []
    last = repair(installation, image_host, worse, **{"dagster/backfill": "images"})
    assert looks.look() == []

    end(installation.instance, "images")
    (request,) = looks.look()
    assert request.run_key == f"{last}:{done.request_id}"


def test_many_runs_are_looked_at_in_parts(
    installation: Installation, image_host: ImageHost, looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagi_pipeline.orchestration.repairs.MOST_RUNS_IN_A_LOOK", 1)
    urls = [f"{image_host.base}/{number}.jpg" for number in range(2)]
    requests = [installation.process(csv_of(url)).request_id for url in urls]
    for url in urls:
        repair(installation, image_host, url)
    assert [[request.partition_key for request in looks.look()] for _ in urls] == [
        [name] for name in requests
    ]


def test_the_cursor_is_kept_as_text() -> None:
    cursor = Cursor(time.time(), {"backfill": "run"}, {"request": "key"})
    assert Cursor.read(str(cursor)) == cursor
    assert Cursor.read(None) == Cursor()


def test_the_sensor_runs_by_default() -> None:
    sensor = defs.resolve_sensor_def("repaired_images_sensor")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
