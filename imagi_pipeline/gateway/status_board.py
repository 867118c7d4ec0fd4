"""What Dagster says about requests, kept up to date with one small query a second however many ask.

A query for one request takes 12 to 20 ms of Dagster's web server, which has one core at most; a list of the
runs that changed 12 ms and 1.2 ms for each (measured: Dagster 1.13.27, 2 cores). So a request is asked for
once, and from then on the changes are.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from imagi_pipeline.core.request_status import RequestStatus
from imagi_pipeline.gateway.dagster_client import DagsterClient, DagsterUnreachableError

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_BETWEEN_PROBES = 2.0
SECONDS_KEPT = 60.0
"""After this a request is asked for again by itself: a change that the list missed, or a deleted run."""

SECONDS_OF_DOUBT = 10.0
"""By how much the clocks of this process and of the runs may differ."""

RUNS_IN_A_QUERY = 500


@dataclass(frozen=True)
class _Entry:
    status: RequestStatus | None
    asked_at: float


class StatusBoard:
    """The statuses of the requests that somebody asked for lately; for many threads."""

    def __init__(self, client: DagsterClient, now: Callable[[], float] = time.time) -> None:
        self._client = client
        self._now = now
        self._entries: dict[str, _Entry] = {}
        self._looked_at = 0.0
        self._failure: DagsterUnreachableError | None = None
        self._failed_at = 0.0
        self._forgotten = 0
        self._lock = threading.Lock()

    def status(self, request_id: str) -> RequestStatus | None:
        """The status by the newest run, about a second old at most; None without a run.

        Raises DagsterUnreachableError.
        """
        with self._lock:
            self._catch_up()
            entry = self._entries.get(request_id)
            forgotten = self._forgotten
        if entry:
            return entry.status
        asked_at = self._now()
        try:
            entry = _Entry(self._client.request_status(request_id), asked_at)
        except DagsterUnreachableError as error:
            with self._lock:
                self._fail(error)
            raise
        with self._lock:
            if forgotten == self._forgotten:  # else it may be what was true before
                self._entries[request_id] = entry
        return entry.status

    def forget(self, request_id: str) -> None:
        """Ask anew next time: something was just done to this request."""
        with self._lock:
            self._forgotten += 1
            self._entries.pop(request_id, None)

    def _catch_up(self) -> None:
        now = self._now()
        if self._failure:
            self._probe(now)
        elif now - self._looked_at >= SECONDS_BETWEEN_LOOKS:
            self._entries = {
                name: entry for name, entry in self._entries.items() if now - entry.asked_at < SECONDS_KEPT
            }
            try:
                if self._entries:
                    self._merge_changes()
            except DagsterUnreachableError as error:
                self._fail(error)
                raise
            self._looked_at = now

    def _probe(self, now: float) -> None:
        """After a failure one thread asks, once in some seconds: a Dagster that hangs costs each 10 s."""
        assert self._failure
        if now - self._failed_at < SECONDS_BETWEEN_PROBES:
            raise self._failure
        try:
            self._client.changed_requests(now, RUNS_IN_A_QUERY)
        except DagsterUnreachableError as error:
            self._fail(error)
            raise
        self._failure = None

    def _fail(self, error: DagsterUnreachableError) -> None:
        self._failure, self._failed_at = error, self._now()
        self._entries.clear()

    def _merge_changes(self) -> None:
        since = max(self._looked_at, min(entry.asked_at for entry in self._entries.values()))
        for status in self._client.changed_requests(since - SECONDS_OF_DOUBT, RUNS_IN_A_QUERY):
            entry = self._entries.get(status.request_id)
            known = entry.status if entry else None
            if entry and known and known.run_id == status.run_id and not known.upkeep:
                self._entries[status.request_id] = _Entry(status, entry.asked_at)
            elif entry:  # a run that was not known: is it the newest? Or upkeep: is it beside a result?
                del self._entries[status.request_id]
