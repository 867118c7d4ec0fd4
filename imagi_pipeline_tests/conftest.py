"""Give all tests a clean environment, an image host, and an installation in a folder of their own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.settings import ENV_PREFIX
from imagi_pipeline_tests.buckets import S3Server, s3_server, use_bucket
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.running_service import WEBHOOK_SECRET, Service, running_service
from imagi_pipeline_tests.storages import EMBEDDED, POSTGRES, PostgresServer, furnish, postgres_server

SHARING_A_SERVICE = {
    f"imagi_pipeline_tests/{name}.py"
    for name in (
        "gateway/test_api",
        "gateway/test_gateway_client",
        "gateway/test_page",
        "service/test_live_log",
        "service/test_serve",
        "service/test_web_server",
    )
}
"""The files whose tests use `service`. One process runs them all: to start a service costs 17 s of CPU."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest tests first: whichever began last would keep one process busy alone."""

    def rank(item: pytest.Item) -> int:
        uses_service = "service" in getattr(item, "fixturenames", ())
        assert not uses_service or _file(item.nodeid) in SHARING_A_SERVICE, f"add the file of {item.nodeid}"
        return 0 if item.get_closest_marker("slow") else 1 if uses_service else 2

    items.sort(key=rank)


class _ByFileAndService(LoadFileScheduling):  # type: ignore[misc]  # it has no types
    """Gives the tests of a file to one process of pytest-xdist, and all that share a service to one."""

    def _split_scope(self, nodeid: str) -> str:
        return "service" if _file(nodeid) in SHARING_A_SERVICE else _file(nodeid)


@pytest.hookimpl(optionalhook=True)  # without pytest-xdist nobody asks for one
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return _ByFileAndService(config, log) if config.getoption("dist") == "loadfile" else None


def _file(nodeid: str) -> str:
    return nodeid.split("::", maxsplit=1)[0]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the machine reaches a test, and no test reaches the user's own installation."""
    for name in list(os.environ):
        if name.startswith((ENV_PREFIX, "DAGSTER_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("IMAGI_STORAGE", str(tmp_path / "storage"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster_home"))
    monkeypatch.setenv("IMAGI_ALLOWED_NETWORKS", "127.0.0.0/8")
    monkeypatch.setenv("IMAGI_CODEC_PROCESSES", "1")


@pytest.fixture
def image_host() -> Iterator[ImageHost]:
    with ImageHost() as host:
        yield host


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One `imagi serve` for all tests that need no special one."""
    settings = {"IMAGI_CONNECTIONS_PER_HOST": "4", "IMAGI_WEBHOOK_SECRET": WEBHOOK_SECRET}
    with running_service(tmp_path_factory.mktemp("service"), **settings) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "storage")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    # In no folder of pytest: the server may have another user.
    folder = tempfile.TemporaryDirectory(prefix="imagi-postgres-")
    with folder as name, postgres_server(Path(name)) as server:
        yield server


@pytest.fixture
def storage(request: pytest.FixtureRequest) -> str:
    """The storage of the test's DAGSTER_HOME: see `storages.ON_EVERY_STORAGE`."""
    kind = str(getattr(request, "param", EMBEDDED))
    url = request.getfixturevalue("postgres").new_database() if kind == POSTGRES else None
    furnish(Path(os.environ["DAGSTER_HOME"]), kind, url)
    return kind


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty bucket, which is the storage of the environment too."""
    return Store(use_bucket(s3, monkeypatch))
