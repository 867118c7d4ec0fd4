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


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """The URL of a running server. Skips the test where it is not installed, but fails it in CI."""
    missing = [name for name in ("dagster_celery", "redis") if find_spec(name) is None]
    if shutil.which("redis-server") is None:
        missing.append("redis-server")
    if missing:
        reason = f"Celery workers cannot be tried without {', '.join(missing)}."
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: _answers(port))
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
