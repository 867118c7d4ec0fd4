"""Put all results of a request into one archive: its images, an enriched CSV with their paths, its report."""

from __future__ import annotations

import io
import time
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

from imagi_pipeline.core.csv.enriching import enriched_pieces
from imagi_pipeline.core.csv.limits import CsvLimits
from imagi_pipeline.core.reports import Table
from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.core.uploads import uploaded_table

Members = Iterator[tuple[str, Iterable[bytes]]]
"""The path of each file, below one folder, and its bytes in pieces, to be read before those of the next."""


def archive_members(store: Store, request_id: str, manifest: RequestManifest, limits: CsvLimits) -> Members:
    """Yield the files of a request that has its result.

    The CSV comes after the images, and says which of them are gone from the storage. Raises CsvError
    and StorageError.
    """
    report = Table(store.read(store.report(request_id)) or b"")
    stem = PurePath(manifest.name).stem
    places: dict[str, str] = {}
    errors = {row["url"]: row["error"] for row in report if row["status"] == "failed"}
    for row, name in _with_names(report):
        image = store.read(store.image_folder(row["key"]) / row["file"])
        if image is None:
            errors[row["url"]] = "The compressed image is gone from the storage: hand the CSV in again."
        else:
            places[row["url"]] = f"{stem}_images/{name}"
            yield places[row["url"]], [image]
    table = uploaded_table(store, request_id, manifest, limits)
    yield enriched_name(manifest.name), enriched_pieces(table, places, errors, in_place=manifest.in_place)
    yield f"{stem}_report.csv", [store.read(store.report(request_id)) or b""]


def enriched_name(name: str) -> str:
    """Return what the enriched CSV of an uploaded `name` is called outside of the storage."""
    path = PurePath(name)
    return f"{path.stem}_enriched{path.suffix}"


def copies_in(folder: Path, name: str, *, images: bool) -> list[str]:
    """Return the paths of what a request of an uploaded `name` left in a folder; `images` were wanted too."""
    stem = PurePath(name).stem
    found = [folder / enriched_name(name), folder / f"{stem}_report.csv"]
    if images and (folder / f"{stem}_images").is_dir():  # there is none when every image failed
        found.append(folder / f"{stem}_images")
    return [str(path) for path in found]


def zipped(members: Members) -> Iterator[bytes]:
    """Yield a ZIP of the files, in pieces: one image is in memory at a time. Images are not deflated."""
    pieces = _Pieces()
    with zipfile.ZipFile(pieces, "w") as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name, time.localtime()[:6])
            info.compress_type = zipfile.ZIP_DEFLATED if name.endswith(".csv") else zipfile.ZIP_STORED
            with archive.open(info, "w", force_zip64=True) as file:
                for piece in content:
                    file.write(piece)
                    yield pieces.taken()
            yield pieces.taken()
    yield pieces.taken()


def _with_names(report: Table) -> Iterator[tuple[dict[str, str], str]]:
    """Yield the rows that have an image, each with the name of its file.

    That is the slug of its key, or the whole key where several have the same slug.
    """
    slugs = Counter(_slug(row["key"]) for row in report if row["file"])
    for row in report:
        if row["file"]:
            slug = _slug(row["key"])
            name = slug if slugs[slug] == 1 else row["key"]
            yield row, name + PurePath(row["file"]).suffix


def _slug(key: str) -> str:
    return key.rpartition("-")[0]


class _Pieces(io.RawIOBase):
    """A file that can only be written at its end, and hands out what was written to it."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]  # anything with a buffer
        self._written += piece
        return len(piece)

    def taken(self) -> bytes:
        """Return what was written since the last call."""
        piece = bytes(self._written)
        self._written.clear()
        return piece
