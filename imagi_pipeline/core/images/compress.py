"""Compress one image: bytes in, smaller bytes of the same picture out, in sRGB, upright and without metadata.

Where the bytes come from and go to is not known here. The functions set limits of Pillow for their process
while they work, so run them in one thread per process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from imagi_pipeline.core.errors import CodecError, ErrorCode
from imagi_pipeline.core.images.choosing import (
    WEB_FORMATS,
    best_format,
    loses_by_reencoding,
    output_formats_of,
    showable_source,
)
from imagi_pipeline.core.images.compressed_image import CompressedImage
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.images.developing import develop
from imagi_pipeline.core.images.encoding import encode
from imagi_pipeline.core.images.jpeg_encoding import encode_jpeg
from imagi_pipeline.core.images.opening import (
    SourceImage,
    check_pixels,
    decoding,
    failing_as,
    open_source,
    pillow_limited_to,
)
from imagi_pipeline.core.images.repairing import repaired
from imagi_pipeline.core.images.requantizing import refused_as_damaged, requantized
from imagi_pipeline.core.images.stripping import strip_metadata

_ANIMATED_FORMATS = {"GIF", "WEBP", "PNG", "AVIF"}
_LOSSY_FORMATS = {"JPEG", "WEBP", "AVIF"}
_WORTHWHILE_SIZE = 0.9
_MEMORY_OF_OTHERS = 2
"""Pixels of other formats than JPEG count twice: decoder and encoder take 18 to 34 bytes for each, and JPEGs,
which mostly stay coefficients, 3 to 16 (measured at 8 megapixels)."""


def compress(
    data: bytes, settings: CompressionSettings, claim_pixels: Callable[[int], None] | None = None
) -> CompressedImage:
    """Compress an image; keep its bytes, less their metadata, when that would save less than a tenth.

    `claim_pixels` is called once with the number of pixels, of 16 bytes each, before they are decoded and may
    block until there is memory for them; what it raises passes through. Animations stay as they are whatever
    the settings. Raises CodecError, and for no input anything else.
    """
    claims = iter([] if claim_pixels is None else [claim_pixels])
    with pillow_limited_to(settings.max_pixels):
        try:
            return _compress(data, settings, claims)
        except CodecError as error:
            whole = repaired(data) if error.kind is ErrorCode.CORRUPT_IMAGE else None
            if whole is None:
                raise
        return replace(_compress(whole.data, settings, claims), note=whole.note)


def thumbnail(data: bytes, side: int) -> bytes:
    """Return a small JPEG of at most `side` pixels a side; transparent is white, of an animation the first
    frame.

    The image must be one that `compress` accepted or made: its pixels are not limited again. Raises
    CodecError.
    """
    with pillow_limited_to(None):
        try:
            return _thumbnail(data, side)
        except CodecError:
            whole = repaired(data)
            if whole is None:
                raise
        return _thumbnail(whole.data, side)


def _thumbnail(data: bytes, side: int) -> bytes:
    source = open_source(data)
    with decoding(source):
        return encode_jpeg(develop(source, side).image, CompressionSettings(preset="fast")).data


def _compress(
    data: bytes, settings: CompressionSettings, claims: Iterator[Callable[[int], None]]
) -> CompressedImage:
    source = open_source(data)
    check_pixels(source, settings.max_pixels)
    for claim_pixels in claims:
        claim_pixels(source.width * source.height * (1 if source.format == "JPEG" else _MEMORY_OF_OTHERS))
    with decoding(source):
        animated = source.format in _ANIMATED_FORMATS and getattr(source.image, "is_animated", False)
    return _pass_through(source) if animated else _recompress(source, settings)


def _pass_through(source: SourceImage) -> CompressedImage:
    """Return an animation with all its frames, once the first proves to be whole."""
    with decoding(source):
        stripped = strip_metadata(source.data, source.format, keep_icc=True)
        # In a damaged file, what is stripped may be what held the rest together.
        shown = open_source(stripped).image
        shown.load()
    return _compressed(source, stripped, source.format, shown.size, kept_source=True, encoder="kept")


def _recompress(source: SourceImage, settings: CompressionSettings) -> CompressedImage:
    with decoding(source):
        without_pixels = requantized(source, settings)
        if without_pixels is not None:
            encoder = "coefficients" if without_pixels.is_rewritten else "kept"
            return _compressed(
                source,
                without_pixels.data,
                "JPEG",
                (without_pixels.width, without_pixels.height),
                kept_source=without_pixels.is_source,
                encoder=encoder,
            )
        loses = loses_by_reencoding(source)
        picture = develop(source, settings.longest_side)
        formats = output_formats_of(source, picture.image, settings)
        kept = showable_source(source, picture, settings, keep_recoloured=loses or settings.is_lossless)
    if settings.is_lossless:
        loses = loses or picture.recoloured or not _LOSSY_FORMATS.isdisjoint(formats)
    if kept is not None and not settings.is_lossless and refused_as_damaged(source):
        kept = None  # what a decoder skips may be what somebody hides
    if kept is not None and loses:
        return _compressed(source, kept, source.format, picture.image.size, kept_source=True, encoder="kept")
    failure = f"The {source.description} could not be written as {' or '.join(formats)}."
    with failing_as(ErrorCode.ENCODING_FAILED, failure):
        made = {each: encode(source, picture.image, each, settings) for each in formats}
    sizes = {each: len(encoded.data) for each, encoded in made.items()}
    if kept is not None and source.format in sizes:
        sizes[source.format] = min(sizes[source.format], len(kept))
    output_format = best_format(sizes)
    encoded = made[output_format]
    # Pixels that stay the same are worth every byte; others only if it is many.
    most = 1.0 if encoded.encoder == "oxipng" else _WORTHWHILE_SIZE
    if kept is not None and len(encoded.data) >= most * len(kept):
        return _compressed(source, kept, source.format, picture.image.size, kept_source=True, encoder="kept")
    return _compressed(
        source,
        encoded.data,
        output_format,
        picture.image.size,
        kept_source=False,
        encoder=encoded.encoder,
    )


def _compressed(
    source: SourceImage,
    data: bytes,
    image_format: str,
    size: tuple[int, int],
    *,
    kept_source: bool,
    encoder: str,
) -> CompressedImage:
    media_type, suffix = WEB_FORMATS[image_format]
    return CompressedImage(
        data=data,
        format=image_format,
        media_type=media_type,
        suffix=suffix,
        width=size[0],
        height=size[1],
        source_format=source.format,
        source_width=source.width,
        source_height=source.height,
        kept_source=kept_source,
        encoder=encoder,
    )
