"""Each schedule, and the sensor of repaired images, at work in a real service.

All are set going at once, since the daemon takes half a minute to look at backfills and as long to end them.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from imagi_pipeline.core.request_status import RequestStatus
from imagi_pipeline.core.storage.records import ImageRecord
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline_tests.image_host import ImageHost, jpeg
from imagi_pipeline_tests.records import image_key
from imagi_pipeline_tests.running_service import Service, running_service, wait_for

pytestmark = [pytest.mark.timeout(400), pytest.mark.slow]

DAY = 24 * 3600
SELECTOR = 'repositoryName: "__repository__", repositoryLocationName: "imagi_pipeline"'

DRY_RUN = f"""
mutation($name: String!, $time: Float!) {{
  scheduleDryRun(timestamp: $time, selectorData: {{ scheduleName: $name, {SELECTOR} }}) {{
    ... on DryRunInstigationTick {{ evaluationResult {{ skipReason error {{ message }} }} }}
    ... on PythonError {{ message }}
  }}
}}
"""

BACKFILLS = """
query { partitionBackfillsOrError { ... on PartitionBackfills { results {
  id title status partitionNames partitionSetName
} } } }
"""

TICKS = f"""
query {{ scheduleOrError(scheduleSelector: {{ scheduleName: "retry_failed_images_schedule", {SELECTOR} }}) {{
  ... on Schedule {{ scheduleState {{ ticks {{ skipReason }} }} }}
}} }}
"""

RUNS = """
query($request: String!) { runsOrError(filter: {tags: [{key: "dagster/partition", value: $request}]}) {
  ... on Runs { results { status tags { key value } } }
} }
"""


PURGES = """
query { runsOrError(filter: {pipelineName: "purge"}) {
  ... on Runs { results { status tags { key value } } }
} }
"""


@dataclass
class Scene:
    """A service and what its image host was asked."""

    service: Service
    host: ImageHost

    def url(self, name: str) -> str:
        return f"{self.host.base}/{name}"

    def status(self, name: str) -> RequestStatus:
        return self.service.finished(self.service.request_of(name))

    def result(self, name: str) -> str:
        return (self.service.storage / "results" / self.service.request_of(name) / name).read_text()

    def record(self, url: str) -> ImageRecord | None:
        return Store(self.service.storage).read_record(image_key(url))

    def evaluate(self, schedule: str, moment: float) -> str:
        """Evaluate a schedule in the code server, as its button in the UI does; what it says."""
        answer = self.service.query(DRY_RUN, name=schedule, time=float(int(moment)))["scheduleDryRun"]
        assert not answer["evaluationResult"]["error"], answer
        return str(answer["evaluationResult"]["skipReason"])

    def backfill(self, name: str) -> dict[str, Any]:
        """Return the backfill of one of the schedules, once it has ended."""

        def ended() -> dict[str, Any] | None:
            found = self.service.query(BACKFILLS)["partitionBackfillsOrError"]["results"]
            of_schedule = [one for one in found if one["id"].startswith(f"{name}_")]
            return of_schedule[0] if of_schedule and of_schedule[0]["status"] != "REQUESTED" else None

        backfill: dict[str, Any] = wait_for(ended, 180)
        return backfill

    def runs(self, name: str) -> list[dict[str, str]]:
        """Return the tags of the runs of a request, newest first."""
        found = self.service.query(RUNS, request=self.service.request_of(name))["runsOrError"]["results"]
        return [{tag["key"]: tag["value"] for tag in run["tags"]} for run in found]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Four requests, of which each has something for one schedule or the sensor, and all of them at work."""
    settings = {
        "IMAGI_RETRY_CRON": "* * * * *",
        "IMAGI_RETRY_AFTER": "0",
        "IMAGI_PURGE_CRON": "* * * * *",
        "IMAGI_RETENTION_DAYS": "365",
        "IMAGI_REUSE_FOR": "0",
        "IMAGI_ATTEMPTS": "1",
    }
    folder = tmp_path_factory.mktemp("upkeep")
    with ImageHost() as host, running_service(folder, **settings) as service:
        scene = Scene(service, host)
        (down, other, *_), repaired = (
            host.add("down.jpg", "other.jpg", "same.jpg", "changed.jpg", "gone.jpg"),
            "",
        )
        host.failures = {"/down.jpg": [503]}
        repaired = scene.url("repaired.jpg")
        service.drop("retry.csv", [down])
        service.drop("recompress.csv", [other])
        service.drop("refresh.csv", [scene.url(f"{name}.jpg") for name in ("same", "changed", "gone")])
        service.drop("repair.csv", [repaired])
        failed = [scene.status(f"{name}.csv").images_failed for name in ("recompress", "refresh", "repair")]
        assert failed == [0, 0, 1]

        host.files["/repaired.jpg"] = jpeg(7)
        host.files["/changed.jpg"] = jpeg(99)
        del host.files["/gone.jpg"]
        service.client.backfill_images([image_key(repaired)])
        make_other(Path(str(Store(service.storage).record(image_key(other)))))
        assert "of 1 request." in scene.evaluate("recompress_images_schedule", time.time())
        # The one above is in flight now, and the others have no image that could be refreshed.
        assert "of 1 request." in scene.evaluate("refresh_images_schedule", time.time() + 31 * DAY)
        yield scene


