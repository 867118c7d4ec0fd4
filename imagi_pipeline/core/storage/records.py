"""Define the record of a compressed image."""

from __future__ import annotations

from dataclasses import dataclass

from imagi_pipeline.core.images.compression_settings import CompressionSettings


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """The facts of one compressed image. Sizes are in bytes, sides in pixels, times in seconds since 1970."""

    url: str
    file: str
    source_format: str
    source_bytes: int
    source_width: int
    source_height: int
    source_digest: str
    format: str
    bytes: int
    width: int
    height: int
    kept_source: bool
    settings: str
    etag: str | None
    last_modified: str | None
    checked_at: float
    encoder: str | None = None
    """The way that made the bytes; None in records of earlier versions, which did not write it."""
    note: str = ""
    """What was wrong with a source that could be compressed nevertheless."""

    @property
    def compression(self) -> CompressionSettings | None:
        """Return what the image was made with, without the version; None if nothing tells it."""
        try:
            return CompressionSettings.of(self.settings.partition("-")[2])
        except ValueError:
            return None

    @property
    def algorithm(self) -> str:
        """Return the version of the algorithm that made the image, such as `v5`."""
        return self.settings.partition("-")[0]

    @property
    def data_version(self) -> str:
        """Return a text that is equal for equal sources compressed with equal settings."""
        return f"{self.settings}-{self.source_digest[:16]}"
