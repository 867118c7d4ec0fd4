"""A real S3 server on loopback: moto's, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import fsspec
import pytest
import requests

from imagi_pipeline_tests.running_service import free_port, wait_for

SECRET = "wJalrXUtnFEMIthatMustNotBeSeen"
_LINE = re.compile(r'"(?:\x1b\[[\d;]*m)*([A-Z]+) (\S+) HTTP/1\.1(?:\x1b\[[\d;]*m)*" ')


class S3Server:
    """A server whose log tells each call that it got."""

    def __init__(self, port: int, log: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._log = log
        self._read = 0
        self._buckets = 0

    @property
    def environment(self) -> dict[str, str]:
        """Return what a program needs to use it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "eu-central-1",
        }

    def new_bucket(self) -> str:
        """Return the name of an empty bucket."""
        self._buckets += 1
        name = f"bucket{self._buckets}"
        requests.put(f"{self.url}/{name}", timeout=10).raise_for_status()
        return name

    def calls(self) -> list[tuple[str, str]]:
        """Method and path of the calls since the last time this was asked."""
        text = self._log.read_text()
        new, self._read = text[self._read :], len(text)
        return _LINE.findall(new)


def methods(calls: list[tuple[str, str]], part: str) -> Counter[str]:
    """Return how often each method was called on paths that have this part."""
    return Counter(method for method, path in calls if part in path)


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """A running server. Skips the test where it is not installed, but fails it in CI."""
    missing = [name for name in ("s3fs", "moto", "flask") if find_spec(name) is None]
    if missing:
        reason = f"A bucket cannot be tried without {', '.join(missing)}: install the extras s3 and test."
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    server = S3Server(free_port(), folder / "log")
    port = server.url.rpartition(":")[2]
    with (folder / "log").open("w") as log:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for(lambda: _answers(server.url))
        yield server
    finally:
        process.kill()
        process.wait()


def use_bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make an empty bucket the storage of the test's environment; its URL."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    url = f"s3://{server.new_bucket()}/imagi"
    monkeypatch.setenv("IMAGI_STORAGE", url)
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # they were made for another environment
    return url


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.ConnectionError:
        return False
