"""The service as a user starts it: `imagi serve`, real Dagster processes, over HTTP."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import uvicorn
from starlette.types import ASGIApp

from imagi_pipeline.core.request_status import RequestStatus
from imagi_pipeline.gateway.app import build_app
from imagi_pipeline.gateway.dagster_client import DagsterClient
from imagi_pipeline.service.http_server import http_config
from imagi_pipeline.settings import Settings
from imagi_pipeline_tests.processes import SIGINT_IGNORED, alive, descendants

WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

IMAGE_PARTITIONS = """
query { assetNodeOrError(assetKey: {path: ["compressed_image"]}) { ... on AssetNode {
  assetPartitionStatuses { ... on DefaultPartitionStatuses {
    materializedPartitions failedPartitions unmaterializedPartitions
  } }
} } }
"""


@dataclass
class Service:
    process: subprocess.Popen[str]
    ui: str
    gateway: str
    storage: Path

    @property
    def client(self) -> DagsterClient:
        return DagsterClient(self.ui)

    def drop(self, name: str, urls: list[str]) -> None:
        """Drop a CSV as a person does."""
        (self.storage / "landing" / name).write_text("Images\n" + "\n".join(urls) + "\n")

    def request_of(self, name: str) -> str:
        """Return the id of the request that a dropped file became; no other of the service has its name."""
        (found,) = wait_for(lambda: list((self.storage / "uploads").glob(f"*/{name}")))
        return str(found.parent.name)

    def status(self, request_id: str) -> RequestStatus | None:
        return self.client.request_status(request_id)

    def finished(self, request_id: str) -> RequestStatus:
        def look() -> RequestStatus | None:
            found = self.status(request_id)
            return found if found and found.is_finished else None

        done: RequestStatus = wait_for(look)
        return done

    def query(self, text: str, **variables: Any) -> Any:
        answer = requests.post(
            f"{self.ui}/graphql", json={"query": text, "variables": variables}, timeout=30
        ).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def image_partitions(self) -> dict[str, list[str]]:
        statuses: dict[str, list[str]] = self.query(IMAGE_PARTITIONS)["assetNodeOrError"][
            "assetPartitionStatuses"
        ]
        return statuses


def wait_for(look: Callable[[], Any], seconds: float = 120) -> Any:
    give_up_at = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < give_up_at, "waited in vain"
        time.sleep(0.2)
    return found


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_service(folder: Path, **settings: str) -> Iterator[Service]:
    """`imagi serve` as a script starts it with `&`, SIGINT ignored; at the end nothing of it is left.

    `settings` are environment variables.
    """
    ui_port, gateway_port = free_port(), free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DAGSTER_")} | {
        "IMAGI_STORAGE": str(folder / "storage"),
        "DAGSTER_HOME": str(folder / "home"),
        "IMAGI_ALLOWED_NETWORKS": "127.0.0.0/8",
        **settings,
    }
    ports = ["--port", str(ui_port), "--gateway-port", str(gateway_port)]
    with subprocess.Popen(
        [*SIGINT_IGNORED, sys.executable, "-m", "imagi_pipeline", "serve", "--json", *ports],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout
        facts = json.loads(process.stdout.readline())
        try:
            yield Service(process, facts["ui"], facts["gateway"], folder / "storage")
        finally:  # a test that failed must not leave a service to the next ones
            started = descendants(process.pid)
            process.terminate()
            status = process.wait(60)
        assert status == 0
        assert not alive(started)


@contextmanager
def served_gateway(settings: Settings) -> Iterator[str]:
    """Serve the gateway alone, in this process, and give its URL."""
    with served(build_app(settings)) as url:
        yield url


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """Serve an application in this process, as the gateway is served, and give its URL."""
    port = free_port()
    server = uvicorn.Server(http_config(app, "127.0.0.1", port))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
