from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, wait

import pytest

from imagi_pipeline.gateway.fair_pool import FairPool
from imagi_pipeline_tests.running_service import wait_for


@pytest.fixture
def pool() -> Iterator[FairPool[str]]:
    pool: FairPool[str] = FairPool(threads=3, per_lane=2, name="test")
    yield pool
    pool.close()


def waiting_for(event: threading.Event, began: list[str], name: str) -> Callable[[], str]:
    def job() -> str:
        began.append(name)
        event.wait()
        return name

    return job


def test_a_job_gives_what_it_returns(pool: FairPool[str]) -> None:
    assert [pool.submit("a", lambda: "done").result() for _ in range(5)] == ["done"] * 5


def test_a_lane_that_hangs_leaves_threads_to_the_others(pool: FairPool[str]) -> None:
    go_on, began = threading.Event(), list[str]()
    slow = [pool.submit("slow", waiting_for(go_on, began, f"slow {number}")) for number in range(10)]
    assert [pool.submit("other", lambda: "done").result(30) for _ in range(10)] == ["done"] * 10
    assert began == ["slow 0", "slow 1"]
    go_on.set()
    assert [job.result() for job in slow] == [f"slow {number}" for number in range(10)]


def test_lanes_take_turns() -> None:
    pool: FairPool[str] = FairPool(threads=1, per_lane=1, name="test")
    go_on, order = threading.Event(), list[str]()
    first = pool.submit("first", waiting_for(go_on, [], "first"))
    jobs = [
        pool.submit(lane, waiting_for(go_on, order, f"{lane}{number}"))
        for lane in "ab"
        for number in range(3)
    ]
    go_on.set()
    wait([first, *jobs])
    assert order == ["a0", "b0", "a1", "b1", "a2", "b2"]
    pool.close()


def test_closing_drops_what_has_not_begun_and_waits_for_the_rest(pool: FairPool[str]) -> None:
    go_on, began = threading.Event(), list[str]()
    jobs = [pool.submit("a", waiting_for(go_on, began, f"job {number}")) for number in range(4)]
    wait_for(lambda: len(began) == 2)
    closing = threading.Thread(target=pool.close)
    closing.start()
    with pytest.raises(CancelledError):
        jobs[3].result()
    go_on.set()
    closing.join()
    assert [job.cancelled() for job in jobs] == [False, False, True, True]
    assert [job.result() for job in jobs[:2]] == ["job 0", "job 1"]
