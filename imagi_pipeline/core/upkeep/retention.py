"""Decide what may be removed: requests past their retention, and images that no request refers to.

The rules know no Dagster. In doubt a thing stays: the next purge looks again.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from upath import UPath

from imagi_pipeline.core import reports
from imagi_pipeline.core.csv.limits import CsvLimits
from imagi_pipeline.core.csv.reading import read_request
from imagi_pipeline.core.errors import ImagiError
from imagi_pipeline.core.storage.keys import folder_of, is_image_key, is_request_id
from imagi_pipeline.core.storage.landing import SECONDS_OF_A_DAY, unfinished_publications
from imagi_pipeline.core.storage.manifests import MANIFEST, RequestManifest
from imagi_pipeline.core.storage.store import Store, StoredFile

REST_AFTER_A_RUN = SECONDS_OF_A_DAY
"""Seconds for which a request stays after the end of a run, however old it is: somebody wanted that run."""

LEFTOVER_AGE = SECONDS_OF_A_DAY
"""Seconds after which nobody writes to an unfinished file any more."""

IMAGE_AGE = 3600.0
"""Seconds for which an image stays that no request refers to."""

_ID_LENGTH = 36


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """What decides about a request; times are seconds since 1970.

    `handed_in` is the time of its oldest trace, None when nothing tells it. `is_busy`: a run of it is in
    flight or about to be, or it waits in the landing folder.
    """

    request_id: str
    handed_in: float | None
    last_ended: float | None = None
    is_busy: bool = False


def expired_requests(requests: Iterable[RequestFacts], now: float, retention: float) -> list[str]:
    """Return the requests that may go, oldest first: idle, and older than `retention` seconds."""
    expired = [
        (request.handed_in, request.request_id)
        for request in requests
        if request.handed_in is not None
        and not request.is_busy
        and now - request.handed_in > retention
        and now - (request.last_ended or 0.0) > REST_AFTER_A_RUN
    ]
    return [request_id for _, request_id in sorted(expired)]


# -- requests


def request_folders(store: Store) -> tuple[UPath, ...]:
    """Return the folders whose files and folders have names that begin with a request id."""
    names = ("uploads", "references", "reports", "results", "work", "callbacks")
    return tuple(store.root / name for name in names)


def stored_requests(store: Store) -> dict[str, float | None]:
    """Return every request that left a trace in the storage, and the time of its oldest file, if it is told.

    The landing folder does not count.
    """
    changes: dict[str, list[float]] = {}
    for folder in request_folders(store):
        for name in store.names(folder):
            if is_request_id(name[:_ID_LENGTH]):
                changes.setdefault(name[:_ID_LENGTH], [])
        for file in store.files(folder):
            request_id = file.path.partition(f"{folder.path}/")[2][:_ID_LENGTH]
            if request_id in changes and file.changed_at is not None:
                changes[request_id].append(file.changed_at)
    return {request_id: min(times, default=None) for request_id, times in changes.items()}


def landing_requests(store: Store) -> set[str]:
    """Return the requests in the landing folder: one whose run is removed would be launched again."""
    return {name for name in store.names(store.landing) if is_request_id(name)}


def request_files(store: Store, request_id: str) -> list[StoredFile]:
    """Return the files of a request in the order in which they may go: last its manifest, which dates it."""
    callbacks = [name for name in store.names(store.callbacks) if name.startswith(request_id)]
    places = [
        *(store.callbacks / name for name in callbacks),
        *_folders_of(store, request_id),
        store.report(request_id),
        store.references(request_id),
    ]
    files = [file for place in places for file in store.files(place)]
    return sorted(files, key=lambda file: file.name == MANIFEST)


def remove_request_files(store: Store, request_id: str) -> list[StoredFile]:
    """Remove all that a request has in the storage, and tell what that was."""
    files = request_files(store, request_id)
    store.remove_files([file.path for file in files])
    for folder in _folders_of(store, request_id):
        store.remove_folder(folder)  # empty folders of a local disk
    return files


def _folders_of(store: Store, request_id: str) -> list[UPath]:
    return [store.root / name / request_id for name in ("work", "results", "uploads")]


# -- images


class ImagesInUse:
    """The keys of the images that requests refer to, except requests that go; grows with new requests.

    A request counts once it is uploaded: before it is parsed, and seconds before its run looks at the first
    image record. Whoever removes images calls `update` before each small batch.
    """

    def __init__(self, store: Store, limits: CsvLimits, without: Collection[str] = ()) -> None:
        """Read what all requests refer to. Raises StorageError: an unreadable file may refer to images.

        `limits` are those with which runs read a CSV: with others, a CSV that they take may have no image.
        """
        self.keys: set[str] = set()
        self._store = store
        self._limits = limits
        self._seen = set(without)
        for name in store.names(store.root / "references"):
            self._look(name.removesuffix(".csv"))
        self.update()

    def update(self) -> None:
        """Look at the requests that were not there before. Raises StorageError."""
        for name in self._store.names(self._store.uploads):
            self._look(name)

    def _look(self, request_id: str) -> None:
        if request_id in self._seen or not is_request_id(request_id):
            return
        report = self._store.read(self._store.report(request_id))
        if report is not None:  # its enriched CSV names these, whatever a run under way makes
            self.keys.update(reports.keys(report))
        keys = _keys_of(self._store, request_id, self._limits)
        if keys is not None:
            self.keys.update(keys)
            self._seen.add(request_id)


def _keys_of(store: Store, request_id: str, limits: CsvLimits) -> Iterable[str] | None:
    """Return the keys of the images that a run of a request makes; None while its upload is not whole."""
    try:
        manifest = store.read_manifest(request_id)
    except ValueError:  # no run can read it either
        return []
    references = store.read(store.references(request_id))
    if references is not None:
        urls = reports.distinct_urls(reports.Table(references))
        return map((manifest or RequestManifest("upload.csv")).image_key, urls)
    if manifest is None:
        return None
    return map(manifest.image_key, _urls_of(store, request_id, manifest, limits))


def _urls_of(store: Store, request_id: str, manifest: RequestManifest, limits: CsvLimits) -> list[str]:
    """Return the URLs of a request that is not parsed yet."""
    data = store.read(store.uploads / request_id / manifest.name)
    if data is None:  # nor of a CSV that somebody removed
        return []
    try:
        table = read_request(
            data, url_columns=manifest.url_columns, base_url=manifest.base_url, limits=limits
        )
    except ImagiError:  # and no run can do anything with this
        return []
    return [reference.url for reference in table.references]


@dataclass
class FolderPlan:
    """What may go of one of the 256 folders of images: `keys` are those of images that nobody refers to."""

    keys: list[str] = field(default_factory=list)
    records: list[StoredFile] = field(default_factory=list)
    images: list[StoredFile] = field(default_factory=list)
    unfinished: list[StoredFile] = field(default_factory=list)

    @property
    def files(self) -> list[StoredFile]:
        """Return all files that may go. Records come first: without one, an image is not reused."""
        return [*self.records, *self.images, *self.unfinished]

    @property
    def is_empty(self) -> bool:
        """Return whether nothing may go."""
        return not self.keys and not self.unfinished


def plan_folder(
    files: Iterable[StoredFile], partitions: Iterable[str], in_use: Collection[str], now: float
) -> FolderPlan:
    """Return which files and partitions of one folder of images may be removed; unknown files stay."""
    plan = FolderPlan()
    by_key: defaultdict[str, list[StoredFile]] = defaultdict(list)
    for file in files:
        key = file.name.rpartition(".")[0]
        if file.is_temporary and is_older(file, LEFTOVER_AGE, now):
            plan.unfinished.append(file)
        elif is_image_key(key):
            by_key[key].append(file)
    for key in sorted({*by_key, *partitions}):
        if key in in_use or not all(is_older(file, IMAGE_AGE, now) for file in by_key[key]):
            continue
        plan.keys.append(key)
        for file in by_key[key]:
            (plan.records if file.is_record else plan.images).append(file)
    return plan


def by_folder(keys: Iterable[str]) -> dict[str, list[str]]:
    """Return image keys by the folder of their image; what is no image key is left out."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for key in keys:
        if is_image_key(key):
            found[folder_of(key)].append(key)
    return found


