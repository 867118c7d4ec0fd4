"""Deliver results into the outbox, where people who drop CSVs into the landing folder find them.

A file appears under its name whole or not at all. No file is overwritten that belongs to another request or
that somebody changed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping

from upath import UPath

from imagi_pipeline.core.storage.store import Store, storage_errors

_RECORD = "outbox.json"
_BYTES_IN_A_PIECE = 1 << 20


def deliver(store: Store, request_id: str, files: Mapping[str, Iterable[bytes]]) -> None:
    """Put files into the outbox, in the place of those that were delivered for the request before.

    Nothing happens when the same files were delivered before, whether they are still there or were taken
    away. A name that is taken gets the beginning of the request id. Raises StorageError.
    """
    staging = store.outbox / f".{request_id}"
    try:
        staged = {name: _staged(store, staging / name, pieces) for name, pieces in files.items()}
        before: dict[str, list[str]] = json.loads(store.read(_record(store, request_id)) or b"{}")
        if staged == {name: digest for name, (_, digest) in before.items()}:
            return
        for taken, digest in before.values():
            if _digest(store, store.outbox / taken) == digest:
                store.remove_files([(store.outbox / taken).path])
        delivered = {
            name: [_publish(store, staging / name, digest, request_id), digest]
            for name, digest in staged.items()
        }
        store.write(_record(store, request_id), json.dumps(delivered).encode())
    finally:
        store.remove_folder(staging)


def _record(store: Store, request_id: str) -> UPath:
    """Return where it is kept what was delivered for a request: the names in the outbox, and digests."""
    return store.uploads / request_id / _RECORD


def _staged(store: Store, path: UPath, pieces: Iterable[bytes]) -> str:
    """Write a file under a hidden name; return its digest."""
    digest = hashlib.sha256()

    def counted() -> Iterator[bytes]:
        for piece in pieces:
            digest.update(piece)
            yield piece

    store.write_pieces(path, counted())
    return digest.hexdigest()


def _digest(store: Store, path: UPath) -> str | None:
    if not path.exists():
        return None
    digest = hashlib.sha256()
    with store.open(path) as file:
        while piece := file.read(_BYTES_IN_A_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _publish(store: Store, staged: UPath, digest: str, request_id: str) -> str:
    """Give a staged file its name in the outbox, or one with the request id; return which."""
    plain = store.outbox / staged.name
    if _digest(store, plain) == digest or _takes_name(store, staged, plain):
        return str(plain.name)
    own = store.outbox / f"{staged.stem}_{request_id[:8]}{staged.suffix}"
    with storage_errors("write", own):
        staged.fs.mv(staged.path, own.path)
    return str(own.name)


def _takes_name(store: Store, staged: UPath, name: UPath) -> bool:
    """Move a staged file to a name, and tell whether that was free."""
    if store.is_local:
        try:
            os.link(staged.path, name.path)  # a rename would write over what is there
        except OSError:  # the name is taken, or there are no links on this disk
            return False
        return True
    if name.exists():
        return False
    with storage_errors("write", name):
        staged.fs.mv(staged.path, name.path)
    return True
