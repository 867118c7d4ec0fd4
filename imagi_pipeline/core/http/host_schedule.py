"""Decide which image is downloaded next, and how many of a host at once.

Hosts take turns, and failures wait for their next try.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

ATTEMPTS_IN_SILENCE = 10
"""Fewer attempts without an answer do not show that a host is down, however long apart they are."""

FIRST_PLACES = 32
"""Images of a host in work at the same time at first."""


@dataclass(slots=True)
class Download:
    """One image on its way; `attempt` counts from 1."""

    url: str
    host: str
    attempt: int = 1
    started_at: float = 0.0


@dataclass(slots=True)
class _Host:
    """What is known of a host; `places` are the downloads that it gets at the same time for now."""

    places: int
    active: int = 0
    waiting: deque[Download] = field(default_factory=deque)
    is_in_turns: bool = False
    narrowed_at: float = 0.0
    # The attempts in a row that it did not answer.
    silent_since: float = 0.0
    silent_until: float = 0.0
    silent_attempts: int = 0


class HostSchedule:
    """Hands out downloads, round robin over the hosts, at most `per_host` of a host at the same time.

    A host begins with FIRST_PLACES, and gets a place more for each image that it serves while images are what
    is missing; when it is overloaded half of its places go, as with TCP (RFC 5681).

    A download that is to be tried again later takes no thread while it waits. A host is down, and not worth
    waiting for, when attempts in a row, spread over at least `down_after` seconds, got no answer.
    """

    def __init__(self, urls: Iterable[str], per_host: int, down_after: float) -> None:
        self._per_host = per_host
        self._down_after = down_after
        self._changed = threading.Condition()
        self._hosts: defaultdict[str, _Host] = defaultdict(lambda: _Host(min(FIRST_PLACES, per_host)))
        self._turns: deque[_Host] = deque()  # with something waiting and a free place
        self._delayed: list[tuple[float, int, Download]] = []
        self._order = itertools.count()
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

    @contextmanager
    def place_of(self, download: Download) -> Iterator[None]:
        """Keep the place of a download until its image is done: what cannot be used yet is not fetched."""
        try:
            yield
        finally:
            with self._changed:
                host = self._hosts[download.host]
                host.active -= 1
                self._offer(host)
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

    def host_answered(self, name: str) -> None:
        """Note that the host is alive."""
        with self._changed:
            self._hosts[name].silent_attempts = 0

    def host_served(self, name: str, *, is_too_slow: bool) -> None:
        """Note that the host has sent an image; if it is too slow, it gets one more at the same time."""
        with self._changed:
            host = self._hosts[name]
            host.silent_attempts = 0
            if is_too_slow:
                host.places = min(host.places + 1, self._per_host)
                self._offer(host)
                self._changed.notify()

    def host_failed(self, name: str) -> None:
        """Note that the host did not answer an attempt."""
        with self._changed:
            host, now = self._hosts[name], time.monotonic()
            if not host.silent_attempts:
                host.silent_since = now
            host.silent_until = now
            host.silent_attempts += 1

    def host_overloaded(self, download: Download) -> None:
        """Halve what the host gets at the same time, once for all downloads that had begun before that."""
        with self._changed:
            host = self._hosts[download.host]
            if download.started_at > host.narrowed_at:
                host.places = max(1, host.places // 2)
                host.narrowed_at = time.monotonic()

    def is_down(self, name: str) -> bool:
        """Return whether the host's images should be given up without trying."""
        host = self._hosts[name]
        return (
            host.silent_attempts >= ATTEMPTS_IN_SILENCE
            and host.silent_until - host.silent_since >= self._down_after
        )

    def _enqueue(self, download: Download, *, first: bool = False) -> None:
        host = self._hosts[download.host]
        (host.waiting.appendleft if first else host.waiting.append)(download)
        self._offer(host, first=first)

    def _offer(self, host: _Host, *, first: bool = False) -> None:
        """Give the host a turn if it can use one."""
        if host.waiting and host.active < host.places and not host.is_in_turns:
            host.is_in_turns = True
            (self._turns.appendleft if first else self._turns.append)(host)

    def _start(self, host: _Host) -> Download:
        host.is_in_turns = False
        download = host.waiting.popleft()
        download.started_at = time.monotonic()
        host.active += 1
        self._offer(host)
        return download

    def _wake_delayed(self) -> None:
        now = time.monotonic()
        while self._delayed and self._delayed[0][0] <= now:
            self._enqueue(heapq.heappop(self._delayed)[2], first=True)

    def _next_wake(self) -> float | None:
        return max(0.0, self._delayed[0][0] - time.monotonic()) if self._delayed else None
