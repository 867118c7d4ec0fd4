"""Encode pixels as JPEG."""

from __future__ import annotations

from PIL import Image

from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.images.developing import in_8_bits
from imagi_pipeline.core.images.saving import saved


def encode_jpeg(image: Image.Image, settings: CompressionSettings) -> bytes:
    """JPEG by the preset; what is transparent lies on white."""
    image = _on_white(in_8_bits(image) if image.mode == "I;16" else image)
    quality = settings.effective_quality
    if settings.preset != "fast":
        try:
            return saved(image, "JPEG", quality=quality, subsampling="4:2:0", progressive=True, optimize=True)
        except OSError:
            pass  # noise outgrows the buffer Pillow has for this; the plain way needs none
    return saved(image, "JPEG", quality=quality, subsampling="4:2:0")


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode not in {"LA", "RGBA"}:
        return image
    canvas = Image.new(image.mode[:-1], image.size, "white")
    canvas.paste(image.convert(canvas.mode), mask=image.getchannel("A"))
    return canvas
