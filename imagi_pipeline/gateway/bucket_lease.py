"""What `process_lock.py` is on a disk, in a bucket: one process at a time holds a lease that it renews.

    callbacks/lease/<number>.json     who holds it, and until when

A lease that has run out is followed by one of the next number, which only one process can create. Clocks of
machines may differ by `MARGIN` seconds (`imagi doctor` looks at them).
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable

from upath import UPath

from imagi_pipeline.core.storage.store import Store

SECONDS = 30.0
"""For which a lease is taken; it is renewed when half of them are over."""
MARGIN = 10.0
SECONDS_BETWEEN_LOOKS = 10.0
"""Of those that wait for it."""


class BucketLease:
    """The lease of which `folder` keeps the record. Its methods raise StorageError."""

    def __init__(self, store: Store, folder: UPath, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._folder = folder
        self._now = now
        self._me = uuid.uuid4().hex
        self._held: UPath | None = None
        self._no_look_before = 0.0

    def acquire(self) -> bool:
        """Return whether this object has the lease, now or already; it asks the bucket seldom."""
        now = self._now()
        if now < self._no_look_before:
            return self._held is not None
        numbers = self._numbers()
        newest = self._folder / numbers[-1] if numbers else None
        known = json.loads(self._store.read(newest) or "{}") if newest else {}
        if newest and known.get("holder") == self._me and now < known["until"]:
            self._store.write(newest, self._lease(now))
            return self._note(newest, now)
        self._held = None
        if now < known.get("until", 0.0) + MARGIN:
            self._no_look_before = now + SECONDS_BETWEEN_LOOKS
            return False
        following = self._folder / f"{int(newest.stem) + 1 if newest else 1:09}.json"
        # It is not the newest if this process was halted for the time of a lease.
        if not self._store.create(following, self._lease(now)) or self._numbers()[-1] != following.name:
            return False
        self._store.remove_files([(self._folder / name).path for name in numbers])
        return self._note(following, now)

    def release(self) -> None:
        """Let another process have the lease, as soon as it looks."""
        if self._held:
            self._store.write(self._held, json.dumps({"holder": "", "until": 0.0}).encode())
            self._held, self._no_look_before = None, 0.0

    def _numbers(self) -> list[str]:
        return sorted(name for name in self._store.names(self._folder) if name.endswith(".json"))

    def _lease(self, now: float) -> bytes:
        return json.dumps({"holder": self._me, "until": now + SECONDS}).encode()

    def _note(self, held: UPath, now: float) -> bool:
        self._held, self._no_look_before = held, now + SECONDS / 2
        return True
