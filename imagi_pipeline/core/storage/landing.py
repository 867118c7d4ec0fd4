"""Find the complete files of the landing folder, and make requests of them.

A dropped file is claimed by moving it into a folder named by a new request id; from there on it is like a
request that the gateway published: `landing/<request_id>/` with one CSV and perhaps a manifest, complete.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from upath import UPath

from imagi_pipeline.core.errors import StorageError
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.printable import LONGEST_MESSAGE, printable
from imagi_pipeline.core.request_status import FAILED, IN_QUEUE, INTERRUPTED, RequestStatus
from imagi_pipeline.core.storage.keys import is_request_id
from imagi_pipeline.core.storage.manifests import MANIFEST, RequestManifest, safe_file_name
from imagi_pipeline.core.storage.store import Store, remove_if_empty, storage_errors, sync_to_disk

SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_OF_A_DAY = 24 * 3600
UNFINISHED = ".part"
UNFINISHED_SUFFIXES = (UNFINISHED, ".tmp", ".crdownload", ".filepart", "~")
_UNPUBLISHED = re.compile(r"\.[0-9a-f]{32}\.(part|tmp)")
REQUEST_NAMESPACE = uuid.UUID("8f5d4a0e-6f0b-4f6f-9a41-0d6a2c1f7b3e")


@dataclass(frozen=True, slots=True)
class FileSnapshot:
    """A file as it was at one moment: size in bytes, time of its last change, and its ETag in a bucket."""

    size: int
    changed_at: float
    etag: str = ""


@dataclass(frozen=True, slots=True)
class LandedRequest:
    """A complete request in the landing folder."""

    request_id: str
    file: UPath
    manifest: RequestManifest

    def accepted(self, defaults: CompressionSettings) -> LandedRequest:
        """Return the request with what its images are made with, unless the gateway has settled that."""
        if self.manifest.settings is not None:
            return self
        return replace(self, manifest=self.manifest.settled(defaults))


@contextlib.contextmanager
def collecting_problems(problems: list[str], path: UPath) -> Iterator[None]:
    """Add what goes wrong with one entry of the folder to `problems`, so that it does not hold up others."""
    try:
        yield
    except (OSError, ValueError, StorageError) as error:
        message = printable(error, LONGEST_MESSAGE)
        problems.append(f"{printable(path, LONGEST_MESSAGE)} cannot be taken: {message}")


def is_ignored(name: str) -> bool:
    """Return whether a name says that the file is hidden or not complete yet."""
    return name.startswith((".", "~")) or name.lower().endswith(UNFINISHED_SUFFIXES)


def complete_names(
    first: Mapping[str, FileSnapshot], second: Mapping[str, FileSnapshot], now: float, quiet_period: float
) -> list[str]:
    """Return the names of the files that did not change between two looks nor for `quiet_period` s, oldest
    first.

    A time of change in the future, from another machine's clock, counts as quiet when the looks agree.
    """
    return sorted(
        (
            name
            for name, snapshot in second.items()
            if first.get(name) == snapshot and not 0 <= now - snapshot.changed_at < quiet_period
        ),
        key=lambda name: (second[name].changed_at, name),
    )


def land_requests(store: Store, quiet_period: float) -> tuple[list[LandedRequest], list[str]]:
    """Claim the complete files of the landing folder.

    Returns all requests that lie there now, complete, and what cannot be taken and why. Raises OSError when
    the landing folder itself cannot be read.
    """
    if store.is_local:
        store.landing.mkdir(parents=True, exist_ok=True)
    requests: list[LandedRequest] = []
    problems: list[str] = []
    entries = _children(store.landing)
    folders = [path for path in entries if is_request_id(path.name) and not path.is_symlink()]
    for path in entries:
        with collecting_problems(problems, path):
            _expect_file_or_request(path)
    for path, snapshot in _complete_files(store.landing, quiet_period):
        with collecting_problems(problems, path):
            requests.append(_accept(store, path, snapshot))
    for folder in folders:
        with collecting_problems(problems, folder):
            if landed := _landed_in(folder):
                requests.append(landed)
            else:
                remove_if_empty(folder)  # a claim that died before its rename
    return requests, problems


def publish(store: Store, request_id: str, manifest: RequestManifest, data: bytes) -> None:
    """Put a request into the landing folder, whole or not at all, and on the disk when this returns.

    On a local storage a request that lies there already stays as it is. Raises StorageError.
    """
    folder = store.landing / request_id
    if not store.is_local:  # a put is atomic, and without its CSV a folder is no request
        store.write(folder / MANIFEST, manifest.to_json())
        store.write(folder / manifest.name, data)
        return
    with storage_errors("write", folder):
        hidden = Path(store.landing.path, f".{uuid.uuid4().hex}{UNFINISHED}")
        hidden.mkdir(parents=True)
        try:
            for name, content in ((manifest.name, data), (MANIFEST, manifest.to_json())):
                (hidden / name).write_bytes(content)
                sync_to_disk(hidden / name)
            sync_to_disk(hidden)
            with _already_there():
                hidden.rename(folder.path)
            sync_to_disk(hidden.parent)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)


def unfinished_publications(store: Store) -> list[UPath]:
    """Return what this program, and nobody else, has in the landing folder without its final name yet."""
    return [store.landing / name for name in store.names(store.landing) if _UNPUBLISHED.fullmatch(name)]


def status_without_run(store: Store, request_id: str) -> RequestStatus | None:
    """Return the status of a request that has no run: waiting in the landing folder, or lost; None if
    unknown.
    """
    if not is_request_id(request_id):
        return None
    try:
        landed = _landed_in(store.landing / request_id)
    except (
        ValueError
    ):  # its manifest is broken: the sensor says so, and the request stays until somebody repairs it
        return RequestStatus(request_id, IN_QUEUE)
    if landed:
        given = landed.manifest
        return RequestStatus(
            request_id,
            IN_QUEUE,
            given.name,
            created=given.created,
            owner=given.owner,
            settings=given.settings,
        )
    kept = store.read_manifest(request_id)
    if kept is None:
        return None
    lost = "It was interrupted before its run began: hand the file in again."
    return RequestStatus(
        request_id,
        FAILED,
        kept.name,
        error_code=INTERRUPTED,
        error=lost,
        created=kept.created,
        owner=kept.owner,
        settings=kept.settings,
    )


def waiting_requests(store: Store) -> list[RequestStatus]:
    """Return the status of the requests in the landing folder, newest first."""
    names = [path.name for path in _children(store.landing) if is_request_id(path.name)]
    found = [status for name in names if (status := status_without_run(store, name))]
    return sorted(
        (status for status in found if status.status == IN_QUEUE),
        key=lambda status: status.created or 0.0,
        reverse=True,
    )


def remove_landed(store: Store, request: LandedRequest) -> None:
    """Remove a request from the landing folder, once it is safe elsewhere.

    Raises ValueError when the file is another one than that which was accepted as this request: it would be
    lost. Raises StorageError, also when the accepted file is gone.
    """
    with contextlib.suppress(FileNotFoundError):
        if request.file.read_bytes() != store.read_upload(request.request_id, request.manifest):
            raise ValueError("its request came with another file. Move this one up by a level")
        request.file.unlink()
    folder = request.file.parent
    if folder != store.landing:
        (folder / MANIFEST).unlink(missing_ok=True)
        remove_if_empty(folder)


def _expect_file_or_request(path: UPath) -> None:
    """Raise ValueError for an entry of the landing folder that is never taken, unless its name says so."""
    if is_ignored(path.name):
        return
    if path.is_symlink():
        raise ValueError("it is a link, which could lead to any file. Put a copy in its place")
    if path.is_dir() and not is_request_id(path.name):
        raise ValueError("it is a folder. Move its files one level up")


def _complete_files(landing: UPath, quiet_period: float) -> list[tuple[UPath, FileSnapshot]]:
    first = dict(_snapshots(landing))
    if not first:
        return []
    time.sleep(SECONDS_BETWEEN_LOOKS)
    second = dict(_snapshots(landing))
    names = complete_names(first, second, time.time(), quiet_period)
    return [(landing / name, second[name]) for name in names if not _has_writer(landing / name)]


def _snapshots(landing: UPath) -> Iterator[tuple[str, FileSnapshot]]:
    for path in _children(landing):
        with contextlib.suppress(FileNotFoundError):  # renamed or removed meanwhile
            if _is_dropped_file(path):
                stat = path.stat()
                info = stat.as_info() if hasattr(stat, "as_info") else {}
                yield path.name, FileSnapshot(stat.st_size, stat.st_mtime, str(info.get("ETag", "")))


def _is_dropped_file(path: UPath) -> bool:
    ignored = is_ignored(path.name) or is_ignored(safe_file_name(path.name))
    return not ignored and _is_visible_file(path)


def _children(folder: UPath) -> list[UPath]:
    try:
        return sorted(folder.iterdir(), key=lambda path: path.name)
    except (FileNotFoundError, NotADirectoryError):  # a bucket has no empty folders
        return []


def _accept(store: Store, path: UPath, snapshot: FileSnapshot) -> LandedRequest:
    manifest = RequestManifest(path.name, to_outbox=True)
    if not store.is_local:
        return LandedRequest(_id_in_bucket(path, snapshot), path, manifest)
    request_id = str(uuid.uuid4())
    folder = path.parent / request_id
    folder.mkdir()
    return LandedRequest(request_id, path.rename(folder / manifest.name), manifest)


def _id_in_bucket(path: UPath, snapshot: FileSnapshot) -> str:
    """Return a request id made of the object's version: a bucket has no rename that could claim a file."""
    return str(uuid.uuid5(REQUEST_NAMESPACE, f"{path}|{snapshot.etag}|{snapshot.size}|{snapshot.changed_at}"))


