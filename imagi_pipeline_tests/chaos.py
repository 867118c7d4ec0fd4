"""Put a service under stress: requests arrive, hosts fail, processes are killed, at random but seeded.

Used by a short test and by `benchmarks/chaos.py` for as long as one likes.
"""

from __future__ import annotations

import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from PIL import Image

from imagi_pipeline.core.storage.landing import SECONDS_OF_A_DAY
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.core.upkeep.checks import leftovers
from imagi_pipeline.gateway.dagster_client import DagsterClient
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.processes import alive, command, descendants, parent
from imagi_pipeline_tests.running_service import free_port, wait_for

API = "/imagi-process"
CODEC = "codec"
ENDS = {"completed", "failed", "cancelled"}
FORKED = "multiprocessing.forkserver"
SECONDS_TO_END = 600.0


@dataclass
class Chaos:
    """How much of it: requests, and kills with a mean distance in seconds, for how many seconds."""

    folder: Path
    seed: int = 1
    requests: int = 30
    seconds: float = 180.0
    seconds_between_kills: float = 5.0
    images_each: int = 12


class Service:
    """`imagi serve`, started again whenever it ends, as systemd does with Restart=always."""

    def __init__(self, folder: Path) -> None:
        self.storage = folder / "storage"
        self.ui, self.gateway = free_port(), free_port()
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("DAGSTER_")
        } | {
            "IMAGI_STORAGE": str(self.storage),
            "DAGSTER_HOME": str(folder / "home"),
            "IMAGI_ALLOWED_NETWORKS": "127.0.0.0/8",
            "IMAGI_CODEC_PROCESSES": "1",
        }
        self.starts = 0
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._log = (folder / "serve.log").open("wb")
        self._thread = threading.Thread(target=self._keep_up)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.gateway}"

    @property
    def client(self) -> DagsterClient:
        return DagsterClient(f"http://127.0.0.1:{self.ui}")

    def _keep_up(self) -> None:
        command = [sys.executable, "-m", "imagi_pipeline", "serve"]
        ports = ["--port", str(self.ui), "--gateway-port", str(self.gateway)]
        while not self._stopping.is_set():
            self.starts += 1
            with subprocess.Popen(
                [*command, *ports],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
            ) as self._process:
                self._process.wait()
            self._stopping.wait(1)

    def wait_until_up(self) -> None:
        """Wait until it takes uploads."""

        def is_up() -> bool:
            try:
                return requests.get(f"{self.url}/healthz", timeout=5).ok
            except requests.RequestException:
                return False

        wait_for(is_up)

    def processes(self) -> list[int]:
        """Return the service and all that it started."""
        process = self._process
        return [process.pid, *descendants(process.pid)] if process and process.poll() is None else []

    def stop(self) -> list[int]:
        """End it in the usual way; what is left of it then."""
        self._stopping.set()
        started = self.processes()
        if self._process:
            self._process.terminate()
        self._thread.join()
        self._log.close()
        return alive(started)


def run_chaos(chaos: Chaos) -> dict[str, Any]:
    """Do all of it; return the figures. AssertionError: something was lost, doubled or left half done."""
    with ImageHost() as host:
        service = Service(chaos.folder)
        try:
            service.wait_until_up()
            killer = _Killer(service, chaos)
            killer.start()
            uploads = _hand_in(service, host, chaos)
            killer.join()
            ends = _wait_for_ends(service, list(uploads))
            _wait_until_quiet(service)
            figures = _check(service, host, uploads, ends, killer.kills[CODEC])
            _check_installation(service)
            figures |= {"kills": dict(killer.kills), "starts of the service": service.starts}
        finally:
            left = service.stop()
        assert not left, left
    return figures


