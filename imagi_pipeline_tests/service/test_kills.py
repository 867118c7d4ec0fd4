"""A process of the service is killed between the word that something arrived and the launch of its run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest
import requests

from imagi_pipeline.core.storage.keys import is_request_id
from imagi_pipeline.orchestration.internals.run_queue import MARK
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.processes import command, descendants
from imagi_pipeline_tests.running_service import Service, running_service, wait_for

DAEMON, CODE_SERVER, GATEWAY = (
    "imagi_pipeline.service.daemon",
    "imagi_pipeline.service.code_server",
    "gateway",
)

RUNS = """
query($id: String!) { runsOrError(filter: {tags: [{key: "dagster/partition", value: $id}]}) {
  ... on Runs { results { status stats { ... on RunStatsSnapshot { stepsSucceeded stepsFailed } } } }
} }
"""


def kill(service: Service, mark: str) -> None:
    (pid,) = [pid for pid in descendants(service.process.pid) if mark in command(pid)]
    os.kill(pid, signal.SIGKILL)


def upload(service: Service, url: str) -> str:
    def answer() -> requests.Response | None:
        try:
            return requests.post(
                f"{service.gateway}/imagi-process/upload_csv/",
                files={"file": ("small.csv", f"Image\n{url}\n")},
                timeout=30,
            )
        except requests.ConnectionError:  # the gateway was killed, and is started again
            return None

    taken: requests.Response = wait_for(answer)
    taken.raise_for_status()
    return str(taken.json()["request_id"])


def soon(look: Callable[[], object]) -> None:
    """Return right after `look` finds something."""
    patience = time.monotonic() + 60
    while not look():
        assert time.monotonic() < patience, "waited in vain"
        time.sleep(0.002)


def runs(service: Service, request_id: str) -> list[str]:
    """Return the statuses of the runs that did a step; one that died before is launched again."""
    found = service.query(RUNS, id=request_id)["runsOrError"]["results"]
    return [run["status"] for run in found if any(run["stats"].values())]


@pytest.fixture(scope="module")
def victims(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of its own, since five deaths are the most that it takes within ten minutes."""
    with running_service(tmp_path_factory.mktemp("killed")) as service:
        yield service


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "is_submitted"), [(DAEMON, False), (GATEWAY, False), (DAEMON, True), (CODE_SERVER, True)]
)
def test_an_upload_is_processed_once_whoever_is_killed_before_its_run_begins(
    victims: Service, image_host: ImageHost, victim: str, is_submitted: bool
) -> None:
    mark = victims.storage.parent / "home" / MARK
    before = time.time_ns()
    (url,) = image_host.add("a.jpg")
    request_id = upload(victims, url)
    if is_submitted:
        soon(lambda: mark.exists() and mark.stat().st_mtime_ns > before)
    kill(victims, victim)
    assert victims.finished(request_id).status == "completed"
    found = runs(victims, request_id)
    assert found.count("SUCCESS") == 1
    if victim != CODE_SERVER:  # its runs end with it, and one that had begun is done again
        assert found == ["SUCCESS"]
        assert image_host.asked["/a.jpg"] == 1


@pytest.mark.slow
def test_a_dropped_file_is_processed_once_when_the_daemon_is_killed_as_it_claims_it(
    victims: Service, image_host: ImageHost
) -> None:
    (url,) = image_host.add("dropped.jpg")
    landing = victims.storage / "landing"
    victims.drop("dropped.csv", [url])
    soon(lambda: any(is_request_id(entry.name) for entry in landing.iterdir()))
    kill(victims, DAEMON)
    request_id = victims.request_of("dropped.csv")
    assert victims.finished(request_id).status == "completed"
    assert runs(victims, request_id) == ["SUCCESS"]
    assert image_host.asked["/dropped.jpg"] == 1
    assert wait_for(lambda: not list(landing.iterdir()))
    assert len(list((victims.storage / "uploads").glob("*/dropped.csv"))) == 1
