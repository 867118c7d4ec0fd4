"""Several machines, as `deploy/` has them: PostgreSQL, a bucket, and runs on Celery workers, all real."""

from __future__ import annotations

import csv
import io
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from imagi_pipeline.core.request_status import RequestStatus
from imagi_pipeline.gateway.dagster_client import DagsterUnreachableError
from imagi_pipeline_tests.brokers import RedisServer, redis_server
from imagi_pipeline_tests.buckets import S3Server
from imagi_pipeline_tests.deployments import Deployment
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.proxies import nginx
from imagi_pipeline_tests.running_service import Service, wait_for
from imagi_pipeline_tests.storages import PostgresServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

RUNS = """
query ($tag: String!) { runsOrError(filter: {tags: [{key: "dagster/partition", value: $tag}]}) {
  ... on Runs { results { id } } } }
"""
CONNECTIONS = 32
"""The most downloads of one process at the same time."""
PUBLIC_URL = "https://images.example/media"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def deployment(
    s3: S3Server, postgres: PostgresServer, broker: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    settings = {
        **s3.environment,
        "DAGSTER_BROKER_URL": broker.url,
        "DAGSTER_POSTGRES_URL": postgres.new_database(),
        "IMAGI_STORAGE": f"s3://{s3.new_bucket()}/imagi",
        "IMAGI_PUBLIC_URL": PUBLIC_URL,
        "IMAGI_ALLOWED_NETWORKS": "127.0.0.0/8",
        "IMAGI_CODEC_PROCESSES": "1",
        "IMAGI_CHUNK_SIZE": "100",
        "IMAGI_CONNECTIONS_PER_HOST": str(CONNECTIONS),
    }
    running = Deployment(tmp_path_factory.mktemp("deployment"), settings)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def deployed(deployment: Deployment) -> Service:
    deployment.start_worker()
    return deployment.start_service()


@pytest.fixture
def chunk_workers(deployment: Deployment) -> Iterator[list[subprocess.Popen[bytes]]]:
    workers = [deployment.start_worker("imagi-chunks.service") for _ in range(2)]
    yield workers
    for worker in workers:
        worker.terminate()
        worker.wait(60)


def upload(
    service: Service, urls: list[str], *, text: str = "", gateway: str | None = None, **headers: str
) -> str:
    data = "Images,Text\n" + "".join(f"{url},{text}\n" for url in urls)
    answer = requests.post(
        f"{gateway or service.gateway}/imagi-process/upload_csv/",
        data=data,
        headers={"Content-Type": "text/csv", **{name.replace("_", "-"): headers[name] for name in headers}},
        timeout=30,
    )
    return str(answer.json()["request_id"])


def result(service: Service, request_id: str) -> list[dict[str, str]]:
    url = f"{service.gateway}/imagi-process/requests/{request_id}/result/"
    return list(csv.DictReader(io.StringIO(requests.get(url, timeout=30).text)))


def test_a_cancelled_request_leaves_its_worker_to_the_next(deployed: Service, image_host: ImageHost) -> None:
    image_host.delay = 1.0
    request_id = upload(deployed, image_host.add(*(f"slow{number}.jpg" for number in range(300))))
    wait_for(lambda: (found := deployed.status(request_id)) and found.images_done)
    cancelled = requests.post(f"{deployed.gateway}/imagi-process/requests/{request_id}/cancel/", timeout=30)
    assert cancelled.ok
    assert deployed.finished(request_id).status == "cancelled"
    assert image_host.asked.total() < 300
    image_host.delay = 0.0
    assert deployed.finished(upload(deployed, image_host.add("next.jpg"))).status == "completed"


def test_a_database_that_is_restarted_in_the_middle_of_a_request_loses_nothing(
    deployed: Service, postgres: PostgresServer, image_host: ImageHost
) -> None:
    image_host.delay = 0.5
    urls = image_host.add(*(f"restart{number}.jpg" for number in range(300)))
    request_id = upload(deployed, urls)
    wait_for(lambda: (found := deployed.status(request_id)) and found.images_done >= 64)
    postgres.stop()
    postgres.start()
    done = wait_for(lambda: (found := _status(deployed, request_id)) and found.is_finished and found, 300)
    assert (done.status, done.images_done, done.images_failed) == ("completed", 300, 0)
    assert max(image_host.asked.values()) == 1


def _status(service: Service, request_id: str) -> RequestStatus | None:
    """The status of a request; None while Dagster has no database."""
    try:
        return service.status(request_id)
    except DagsterUnreachableError:
        return None


def test_a_request_is_done_by_a_worker_and_goes_on_when_its_machine_dies(
    deployment: Deployment, deployed: Service, image_host: ImageHost
) -> None:
    first = upload(deployed, image_host.add("a.jpg", "b.jpg"))
    assert deployed.finished(first).status == "completed"
    for row in result(deployed, first):
        path = row["Output Image Urls"].removeprefix(PUBLIC_URL)
        assert requests.get(f"{deployed.gateway}/media{path}", timeout=30).ok

    image_host.delay = 1.0
    urls = image_host.add(*(f"{number}.jpg" for number in range(200)))
    request_id = upload(deployed, urls)
    wait_for(lambda: (found := deployed.status(request_id)) and found.images_done >= 64)
    other = deployment.start_worker()
    deployment.kill_machine(deployment.processes[0])
    image_host.delay = 0.0

    done = wait_for(
        lambda: (found := deployed.status(request_id)) and found.status == "completed" and found, 300
    )
    assert (done.images_total, done.images_done, done.images_failed) == (200, 200, 0)
    assert other.poll() is None
    asked_again = [path for path, times in image_host.asked.items() if times > 1]
    assert max(image_host.asked.values()) <= 2
    assert len(asked_again) <= 64 + 4  # downloads at the same time, and images that were being stored
    stored = {row["Output Image Urls"] for row in result(deployed, request_id)}
    assert len(stored) == 200
    partitions = deployed.image_partitions()
    assert {Path(url).stem for url in stored} <= set(partitions["materializedPartitions"])


STEPS = """
query ($run: ID!) { logsForRun(runId: $run) { ... on EventConnection { events {
  __typename ... on MessageEvent { stepKey message }
} } } }
"""


def chunk_steps(service: Service, request_id: str) -> list[str]:
    """The keys of the chunks that workers executed for the newest run of a request, as its events tell."""
    (run, *_) = service.query(RUNS, tag=request_id)["runsOrError"]["results"]
    events = service.query(STEPS, run=run["id"])["logsForRun"]["events"]
    return [
        event["stepKey"]
        for event in events
        if "in celery worker" in event.get("message", "") and "compress_chunk" in event["stepKey"]
    ]


def upload_large(service: Service, urls: list[str]) -> str:
    """Upload a CSV whose many bytes say that it is large; the id of its request."""
    return upload(service, urls, text="text " * 400)


def large_request_under_way(service: Service, urls: list[str]) -> str:
    """Hand in a large CSV, and return when some of its images are done."""
    request_id = upload_large(service, urls)
    wait_for(lambda: (found := service.status(request_id)) and found.images_done >= 64)
    return request_id


def names(prefix: str, count: int = 400) -> list[str]:
    return [f"{prefix}{number}.jpg" for number in range(count)]


def test_the_chunks_of_a_large_csv_are_spread_over_workers(
    deployed: Service, chunk_workers: list[subprocess.Popen[bytes]], image_host: ImageHost
) -> None:
    image_host.delay = 0.5
    request_id = upload_large(deployed, image_host.add(*names("spread")))
    done = deployed.finished(request_id)
    assert (done.status, done.images_done, done.images_failed) == ("completed", 400, 0)
    assert len(chunk_steps(deployed, request_id)) == 4
    assert image_host.most_at_once > CONNECTIONS
    assert set(image_host.asked.values()) == {1}
    assert len({row["Output Image Urls"] for row in result(deployed, request_id)}) == 400


def test_a_chunk_whose_machine_dies_goes_on_at_another(
    deployment: Deployment,
    deployed: Service,
    chunk_workers: list[subprocess.Popen[bytes]],
    image_host: ImageHost,
) -> None:
    image_host.delay = 1.0
    request_id = large_request_under_way(deployed, image_host.add(*names("dies")))
    deployment.kill_machine(chunk_workers[0])
    done = wait_for(lambda: (found := deployed.status(request_id)) and found.is_finished and found, 300)
    assert (done.status, done.images_done, done.images_failed) == ("completed", 400, 0)
    assert len(chunk_steps(deployed, request_id)) > 4
    assert max(image_host.asked.values()) <= 2
    in_its_hands = 2 * (CONNECTIONS + 2)  # two processes, and what they were storing
    assert len([path for path, times in image_host.asked.items() if times > 1]) <= in_its_hands
    stored = {row["Output Image Urls"] for row in result(deployed, request_id)}
    assert len(stored) == 400
    assert {Path(url).stem for url in stored} <= set(deployed.image_partitions()["materializedPartitions"])


def test_a_large_csv_goes_on_when_the_machine_of_its_run_dies(
    deployment: Deployment,
    deployed: Service,
    chunk_workers: list[subprocess.Popen[bytes]],
    image_host: ImageHost,
) -> None:
    image_host.delay = 0.5
    request_id = large_request_under_way(deployed, image_host.add(*names("run")))
    of_runs = deployment.workers_of_runs()
    deployment.start_worker()
    for process in of_runs:
        deployment.kill_machine(process)
    done = wait_for(
        lambda: (found := deployed.status(request_id)) and found.status == "completed" and found, 300
    )
    assert (done.images_total, done.images_done, done.images_failed) == (400, 400, 0)
    assert set(image_host.asked.values()) == {1}  # who had the chunks went on with them
    assert len({row["Output Image Urls"] for row in result(deployed, request_id)}) == 400


def test_a_daemon_that_is_killed_and_started_again_changes_nothing(
    deployment: Deployment,
    deployed: Service,
    chunk_workers: list[subprocess.Popen[bytes]],
    image_host: ImageHost,
) -> None:
    image_host.delay = 0.5
    request_id = large_request_under_way(deployed, image_host.add(*names("daemon")))
    deployment.restart_daemon()
    done = deployed.finished(request_id)
    assert (done.status, done.images_done, done.images_failed) == ("completed", 400, 0)
    assert set(image_host.asked.values()) == {1}
    next_id = upload(deployed, image_host.add("after.jpg"))
    assert deployed.finished(next_id).status == "completed"


def test_a_broker_that_is_killed_and_started_again_loses_no_chunk(
    deployed: Service,
    broker: RedisServer,
    chunk_workers: list[subprocess.Popen[bytes]],
    image_host: ImageHost,
) -> None:
    image_host.delay = 1.0
    request_id = large_request_under_way(deployed, image_host.add(*names("broker", 600)))
    broker.kill()
    time.sleep(5)
    broker.start()
    done = wait_for(lambda: (found := deployed.status(request_id)) and found.is_finished and found, 300)
    assert (done.status, done.images_done, done.images_failed) == ("completed", 600, 0)
    assert set(image_host.asked.values()) == {1}


def test_a_cancelled_large_csv_leaves_its_workers_to_the_next(
    deployed: Service, chunk_workers: list[subprocess.Popen[bytes]], image_host: ImageHost
) -> None:
    image_host.delay = 1.0
    request_id = upload_large(deployed, image_host.add(*names("cancelled", 1000)))
    wait_for(lambda: (found := deployed.status(request_id)) and found.images_done)
    requests.post(f"{deployed.gateway}/imagi-process/requests/{request_id}/cancel/", timeout=30)
    assert deployed.finished(request_id).status == "cancelled"
    image_host.delay = 0.0
    image_host.asked.clear()
    next_id = upload_large(deployed, image_host.add(*names("next", 200)))
    assert deployed.finished(next_id).status == "completed"
    assert not [path for path in image_host.asked if "next" not in path]


def test_two_gateways_behind_a_proxy_take_an_idempotency_key_once_and_each_knows_the_request(
    deployment: Deployment, deployed: Service, image_host: ImageHost, tmp_path: Path
) -> None:
    gateways = [deployed.gateway, deployment.start_gateway()]
    urls = image_host.add("once.jpg")
    with nginx(tmp_path / "nginx", *gateways) as proxy, ThreadPoolExecutor(8) as pool:
        keys = ["order-1"] * 8
        ids = set(pool.map(lambda key: upload(deployed, urls, gateway=proxy, Idempotency_Key=key), keys))
    assert len(ids) == 1
    (request_id,) = ids
    assert deployed.finished(request_id).status == "completed"
    for gateway in gateways:
        answer = requests.get(f"{gateway}/imagi-process/check_request_status/{request_id}/", timeout=30)
        assert answer.json()["status"] == "completed"
        metrics = requests.get(f"{gateway}/metrics", timeout=30).text
        assert "imagi_uploads_total{" in metrics  # the proxy let each have some of them
    assert len(deployed.query(RUNS, tag=request_id)["runsOrError"]["results"]) == 1
