"""Run jobs of lanes that take turns, in threads, so that one slow lane does not hold up the others."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class FairPool(Generic[T]):
    """Threads for the jobs of lanes; a lane takes at most `per_lane` of them at a time."""

    def __init__(self, threads: int, per_lane: int, name: str) -> None:
        self._per_lane = per_lane
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[tuple[Future[T], Callable[[], T]]]] = defaultdict(deque)
        self._turns: Counter[str] = Counter()

    def submit(self, lane: str, job: Callable[[], T]) -> Future[T]:
        """Do a job when it is its turn. The job must not raise."""
        result: Future[T] = Future()
        with self._lock:
            self._waiting[lane].append((result, job))
            if self._turns[lane] < self._per_lane:
                self._turns[lane] += 1
                self._threads.submit(self._take_turn, lane)
        return result

    def close(self) -> None:
        """Drop the jobs that have not begun, and wait for the others."""
        with self._lock:
            for lane in self._waiting.values():
                for result, _ in lane:
                    result.cancel()
                lane.clear()
        self._threads.shutdown()

    def _take_turn(self, lane: str) -> None:
        with self._lock:
            taken = self._waiting[lane].popleft() if self._waiting[lane] else None
        if taken:
            result, job = taken
            result.set_result(job())
        with self._lock:
            if self._waiting[lane]:  # the next job of this lane goes to the end of the queue
                self._threads.submit(self._take_turn, lane)
                return
            self._turns[lane] -= 1
            if not self._turns[lane]:
                del self._turns[lane], self._waiting[lane]
