"""Bound the time of one attempt: from the first dialling to the last byte, redirects included."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from imagi_pipeline.core.errors import ErrorCode, FetchError


class Deadline:
    """The time at which an attempt ends; our own waiting does not count.

    libcurl's own timeouts cannot be moved while a transfer runs, and start again with each redirect.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends_at = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds until the deadline; not more than 0 when it has passed."""
        return self._ends_at - time.monotonic()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock for the time of a `with` block."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._ends_at += time.monotonic() - began

    def missed(self, host: str) -> FetchError:
        """Return the failure of an attempt that was not done in time."""
        return FetchError(ErrorCode.TIMEOUT, f"{host} was not done after {self._seconds:g} seconds.")
