"""The whole service as a user starts it: `imagi serve`, real Dagster processes, over HTTP."""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from imagi_pipeline.core.request_status import RequestStatus
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.processes import command, parent
from imagi_pipeline_tests.records import image_key
from imagi_pipeline_tests.running_service import Service, wait_for

MATERIALIZE_IMAGES = """
mutation($keys: [String!]!) {
  launchPartitionBackfill(
    backfillParams: {assetSelection: [{path: ["compressed_image"]}], partitionNames: $keys}
  ) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""

CHECKS_OF_LANDING_FOLDER = """
query { assetNodeOrError(assetKey: {path: ["landing_folder"]}) { ... on AssetNode {
  assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization { status } } } }
} } }
"""
LANDING_FOLDER_IS_FINE = {
    "assetNodeOrError": {
        "assetChecksOrError": {
            "checks": [
                {
                    "name": "nothing_waits_in_landing_folder",
                    "executionForLatestMaterialization": {"status": "SUCCEEDED"},
                }
            ]
        }
    }
}


def test_a_dropped_csv_comes_back_with_urls_that_can_be_opened(
    service: Service, image_host: ImageHost
) -> None:
    urls = image_host.add("a.jpg", "b.jpg")
    service.drop("shop.csv", urls)
    done = service.finished(service.request_of("shop.csv"))

    assert (done.status, done.file, done.images_total, done.images_failed) == ("completed", "shop.csv", 2, 0)
    data = (service.storage / "results" / done.request_id / "shop.csv").read_text()
    for row in csv.DictReader(io.StringIO(data)):
        image = requests.get(row["Output Image Urls"], timeout=10)
        assert (image.status_code, image.headers["Content-Type"]) == (200, "image/jpeg")
        assert image.headers["X-Content-Type-Options"] == "nosniff"
    assert wait_for(lambda: not list((service.storage / "landing").iterdir()))
    assert wait_for(lambda: service.query(CHECKS_OF_LANDING_FOLDER) == LANDING_FOLDER_IS_FINE)


def test_a_failed_image_is_tried_again_alone_once_its_host_is_repaired(
    service: Service, image_host: ImageHost
) -> None:
    good, bad = image_host.add("good.jpg", "bad.jpg")
    body = image_host.files.pop("/bad.jpg")
    service.drop("repair.csv", [good, bad])
    done = service.finished(service.request_of("repair.csv"))
    assert (done.status, done.images_failed) == ("completed", 1)
    assert image_key(bad) in service.image_partitions()["unmaterializedPartitions"]

    launched = service.query(MATERIALIZE_IMAGES, keys=[image_key(bad)])["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    assert wait_for(lambda: image_key(bad) in service.image_partitions()["failedPartitions"])

    image_host.files["/bad.jpg"] = body
    service.query(MATERIALIZE_IMAGES, keys=[image_key(bad)])
    assert wait_for(lambda: image_key(bad) in service.image_partitions()["materializedPartitions"])
    assert image_host.asked["/good.jpg"] == 1


def test_a_run_that_the_ui_launches_writes_no_debug_lines_into_its_log(
    service: Service, image_host: ImageHost
) -> None:
    gone = f"{image_host.base}/logged.jpg"
    service.drop("logged.csv", [gone])
    service.finished(service.request_of("logged.csv"))
    service.query(MATERIALIZE_IMAGES, keys=[image_key(gone)])

    def logs_of_the_failure() -> list[str]:
        logs = (service.storage.parent / "home" / "storage").glob("*/compute_logs/*.err")
        return [text for log in logs if "1 of 1 images failed" in (text := log.read_text()) and gone in text]

    (log,) = wait_for(logs_of_the_failure)
    assert " - ERROR - " in log
    assert " - DEBUG - " not in log


@pytest.mark.parametrize("victim", ["run", "fork server", "code server"])
def test_a_run_whose_process_is_killed_is_done_again_and_fetches_only_the_rest(
    service: Service, image_host: ImageHost, victim: str
) -> None:
    image_host.delay = 0.25
    urls = image_host.add(*(f"{number}.jpg" for number in range(60)))
    service.drop(f"killed-{victim}.csv", urls)
    request_id = service.request_of(f"killed-{victim}.csv")

    def half_way() -> RequestStatus | None:
        found = service.status(request_id)
        return found if found and found.images_done >= 20 else None

    first = wait_for(half_way)
    (worker,) = holders_of_run_lock(str(first.run_id))
    fork_server = parent(worker)
    assert fork_server
    assert "multiprocessing.forkserver" in " ".join(command(fork_server))
    victims = {"run": worker, "fork server": fork_server, "code server": parent(fork_server) or 0}
    os.kill(victims[victim], signal.SIGKILL)
    wait_for(lambda: worker not in holders_of_run_lock(str(first.run_id)), seconds=5)

    def second_run() -> RequestStatus | None:
        found = service.status(request_id)
        return found if found and found.run_id != first.run_id and found.is_finished else None

    done = wait_for(second_run)
    assert (done.status, done.images_total, done.images_failed) == ("completed", 60, 0)
    again = [path for path, times in image_host.sent.items() if times > 1]
    assert (
        len(again) <= 8
    )  # those that were under way when it was killed: 4 downloads, and what they had brought


def holders_of_run_lock(run_id: str) -> set[int]:
    """Return the processes that have the lock of a run open."""
    holders = set()
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if entry.readlink().name == f"{run_id}.lock":
                holders.add(int(entry.parts[2]))
        except OSError:
            continue
    return holders


def test_records_and_hidden_files_are_not_served(service: Service, image_host: ImageHost) -> None:
    (url,) = image_host.add("c.jpg")
    service.drop("hidden.csv", [url])
    service.finished(service.request_of("hidden.csv"))
    key = image_key(url)
    folder = f"{service.gateway}/media/{key[-16:-14]}"
    assert requests.get(f"{folder}/{key}.jpg", timeout=10).status_code == 200
    assert requests.get(f"{folder}/{key}.json", timeout=10).status_code == 404
    assert requests.get(f"{folder}/", timeout=10).status_code == 404
    partial = requests.get(f"{folder}/{key}.jpg", headers={"Range": "bytes=0-1"}, timeout=10)
    assert (partial.status_code, partial.content) == (206, b"\xff\xd8")


def test_what_became_of_a_dropped_file_lies_in_the_outbox(service: Service, image_host: ImageHost) -> None:
    outbox = service.storage / "outbox"
    missing = f"{image_host.base}/not-yet.jpg"
    service.drop("out.csv", [*image_host.add("out.jpg"), missing])
    request_id = service.request_of("out.csv")
    service.finished(request_id)
    enriched, failures = outbox / "out_enriched.csv", outbox / "out_failures.csv"
    assert enriched.read_bytes() == (service.storage / "results" / request_id / "out.csv").read_bytes()
    assert [line.partition(",")[0] for line in failures.read_text().splitlines()] == ["Images", missing]

    image_host.add("not-yet.jpg")
    url = f"{service.gateway}/imagi-process/requests/{request_id}/retry/"
    assert requests.post(url, timeout=30).status_code == 202
    wait_for(lambda: not failures.exists())
    service.finished(request_id)
    assert enriched.read_text().count("/media/") == 2

    (service.storage / "landing" / "out.csv").write_text("name\nno image\n")
    text = wait_for(lambda: [path.read_text() for path in outbox.glob("out_error.txt")])[0]
    assert text.startswith("out.csv could not be processed.\n\nThe CSV names no image")
    assert not [path for path in outbox.iterdir() if path.name.startswith(".")]


def test_a_request_that_fails_says_why_over_graphql(service: Service) -> None:
    service.drop("empty.csv", [])
    done = service.finished(service.request_of("empty.csv"))
    assert (done.status, done.error_code) == ("failed", "empty_csv")
    assert done in service.client.recent_requests(100).requests


def test_a_small_csv_does_not_wait_behind_the_large_ones(service: Service, image_host: ImageHost) -> None:
    image_host.delay = 0.4
    padding = "x" * 30_000
    for number in range(4):
        urls = image_host.add(*(f"large-{number}-{image}.jpg" for image in range(40)))
        rows = "".join(f"{url},{padding}\n" for url in urls)
        (service.storage / "landing" / f"large-{number}.csv").write_text(f"Images,note\n{rows}")
    large = [service.request_of(f"large-{number}.csv") for number in range(4)]

    def statuses() -> list[str]:
        found = [service.status(request_id) for request_id in large]
        return [status.status if status else "In queue" for status in found]

    wait_for(lambda: statuses().count("processing") == 2)
    service.drop("small.csv", image_host.add("small.jpg"))
    done = service.finished(service.request_of("small.csv"))
    ends = [service.finished(request_id) for request_id in large]
    assert {end.status for end in (done, *ends)} == {"completed"}
    assert done.finished
    assert done.finished < max(end.finished or 0.0 for end in ends)


def test_a_second_service_on_the_same_home_is_refused_and_told_where_the_first_is(service: Service) -> None:
    environment = {**os.environ, "DAGSTER_HOME": str(service.storage.parent / "home")}
    second = subprocess.run(
        [sys.executable, "-m", "imagi_pipeline", "serve"],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert second.returncode == 1
    message = " ".join(second.stderr.split())
    assert "Another `imagi serve` works on" in message
    assert service.gateway in message
    assert service.ui in message
