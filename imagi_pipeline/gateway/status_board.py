"""Keep up to date what Dagster says about requests, by one small query a second however many callers ask.

A query for one request takes 12 to 20 ms of Dagster's web server, which has one core at most; a list of the
runs that changed takes 12 ms and 1.2 ms for each (measured: Dagster 1.13.27, 2 cores). So a request is asked
for once, and from then on the board asks only for changes.

A run that ends says so in the storage (`Store.tell_end`), so that nobody gets a status from before the end.
In a bucket that cannot be told, and the end is seen up to a second later.
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
SECONDS_BETWEEN_LOOKS_FOR_AN_END = 0.15
SECONDS_OF_AN_END = 0.05, 2.0
"""Seconds after which the record of a run says that it ended, once the run told so: at least, and at most."""

SECONDS_KEPT = 60.0
"""After so many seconds the board asks for a request again: the list may have missed a change."""

SECONDS_OF_DOUBT = 10.0
"""By how much the clocks of this process and of the runs may differ."""

RUNS_IN_A_QUERY = 500


@dataclass(frozen=True)
class _Entry:
    status: RequestStatus | None
    asked_at: float


class StatusBoard:
    """Holds the statuses of the requests that somebody asked for lately; many threads may use it."""

    def __init__(
        self,
        client: DagsterClient,
        end_told: Callable[[str], float] = lambda _: 0.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._end_told = end_told
        self._now = now
        self._entries: dict[str, _Entry] = {}
        self._looked_at = 0.0
        self._failure: DagsterUnreachableError | None = None
        self._failed_at = 0.0
        self._forgotten = 0
        self._lock = threading.Lock()

    def status(self, request_id: str) -> RequestStatus | None:
        """Return the status by the newest run, about a second old at most, the end less; None without a run.

        Raises DagsterUnreachableError.
        """
        with self._lock:
            self._catch_up(request_id)
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
        """Ask again next time: something was just done to this request."""
        with self._lock:
            self._forgotten += 1
            self._entries.pop(request_id, None)

    def _catch_up(self, request_id: str) -> None:
        now = self._now()
        if self._failure:
            self._probe(now)
        elif now - self._looked_at >= SECONDS_BETWEEN_LOOKS or self._may_have_ended(request_id, now):
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

    def _may_have_ended(self, request_id: str, now: float) -> bool:
        """Return whether a look for the end of a request is worth it that the board has as unfinished."""
        entry = self._entries.get(request_id)
        if not entry or (entry.status and entry.status.is_finished):
            return False
        earliest, latest = SECONDS_OF_AN_END
        return (
            now - self._looked_at >= SECONDS_BETWEEN_LOOKS_FOR_AN_END
            and earliest <= now - self._end_told(request_id) < latest
        )

    def _probe(self, now: float) -> None:
        """Let one thread ask again, every few seconds after a failure: a Dagster that hangs costs it 10 s."""
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
            if entry and (known is None or (known.run_id == status.run_id and not known.upkeep)):
                # Of a request that had no run when it was asked for, the newest is among the changed ones.
                self._entries[status.request_id] = _Entry(status, entry.asked_at)
            elif entry:  # a run that was not known: is it the newest? Or upkeep: is it beside a result?
                del self._entries[status.request_id]
