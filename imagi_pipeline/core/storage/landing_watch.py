"""Tell when to look into the landing folder: something arrived, or a dropped file did not change for a while.

It lists the folder instead of waiting for the kernel (inotify), which does not tell what another machine
writes to a network share. Listing a folder with a few entries takes 20 microseconds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from imagi_pipeline.core.storage.keys import is_request_id
from imagi_pipeline.core.storage.landing import is_ignored

MARGIN = 0.05
"""Seconds by which the clock of files may differ, since it is coarser than that of the system."""


class LandingWatch:
    """Compares a landing folder with how it was at the last call; it takes no file."""

    def __init__(self, folder: Path, quiet_period: float, now: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._quiet_period = quiet_period
        self._now = now
        self._requests: frozenset[str] = frozenset()
        self._files: frozenset[tuple[str, int, int]] = frozenset()
        self._quiet_at: float | None = None

    def is_due(self) -> bool:
        """Return whether a look is due that was not due at the last call."""
        requests, files = self._list()
        arrived = bool(requests) and requests != self._requests
        if files != self._files:
            self._quiet_at = self._now() + self._quiet_period + MARGIN if files else None
        self._requests, self._files = requests, files
        quiet = self._quiet_at is not None and self._now() >= self._quiet_at
        if quiet:
            self._quiet_at = None
        return arrived or quiet

    def _list(self) -> tuple[frozenset[str], frozenset[tuple[str, int, int]]]:
        requests, files = set(), set()
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if is_request_id(entry.name):
                        requests.add(entry.name)
                    elif not is_ignored(entry.name):
                        stat = entry.stat(follow_symlinks=False)
                        files.add((entry.name, stat.st_size, stat.st_mtime_ns))
        except OSError:  # not made yet, or a file was taken just now: the next call sees what there is
            return self._requests, self._files
        return frozenset(requests), frozenset(files)
