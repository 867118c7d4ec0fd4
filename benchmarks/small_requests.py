"""What a request of a few images costs: how long until its end is told, and whose processor time it takes.

    python benchmarks/small_requests.py
    python benchmarks/small_requests.py --beside FOLDER    # another checkout, measured in turns with this one
    python benchmarks/small_requests.py --postgres         # and this one on a PostgreSQL server of its own

Starts a whole `imagi serve` of each checkout on loopback with one image host, and measures in turns: a CSV
that is uploaded, one that is dropped into the landing folder, and many that are uploaded at once. Then
`imagi process`, started by itself, and what one request writes: events, and connections opened to databases.
The processor time of the PostgreSQL server is not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

sys.path.insert(0, str(Path(__file__).parents[1]))
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.processes import command, descendants
from imagi_pipeline_tests.running_service import Service, running_service
from imagi_pipeline_tests.storages import POSTGRES, PostgresServer, furnish, postgres_server

HERE = Path(__file__).parents[1]
IMAGES_FOR_LATENCY, IMAGES_FOR_COST = 3, 5
IMAGES_ALONE = 3, 10
SECONDS_BETWEEN_QUESTIONS = 0.05
SECONDS_TO_WAIT = 120.0
SECONDS_IDLE = 20.0

NAMES = {
    "forkserver": "runs",
    "code_server": "code server",
    "_daemon": "daemon",
    "service.daemon": "daemon",
    "webserver": "web server",
    "web_server": "web server",
    "gateway": "gateway",
}
"""What the command line of a process contains, and what it is called here; the first that fits."""

COUNT = """
import contextlib, json, runpy, sys
import dagster, sqlalchemy
opened = 0
def count(*_):
    global opened
    opened += 1
sqlalchemy.event.listen(sqlalchemy.pool.Pool, "connect", count)
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(sys.stderr):
    runpy.run_module("imagi_pipeline", run_name="__main__")
counts = {"connections opened by a process": opened}
with dagster.DagsterInstance.get() as instance:
    (run,) = instance.get_runs(limit=1)
    print(json.dumps({"events of a run": len(instance.all_logs(run.run_id))} | counts))
"""
"""Runs the command line that it is given, and counts."""


class Checkout:
    """One state of the code, its service and what was measured of it."""

    def __init__(self, root: Path, folder: Path, host: ImageHost, name: str) -> None:
        self.name = name
        self._root = root
        self._folder = folder
        self._host = host
        self._number = 0
        self.figures: dict[str, list[float]] = {}
        self.shares: Counter[str] = Counter()

    def use_postgres(self, server: PostgresServer) -> None:
        """Have its homes name databases of a server."""
        for name in (self.name, f"{self.name}-alone"):
            furnish(self._folder / name / "home", POSTGRES, server.new_database())

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Its `imagi serve`; the first request, which nothing is warm for, is not measured."""
        with contextlib.chdir(self._root), running_service(self._folder / self.name) as self._service:
            self.upload()
            self.figures.clear()
            yield

    def upload(self) -> None:
        """Hand in a CSV, and ask until its end is told."""
        start = time.perf_counter()
        request_id = upload(self._service, self.csv(IMAGES_FOR_LATENCY))
        wait_for_end(self._service, request_id, SECONDS_BETWEEN_QUESTIONS)
        self.note("upload to told, s", time.perf_counter() - start)

    def drop(self) -> None:
        """Drop a CSV into the landing folder, and ask until its end is told."""
        name = f"dropped-{self._number}.csv"
        text = self.csv(IMAGES_FOR_LATENCY)
        start = time.perf_counter()
        (self._service.storage / "landing" / name).write_text(text)
        wait_until(lambda: list((self._service.storage / "uploads").glob(f"*/{name}")), 0.02)
        (upload_path,) = (self._service.storage / "uploads").glob(f"*/{name}")
        wait_for_end(self._service, upload_path.parent.name, SECONDS_BETWEEN_QUESTIONS)
        self.note("dropped file to told, s", time.perf_counter() - start)

    def burst(self, uploads: int) -> None:
        """Hand in many CSVs at the same time, and wait for all, asking as a browser does."""
        texts = [self.csv(IMAGES_FOR_COST) for _ in range(uploads)]
        before, start = processor_seconds(self._service.process.pid), time.perf_counter()
        with ThreadPoolExecutor(uploads) as pool:
            for request_id in list(pool.map(lambda text: upload(self._service, text), texts)):
                wait_for_end(self._service, request_id, 1.0)
        took = time.perf_counter() - start
        used = processor_seconds(self._service.process.pid) - before
        self.note(f"{uploads} at once: seconds each", took / uploads)
        self.note(f"{uploads} at once: CPU each, s", sum(used.values()) / uploads)
        self.shares += Counter({name: seconds / uploads for name, seconds in used.items()})

    def idle(self) -> None:
        """Do nothing."""
        before = processor_seconds(self._service.process.pid)
        time.sleep(SECONDS_IDLE)
        used = processor_seconds(self._service.process.pid) - before
        self.note("idle: CPU per minute, s", sum(used.values()) * 60 / SECONDS_IDLE)

    def process(self) -> None:
        """`imagi process` as a command of its own, on a home that exists."""
        for images in IMAGES_ALONE:
            start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            self._python("-m", "imagi_pipeline", *self._command(images))
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            self.note(f"imagi process of {images} images, s", time.perf_counter() - start)
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            self.note(f"imagi process of {images} images: CPU, s", used)

    def count(self) -> None:
        """What one request in one process writes and opens."""
        for name, value in json.loads(self._python("-c", COUNT, *self._command(IMAGES_FOR_LATENCY))).items():
            self.note(name, value)

    def note(self, name: str, value: float) -> None:
        """Keep a figure."""
        self.figures.setdefault(name, []).append(value)

    def csv(self, images: int) -> str:
        """A CSV of images that nobody has asked for yet."""
        self._number += 1
        names = (f"{self.name}-{self._number}-{image}.jpg" for image in range(images))
        return "Image\n" + "\n".join(self._host.add(*names)) + "\n"

    def _command(self, images: int) -> list[str]:
        path = self._folder / f"{self.name}-{self._number}.csv"
        path.write_text(self.csv(images))
        return ["process", str(path)]

    def _python(self, *arguments: str) -> str:
        environment = {
            **os.environ,
            "IMAGI_STORAGE": str(self._folder / f"{self.name}-alone" / "storage"),
            "DAGSTER_HOME": str(self._folder / f"{self.name}-alone" / "home"),
            "IMAGI_ALLOWED_NETWORKS": "127.0.0.0/8",
        }
        call = [sys.executable, *arguments]
        done = subprocess.run(call, cwd=self._root, env=environment, capture_output=True, check=True)
        return done.stdout.decode()


