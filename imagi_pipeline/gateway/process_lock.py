"""Provide a lock that one process holds at a time; the kernel frees it however that process ends."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

_log = logging.getLogger(__name__)


class ProcessLock:
    """The lock on the file `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def acquire(self) -> bool:
        """Return whether this object has the lock, now or already."""
        if self._handle is not None:
            return True
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        except OSError as error:  # the file system has no locks: work that is done twice is better than none
            _log.warning(
                "%s cannot be locked, so a second process may do the same work: %s", self._path, error
            )
        self._handle = handle
        return True

    def release(self) -> None:
        """Let another process have the lock."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
