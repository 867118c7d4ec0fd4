"""Keep the files of the callbacks that were not accepted yet.

    callbacks/<request_id>.json            waits until the end of the request is told
    callbacks/<request_id>.<run_id>.json   the same after a re-try; this run is the one before it
    callbacks/.lock                        is held by the one process that delivers
    callbacks/lease/                       the same in a bucket

A registration only makes a file. Only the process that delivers changes and removes files, so a registration
never meets a delivery, not even one by another process. That is why a re-try has a file of its own.
"""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from imagi_pipeline.core.storage.keys import is_request_id
from imagi_pipeline.core.storage.store import Store, storage_errors, sync_to_disk
from imagi_pipeline.gateway.bucket_lease import BucketLease
from imagi_pipeline.gateway.process_lock import ProcessLock

_ID_LENGTH = 36
_FILE = re.compile(rf"[0-9a-f-]{{{_ID_LENGTH}}}(?:\.[A-Za-z0-9_-]+)?\.json")
_RUN_ID = re.compile(r"[A-Za-z0-9_-]+")


class PendingCallback(BaseModel):
    """A callback that was not accepted yet; times are seconds since 1970.

    `after` is the run whose end was told already: the callback waits for the end of a later one. `idle_since`
    is the time since when there has been no request and no run that it could wait for.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)  # a URL may hold a secret

    url: str
    created: float
    after: str | None = None
    attempts: int = 0
    next_attempt: float = 0.0
    last_error: str | None = None
    idle_since: float | None = None


class PendingCallbacks:
    """The folder of these files. All methods raise StorageError."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.folder = store.callbacks

    def lock(self) -> ProcessLock | BucketLease:
        """Make the lock that one process at a time has, which delivers."""
        if self._store.is_local:
            return ProcessLock(Path(self.folder.path, ".lock"))
        return BucketLease(self._store, self.folder / "lease")

    def add(self, request_id: str, pending: PendingCallback) -> None:
        """Write a callback; it is on the disk when this returns. Raises ValueError for what is no id."""
        after = pending.after
        if not is_request_id(request_id) or (after and not _RUN_ID.fullmatch(after)):
            raise ValueError(f"These are no ids of a request and a run: {request_id!r}, {after!r}.")
        path = self.folder / (f"{request_id}.{after}.json" if after else f"{request_id}.json")
        self.write(path.name, pending)
        if self._store.is_local:
            with storage_errors("write", path):
                sync_to_disk(path.path)
                sync_to_disk(path.parent.path)

    def names(self) -> list[str]:
        """Return the names of all files."""
        with storage_errors("list", self.folder):
            try:
                names = [path.name for path in self.folder.iterdir()]
            except (FileNotFoundError, NotADirectoryError):  # nothing was registered yet
                return []
        return [name for name in names if _FILE.fullmatch(name)]

    def read(self, name: str) -> PendingCallback | None:
        """Return what a file says; None if it is gone. Raises ValueError if it is damaged."""
        data = self._store.read(self.folder / name)
        return None if data is None else PendingCallback.model_validate_json(data)

    def write(self, name: str, pending: PendingCallback) -> None:
        """Replace what a file says."""
        self._store.write(self.folder / name, pending.model_dump_json(indent=1).encode())

    def remove(self, name: str) -> None:
        """Remove a file: its callback is over."""
        path = self.folder / name
        with storage_errors("remove", path):
            path.unlink(missing_ok=True)


def request_id_in(name: str) -> str:
    """Return the id of the request whose callback is in the file `name`."""
    return name[:_ID_LENGTH]
