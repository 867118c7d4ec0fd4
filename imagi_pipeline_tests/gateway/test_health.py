from __future__ import annotations

import time
import uuid

import pytest

from imagi_pipeline.core.storage.landing import publish
from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.gateway.dagster_client import DagsterClient
from imagi_pipeline.gateway.health import SECONDS_TO_WAIT, oldest_wait, problems
from imagi_pipeline_tests.running_service import free_port


@pytest.fixture
def no_dagster() -> DagsterClient:
    return DagsterClient(f"http://127.0.0.1:{free_port()}")


def hand_in(store: Store, seconds_ago: float) -> None:
    manifest = RequestManifest("a.csv", created=time.time() - seconds_ago)
    publish(store, str(uuid.uuid4()), manifest, b"image\nhttps://a.com/1.jpg\n")


def test_a_dagster_that_is_down_is_told_and_the_probe_leaves_nothing(
    store: Store, no_dagster: DagsterClient
) -> None:
    (told,) = problems(store, no_dagster)
    assert "Dagster" in told
    assert store.names(store.landing) == []


def test_a_storage_that_cannot_be_written_is_told(store: Store, no_dagster: DagsterClient) -> None:
    store.write(store.root / "landing", b"a file where the folder should be")
    told = problems(store, no_dagster)
    assert len(told) == 2
    assert "landing" in told[0]


def test_the_oldest_request_tells_how_long_requests_wait(store: Store, no_dagster: DagsterClient) -> None:
    assert oldest_wait(store) == 0
    hand_in(store, 10)
    assert len(problems(store, no_dagster)) == 1
    hand_in(store, SECONDS_TO_WAIT + 60)
    assert SECONDS_TO_WAIT + 60 <= oldest_wait(store) < SECONDS_TO_WAIT + 120
    assert "has waited for its run for 16 minutes" in problems(store, no_dagster)[-1]
