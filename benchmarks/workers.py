"""What it costs to spread one large CSV over Celery workers: images a second by number of workers of chunks.

    python benchmarks/workers.py --images 2000

Starts what `deploy/` describes on loopback, with PostgreSQL, Redis and a shared folder as the storage. Each
worker has one process. The first line is the same CSV without a chunk spread, in the process of its run.
On few cores more workers cannot be faster: what they lose there is the overhead.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import requests

sys.path.insert(0, str(Path(__file__).parents[1]))
from imagi_pipeline_tests.brokers import redis_server
from imagi_pipeline_tests.deployments import Deployment
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.running_service import Service
from imagi_pipeline_tests.storages import postgres_server

BYTES_THAT_MAKE_IT_LARGE = 600_000


class OneProcessEach(Deployment):
    """Workers with one process instead of the two of the units."""

    def _command(self, line: str, machine: Path, instance: str) -> list[str]:
        return [word if word != "2" else "1" for word in super()._command(line, machine, instance)]


def measure(service: Service, images: ImageHost, name: str, count: int, text: str) -> float:
    """Return images a second of one CSV, from its upload until it is done."""
    urls = images.add(*(f"{name}/{number}.jpg" for number in range(count)))
    data = "Images,Text\n" + "".join(f"{url},{text}\n" for url in urls)
    start = time.perf_counter()
    answer = requests.post(
        f"{service.gateway}/imagi-process/upload_csv/",
        data=data,
        headers={"Content-Type": "text/csv"},
        timeout=60,
    )
    done = service.finished(str(answer.json()["request_id"]))
    assert (done.status, done.images_failed) == ("completed", 0), done
    return count / (time.perf_counter() - start)


def main() -> None:
    """Print a line for each number of workers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    count = parser.parse_args().images
    large = "x" * (BYTES_THAT_MAKE_IT_LARGE // count)
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory() as database,
        redis_server(Path(folder)) as broker,
        postgres_server(Path(database)) as postgres,
        ImageHost() as images,
    ):
        settings = {
            "DAGSTER_BROKER_URL": broker.url,
            "DAGSTER_POSTGRES_URL": postgres.new_database(),
            "IMAGI_STORAGE": str(Path(folder) / "storage"),
            "IMAGI_ALLOWED_NETWORKS": "127.0.0.0/8",
            "IMAGI_CHUNK_SIZE": str(max(1, count // 8)),
        }
        deployment = OneProcessEach(Path(folder), settings)
        try:
            deployment.start_worker()
            service = deployment.start_service()
            measure(service, images, "warm", 50, "")
            print(f"in its run   {measure(service, images, 'run', count, ''):6.1f} images/s", flush=True)
            started = 0
            for workers in (1, 2, 4):
                while started < workers:
                    deployment.start_worker("imagi-chunks.service")
                    started += 1
                time.sleep(10)  # their start is not measured
                speed = measure(service, images, f"of{workers}", count, large)
                print(f"{workers} workers    {speed:6.1f} images/s", flush=True)
        finally:
            deployment.stop()


if __name__ == "__main__":
    main()
