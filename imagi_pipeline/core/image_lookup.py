"""Find the images of a request, and by the key of an image its URL and the requests that name it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import PurePath

from imagi_pipeline.core import reports
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.storage.keys import image_key, is_image_key
from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline.core.storage.store import Store


@dataclass(frozen=True, slots=True)
class Image:
    """One image: its key, its URL, and what it is made with, without the installation's limits.

    Of a request that a version without options accepted, an image is made as its record says; without a
    record `settings` is None, and the installation's are used.
    """

    key: str
    url: str
    settings: CompressionSettings | None

    @property
    def is_named_by_url(self) -> bool:
        """Tell whether its key is one of a version without options, made of the URL alone."""
        return self.key == image_key(self.url, None)


def images_of_request(store: Store, manifest: RequestManifest, urls: Iterable[str]) -> list[Image]:
    """Return the images that the distinct URLs of a request stand for. Raises StorageError."""
    if manifest.settings is not None:
        settings = CompressionSettings.of(manifest.settings)
        return [Image(manifest.image_key(url), url, settings) for url in urls]
    images = []
    for url in urls:
        record = store.read_record(key := manifest.image_key(url))
        images.append(Image(key, url, record.compression if record else None))
    return images


def images_of_keys(store: Store, keys: Iterable[str]) -> list[Image]:
    """Return images by key: from their records, else from the newest requests that name them.

    A key that nothing names is left out. Raises StorageError.
    """
    keys = [key for key in keys if is_image_key(key)]
    found = {
        key: Image(key, record.url, record.compression) for key in keys if (record := store.read_record(key))
    }
    missing = set(keys) - found.keys()
    for path in store.reference_tables() if missing else ():
        data = store.read(path)
        urls = reports.distinct_urls(reports.Table(data)) if data else []
        manifest = _manifest(store, PurePath(path.name).stem)
        for url in urls:
            if (key := manifest.image_key(url)) in missing:
                found[key] = images_of_request(store, manifest, [url])[0]
                missing.remove(key)
        if not missing:
            break
    return [found[key] for key in keys if key in found]


def requests_naming(store: Store, keys: Collection[str]) -> dict[str, list[str]]:
    """Return by key the requests that name an image, newest first, as `products.csv (<request id>)`."""
    found: dict[str, list[str]] = {key: [] for key in keys}
    for path in store.reference_tables():
        data, request_id = store.read(path), PurePath(path.name).stem
        manifest = _manifest(store, request_id)
        for url in reports.distinct_urls(reports.Table(data)) if data else ():
            if (key := manifest.image_key(url)) in found:
                found[key].append(f"{manifest.name} ({request_id})")
    return found


def _manifest(store: Store, request_id: str) -> RequestManifest:
    """Return the manifest of a request, or one without options where there is none that can be read."""
    try:
        manifest = store.read_manifest(request_id)
    except ValueError:
        manifest = None
    return manifest or RequestManifest("upload.csv")
