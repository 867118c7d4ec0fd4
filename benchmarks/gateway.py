"""Many uploads at once and many status requests a second, while images are being processed.

    python benchmarks/gateway.py
    python benchmarks/gateway.py --uploads 500 --rate 100 --seconds 60

Starts a whole `imagi serve` on loopback with an image host, hands in all CSVs at the same time, then asks for
the status of random ones at a steady rate until all are done, and checks that none was lost or done twice.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

sys.path.insert(0, str(Path(__file__).parents[1]))
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.running_service import Service, running_service

API = "/imagi-process"
IMAGES = 400
ENDS = {"completed", "failed", "cancelled"}


class Load:
    """What was sent, what came back, and how long it took, in seconds."""

    def __init__(self, service: Service, host: ImageHost, images_each: int) -> None:
        self._service = service
        self._urls = host.add(*(f"{number}.jpg" for number in range(IMAGES)))
        self._images_each = images_each
        self._of_thread = threading.local()
        self.upload_times: list[float] = []
        self.status_times: list[float] = []
        self.errors: list[str] = []
        self.statuses: dict[str, str] = {}

    def upload(self, number: int) -> None:
        """Hand in one CSV."""
        urls = random.Random(number).sample(self._urls, self._images_each)
        files = {"file": (f"load-{number}.csv", "Image\n" + "\n".join(urls) + "\n")}
        start = time.perf_counter()
        try:
            answer = requests.post(f"{self._service.gateway}{API}/upload_csv/", files=files, timeout=60)
            answer.raise_for_status()
            self.upload_times.append(time.perf_counter() - start)
            self.statuses[answer.json()["request_id"]] = "In queue"
        except requests.RequestException as error:
            self.errors.append(f"upload: {error}")

    def ask(self, request_id: str) -> None:
        """Ask for one status."""
        start = time.perf_counter()
        try:
            answer = self._session().get(
                f"{self._service.gateway}{API}/check_request_status/{request_id}/", timeout=60
            )
            answer.raise_for_status()
            self.status_times.append(time.perf_counter() - start)
            self.statuses[request_id] = answer.json()["status"]
        except requests.RequestException as error:
            self.errors.append(f"status: {error}")

    def _session(self) -> requests.Session:
        if not hasattr(self._of_thread, "session"):
            self._of_thread.session = requests.Session()
        session: requests.Session = self._of_thread.session
        return session

    @property
    def unfinished(self) -> list[str]:
        """The requests whose end was not seen yet."""
        return [request_id for request_id, status in self.statuses.items() if status not in ENDS]


def main() -> None:
    """Run the load and print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--uploads", type=int, default=200)
    parser.add_argument("--images", type=int, default=5, help="images in each CSV")
    parser.add_argument("--rate", type=float, default=50, help="status requests a second")
    parser.add_argument("--seconds", type=float, default=1800, help="give up after this")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="imagi-load-") as folder,
        ImageHost() as host,
        running_service(Path(folder)) as service,
    ):
        load = Load(service, host, options.images)
        start = time.perf_counter()
        with ThreadPoolExecutor(options.uploads) as pool:
            list(pool.map(load.upload, range(options.uploads)))
        print(
            f"{len(load.statuses)} of {options.uploads} uploads taken", summary(load.upload_times), flush=True
        )
        ask_until_done(load, options.rate, start + options.seconds)
        took = time.perf_counter() - start
        print(
            f"all done after {took:.0f} s; {len(load.status_times)} status requests",
            summary(load.status_times),
        )
        report(load, service, host)


def ask_until_done(load: Load, rate: float, end: float) -> None:
    """Ask at a steady rate, whether answers come or not: an open loop hides no delay."""
    with ThreadPoolExecutor(64) as pool:
        due = time.perf_counter()
        shown = due
        while (unfinished := load.unfinished) and time.perf_counter() < end:
            pool.submit(load.ask, random.choice(unfinished))
            due += 1 / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            if due - shown > 10:
                shown = due
                print(f"  {len(unfinished)} unfinished,", summary(load.status_times[-500:]), flush=True)


def report(load: Load, service: Service, host: ImageHost) -> None:
    """What must hold: no error, each request completed by one run, each image fetched once."""
    runs = service.client.recent_requests(10_000).requests
    results = list((service.storage / "results").iterdir())
    print(f"errors: {len(load.errors)}", *load.errors[:3])
    print(f"completed: {sum(status == 'completed' for status in load.statuses.values())}")
    print(f"requests with a run: {len(runs)}, results: {len(results)}")
    counts = service.client.count_runs()
    print(f"runs: {counts}")
    print(f"images sent more than once: {sum(times > 1 for times in host.sent.values())} of {len(host.sent)}")
    assert {str(uuid.UUID(path.name)) for path in results} == set(load.statuses), "lost or doubled"
    assert not load.errors
    assert counts["completed"] == len(load.statuses)


def summary(times: list[float]) -> str:
    """Median, 99th percentile and the longest, in milliseconds."""
    if len(times) < 2:
        return "(no figures)"
    cuts = statistics.quantiles(times, n=100)
    median, most = cuts[49] * 1000, cuts[98] * 1000
    return f"(median {median:.0f} ms, 99% within {most:.0f} ms, longest {max(times) * 1000:.0f} ms)"


if __name__ == "__main__":
    main()
