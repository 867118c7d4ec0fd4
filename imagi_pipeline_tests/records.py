"""Image records for tests that need one without an image."""

from __future__ import annotations

from collections.abc import Iterable

from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.storage import keys
from imagi_pipeline.core.storage.records import ImageRecord


def image_key(url: str, settings: CompressionSettings | None = None) -> str:
    """Return the key of an image, with the default settings of an installation."""
    return keys.image_key(url, (settings or CompressionSettings()).identity)


def image_keys(urls: Iterable[str], settings: CompressionSettings | None = None) -> dict[str, str]:
    """Return the keys of images by URL, as the engine takes them."""
    return {url: image_key(url, settings) for url in urls}


def image_record(url: str, *, source_bytes: int = 10, size: int = 3) -> ImageRecord:
    """Return the record of a tiny JPEG behind `url`, of `size` bytes."""
    return ImageRecord(
        url=url,
        file=image_key(url) + ".jpg",
        source_format="JPEG",
        source_bytes=source_bytes,
        source_width=4,
        source_height=3,
        source_digest="0" * 64,
        format="JPEG",
        bytes=size,
        width=4,
        height=3,
        kept_source=False,
        settings="v1",
        etag=None,
        last_modified=None,
        checked_at=1.0,
    )
