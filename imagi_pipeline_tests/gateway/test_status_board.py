"""How many queries it takes to tell many programs the status of many requests."""

from __future__ import annotations

import threading
import uuid
from dataclasses import replace

import pytest

from imagi_pipeline.core.request_status import RequestStatus, Upkeep
from imagi_pipeline.gateway.dagster_client import DagsterClient, DagsterUnreachableError
from imagi_pipeline.gateway.status_board import SECONDS_BETWEEN_PROBES, SECONDS_KEPT, StatusBoard


class Dagster(DagsterClient):
    """Answers from memory, at the client's own two questions, and counts them."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:9")
        self.runs: dict[str, RequestStatus] = {}
        self.changed: list[RequestStatus] = []
        self.asked_single = self.asked_changes = 0
        self.is_down = False

    def put(self, status: RequestStatus) -> None:
        self.runs[status.request_id] = status
        self.changed.append(status)

    def request_status(self, request_id: str) -> RequestStatus | None:
        self.asked_single += 1
        self._check()
        return self.runs.get(request_id)

    def changed_requests(self, since: float, most: int) -> list[RequestStatus]:  # noqa: ARG002
        self.asked_changes += 1
        self._check()
        return self.changed

    def _check(self) -> None:
        if self.is_down:
            raise DagsterUnreachableError("down")


@pytest.fixture
def dagster() -> Dagster:
    return Dagster()


@pytest.fixture
def clock() -> list[float]:
    return [1000.0]


@pytest.fixture
def told() -> dict[str, float]:
    return {}


@pytest.fixture
def board(dagster: Dagster, told: dict[str, float], clock: list[float]) -> StatusBoard:
    return StatusBoard(dagster, lambda request_id: told.get(request_id, 0.0), lambda: clock[0])


def a_run(images_done: int = 0, run_id: str = "run-1") -> RequestStatus:
    return RequestStatus(str(uuid.uuid4()), "processing", run_id=run_id, images_done=images_done)


def test_a_request_is_asked_for_once_and_then_its_changes_are(
    board: StatusBoard, dagster: Dagster, clock: list[float]
) -> None:
    run = a_run()
    dagster.put(run)
    for second in range(20):
        clock[0] += 1.0
        dagster.put(replace(run, images_done=second))
        for _ in range(50):
            found = board.status(run.request_id)
            assert found
            assert found.images_done == second
    assert (dagster.asked_single, dagster.asked_changes) == (1, 19)


def test_a_request_without_a_run_costs_no_query_each_time_and_its_run_is_seen(
    board: StatusBoard, dagster: Dagster, clock: list[float]
) -> None:
    run = a_run()
    assert [board.status(run.request_id) for _ in range(100)] == [None] * 100
    assert dagster.asked_single == 1
    dagster.put(run)
    clock[0] += 1.0
    assert board.status(run.request_id) == run
    assert (dagster.asked_single, dagster.asked_changes) == (1, 1)


def test_an_end_that_is_told_is_seen_at_once_by_one_query(
    board: StatusBoard, dagster: Dagster, told: dict[str, float], clock: list[float]
) -> None:
    run, other = a_run(), a_run()
    for started in (run, other):
        dagster.put(started)
        assert board.status(started.request_id) == started
    clock[0] += 1.0
    board.status(run.request_id)
    before, ended = dagster.asked_changes, replace(run, status="completed")
    clock[0] += 0.3
    told[run.request_id] = clock[0]
    dagster.put(ended)
    clock[0] += 0.1
    assert board.status(other.request_id) == other
    assert dagster.asked_changes == before
    assert board.status(run.request_id) == ended
    clock[0] += 0.3
    assert board.status(run.request_id) == ended
    assert dagster.asked_changes == before + 1


def test_an_end_that_is_told_and_does_not_come_costs_few_queries(
    board: StatusBoard, dagster: Dagster, told: dict[str, float], clock: list[float]
) -> None:
    run = a_run()
    dagster.put(run)
    told[run.request_id] = clock[0]
    for _ in range(1000):
        clock[0] += 0.01
        board.status(run.request_id)
    assert dagster.asked_changes <= 2 / 0.15 + 9


def test_the_newest_run_counts_whatever_changed_last(
    board: StatusBoard, dagster: Dagster, clock: list[float]
) -> None:
    first = a_run(run_id="run-1")
    second = replace(first, run_id="run-2")
    dagster.put(first)
    assert board.status(first.request_id) == first
    dagster.put(second)
    dagster.changed = [second]
    clock[0] += 1.0
    assert board.status(first.request_id) == second
    dagster.changed = [replace(first, images_done=5)]  # the old run got a tag
    clock[0] += 1.0
    assert board.status(first.request_id) == second


def test_a_missed_change_is_found_after_a_minute(
    board: StatusBoard, dagster: Dagster, clock: list[float]
) -> None:
    run = a_run()
    dagster.put(run)
    board.status(run.request_id)
    dagster.runs.clear()  # deleted in the UI
    dagster.changed.clear()
    clock[0] += SECONDS_KEPT + 1
    assert board.status(run.request_id) is None


def test_a_dagster_that_is_down_is_not_asked_by_everybody_in_turn(
    board: StatusBoard, dagster: Dagster, clock: list[float]
) -> None:
    run = a_run()
    dagster.put(run)
    board.status(run.request_id)
    clock[0] += 1.0
    dagster.is_down = True
    for _ in range(100):
        with pytest.raises(DagsterUnreachableError):
            board.status(run.request_id)
    assert dagster.asked_changes + dagster.asked_single == 2
    dagster.is_down = False
    clock[0] += SECONDS_BETWEEN_PROBES
    assert board.status(run.request_id) == run


def test_an_answer_from_before_a_retry_is_not_kept(
    board: StatusBoard, dagster: Dagster, clock: list[float]
) -> None:
    done = replace(a_run(), status="completed")
    dagster.put(done)
    again = replace(done, status="In queue", run_id="run-2")
    answer = dagster.request_status

    def overtaken(request_id: str) -> RequestStatus | None:
        before = answer(request_id)
        dagster.put(again)
        board.forget(request_id)
        return before

    dagster.request_status = overtaken  # type: ignore[method-assign]
    assert board.status(done.request_id) == done
    dagster.request_status = answer  # type: ignore[method-assign]
    assert board.status(done.request_id) == again


def test_many_threads_get_the_same_answer(board: StatusBoard, dagster: Dagster, clock: list[float]) -> None:
    run = a_run()
    dagster.put(run)
    board.status(run.request_id)
    clock[0] += 1.0
    found: list[RequestStatus | None] = []
    threads = [threading.Thread(target=lambda: found.append(board.status(run.request_id))) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [run] * 40
    assert dagster.asked_changes == 1


def test_upkeep_is_asked_for_again_when_it_changed(
    dagster: Dagster, board: StatusBoard, clock: list[float]
) -> None:
    began = replace(a_run(), status="completed", upkeep=Upkeep("retry", "processing"))
    dagster.put(began)
    assert board.status(began.request_id) == began
    ended = replace(began, upkeep=Upkeep("retry", "completed"))
    dagster.runs[began.request_id] = ended
    dagster.changed = [replace(began, status="processing", upkeep=None)]  # as its run has it
    clock[0] += 5
    assert board.status(began.request_id) == ended
