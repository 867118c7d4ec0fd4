"""What all tests share: a clean environment, an image host, an installation in a folder of its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.settings import ENV_PREFIX
from imagi_pipeline_tests.buckets import S3Server, s3_server, use_bucket
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.running_service import WEBHOOK_SECRET, Service, running_service
from imagi_pipeline_tests.storages import EMBEDDED, POSTGRES, PostgresServer, furnish, postgres_server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Started last, the slow ones would keep one process busy alone."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


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
    """One `imagi serve` for all tests that need no special one: it takes seconds to start."""
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
