"""The daemon's loop is Dagster's own but for its pauses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.controller import create_daemon_of_type
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from imagi_pipeline.orchestration.instance import open_instance
from imagi_pipeline.orchestration.internals import run_queue
from imagi_pipeline.orchestration.internals.run_queue import WokenRunCoordinator

NEVER = 3600
"""Seconds between two looks of a daemon that nobody wakes."""


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with open_instance() as instance:
        yield instance


def submit(instance: dg.DagsterInstance) -> dg.DagsterRun:
    coordinator = instance.run_coordinator
    assert isinstance(coordinator, WokenRunCoordinator)
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("imagi_pipeline"), "__repository__")
    run = create_run_for_test(instance, remote_job_origin=RemoteJobOrigin(repository, "process_csv"))
    workspace: Any = None  # to put a run into the queue needs none
    return coordinator.submit_run(SubmitRunContext(dagster_run=run, workspace=workspace))


@contextmanager
def running_daemon(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, look: Callable[[], None]
) -> Iterator[None]:
    """The loop of Dagster's daemon, made as Dagster makes it, that calls `look` each time it looks."""

    def run_iteration(*_: Any, **__: Any) -> Iterator[None]:
        look()
        yield None

    monkeypatch.setattr(QueuedRunCoordinatorDaemon, "run_iteration", run_iteration)
    daemon = create_daemon_of_type("QUEUED_RUN_COORDINATOR", instance)
    assert isinstance(daemon, QueuedRunCoordinatorDaemon)
    daemon.interval_seconds = NEVER
    stop = threading.Event()
    context: Any = SimpleNamespace(instance=instance)
    loop = daemon.core_loop(context, stop)

    def work() -> None:
        while not stop.is_set():
            next(loop)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_the_packaged_settings_have_a_woken_queue_with_limits(instance: dg.DagsterInstance) -> None:
    assert isinstance(instance.run_coordinator, WokenRunCoordinator)
    queue = instance.get_concurrency_config().run_queue_config
    assert queue
    assert queue.max_concurrent_runs == 4
    assert [limit["key"] for limit in queue.tag_concurrency_limits] == ["imagi/size"]
    assert queue.max_user_code_failure_retries == 3


def test_a_run_that_is_submitted_is_queued_and_has_the_daemon_look_at_once(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    looked = threading.Condition()

    def look() -> None:
        queued = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED]))
        for run in queued:  # as a daemon would that has room
            instance.report_run_canceled(run)
        with looked:
            looks.append(len(queued))
            looked.notify()

    with running_daemon(instance, monkeypatch, look):
        with looked:
            assert looked.wait_for(lambda: looks == [0], timeout=20)
        for number in range(1, 4):
            assert submit(instance).status == dg.DagsterRunStatus.QUEUED
            with looked:
                assert looked.wait_for(lambda: sum(looks) == number, timeout=20)  # noqa: B023


def test_while_runs_wait_for_a_place_the_daemon_looks_again_and_again(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit(instance)
    looked = threading.Semaphore(0)
    with running_daemon(instance, monkeypatch, looked.release):
        for _ in range(3):
            assert looked.acquire(timeout=20)
        instance.report_run_canceled(run)
        time.sleep(5 * run_queue.SECONDS_WHILE_RUNS_WAIT)
        while looked.acquire(blocking=False):
            pass
        assert not looked.acquire(timeout=5 * run_queue.SECONDS_WHILE_RUNS_WAIT), "nothing waits any more"


def test_a_look_that_starts_runs_is_followed_by_the_next_after_as_long(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(instance)
    looks: list[tuple[float, float]] = []
    enough = threading.Event()

    def look() -> None:
        began = time.monotonic()
        time.sleep(1.0)
        looks.append((began, time.monotonic()))
        if len(looks) > 2:
            enough.set()

    with running_daemon(instance, monkeypatch, look):
        assert enough.wait(timeout=60)
    (_, ended), (again, _) = looks[:2]
    assert 0.5 < again - ended < 5


def test_what_is_submitted_during_a_look_causes_another(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    again = threading.Event()

    def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            instance.report_run_canceled(submit(instance))
        else:
            again.set()

    with running_daemon(instance, monkeypatch, look):
        assert again.wait(20)


def test_an_error_in_a_look_is_told_and_does_not_end_the_loop(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = threading.Semaphore(0)

    def look() -> None:
        looked.release()
        raise OSError("the disk is full")

    with running_daemon(instance, monkeypatch, look):
        assert looked.acquire(timeout=20)
        submit(instance)
        assert looked.acquire(timeout=20)