def _landed_in(folder: UPath) -> LandedRequest | None:
    """Return the request in a folder of its own; None when there is none, or it is being removed just now.

    Raises ValueError when it is broken.
    """
    # Nothing here is unfinished, whatever its name says: it came by a rename, or by one put.
    files = [path for path in _children(folder) if path.name != MANIFEST and _is_visible_file(path)]
    if not files:
        return None
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise ValueError(f"one request is one file, and there are {len(files)}: {names}. Move the others out")
    manifest = folder / MANIFEST
    data = None
    with contextlib.suppress(FileNotFoundError):
        data = None if manifest.is_symlink() else manifest.read_bytes()
    if data is None and not files[0].exists():
        return None
    described = RequestManifest.from_json(data) if data else RequestManifest(files[0].name, to_outbox=True)
    return LandedRequest(folder.name, files[0], described)


def _is_visible_file(path: UPath) -> bool:
    """Return whether it is a plain file; a link could lead to any file that this program may read."""
    return not path.name.startswith(".") and path.is_file() and not path.is_symlink()


@contextlib.contextmanager
def _already_there() -> Iterator[None]:
    """Ignore that a folder cannot be renamed because its new name is taken by one that is not empty."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _has_writer(path: UPath) -> bool:
    """Return whether a process of this machine still has the file open for writing (Linux only, else False).

    The kernel grants a read lease only on a file that nobody has open for writing: fcntl(2), F_SETLEASE.
    """
    if path.protocol not in ("", "file", "local") or not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        handle = os.open(str(path), os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:  # we are not the owner, or the file system has no leases: the quiet period must be enough
        return False
    finally:
        os.close(handle)
    return False
