"""Image records for tests that need one without an image."""

from __future__ import annotations

from imagi_pipeline.core.storage.keys import image_key
from imagi_pipeline.core.storage.records import ImageRecord


def image_record(url: str, *, source_bytes: int = 10, size: int = 3) -> ImageRecord:
    """The record of a tiny JPEG behind `url`, of `size` bytes."""
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
