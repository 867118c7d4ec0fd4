"""Encode pixels as JPEG: colours by jpegli, where that is installed, everything else by Pillow."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from types import ModuleType

from PIL import Image

from imagi_pipeline.core.images.compressed_image import Encoded
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.images.developing import in_8_bits
from imagi_pipeline.core.images.jpeg_coefficients import Huffman, rewritten
from imagi_pipeline.core.images.jpeg_quality import jpegli_quality, stepping_over
from imagi_pipeline.core.images.saving import saved


def encode_jpeg(
    image: Image.Image, settings: CompressionSettings, source_steps: Sequence[int] | None = None
) -> Encoded:
    """Return the image as a JPEG by the preset; what is transparent lies on white.

    `source_steps` are the steps for luma of the JPEG of the same size that it was, if it was one.
    """
    image = _on_white(in_8_bits(image) if image.mode == "I;16" else image)
    quality = stepping_over(settings.effective_quality, source_steps)
    if settings.preset == "fast":
        return Encoded(encode_plain_jpeg(image, quality), "pillow")
    if image.mode == "RGB" and (encoded := encode_by_jpegli(image.tobytes(), image.size, settings)):
        return encoded
    progressive = settings.preset == "small"
    try:
        data = saved(
            image, "JPEG", quality=quality, subsampling="4:2:0", progressive=progressive, optimize=True
        )
    except OSError:  # noise does not fit into the buffer that Pillow has for this; a plain JPEG needs none
        data = encode_plain_jpeg(image, quality)
    return Encoded(data, "pillow")


def encode_plain_jpeg(image: Image.Image, quality: int) -> bytes:
    """Return an image in mode L or RGB as a JPEG, made in the way that costs least."""
    return saved(image, "JPEG", quality=quality, subsampling="4:2:0")


def encode_by_jpegli(
    pixels: bytes | memoryview, size: tuple[int, int], settings: CompressionSettings
) -> Encoded | None:
    """Return packed RGB pixels as a JPEG; None when jpegli is not installed or refuses them."""
    jpegli = _jpegli()
    if jpegli is None:
        return None
    try:
        data = jpegli.encode(pixels, *size, quality=jpegli_quality(settings.effective_quality))
    except (RuntimeError, ValueError):
        return None
    if settings.preset == "small":
        width, height = size
        smaller = rewritten(data, None, Huffman.PROGRESSIVE, max_pixels=width * height)
        if smaller is not None and len(smaller.data) < len(data):
            data = smaller.data
    return Encoded(data, "jpegli")


def jpegli_is_available() -> bool:
    """Return whether the package pyjpegli is installed."""
    return _jpegli() is not None


@functools.cache
def _jpegli() -> ModuleType | None:
    try:
        import pyjpegli
    except ImportError:  # no wheel fits this machine
        return None
    module: ModuleType = pyjpegli
    return module


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode not in {"LA", "RGBA"}:
        return image
    canvas = Image.new(image.mode[:-1], image.size, "white")
    canvas.paste(image.convert(canvas.mode), mask=image.getchannel("A"))
    return canvas
