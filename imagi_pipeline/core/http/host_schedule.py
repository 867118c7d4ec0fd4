"""Decide the order in which images are downloaded: hosts take turns, and failures wait for their next try."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

ATTEMPTS_IN_SILENCE = 10
"""Fewer attempts without an answer do not show that a host is down, however long apart they are."""


@dataclass(slots=True)
class Download:
    """One image on its way; `attempt` counts from 1."""

    url: str
    host: str
    attempt: int = 1


@dataclass(slots=True)
class _Silence:
    """The attempts in a row that a host did not answer."""

    since: float
    until: float = 0.0
    attempts: int = 0


class HostSchedule:
    """Hands out downloads, round robin over the hosts, at most `per_host` of a host at the same time.

    A download that is to be tried again later takes no thread while it waits. A host is down, and not worth
    waiting for, when attempts in a row, spread over at least `down_after` seconds, got no answer.
    """

    def __init__(self, urls: Iterable[str], per_host: int, down_after: float) -> None:
        self._per_host = per_host
        self._down_after = down_after
        self._changed = threading.Condition()
        self._waiting: dict[str, deque[Download]] = {}
        self._turns: deque[str] = deque()  # hosts with something waiting and a free place
        self._active: Counter[str] = Counter()
        self._delayed: list[tuple[float, int, Download]] = []
        self._order = itertools.count()
        self._silence: dict[str, _Silence] = {}
        self._unfinished = 0
        self._cancelled = False
        for url in urls:
            self._unfinished += 1
            self._enqueue(Download(url, urlsplit(url).netloc))

    def take(self) -> Download | None:
        """Return the next download, when there is one that may start; None when all are finished."""
        with self._changed:
            while self._unfinished and not self._cancelled:
                self._wake_delayed()
                if self._turns:
                    return self._start(self._turns.popleft())
                self._changed.wait(self._next_wake())
            return None

    def downloaded(self, download: Download) -> None:
        """Give the place at the host back; the image itself may not be finished yet."""
        with self._changed:
            host = download.host
            if self._active[host] == self._per_host and self._waiting.get(host):
                self._turns.append(host)
            self._active[host] -= 1
            self._changed.notify()

    def try_again(self, download: Download, delay: float) -> None:
        """Hand the download out again after `delay` seconds."""
        with self._changed:
            download.attempt += 1
            due = time.monotonic() + delay
            heapq.heappush(self._delayed, (due, next(self._order), download))
            self._changed.notify()

    def finished(self) -> None:
        """Count one image as done, whatever became of it."""
        with self._changed:
            self._unfinished -= 1
            if not self._unfinished:
                self._changed.notify_all()

    def cancel(self) -> None:
        """Hand out no more downloads."""
        with self._changed:
            self._cancelled = True
            self._changed.notify_all()

    def host_answered(self, host: str) -> None:
        """Note that the host is alive."""
        with self._changed:
            self._silence.pop(host, None)

    def host_failed(self, host: str) -> None:
        """Note that the host did not answer an attempt."""
        with self._changed:
            now = time.monotonic()
            silence = self._silence.setdefault(host, _Silence(now))
            silence.until = now
            silence.attempts += 1

    def is_down(self, host: str) -> bool:
        """Return whether the host's images should be given up without trying."""
        silence = self._silence.get(host)
        return (
            silence is not None
            and silence.attempts >= ATTEMPTS_IN_SILENCE
            and silence.until - silence.since >= self._down_after
        )

    def _enqueue(self, download: Download, *, first: bool = False) -> None:
        queue = self._waiting.setdefault(download.host, deque())
        if first:
            queue.appendleft(download)
        else:
            queue.append(download)
        if len(queue) == 1 and self._active[download.host] < self._per_host:
            (self._turns.appendleft if first else self._turns.append)(download.host)

    def _start(self, host: str) -> Download:
        queue = self._waiting[host]
        download = queue.popleft()
        self._active[host] += 1
        if queue and self._active[host] < self._per_host:
            self._turns.append(host)
        return download

    def _wake_delayed(self) -> None:
        now = time.monotonic()
        while self._delayed and self._delayed[0][0] <= now:
            self._enqueue(heapq.heappop(self._delayed)[2], first=True)

    def _next_wake(self) -> float | None:
        return max(0.0, self._delayed[0][0] - time.monotonic()) if self._delayed else None
