"""The landing folder: which files are complete, and how one becomes a request.

A dropped file is claimed by moving it into a folder named by a new request id; from there on it is like a
request that the gateway wrote: `landing/<request_id>/` with one CSV and perhaps a manifest, complete.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from upath import UPath

from imagi_pipeline.core.store import MANIFEST, RequestManifest, Store, safe_file_name

SECONDS_BETWEEN_LOOKS = 0.2
UNFINISHED_SUFFIXES = (".part", ".tmp", ".crdownload", ".filepart", "~")
REQUEST_NAMESPACE = uuid.UUID("8f5d4a0e-6f0b-4f6f-9a41-0d6a2c1f7b3e")


@dataclass(frozen=True, slots=True)
class Look:
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


def is_ignored(name: str) -> bool:
    """Whether a name says that the file is hidden or not complete yet."""
    return name.startswith((".", "~")) or name.lower().endswith(UNFINISHED_SUFFIXES)


def complete_names(
    first: Mapping[str, Look], second: Mapping[str, Look], now: float, quiet_period: float
) -> list[str]:
    """The names of the files that did not change between two looks nor for `quiet_period` s, oldest first.

    A time of change in the future, from another machine's clock, counts as quiet when the looks agree.
    """
    return sorted(
        (
            name
            for name, look in second.items()
            if first.get(name) == look and not 0 <= now - look.changed_at < quiet_period
        ),
        key=lambda name: (second[name].changed_at, name),
    )


def land_requests(store: Store, quiet_period: float) -> list[LandedRequest]:
    """Claim the complete files of the landing folder; all requests that lie there now, complete.

    Raises OSError when the folder cannot be read or a file cannot be moved.
    """
    landing = store.landing
    if store.is_local:
        landing.mkdir(parents=True, exist_ok=True)
    landed = [
        LandedRequest(_id_in_bucket(path, look), path, RequestManifest(safe_file_name(path.name)))
        if not store.is_local
        else _claim(path)
        for path, look in _complete_files(landing, quiet_period)
    ]
    claimed = {request.request_id for request in landed}
    waiting = (_landed_folder(folder) for folder in _folders(landing) if folder.name not in claimed)
    return [*landed, *(request for request in waiting if request)]


def remove_landed(store: Store, request: LandedRequest) -> None:
    """Remove a request from the landing folder, once it is safe elsewhere."""
    request.file.unlink(missing_ok=True)
    folder = request.file.parent
    if folder != store.landing:
        (folder / MANIFEST).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something else lies there: not ours to remove
            folder.rmdir()


def _complete_files(landing: UPath, quiet_period: float) -> list[tuple[UPath, Look]]:
    first = dict(_look(landing))
    if not first:
        return []
    time.sleep(SECONDS_BETWEEN_LOOKS)
    second = dict(_look(landing))
    names = complete_names(first, second, time.time(), quiet_period)
    return [(landing / name, second[name]) for name in names if not _has_writer(landing / name)]


def _look(landing: UPath) -> Iterator[tuple[str, Look]]:
    for path in _children(landing):
        if is_ignored(path.name):
            continue
        with contextlib.suppress(FileNotFoundError):  # renamed or removed meanwhile
            if path.is_file():
                stat = path.stat()
                info = stat.as_info() if hasattr(stat, "as_info") else {}
                yield path.name, Look(stat.st_size, stat.st_mtime, str(info.get("ETag", "")))


def _folders(landing: UPath) -> list[UPath]:
    return [path for path in _children(landing) if _is_request_id(path.name) and path.is_dir()]


def _children(folder: UPath) -> list[UPath]:
    try:
        return sorted(folder.iterdir(), key=lambda path: path.name)
    except FileNotFoundError:  # a bucket has no empty folders
        return []


def _claim(path: UPath) -> LandedRequest:
    request_id = str(uuid.uuid4())
    folder = path.parent / request_id
    folder.mkdir()
    name = safe_file_name(path.name)
    return LandedRequest(request_id, path.rename(folder / name), RequestManifest(name))


def _id_in_bucket(path: UPath, look: Look) -> str:
    """A bucket has no rename: the same version of the same object is the same request."""
    return str(uuid.uuid5(REQUEST_NAMESPACE, f"{path}|{look.etag}|{look.size}|{look.changed_at}"))


def _landed_folder(folder: UPath) -> LandedRequest | None:
    files = [path for path in _children(folder) if path.name != MANIFEST and not is_ignored(path.name)]
    if not files:
        with contextlib.suppress(OSError):  # a claim that died before its rename leaves it empty
            folder.rmdir()
        return None
    manifest = folder / MANIFEST
    described = (
        RequestManifest.from_json(manifest.read_bytes())
        if manifest.exists()
        else RequestManifest(safe_file_name(files[0].name))
    )
    return LandedRequest(folder.name, files[0], described)


def _is_request_id(name: str) -> bool:
    try:
        return str(uuid.UUID(name)) == name
    except ValueError:
        return False


def _has_writer(path: UPath) -> bool:
    """Whether a process of this machine still has the file open for writing (Linux only, else False).

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
    except OSError:  # not the owner, or a file system without leases: the quiet period must do
        return False
    finally:
        os.close(handle)
    return False