# -- what processes that were killed left behind


def is_older(file: StoredFile, age: float, now: float) -> bool:
    """Return whether a file was last changed more than `age` seconds ago; not if nothing tells it."""
    return file.changed_at is not None and now - file.changed_at > age


def unfinished_files(store: Store, now: float) -> list[StoredFile]:
    """Return the unfinished files of requests, a day old. Those of images are in the plan of their folder."""
    folders = (*request_folders(store), store.idempotency_keys)
    files = (file for folder in folders for file in store.files(folder))
    return [file for file in files if file.is_temporary and is_older(file, LEFTOVER_AGE, now)]


def landing_leftovers(store: Store, now: float) -> list[UPath]:
    """Return what gateways that were killed left unfinished in the landing folder, a day ago or earlier."""
    return [place for place in unfinished_publications(store) if _is_old(store, place, now)]


def remove_landing_leftovers(store: Store) -> None:
    """Remove what `landing_leftovers` finds now. Raises StorageError."""
    for place in landing_leftovers(store, time.time()):
        store.remove_folder(place)


def work_folders(store: Store) -> Iterator[tuple[str, UPath]]:
    """Yield what passed between the steps of runs: the id of each run, and its folder."""
    work = store.root / "work"
    for request_id in store.names(work):
        for run_id in store.names(work / request_id):
            yield run_id, work / request_id / run_id


def _is_old(store: Store, place: UPath, now: float) -> bool:
    files = store.files(place)
    if not files and store.is_local:  # an empty folder
        return now - Path(place.path).stat().st_mtime > LEFTOVER_AGE
    return all(is_older(file, LEFTOVER_AGE, now) for file in files)
