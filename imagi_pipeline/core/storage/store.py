"""Know every path below the storage root, write atomically, and keep the records of compressed images.

    landing/                            people and the gateway write here
    landing/<request_id>/               a claimed or uploaded request, complete
    outbox/                             what became of the CSVs that people dropped
    uploads/<request_id>/<name>.csv     the CSV as it came, never changed
    uploads/<request_id>/request.json   its name and the options given with it
    uploads/<request_id>/outbox.json    what was delivered of it into the outbox
    references/<request_id>.csv         the asset uploaded_csv
    compressed/<aa>/<key>.jpg           compressed images, served over HTTP
    compressed/<aa>/<key>.json          image records
    reports/<request_id>.csv            the asset compression_report
    results/<request_id>/<name>.csv     the asset enriched_csv
    work/<request_id>/<run_id>/         what passes between the steps of a run, while it runs
    callbacks/<request_id>.json         a callback that its receiver has not accepted yet
    idempotency/<hash>.json             which request an Idempotency-Key of the last day belongs to

An image record is written after the image that it describes: where a record is, the image is whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import IO, Any, cast

from upath import UPath

from imagi_pipeline.core.errors import ErrorCode, StorageError
from imagi_pipeline.core.storage import bucket_files
from imagi_pipeline.core.storage.keys import folder_of, is_request_id
from imagi_pipeline.core.storage.local_files import TEMPORARY, read_whole, write_whole
from imagi_pipeline.core.storage.manifests import MANIFEST, RequestManifest
from imagi_pipeline.core.storage.records import ImageRecord

_RECORD = ".json"
_FIELDS_OF_A_RECORD = [field.name for field in fields(ImageRecord)]
_WORDS_FOR_CHANGED = ("mtime", "LastModified", "last_modified", "updated", "created")


def is_compressed_image(path: str) -> bool:
    """Return whether a path below `compressed/` may be an image, and not a record or a file being written."""
    name = path.rsplit("/", 1)[-1]
    return not name.startswith(".") and not name.endswith(_RECORD)


def remove_if_empty(folder: UPath) -> None:
    """Remove a folder unless something is in it. A bucket has no folders, only names that begin alike."""
    if _is_local(folder):
        with contextlib.suppress(OSError):
            Path(folder.path).rmdir()


def _is_local(path: UPath) -> bool:
    return path.protocol in ("", "file", "local")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as a listing shows it: bytes, and seconds since 1970 of its last change (None: not told)."""

    path: str
    size: int
    changed_at: float | None

    @property
    def name(self) -> str:
        """Return the last part of its path."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def is_temporary(self) -> bool:
        """Return whether it is the unfinished file of a write, left behind when its process was killed."""
        return self.name.startswith(".") and self.name.endswith(TEMPORARY)

    @property
    def is_record(self) -> bool:
        """Return whether the file, if it is below `compressed/`, is the record of an image."""
        return self.name.endswith(_RECORD)


class Store:
    """The files below one root: a local folder or any fsspec URL. A StorageError says which file failed."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        try:
            path = UPath(root)
            self.is_local = _is_local(path)
            if not self.is_local:
                path = bucket_files.open_bucket(str(root))
        except (ImportError, ValueError) as error:
            raise StorageError(ErrorCode.STORAGE_FAILURE, f"Cannot use {root}: {error}.") from error
        self.root: UPath = UPath(Path(path.path).expanduser().absolute()) if self.is_local else path
        self._compressed = str(self.compressed)

    # -- places

    @property
    def landing(self) -> UPath:
        """Return the folder where people and programs drop CSVs."""
        return self.root / "landing"

    @property
    def outbox(self) -> UPath:
        """Return where people find what became of the CSVs that they dropped."""
        return self.root / "outbox"

    @property
    def uploads(self) -> UPath:
        """Return the folder that holds a folder with the CSV of each accepted request."""
        return self.root / "uploads"

    def references(self, request_id: str) -> UPath:
        """Return the table of image references of a request."""
        return self.root / "references" / f"{request_id}.csv"

    def report(self, request_id: str) -> UPath:
        """Return the compression report of a request."""
        return self.root / "reports" / f"{request_id}.csv"

    def result(self, request_id: str, name: str) -> UPath:
        """Return the enriched CSV of a request."""
        return self.root / "results" / request_id / name

    def work(self, request_id: str) -> UPath:
        """Return the folder of what the steps of a request hand over to each other, by run."""
        return self.root / "work" / request_id

    @property
    def callbacks(self) -> UPath:
        """Return the folder of the callbacks that were not accepted yet."""
        return self.root / "callbacks"

    @property
    def idempotency_keys(self) -> UPath:
        """Return the folder of files that say which request an Idempotency-Key belongs to."""
        return self.root / "idempotency"

    @property
    def compressed(self) -> UPath:
        """Return the compressed images and their records; what is served over HTTP."""
        return self.root / "compressed"

    def image_folder(self, key: str) -> UPath:
        """Return the folder of an image and its record."""
        return self.compressed / folder_of(key)

    def image(self, key: str, record: ImageRecord) -> UPath:
        """Return the compressed image of a record."""
        return self.image_folder(key) / record.file

    def record(self, key: str) -> UPath:
        """Return the record of an image."""
        return self.image_folder(key) / f"{key}{_RECORD}"

    # -- bytes

    def write(self, path: UPath | str, data: bytes) -> None:
        """Write a file whole or not at all."""
        with storage_errors("write", path):
            if self.is_local:
                write_whole(str(path), [data])
            else:
                bucket_files.put(UPath(path), data)

    def create(self, path: UPath, data: bytes) -> bool:
        """Write a file whole unless there is one; False if there is. Of several that race, one writes."""
        with storage_errors("write", path):
            try:
                if self.is_local:
                    write_whole(str(path), [data], only_new=True)
                else:
                    bucket_files.put(path, data, only_new=True)
            except FileExistsError:
                return False
        return True

    def write_pieces(self, path: UPath, pieces: Iterable[bytes]) -> None:
        """Write a file whole or not at all, of pieces that need not fit into memory together."""
        if self.is_local:
            with storage_errors("write", path):
                write_whole(path.path, pieces)
            return
        # What is written to a bucket piece by piece stays there, cut off, when a piece fails.
        with tempfile.NamedTemporaryFile() as file:
            with storage_errors("write", file.name):
                file.writelines(pieces)
                file.flush()
            with storage_errors("write", path):
                bucket_files.put_file(path, file.name)

    def read(self, path: UPath | str) -> bytes | None:
        """Return the bytes of a file, or None when there is none."""
        with storage_errors("read", path):
            try:
                return read_whole(str(path)) if self.is_local else bucket_files.get(UPath(path))
            except (FileNotFoundError, NotADirectoryError):
                return None

    def open(self, path: UPath) -> IO[bytes]:
        """Return a file that is there, to be read piece by piece."""
        with storage_errors("read", path):
            return cast(IO[bytes], path.open("rb"))

    def remove_folder(self, folder: UPath) -> None:
        """Remove a folder with all that is in it, if it is there."""
        with storage_errors("remove", folder), contextlib.suppress(FileNotFoundError):
            folder.fs.rm(folder.path, recursive=True)

    def signed_url(self, path: UPath, seconds: int) -> str | None:
        """Return a URL that lets its bearer read a file for some seconds; None if there is none."""
        if self.is_local:
            return None
        with storage_errors("sign a URL of", path):
            return bucket_files.signed_url(path, seconds)

    def names(self, folder: UPath) -> list[str]:
        """Return the names of what is in a folder; nothing when there is no such folder."""
        with storage_errors("list", folder):
            try:
                found = folder.fs.ls(folder.path, detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return []
        return [path.rstrip("/").rsplit("/", 1)[-1] for path in found]

    def files(self, folder: UPath) -> list[StoredFile]:
        """Return all files below a folder, hidden ones too; nothing when there is no such folder."""
        with storage_errors("list", folder):
            found = folder.fs.find(folder.path, detail=True)
        return [StoredFile(path, int(info["size"] or 0), _changed_at(info)) for path, info in found.items()]

    def remove_files(self, paths: Sequence[str]) -> None:
        """Remove files, in this order if the storage can; files that are gone already are no error."""
        if not paths:
            return
        if not self.is_local:
            with storage_errors("remove", self.root), contextlib.suppress(FileNotFoundError):
                bucket_files.remove(self.root, paths)
            return
        for path in paths:
            with storage_errors("remove", UPath(path)):
                Path(path).unlink(missing_ok=True)

    # -- requests

    def write_upload(self, request_id: str, manifest: RequestManifest, data: bytes) -> None:
        """Keep an accepted CSV, on the disk when this returns.

        The manifest comes last, so where it is, the upload is whole.
        """
        folder = self.uploads / request_id
        for path, content in ((folder / manifest.name, data), (folder / MANIFEST, manifest.to_json())):
            self.write(path, content)
            if self.is_local:
                with storage_errors("write", path):
                    sync_to_disk(path.path)
        if self.is_local:
            with storage_errors("write", folder):
                sync_to_disk(folder.path)
                sync_to_disk(self.uploads.path)

    def read_manifest(self, request_id: str) -> RequestManifest | None:
        """Return the manifest of an accepted request, or None when there is no such request."""
        if not is_request_id(request_id):
            return None
        data = self.read(self.uploads / request_id / MANIFEST)
        return None if data is None else RequestManifest.from_json(data)

    def write_manifest(self, request_id: str, manifest: RequestManifest) -> None:
        """Change the manifest of an accepted request."""
        self.write(self.uploads / request_id / MANIFEST, manifest.to_json())

    def tell_end(self, request_id: str) -> None:
        """Say to `end_told`, in all processes of this machine, that a run of an accepted request is ending.

        It only decides how soon the end is seen, so it is no error if it cannot be told.
        """
        if self.is_local and is_request_id(request_id):
            with contextlib.suppress(OSError):
                os.utime(Path(self.uploads.path) / request_id)

    def end_told(self, request_id: str) -> float:
        """Return when a run of a request was ending, in seconds since 1970; 0 if never, and always in a
        bucket.

        The files of an upload set this time as well.
        """
        if self.is_local and is_request_id(request_id):
            with contextlib.suppress(OSError):
                return (Path(self.uploads.path) / request_id).stat().st_mtime
        return 0.0

    def read_upload(self, request_id: str, manifest: RequestManifest) -> bytes:
        """Return the CSV of an accepted request as it came."""
        path = self.uploads / request_id / manifest.name
        data = self.read(path)
        if data is None:
            raise StorageError(ErrorCode.STORAGE_FAILURE, f"The uploaded file {path} is gone.")
        return data

    def reference_tables(self) -> list[UPath]:
        """Return the reference tables of all requests, newest first."""
        folder = self.root / "references"
        with storage_errors("list", folder):
            try:
                found = [path for path in folder.iterdir() if path.suffix == ".csv"]
            except FileNotFoundError:
                return []
            return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)

    # -- images

    def write_image(self, key: str, record: ImageRecord, data: bytes) -> None:
        """Store a compressed image, then its record."""
        self.write(self._beside(key, record.file), data)
        self.write_record(key, record)

    def write_record(self, key: str, record: ImageRecord) -> None:
        """Store the record of an image that is already there."""
        facts = {name: getattr(record, name) for name in _FIELDS_OF_A_RECORD}
        self.write(self._beside(key, key + _RECORD), json.dumps(facts, ensure_ascii=False).encode())

    def read_record(self, key: str) -> ImageRecord | None:
        """Return the record of an image, or None when the image is not there, whole and as described.

        In a bucket the record is trusted: to check the image as well would cost a call for each.
        """
        data = self.read(self._beside(key, key + _RECORD))
        if data is None:
            return None
        try:
            record = ImageRecord(**json.loads(data))
        except (ValueError, TypeError):  # another version wrote it: make the image again
            return None
        if self.is_local and _size(self._beside(key, record.file)) != record.bytes:
            return None
        return record

    def _beside(self, key: str, name: str) -> UPath | str:
        """Return a file in the folder of an image; text on a local disk: UPaths are slow to join."""
        return (
            f"{self._compressed}/{folder_of(key)}/{name}" if self.is_local else self.image_folder(key) / name
        )


