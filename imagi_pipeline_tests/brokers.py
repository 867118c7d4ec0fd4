"""A real Redis server on loopback, as the broker of Celery workers."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from imagi_pipeline_tests.running_service import free_port, wait_for


class RedisServer:
    """A server on a free port of the loopback interface, which writes what it has to the disk at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        options = ["--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        options += ["--appendonly", "yes", "--appendfsync", "always"]
        self._process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
        wait_for(lambda: _answers(self._port))

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    """A running server. Skips the test where it is not installed, but fails it in CI."""
    missing = [name for name in ("dagster_celery", "redis") if find_spec(name) is None]
    if shutil.which("redis-server") is None:
        missing.append("redis-server")
    if missing:
        reason = f"Celery workers cannot be tried without {', '.join(missing)}."
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    server = RedisServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
