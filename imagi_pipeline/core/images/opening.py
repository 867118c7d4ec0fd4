"""Open an image without decoding its pixels, and tell what a file is that is no image.

Everything that Pillow raises becomes a CodecError here, and only here.
"""

from __future__ import annotations

import functools
import importlib
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import cast

from PIL import Image, ImageFile

from imagi_pipeline.core.errors import CodecError, ErrorCode
from imagi_pipeline.core.images.signatures import FileKind, FileType, file_type

SOURCE_FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF", "BMP", "JPEG2000", "PPM", "PCX", "ICO", "PSD"),
    "TGA",  # last: it has no signature, so other formats may pass for it
)
"""What is decoded, and HEIF. Left out are formats that start other programs (EPS) or that no shop uses."""

_PLUGINS = (
    "Jpeg",
    "Mpo",
    "Png",
    "WebP",
    "Gif",
    "Avif",
    "Tiff",
    "Bmp",
    "Jpeg2K",
    "Ppm",
    "Pcx",
    "Ico",
    "Psd",
    "Tga",
)

_LARGEST_PNG_PROFILE = 4 * 1024 * 1024
"""Bytes of a colour profile or a text in a PNG, decompressed. Pillow's own limit is 1 MiB."""

_WHY_NOT = {
    "SVG drawing": ", which has no pixels to compress: serve the file itself, or export it as PNG",
    "HEIC photo": ", which needs the package pi-heif: install it, or export the photo as JPEG",
}

_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class SourceImage:
    """An opened image whose pixels are not decoded yet."""

    data: bytes
    image: ImageFile.ImageFile
    format: str
    width: int
    height: int

    @property
    def description(self) -> str:
        """Return format and size, for messages."""
        return f"{self.format} image of {self.width} x {self.height} pixels"


@contextmanager
def pillow_limited_to(max_pixels: int | None) -> Iterator[None]:
    """Make Pillow refuse by our limit, and silence its warnings about odd files."""
    previous = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = previous


@contextmanager
def failing_as(kind: ErrorCode, detail: str) -> Iterator[None]:
    """Turn whatever Pillow raises into a CodecError of this kind."""
    try:
        yield
    except CodecError:
        raise
    except MemoryError as error:
        # For the sender, a picture for which there is no memory is too large.
        raise CodecError(ErrorCode.TOO_MANY_PIXELS, f"There is no memory to decode it. {detail}") from error
    except Exception as error:
        # Damaged files make Pillow raise almost every kind of exception there is.
        raise CodecError(kind, detail) from error


def decoding(source: SourceImage) -> AbstractContextManager[None]:
    """Turn whatever goes wrong into a CodecError about a damaged image."""
    return failing_as(ErrorCode.CORRUPT_IMAGE, f"The {source.description} is damaged or cut off.")


@functools.cache
def load_codecs() -> None:
    """Import what decodes and encodes all formats; it is done once, with the first image at the latest."""
    # When asked for a format whose codec is not loaded, Pillow loads every codec it has.
    for plugin in _PLUGINS:
        importlib.import_module(f"PIL.{plugin}ImagePlugin")
    from PIL import PngImagePlugin

    PngImagePlugin.MAX_TEXT_CHUNK = _LARGEST_PNG_PROFILE


@functools.cache
def heif_is_available() -> bool:
    """Return whether HEIC photos can be decoded; where they can, have Pillow do it, in one thread."""
    try:
        import pi_heif
    except ImportError:  # no wheel fits this machine
        return False
    pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
    return True


def _is_heif(found: FileType | None) -> bool:
    return found is not None and found.name == "HEIC photo"


def open_source(data: bytes) -> SourceImage:
    """Return the image behind its header. Raises CodecError that tells what the data are if not an image."""
    load_codecs()
    formats: tuple[str, ...] = SOURCE_FORMATS
    if _is_heif(file_type(data)) and heif_is_available():
        formats = (*SOURCE_FORMATS, "HEIF")
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    except Image.DecompressionBombError as error:
        # Pillow gives up at twice the limit, before anyone else learns the size.
        found = _NUMBER.search(str(error))
        pixels = f"{int(found[0]):,}" if found else "far too many"
        detail = f"The image has {pixels} pixels; the limit is {Image.MAX_IMAGE_PIXELS:,}."
        raise CodecError(ErrorCode.TOO_MANY_PIXELS, detail) from error
    except MemoryError as error:
        raise CodecError(ErrorCode.TOO_MANY_PIXELS, "There is no memory to open the image.") from error
    except Exception as error:
        # The plugins raise almost every kind of exception on files that only look like theirs.
        raise _refusal(data) from error
    # The first picture of a multi-picture file, as phones write, is a plain JPEG.
    image_format = "JPEG" if image.format == "MPO" else cast("str", image.format)
    return SourceImage(data, image, image_format, image.width, image.height)


def _refusal(data: bytes) -> CodecError:
    found = file_type(data)
    if found is None:
        return CodecError(ErrorCode.NOT_AN_IMAGE, "This is no image of any known format.")
    if found.kind is FileKind.IMAGE or (_is_heif(found) and heif_is_available()):
        return CodecError(ErrorCode.CORRUPT_IMAGE, f"This is a damaged or unusual {found.name}.")
    is_picture = found.kind is FileKind.OTHER_PICTURE
    kind = ErrorCode.UNSUPPORTED_FORMAT if is_picture else ErrorCode.NOT_AN_IMAGE
    reason = _WHY_NOT.get(found.name, "")
    return CodecError(kind, f"This is {found.description}{reason}.")


def check_pixels(source: SourceImage, max_pixels: int) -> None:
    """Raise CodecError when an image has more pixels than `max_pixels`."""
    pixels = source.width * source.height
    if pixels > max_pixels:
        raise CodecError(
            ErrorCode.TOO_MANY_PIXELS,
            f"The {source.description} has {pixels:,} pixels in all; the limit is {max_pixels:,}.",
        )
