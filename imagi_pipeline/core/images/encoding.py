"""Encode pixels in the format that was chosen."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from imagi_pipeline.core.images.compressed_image import Encoded
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.images.developing import in_8_bits
from imagi_pipeline.core.images.jpeg_encoding import encode_jpeg
from imagi_pipeline.core.images.jpeg_quality import webp_quality
from imagi_pipeline.core.images.opening import SourceImage
from imagi_pipeline.core.images.png_encoding import encode_png
from imagi_pipeline.core.images.saving import saved
from imagi_pipeline.core.images.stripping import webp_chunks


def encode(
    source: SourceImage, image: Image.Image, output_format: str, settings: CompressionSettings
) -> Encoded:
    """Return the image as a file of the format, which must be able to hold it."""
    if output_format == "JPEG":
        return encode_jpeg(image, settings, _luma_steps(source, image))
    if output_format == "PNG":
        return encode_png(image, settings)
    return Encoded(_encode_by_pillow(source, image, output_format, settings), "pillow")


def _luma_steps(source: SourceImage, image: Image.Image) -> Sequence[int] | None:
    """Return the steps that a JPEG was quantized with; None when its blocks are no blocks of the image."""
    tables: dict[int, list[int]] = getattr(source.image, "quantization", {})
    if sorted(image.size) != sorted((source.width, source.height)):
        return None
    return tables.get(0)


def _encode_by_pillow(
    source: SourceImage, image: Image.Image, output_format: str, settings: CompressionSettings
) -> bytes:
    fast = settings.preset == "fast"
    image = in_8_bits(image) if image.mode == "I;16" else image
    if output_format == "WEBP":
        lossless = settings.is_lossless or _is_lossless_webp(source)
        method = 2 if fast else 4
        quality = settings.effective_quality
        told = quality if lossless else webp_quality(quality)
        return saved(image, "WEBP", quality=told, method=method, lossless=lossless, exact=lossless)
    return saved(image, "AVIF", quality=settings.effective_quality, speed=8 if fast else 6, max_threads=1)


def _is_lossless_webp(source: SourceImage) -> bool:
    return source.format == "WEBP" and any(kind == b"VP8L" for kind, _ in webp_chunks(source.data))