def make_other(record: Path) -> None:
    """Make a record one of other settings, written after the last run with today's."""
    document = json.loads(record.read_text()) | {"settings": "other", "checked_at": time.time() + 1}
    record.write_text(json.dumps(document))


def good(scene: Scene, name: str) -> Callable[[], bool]:
    return lambda: scene.status(name).images_failed == 0


def test_failed_images_are_tried_again_at_the_time_of_the_schedule(scene: Scene) -> None:
    wait_for(good(scene, "retry.csv"))
    assert scene.host.asked["/down.jpg"] == 2
    backfill = scene.backfill("retry")
    assert backfill["status"] == "COMPLETED_SUCCESS"
    assert backfill["title"] == "Re-try failed images: 1 request"
    assert backfill["partitionNames"] == [scene.service.request_of("retry.csv")]
    assert backfill["partitionSetName"] == "process_csv_partition_set"
    ticks = scene.service.query(TICKS)["scheduleOrError"]["scheduleState"]["ticks"]
    (said,) = (tick["skipReason"] for tick in ticks if "Launched" in (tick["skipReason"] or ""))
    assert backfill["id"] in said


def test_the_run_of_a_backfill_is_one_of_its_request(scene: Scene) -> None:
    backfill = scene.backfill("retry")
    newest, first = scene.runs("retry.csv")
    assert newest["dagster/backfill"] == backfill["id"]
    assert (newest["imagi/only_failed"], newest["dagster/priority"]) == ("true", "-10")
    assert newest["imagi/created"] == first["imagi/created"]
    assert newest["imagi/file"] == "retry.csv"


def test_of_old_images_only_changed_ones_are_fetched_and_gone_ones_are_kept(scene: Scene) -> None:
    assert scene.backfill("refresh")["status"] == "COMPLETED_SUCCESS"
    done = scene.status("refresh.csv")
    assert (done.status, done.images_total, done.images_failed) == ("completed", 3, 1)
    sent, asked = scene.host.sent, scene.host.asked
    assert (sent["/same.jpg"], sent["/changed.jpg"], sent["/gone.jpg"]) == (1, 2, 1)
    assert (asked["/same.jpg"], asked["/changed.jpg"], asked["/gone.jpg"]) == (2, 2, 2)
    record = scene.record(scene.url("changed.jpg"))
    assert record
    assert record.source_bytes == len(scene.host.files["/changed.jpg"])
    result = scene.result("refresh.csv")
    assert len(re.findall(r"/media/../\S+\.jpg", result)) == 3
    assert "404 Not Found" in result


def test_images_of_other_settings_are_compressed_anew(scene: Scene) -> None:
    backfill = scene.backfill("recompress")
    assert backfill["status"] == "COMPLETED_SUCCESS"
    assert backfill["partitionNames"] == [scene.service.request_of("recompress.csv")]
    record, of_today = scene.record(scene.url("other.jpg")), scene.record(scene.url("changed.jpg"))
    assert record
    assert of_today
    assert record.settings == of_today.settings
    assert scene.host.sent["/other.jpg"] == 2


def test_the_purge_runs_at_its_time(scene: Scene) -> None:
    def ended() -> list[dict[str, Any]]:
        runs = scene.service.query(PURGES)["runsOrError"]["results"]
        return [run for run in runs if run["status"] in ("SUCCESS", "FAILURE")]

    *_, first = wait_for(ended)
    assert first["status"] == "SUCCESS"
    assert {"key": "dagster/schedule_name", "value": "purge_schedule"} in first["tags"]


def test_an_image_that_a_backfill_repaired_comes_into_the_csv_by_itself(scene: Scene) -> None:
    wait_for(good(scene, "repair.csv"))
    assert "/media/" in scene.result("repair.csv")
    newest, _ = scene.runs("repair.csv")
    assert newest["dagster/sensor_name"] == "repaired_images_sensor"
    assert newest["imagi/only_failed"] == "true"
