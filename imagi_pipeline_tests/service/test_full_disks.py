"""The disk of DAGSTER_HOME, which is not that of the storage, is full for a while."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from imagi_pipeline_tests.callback_receiver import CallbackReceiver
from imagi_pipeline_tests.disks import filled, small_disk
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.processes import children, command, descendants, parent
from imagi_pipeline_tests.running_service import Service, running_service, wait_for

pytestmark = pytest.mark.slow

TICKS = """
query($selector: SensorSelector!) { sensorOrError(sensorSelector: $selector) {
  ... on Sensor { sensorState { ticks(limit: 1) { endTimestamp } } }
} }
"""
SELECTOR = {
    "repositoryLocationName": "imagi_pipeline",
    "repositoryName": "__repository__",
    "sensorName": "request_failure_sensor",
}

SECONDS_TO_NOTICE = 5.0
"""Seconds after which the code server has looked for runs that died; it does so about each second."""


@pytest.fixture
def alerts() -> Iterator[CallbackReceiver]:
    with CallbackReceiver() as receiver:
        yield receiver


@pytest.fixture
def cramped(tmp_path: Path, alerts: CallbackReceiver) -> Iterator[Service]:
    settings = {"IMAGI_ALERT_URL": alerts.url(), "IMAGI_CONNECTIONS_PER_HOST": "2"}
    with small_disk(tmp_path / "home", "60m"), running_service(tmp_path, **settings) as service:
        yield service


def wait_for_a_look_for_failures(service: Service) -> None:
    began = time.time()

    def is_done() -> bool:
        sensor = service.query(TICKS, selector=SELECTOR)["sensorOrError"]
        return any((tick["endTimestamp"] or 0) > began for tick in sensor["sensorState"]["ticks"])

    wait_for(is_done)


def run_process(service: Service) -> int:
    (fork_server,) = [
        pid
        for pid in descendants(service.process.pid)
        if "forkserver" in " ".join(command(pid)) and "code_server" in " ".join(command(parent(pid) or 0))
    ]
    (run,) = children(fork_server)
    return run


def problems_of_the_home(service: Service) -> list[str]:
    problems = requests.get(f"{service.gateway}/readyz", timeout=30).json()["problems"]
    return [problem for problem in problems if "DAGSTER_HOME" in problem]


def test_a_run_that_died_of_it_goes_on_when_there_is_space_again_and_raises_no_alert(
    cramped: Service, tmp_path: Path, image_host: ImageHost, alerts: CallbackReceiver
) -> None:
    home = tmp_path / "home"
    image_host.delay = 0.3
    cramped.drop("many.csv", image_host.add(*(f"{number}.jpg" for number in range(60))))
    wait_for(lambda: len(image_host.asked) > 4)
    with filled(home):
        os.kill(run_process(cramped), signal.SIGKILL)
        (problem,) = problems_of_the_home(cramped)
        assert str(home) in problem
        cramped.drop("waiting.csv", image_host.add("other.jpg"))
        time.sleep(SECONDS_TO_NOTICE)
    for name in ("many.csv", "waiting.csv"):
        done = cramped.finished(cramped.request_of(name))
        assert (done.status, done.images_failed) == ("completed", 0)
    assert not problems_of_the_home(cramped)
    wait_for_a_look_for_failures(cramped)
    assert not alerts.messages