def _size(path: UPath | str) -> int | None:
    """Return the bytes of a file on a local disk, or None when there is none."""
    with storage_errors("read", path):
        try:
            return os.stat(str(path)).st_size  # noqa: PTH116 - a path object takes as long as the system call
        except FileNotFoundError:
            return None


def _changed_at(info: Mapping[str, Any]) -> float | None:
    """Return when a file of a listing was changed; each kind of storage has its own word for it."""
    told = next((info[word] for word in _WORDS_FOR_CHANGED if info.get(word)), None)
    if isinstance(told, str):
        told = datetime.fromisoformat(told)
    return told.timestamp() if isinstance(told, datetime) else told


def sync_to_disk(path: str | os.PathLike[str]) -> None:
    """Make sure that what was written to a file, or the names in a folder, survives a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def storage_errors(verb: str, path: UPath | str) -> Iterator[None]:
    """Turn what a disk or a bucket raises into a StorageError: what could not be done to which file."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(ErrorCode.STORAGE_FAILURE, f"Cannot {verb} {path}: {reason}.") from error
    except Exception as error:
        if not isinstance(path, UPath) or _is_local(path):
            raise
        # The client of each kind of bucket has errors of its own, for no login and no connection.
        message = f"Cannot {verb} {path}: {str(error).rstrip('.')}."
        raise StorageError(ErrorCode.STORAGE_FAILURE, message) from error
