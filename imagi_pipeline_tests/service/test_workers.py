"""Several machines: PostgreSQL, a bucket, and runs on Celery workers, by real servers and processes."""

from __future__ import annotations

import csv
import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from imagi_pipeline.core.request_status import RequestStatus
from imagi_pipeline.gateway.dagster_client import DagsterUnreachableError
from imagi_pipeline_tests.brokers import redis_server
from imagi_pipeline_tests.buckets import S3Server
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.running_service import Service, running_service, wait_for
from imagi_pipeline_tests.storages import PostgresServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PUBLIC_URL = "https://images.example/media"
DAGSTER_YAML = Path(__file__).parents[2] / "deploy" / "dagster.yaml"


@dataclass
class Deployment:
    service: Service
    workers: list[subprocess.Popen[bytes]]
    environment: dict[str, str]
    folder: Path

    def start_worker(self) -> subprocess.Popen[bytes]:
        """Return a worker with a DAGSTER_HOME of its own, as on another machine."""
        home = self.folder / f"worker{len(self.workers)}"
        home.mkdir()
        shutil.copy(DAGSTER_YAML, home / "dagster.yaml")
        command = [sys.executable, "-m", "imagi_pipeline", "worker", "--processes", "1"]
        environment = os.environ | self.environment | {"DAGSTER_HOME": str(home)}
        worker = subprocess.Popen(command, env=environment, start_new_session=True)
        self.workers.append(worker)
        return worker

    def kill_machine(self, worker: subprocess.Popen[bytes]) -> None:
        """End a worker and all that it started at once."""
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


@pytest.fixture(scope="module")
def deployment(
    s3: S3Server, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployment")
    with ExitStack() as stack:
        environment = {
            **s3.environment,
            "DAGSTER_BROKER_URL": stack.enter_context(redis_server(folder)),
            "DAGSTER_POSTGRES_URL": postgres.new_database(),
            "IMAGI_STORAGE": f"s3://{s3.new_bucket()}/imagi",
            "IMAGI_PUBLIC_URL": PUBLIC_URL,
            "IMAGI_ALLOWED_NETWORKS": "127.0.0.0/8",
            "IMAGI_CODEC_PROCESSES": "1",
        }
        (folder / "home").mkdir()
        shutil.copy(DAGSTER_YAML, folder / "home" / "dagster.yaml")
        service = stack.enter_context(running_service(folder, **environment))
        running = Deployment(service, [], environment, folder)
        running.start_worker()
        try:
            yield running
        finally:
            for worker in running.workers:
                if worker.poll() is None:
                    worker.terminate()
                    worker.wait(60)


def upload(service: Service, urls: list[str]) -> str:
    data = "Images\n" + "".join(f"{url}\n" for url in urls)
    headers = {"Content-Type": "text/csv"}
    answer = requests.post(
        f"{service.gateway}/imagi-process/upload_csv/", data=data, headers=headers, timeout=30
    )
    return str(answer.json()["request_id"])


def result(service: Service, request_id: str) -> list[dict[str, str]]:
    url = f"{service.gateway}/imagi-process/requests/{request_id}/result/"
    return list(csv.DictReader(io.StringIO(requests.get(url, timeout=30).text)))


def test_a_cancelled_request_leaves_its_worker_to_the_next(
    deployment: Deployment, image_host: ImageHost
) -> None:
    service = deployment.service
    image_host.delay = 1.0
    request_id = upload(service, image_host.add(*(f"slow{number}.jpg" for number in range(300))))
    wait_for(lambda: (found := service.status(request_id)) and found.images_done)
    cancelled = requests.post(f"{service.gateway}/imagi-process/requests/{request_id}/cancel/", timeout=30)
    assert cancelled.ok
    assert service.finished(request_id).status == "cancelled"
    assert image_host.asked.total() < 300
    image_host.delay = 0.0
    assert service.finished(upload(service, image_host.add("next.jpg"))).status == "completed"


def test_a_database_that_is_restarted_in_the_middle_of_a_request_loses_nothing(
    deployment: Deployment, postgres: PostgresServer, image_host: ImageHost
) -> None:
    service = deployment.service
    image_host.delay = 0.5
    urls = image_host.add(*(f"restart{number}.jpg" for number in range(300)))
    request_id = upload(service, urls)
    wait_for(lambda: (found := service.status(request_id)) and found.images_done >= 64)
    postgres.stop()
    postgres.start()
    done = wait_for(lambda: (found := _status(service, request_id)) and found.is_finished and found, 300)
    assert (done.status, done.images_done, done.images_failed) == ("completed", 300, 0)
    assert max(image_host.asked.values()) == 1


def _status(service: Service, request_id: str) -> RequestStatus | None:
    """The status of a request; None while Dagster has no database."""
    try:
        return service.status(request_id)
    except DagsterUnreachableError:
        return None


def test_a_request_is_done_by_a_worker_and_goes_on_when_its_machine_dies(
    deployment: Deployment, image_host: ImageHost
) -> None:
    service = deployment.service
    first = upload(service, image_host.add("a.jpg", "b.jpg"))
    assert service.finished(first).status == "completed"
    for row in result(service, first):
        path = row["Output Image Urls"].removeprefix(PUBLIC_URL)
        assert requests.get(f"{service.gateway}/media{path}", timeout=30).ok

    image_host.delay = 1.0
    urls = image_host.add(*(f"{number}.jpg" for number in range(200)))
    request_id = upload(service, urls)
    wait_for(lambda: (found := service.status(request_id)) and found.images_done >= 64)
    other = deployment.start_worker()
    deployment.kill_machine(deployment.workers[0])
    image_host.delay = 0.0

    done = wait_for(
        lambda: (found := service.status(request_id)) and found.status == "completed" and found, 300
    )
    assert (done.images_total, done.images_done, done.images_failed) == (200, 200, 0)
    assert other.poll() is None
    asked_again = [path for path, times in image_host.asked.items() if times > 1]
    assert max(image_host.asked.values()) <= 2
    assert len(asked_again) <= 64 + 4  # downloads at the same time, and images that were being stored
    stored = {row["Output Image Urls"] for row in result(service, request_id)}
    assert len(stored) == 200
    partitions = service.image_partitions()
    assert {Path(url).stem for url in stored} <= set(partitions["materializedPartitions"])
