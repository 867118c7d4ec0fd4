"""From an image's key back to its URL."""

from __future__ import annotations

from collections.abc import Iterable

from imagi_pipeline.core import reports
from imagi_pipeline.core.storage.keys import image_key, is_image_key
from imagi_pipeline.core.storage.store import Store


def image_urls(store: Store, keys: Iterable[str]) -> dict[str, str]:
    """Return the URLs of images by key: from their records, else from the newest requests that name them.

    A key that nothing names is left out.
    """
    keys = [key for key in keys if is_image_key(key)]
    urls = {key: record.url for key in keys if (record := store.read_record(key))}
    missing = set(keys) - urls.keys()
    for path in store.reference_tables() if missing else ():
        data = store.read(path)
        for url in reports.distinct_urls(reports.Table(data)) if data else ():
            if (key := image_key(url)) in missing:
                urls[key] = url
                missing.remove(key)
        if not missing:
            break
    return {key: urls[key] for key in keys if key in urls}
