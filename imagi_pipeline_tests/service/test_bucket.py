"""The whole way on a bucket: `imagi serve`, a real S3 server, a file dropped into the folder there."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from upath import UPath

from imagi_pipeline.core.request_status import RequestStatus
from imagi_pipeline.core.storage.store import Store, StoredFile
from imagi_pipeline_tests.buckets import SECRET, S3Server, methods
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.running_service import WEBHOOK_SECRET, Service, running_service, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def on_bucket(bucket: Store, tmp_path: Path) -> Iterator[Service]:
    settings = {"IMAGI_STORAGE": os.environ["IMAGI_STORAGE"], "IMAGI_WEBHOOK_SECRET": WEBHOOK_SECRET}
    with running_service(tmp_path, **settings) as running:
        yield running


def upload(service: Service, data: bytes, key: str) -> str:
    answer = requests.post(
        f"{service.gateway}/imagi-process/upload_csv/",
        data=data,
        headers={"Content-Type": "text/csv", "Idempotency-Key": key},
        timeout=30,
    )
    return str(answer.json()["request_id"])


def test_a_request_goes_the_whole_way_on_a_bucket(
    on_bucket: Service, bucket: Store, s3: S3Server, image_host: ImageHost, tmp_path: Path
) -> None:
    red, blue = image_host.add("red.jpg", "blue.jpg")
    image_host.failures["/blue.jpg"] = [404]
    data = f"Images\n{red}\n{blue}\n".encode()

    bucket.write(bucket.landing / "products.csv", data)
    (request_id,) = wait_for(lambda: bucket.names(bucket.uploads))
    done = on_bucket.finished(request_id)
    assert (done.status, done.images_done, done.images_failed) == ("completed", 2, 1)
    assert wait_for(lambda: not bucket.files(bucket.landing) or None)

    requests_url = f"{on_bucket.gateway}/imagi-process/requests/{request_id}"
    retried = requests.post(f"{requests_url}/retry/", timeout=30)
    assert retried.status_code == 202
    wait_for(
        lambda: (found := on_bucket.status(request_id)) and found.is_finished and not found.images_failed
    )
    assert image_host.asked == {"/red.jpg": 1, "/blue.jpg": 2}

    rows = list(csv.DictReader(io.StringIO(requests.get(f"{requests_url}/result/", timeout=30).text)))
    for row in rows:
        image = requests.get(row["Output Image Urls"], timeout=30)
        assert image.url.startswith(s3.url)
        assert image.headers["Content-Type"] == "image/jpeg"
    assert requests.get(f"{on_bucket.gateway}/media/{'a' * 20}.json", timeout=10).status_code == 404

    _expect_the_result_during_a_whole_run(on_bucket, requests_url, done)

    s3.calls()
    first = upload(on_bucket, data, "order-1")
    assert upload(on_bucket, data, "order-1") == first
    on_bucket.finished(first)
    assert methods(s3.calls(), "/compressed/") == {"GET": 2}  # known images: a look at each record

    _expect_no_secret_in(tmp_path / "home")
    kept = [bucket.read(_path(bucket, file)) or b"" for file in bucket.files(bucket.root)]
    assert kept
    assert SECRET.encode() not in b"".join(kept)


def _expect_the_result_during_a_whole_run(service: Service, url: str, done: RequestStatus) -> None:
    assert done.run_id
    assert done.created
    created = done.created
    wait_for(lambda: time.time() > created + 11)  # a run sooner than that may be a first one
    service.client.retry(done.run_id, {})
    seen: dict[str, dict[str, Any]] = {}

    def look() -> bool:
        document = requests.get(url.replace("requests", "check_request_status") + "/", timeout=30).json()
        seen[document["status"]] = document
        return len(seen) > 1 and document["status"] == "completed" and not document["upkeep"]

    wait_for(look)
    assert [document for status, document in seen.items() if status != "completed"]
    assert {document["result_url"] for document in seen.values()} == {f"{url}/result/"}
    listed = requests.get(url.rpartition("/")[0] + "/", timeout=30).json()["requests"]
    assert listed[0]["result_url"] == f"{url}/result/"


def _path(bucket: Store, file: StoredFile) -> UPath:
    return bucket.root / file.path.removeprefix(bucket.root.path).lstrip("/")


def _expect_no_secret_in(folder: Path) -> None:
    assert not [path for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