class _Killer(threading.Thread):
    """Kills a random process of the service now and then."""

    def __init__(self, service: Service, chaos: Chaos) -> None:
        super().__init__()
        self.kills: Counter[str] = Counter()
        self._service = service
        self._mean = chaos.seconds_between_kills
        self._random = random.Random(chaos.seed)
        self._end = time.monotonic() + chaos.seconds

    def run(self) -> None:
        while (pause := self._random.expovariate(1 / self._mean)) < self._end - time.monotonic():
            time.sleep(pause)
            if found := self._service.processes():
                victim = self._random.choice(found)
                name = _name_of(victim)
                try:
                    os.kill(victim, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                self.kills[name] += 1


def _name_of(pid: int) -> str:
    names = {
        "codec_process": CODEC,
        FORKED: "run" if FORKED in " ".join(command(parent(pid) or 0)) else "fork server",
        " grpc ": "code server",
        "service.daemon": "daemon",
        "service.web_server": "web server",
        " gateway ": "gateway",
        " serve ": "supervisor",
    }
    line = " ".join(command(pid))
    return next((name for mark, name in names.items() if mark in line), "other")


def _hand_in(service: Service, host: ImageHost, chaos: Chaos) -> dict[str, list[str]]:
    """Hand in all requests, by HTTP until each is acknowledged; return their URLs by request id."""
    chance = random.Random(chaos.seed + 1)
    uploads: dict[str, list[str]] = {}
    for number in range(chaos.requests):
        names = [f"{number}-{image}.jpg" for image in range(chaos.images_each)]
        urls = host.add(*names)
        host.delay = 0.1
        for name in names:
            if chance.random() < 0.1:
                host.failures[f"/{name}"] = [503] * chance.randint(1, 2)
            elif chance.random() < 0.1:
                del host.files[f"/{name}"]
        uploads[_acknowledged(service, f"chaos-{number}.csv", urls)] = urls
        time.sleep(chance.expovariate(chaos.requests / chaos.seconds))
    return uploads


def _acknowledged(service: Service, name: str, urls: list[str]) -> str:
    key = str(uuid.uuid4())
    text = "Image\n" + "\n".join(urls) + "\n"
    give_up_at = time.monotonic() + SECONDS_TO_END
    while time.monotonic() < give_up_at:
        try:
            answer = requests.post(
                f"{service.url}{API}/upload_csv/",
                files={"file": (name, text)},
                headers={"Idempotency-Key": key},
                timeout=20,
            )
        except requests.RequestException:
            time.sleep(0.5)
            continue
        assert answer.status_code == 202, answer.text
        return str(answer.json()["request_id"])
    raise AssertionError("the gateway did not come back")


def _wait_for_ends(service: Service, request_ids: list[str]) -> dict[str, dict[str, Any]]:
    ends: dict[str, dict[str, Any]] = {}
    give_up_at = time.monotonic() + SECONDS_TO_END
    while waiting := [request_id for request_id in request_ids if request_id not in ends]:
        assert time.monotonic() < give_up_at, f"unfinished: {waiting}"
        for request_id in waiting:
            try:
                answer = requests.get(f"{service.url}{API}/check_request_status/{request_id}/", timeout=20)
            except requests.RequestException:
                break
            if answer.status_code == 503:
                break
            assert answer.status_code == 200, (request_id, answer.text)
            if answer.json()["status"] in ENDS:
                ends[request_id] = answer.json()
        time.sleep(1)
    return ends


def _wait_until_quiet(service: Service) -> None:
    """Wait until the sensor has cleared the landing folder and no run is under way."""
    give_up_at = time.monotonic() + 120
    while list((service.storage / "landing").glob("*-*")) or any(
        service.client.count_runs()[status] for status in ("In queue", "processing")
    ):
        assert time.monotonic() < give_up_at, list((service.storage / "landing").iterdir())
        time.sleep(1)


def _check(
    service: Service,
    host: ImageHost,
    uploads: dict[str, list[str]],
    ends: dict[str, dict[str, Any]],
    killed_codecs: int,
) -> dict[str, Any]:
    lost: list[str] = []
    statuses = Counter(end["status"] for end in ends.values())
    for request_id, end in ends.items():
        if end["status"] == "completed":
            lost += _check_result(service, host, uploads[request_id], end)
        else:
            assert end["error"]["code"] == "process_lost", end
    # A codec process that is killed at work costs the image in its hands, and no other.
    assert len(lost) <= killed_codecs, lost
    assert set(uploads) == {path.name for path in (service.storage / "uploads").iterdir()}
    assert service.client.count_runs()["completed"] == statuses["completed"]
    store = Store(str(service.storage))
    for path in (service.storage / "compressed").rglob("*.json"):
        assert store.read_record(path.stem), path
    return {
        "requests": len(uploads),
        "statuses": dict(statuses),
        "runs": service.client.count_runs(),
        "images": len(host.asked),
        "images sent": sum(host.sent.values()),
    }


def _check_installation(service: Service) -> None:
    """Check that `imagi doctor` finds nothing wrong, and that no unfinished file stays for ever."""
    give_up_at = time.monotonic() + 120  # the last tick of a sensor may be from when there was no code server
    while wrong := _findings(service):
        assert time.monotonic() < give_up_at, wrong
        time.sleep(5)
    store = Store(str(service.storage))
    unfinished = {file.path for file in store.files(store.root) if file.is_temporary}
    assert unfinished <= {path.path for path in leftovers(store, time.time() + 2 * SECONDS_OF_A_DAY)}


def _findings(service: Service) -> list[dict[str, str]]:
    """Return what the doctor finds wrong, but for the disk of the machine and errors that the daemon
    remembers.
    """
    done = subprocess.run(
        [sys.executable, "-m", "imagi_pipeline", "doctor", "--json"],
        env=service.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return [
        found
        for found in json.loads(done.stdout)["findings"]
        if found["level"] != "ok"
        and found["check"] != "disk"
        and (found["check"], found["level"]) != ("daemon", "warning")
    ]


def _check_result(service: Service, host: ImageHost, urls: list[str], end: dict[str, Any]) -> list[str]:
    """Check an enriched CSV; why images failed whose codec process was killed."""
    lost = []
    rows = list(csv.DictReader(io.StringIO(Path(end["result"]).read_text())))
    assert [row["Image"] for row in rows] == urls
    for row in rows:
        path = row["Image"].removeprefix(host.base)
        if "ended by SIGKILL" in row["Image Errors"]:
            assert row["Output Image Urls"] == "", row
            lost.append(row["Image Errors"])
        elif path in host.files:
            assert row["Output Image Urls"], row
            file = service.storage / "compressed" / row["Output Image Urls"].split("/media/")[1]
            with Image.open(file) as image:
                image.load()
        else:
            assert (row["Output Image Urls"], "404" in row["Image Errors"]) == ("", True)
    return lost