def upload(service: Service, text: str) -> str:
    """Hand in a CSV over HTTP; its request id."""
    files = {"file": ("small.csv", text)}
    answer = requests.post(f"{service.gateway}/imagi-process/upload_csv/", files=files, timeout=60)
    answer.raise_for_status()
    return str(answer.json()["request_id"])


def wait_for_end(service: Service, request_id: str, pause: float) -> None:
    """Ask the gateway until it says that a request is completed."""
    url = f"{service.gateway}/imagi-process/check_request_status/{request_id}/"
    with requests.Session() as session:

        def ended() -> bool:
            found = session.get(url, timeout=60).json()
            if found["status"] in ("failed", "cancelled"):
                raise RuntimeError(f"It {found['status']}: {found}")
            return bool(found["status"] == "completed")

        wait_until(ended, pause)


def wait_until(look: Callable[[], object], pause: float) -> None:
    """Return when `look` finds something; raises TimeoutError when it does not."""
    give_up_at = time.monotonic() + SECONDS_TO_WAIT
    while not look():
        if time.monotonic() > give_up_at:
            raise TimeoutError("Waited in vain.")
        time.sleep(pause)


def processor_seconds(pid: int) -> Counter[str]:
    """What a process and all that it started have used, the ended ones too, by the name of the process."""
    used: Counter[str] = Counter()
    for process in [pid, *descendants(pid)]:
        line = " ".join(command(process))
        with contextlib.suppress(FileNotFoundError):
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()
            name = next((NAMES[part] for part in NAMES if part in line), "others")
            used[name] += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return used


def report(checkouts: Sequence[Checkout], bursts: int) -> None:
    """The medians side by side, as a Markdown table."""
    print("| median |", " | ".join(checkout.name for checkout in checkouts), "|")
    print("| --- |", " | ".join("---" for _ in checkouts), "|")
    for name in checkouts[0].figures:
        values = (statistics.median(checkout.figures[name]) for checkout in checkouts)
        print(f"| {name} |", " | ".join(f"{value:.2f}" for value in values), "|")
    for name, _ in checkouts[0].shares.most_common():
        values = (checkout.shares[name] / bursts for checkout in checkouts)
        print(f"| CPU each of the {name}, s |", " | ".join(f"{value:.2f}" for value in values), "|")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--beside", type=Path, help="root of another checkout of this project")
    parser.add_argument("--postgres", action="store_true", help="also on a PostgreSQL server of its own")
    parser.add_argument("--rounds", type=int, default=20, help="of a single upload")
    parser.add_argument("--drops", type=int, default=5)
    parser.add_argument("--uploads", type=int, default=20, help="at once")
    parser.add_argument("--bursts", type=int, default=2)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="imagi-small-"))
        host = stack.enter_context(ImageHost())
        roots = {"this": HERE} | ({"beside": options.beside.absolute()} if options.beside else {})
        checkouts = [Checkout(root, Path(name), host, which) for which, root in roots.items()]
        if options.postgres:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="imagi-postgres-"))
            server = stack.enter_context(postgres_server(Path(folder)))
            checkouts.append(Checkout(HERE, Path(name), host, "postgres"))
            checkouts[-1].use_postgres(server)
        for checkout in checkouts:
            checkout.count()
        with contextlib.ExitStack() as services:
            for checkout in checkouts:
                counted = dict(checkout.figures)
                services.enter_context(checkout.serving())
                checkout.figures = counted
            in_turns(checkouts, Checkout.upload, options.rounds)
            in_turns(checkouts, Checkout.drop, options.drops)
            in_turns(checkouts, lambda checkout: checkout.burst(options.uploads), options.bursts)
            in_turns(checkouts, Checkout.idle, 1)
        in_turns(checkouts, Checkout.process, 5)
        report(checkouts, options.bursts)


def in_turns(checkouts: Sequence[Checkout], measure: Callable[[Checkout], None], rounds: int) -> None:
    """Measure one after the other, again and again: what disturbs the machine disturbs all of them."""
    for _ in range(rounds):
        for checkout in checkouts:
            measure(checkout)


if __name__ == "__main__":
    main()
