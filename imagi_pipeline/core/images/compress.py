"""Compress one image: bytes in, smaller bytes of the same picture out, in sRGB, upright and without metadata.

Everything that decodes or encodes pixels is here; where the bytes come from and go to is not. The functions
set limits of Pillow for their process while they work, so run them in one thread per process.
"""

from __future__ import annotations

import codecs
import functools
import importlib
import io
import itertools
import os
import re
import struct
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import IO, Literal, cast

from PIL import Image, ImageChops, ImageCms, ImageFile

from imagi_pipeline.core.errors import CodecError, ErrorCode
from imagi_pipeline.core.images.metadata import png_chunks, strip_metadata, webp_chunks

ALGORITHM_VERSION = 1
"""Raise it with every change that changes compressed bytes: images compressed before become stale."""

SOURCE_FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF", "BMP", "JPEG2000", "PPM", "PCX", "ICO"),
    "TGA",  # last: it has no signature, so other formats may pass for it
)
"""What is decoded. Left out are formats that start other programs (EPS, WMF) or that no shop uses."""

_PLUGINS = ("Jpeg", "Mpo", "Png", "WebP", "Gif", "Avif", "Tiff", "Bmp", "Jpeg2K", "Ppm", "Pcx", "Ico", "Tga")

_WEB_FORMATS = {
    "JPEG": ("image/jpeg", ".jpg"),
    "PNG": ("image/png", ".png"),
    "WEBP": ("image/webp", ".webp"),
    "GIF": ("image/gif", ".gif"),
    "AVIF": ("image/avif", ".avif"),
}
_ANIMATED_FORMATS = {"GIF", "WEBP", "PNG", "AVIF"}
_LONGEST_SIDES = {"JPEG": 65_500, "WEBP": 16_383, "AVIF": 65_536}

_WORTHWHILE_SIZE = 0.9
_SRGB_TOLERANCE = 2
"""Levels of 255 by which a profile may differ from sRGB and still count as sRGB."""
_SRGB_GAMMA = 0.45

_ORIENTATION_TAG = 0x0112
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_WHAT_IT_IS_INSTEAD = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), code, name)
    for pattern, code, name in (
        (rb"\xff\xd8\xff", ErrorCode.CORRUPT_IMAGE, "a damaged JPEG image"),
        (rb"\x89PNG", ErrorCode.CORRUPT_IMAGE, "a damaged PNG image"),
        (rb"RIFF.{4}WEBP", ErrorCode.CORRUPT_IMAGE, "a damaged WebP image"),
        (rb"GIF8[79]a", ErrorCode.CORRUPT_IMAGE, "a damaged GIF image"),
        (rb".{4}ftypavi[fs]", ErrorCode.CORRUPT_IMAGE, "a damaged AVIF image"),
        (rb"II\*\0|MM\0\*", ErrorCode.CORRUPT_IMAGE, "a damaged or unusual TIFF image"),
        (rb"BM.{4}\0{4}", ErrorCode.CORRUPT_IMAGE, "a damaged BMP image"),
        (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", ErrorCode.CORRUPT_IMAGE, "a damaged JPEG 2000 image"),
        (rb".{4}ftyp(?:mif1|msf1|he[iv][cmxs])", ErrorCode.UNSUPPORTED_FORMAT, "a HEIC photo"),
        (rb"\0\0\0\x0cJXL |\xff\x0a", ErrorCode.UNSUPPORTED_FORMAT, "a JPEG XL image"),
        (rb"8BPS", ErrorCode.UNSUPPORTED_FORMAT, "a Photoshop document"),
        (rb"%PDF-", ErrorCode.UNSUPPORTED_FORMAT, "a PDF document"),
        (rb"%!PS|\xc5\xd0\xd3\xc6", ErrorCode.UNSUPPORTED_FORMAT, "a PostScript drawing"),
        (rb"\s*(?=<)(?:(?!<html).){0,2000}<svg\b", ErrorCode.UNSUPPORTED_FORMAT, "an SVG drawing"),
        (rb".{4}ftyp|\x1aE\xdf\xa3", ErrorCode.NOT_AN_IMAGE, "a video"),
        (rb"PK\x03\x04|\x1f\x8b", ErrorCode.NOT_AN_IMAGE, "an archive"),
        (rb"\s*<(?:!doctype html|html|head|body|script)", ErrorCode.NOT_AN_IMAGE, "a web page"),
        (rb"\s*<", ErrorCode.NOT_AN_IMAGE, "an XML or HTML document"),
        (rb'\s*(?:\{\s*["}]|\[)', ErrorCode.NOT_AN_IMAGE, "JSON data"),
        (rb"[\t\n\r\x20-\x7e\x80-\xff]+\Z", ErrorCode.NOT_AN_IMAGE, "text"),
    )
)
_SNIFFED_BYTES = 2048
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class CompressionSettings:
    """What a compressed image shall look like.

    `quality` (1 to 100) unset means 80, and 70 with preset small. `longest_side` and `max_pixels` are in
    pixels.
    """

    preset: Literal["fast", "balanced", "small"] = "balanced"
    quality: int | None = None
    output_format: Literal["same", "jpeg", "webp", "avif"] = "same"
    longest_side: int | None = None
    max_pixels: int = 50_000_000

    @property
    def effective_quality(self) -> int:
        """The quality that the encoder is given."""
        if self.quality is not None:
            return self.quality
        return 70 if self.preset == "small" else 80

    @property
    def fingerprint(self) -> str:
        """Short stable text of everything that changes the output bytes, such as `v1-balanced-q80-same`."""
        parts = [f"v{ALGORITHM_VERSION}", self.preset, f"q{self.effective_quality}", self.output_format]
        if self.longest_side is not None:
            parts.append(f"{self.longest_side}px")
        return "-".join(parts)


@dataclass(frozen=True)
class CompressedImage:
    """A compressed image and its facts.

    `format` and `source_format` are Pillow's names; sides are in pixels, those of the source before its EXIF
    orientation was applied. `kept_source`: the pixels are the source's own, only metadata was removed.
    """

    data: bytes
    format: str
    media_type: str
    suffix: str
    width: int
    height: int
    source_format: str
    source_width: int
    source_height: int
    kept_source: bool


@dataclass(frozen=True)
class _Source:
    """An opened image whose pixels are not decoded yet."""

    data: bytes
    image: ImageFile.ImageFile
    format: str
    width: int
    height: int

    @property
    def description(self) -> str:
        return f"{self.format} image of {self.width} x {self.height} pixels"


@dataclass(frozen=True)
class _Picture:
    """Pixels as they shall be shown (mode L, LA, RGB, RGBA or I;16) and what had to be done to get them."""

    image: Image.Image
    reshaped: bool
    recoloured: bool


def compress(
    data: bytes, settings: CompressionSettings, claim_pixels: Callable[[int], None] | None = None
) -> CompressedImage:
    """Compress an image; keep its bytes, less their metadata, when that would save less than a tenth.

    `claim_pixels` is called once with the number of pixels before they are decoded and may block until there
    is memory for them; what it raises passes through. Animations stay as they are whatever the settings.
    Raises CodecError, and for no input anything else.
    """
    with _pillow_limited_to(settings.max_pixels):
        source = _open(data)
        _check_pixels(source, settings.max_pixels)
        if claim_pixels is not None:
            claim_pixels(source.width * source.height)
        with _decoding(source):
            animated = source.format in _ANIMATED_FORMATS and getattr(source.image, "is_animated", False)
        return _pass_through(source) if animated else _recompress(source, settings)


def thumbnail(data: bytes, side: int) -> bytes:
    """A small JPEG of at most `side` pixels a side; transparent is white, of an animation the first frame.

    The image must be one that `compress` accepted or made: its pixels are not limited again. Raises
    CodecError.
    """
    with _pillow_limited_to(None):
        source = _open(data)
        with _decoding(source):
            return _encode_jpeg(_develop(source, side).image, CompressionSettings(preset="fast"))


def _pass_through(source: _Source) -> CompressedImage:
    """An animation with all its frames, once the first proves to be whole."""
    with _decoding(source):
        stripped = strip_metadata(source.data, source.format, keep_icc=True)
        # In a damaged file, what is stripped may be what held the rest together.
        shown = _open(stripped).image
        shown.load()
    return _compressed(source, stripped, source.format, shown, kept_source=True)


def _recompress(source: _Source, settings: CompressionSettings) -> CompressedImage:
    with _decoding(source):
        loses = _loses_by_reencoding(source)
        picture = _develop(source, settings.longest_side)
        output_format = _output_format(source, picture.image, settings)
        kept = _showable_source(source, picture, output_format, keep_recoloured=loses)
    if kept is not None and loses:
        return _compressed(source, kept, source.format, picture.image, kept_source=True)
    failure = f"The {source.description} could not be written as {output_format}."
    with _failing_as(ErrorCode.ENCODING_FAILED, failure):
        encoded = _encode(source, picture.image, output_format, settings)
    if kept is not None and len(encoded) > _WORTHWHILE_SIZE * len(kept):
        return _compressed(source, kept, source.format, picture.image, kept_source=True)
    return _compressed(source, encoded, output_format, picture.image, kept_source=False)


def _compressed(
    source: _Source, data: bytes, image_format: str, shown: Image.Image, *, kept_source: bool
) -> CompressedImage:
    media_type, suffix = _WEB_FORMATS[image_format]
    return CompressedImage(
        data=data,
        format=image_format,
        media_type=media_type,
        suffix=suffix,
        width=shown.width,
        height=shown.height,
        source_format=source.format,
        source_width=source.width,
        source_height=source.height,
        kept_source=kept_source,
    )


# --- opening


@contextmanager
def _pillow_limited_to(max_pixels: int | None) -> Iterator[None]:
    """Have Pillow refuse by our limit, and keep its warnings about odd files to itself."""
    previous = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = previous


@contextmanager
def _failing_as(kind: ErrorCode, detail: str) -> Iterator[None]:
    """Make a CodecError of this kind of whatever Pillow raises."""
    try:
        yield
    except CodecError:
        raise
    except MemoryError as error:
        # To the sender a picture for which there is no memory is one that is too large.
        raise CodecError(ErrorCode.TOO_MANY_PIXELS, f"There is no memory to decode it. {detail}") from error
    except Exception as error:
        # Damaged files make Pillow raise almost every kind of exception there is.
        raise CodecError(kind, detail) from error


def _decoding(source: _Source) -> AbstractContextManager[None]:
    return _failing_as(ErrorCode.CORRUPT_IMAGE, f"The {source.description} is damaged or cut off.")


@functools.cache
def _load_codecs() -> None:
    # Asked for a format whose codec is not loaded, Pillow loads every codec it has.
    for plugin in _PLUGINS:
        importlib.import_module(f"PIL.{plugin}ImagePlugin")


def _open(data: bytes) -> _Source:
    """The image behind its header. Raises CodecError that tells what the data are if not an image."""
    _load_codecs()
    try:
        image = Image.open(io.BytesIO(data), formats=SOURCE_FORMATS)
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
    return _Source(data, image, image_format, image.width, image.height)


def _refusal(data: bytes) -> CodecError:
    start = data[:_SNIFFED_BYTES].removeprefix(codecs.BOM_UTF8)
    for pattern, kind, name in _WHAT_IT_IS_INSTEAD:
        if pattern.match(start):
            return CodecError(kind, f"This is {name}.")
    return CodecError(ErrorCode.NOT_AN_IMAGE, "This is no image of any known format.")


def _check_pixels(source: _Source, max_pixels: int) -> None:
    pixels = source.width * source.height
    if pixels > max_pixels:
        raise CodecError(
            ErrorCode.TOO_MANY_PIXELS,
            f"The {source.description} has {pixels:,} pixels in all; the limit is {max_pixels:,}.",
        )


# --- decoding


def _develop(source: _Source, longest_side: int | None) -> _Picture:
    """Decode, convert to sRGB, scale down and turn upright."""
    image: Image.Image = source.image
    size = _fitted((source.width, source.height), longest_side)
    reshaped = size != (source.width, source.height)
    if reshaped:
        # Decode at a fraction of the size if the format can, with pixels to spare for a sharp result.
        source.image.draft(None, (2 * size[0], 2 * size[1]))
    image.load()
    transposition = _transposition(source.image)
    profile = image.info.get("icc_profile")

    plain = _in_plain_mode(image)
    in_srgb = _in_srgb(plain, profile)
    image = _without_opaque_alpha(in_srgb)
    if reshaped:
        image = image.resize(size, Image.Resampling.LANCZOS)
    if transposition is not None:
        image = image.transpose(transposition)
    image.info = {}  # Pillow writes comments and profiles that it finds there
    return _Picture(image, reshaped or transposition is not None, in_srgb is not plain)


def _fitted(size: tuple[int, int], longest_side: int | None) -> tuple[int, int]:
    longest = max(size)
    if longest_side is None or longest <= longest_side:
        return size
    width, height = (max(1, round(side * longest_side / longest)) for side in size)
    return width, height


def _transposition(image: Image.Image) -> Image.Transpose | None:
    """What makes the image upright, from its EXIF orientation."""
    try:
        return _TRANSPOSITIONS.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, struct.error):
        return None  # damaged EXIF must not cost the picture


def _in_plain_mode(image: Image.Image) -> Image.Image:
    """The image in mode L, LA, RGB, RGBA or I;16; in CMYK or LAB if it needs colour management."""
    transparent = image.has_transparency_data
    if image.mode in {"CMYK", "LAB"}:
        return image
    if image.mode == "I;16" and "icc_profile" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _in_8_bits(image)
    if image.mode in {"1", "L", "LA", "La"}:
        mode = "LA" if transparent else "L"
    else:
        mode = "RGBA" if transparent else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _in_8_bits(image: Image.Image) -> Image.Image:
    """A grey image of more than 8 bits in mode L; levels without a natural range fill all of it."""
    low, high = cast("tuple[float, float]", image.getextrema())
    if image.mode.startswith("I") and low >= 0 and high <= 0xFFFF:
        low, high = 0, 0xFFFF
    scale = 255 / (high - low) if high > low else 0.0
    wide = image.convert("I") if image.mode.startswith("I;") else image
    return wide.convert("F").point(lambda level: level * scale + (0.5 - low * scale)).convert("L")


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The image in sRGB: itself if it is so already; without a usable profile, CMYK as browsers show it."""
    if image.mode == "LA":
        grey, alpha = image.split()
        recoloured = _in_srgb(grey, profile)
        return image if recoloured is grey else Image.merge("LA", (recoloured, alpha))
    transform = _srgb_transform(profile, image.mode)
    if transform is not None:
        converted = transform.apply(image)
        return converted.convert("L") if image.mode == "L" else converted
    return image.convert("RGB") if image.mode in {"CMYK", "LAB"} else image


@functools.lru_cache(maxsize=16)
def _srgb_transform(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform of a profile to sRGB; None if there is nothing to do, or the profile is of no use."""
    try:
        if mode == "LAB":
            source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        elif profile:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        else:
            return None
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        transform = ImageCms.buildTransform(source, srgb, mode, "RGBA" if mode == "RGBA" else "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return None if _changes_nothing(transform, mode) else transform


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    if mode not in {"L", "RGB", "RGBA"}:
        return False
    levels = range(0, 256, 15)
    colours = bytes(
        level for red in levels for green in levels for blue in levels for level in (red, green, blue)
    )
    probe = Image.frombytes("RGB", (len(levels), len(levels) ** 2), colours).convert(mode)
    difference = ImageChops.difference(probe.convert("RGB"), transform.apply(probe).convert("RGB"))
    extrema = cast("tuple[tuple[int, int], ...]", difference.getextrema())
    return all(most <= _SRGB_TOLERANCE for _, most in extrema)


def _without_opaque_alpha(image: Image.Image) -> Image.Image:
    if image.mode in {"LA", "RGBA"} and image.getextrema()[-1] == (255, 255):
        return image.convert(image.mode[:-1])
    return image


# --- what to make of it


def _output_format(source: _Source, image: Image.Image, settings: CompressionSettings) -> str:
    transparent = image.mode in {"LA", "RGBA"}
    # Lossy compression blurs the scans and line drawings that come in black and white.
    lossless = transparent or source.image.mode == "1"
    wanted = source.format
    if settings.output_format != "same":
        wanted = settings.output_format.upper()
    elif source.format not in _WEB_FORMATS:
        wanted = "PNG" if lossless else "JPEG"
    elif source.format == "GIF" and _indexed(image) is None:
        wanted = "PNG"
    return _holding(wanted, image, transparent)


def _holding(wanted: str, image: Image.Image, transparent: bool) -> str:
    """The wanted format, or one for browsers that can hold an image with sides as long as these."""
    longest = max(image.size)
    for image_format in (wanted, "PNG" if transparent else "JPEG"):
        if longest <= _LONGEST_SIDES.get(image_format, longest):
            return image_format
    return "PNG"


def _loses_by_reencoding(source: _Source) -> bool:
    """Whether a PNG holds what Pillow drops: 16 bits a channel, or a colour space given without a profile.

    It is dropped all the same when the pixels must change anyhow.
    """
    if source.format != "PNG":
        return False
    chunks = dict(_png_header(source.data))
    bit_depth = chunks[b"IHDR"][16]
    info = source.image.info
    if bit_depth == 16 and (source.image.mode != "I;16" or {"icc_profile", "transparency"} & info.keys()):
        return True
    odd_gamma = abs(info.get("gamma", _SRGB_GAMMA) - _SRGB_GAMMA) > 0.01
    return b"cICP" in chunks or (odd_gamma and not {"srgb", "icc_profile"} & info.keys())


def _png_header(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    return itertools.takewhile(lambda chunk: chunk[0] != b"IDAT", png_chunks(data))


def _showable_source(
    source: _Source, picture: _Picture, output_format: str, *, keep_recoloured: bool
) -> bytes | None:
    """The source without metadata; None if that is not the picture that was asked for."""
    if output_format != source.format or picture.reshaped:
        return None
    if picture.recoloured and not keep_recoloured:
        return None
    try:
        return strip_metadata(source.data, source.format, keep_icc=picture.recoloured)
    except ValueError:
        return None  # bytes that cannot be followed may hide metadata


# --- encoding


def _encode(source: _Source, image: Image.Image, output_format: str, settings: CompressionSettings) -> bytes:
    fast = settings.preset == "fast"
    quality = settings.effective_quality
    if output_format == "JPEG":
        return _encode_jpeg(image, settings)
    if output_format == "GIF":
        return _encode_gif(image)
    if output_format == "PNG":
        return _encode_png(image, fast)
    image = _in_8_bits(image) if image.mode == "I;16" else image
    if output_format == "WEBP":
        lossless = _is_lossless_webp(source)
        method = 2 if fast else 4
        return _saved(image, "WEBP", quality=quality, method=method, lossless=lossless, exact=lossless)
    return _saved(image, "AVIF", quality=quality, speed=8 if fast else 6, max_threads=1)


def _is_lossless_webp(source: _Source) -> bool:
    return source.format == "WEBP" and any(kind == b"VP8L" for kind, _ in webp_chunks(source.data))


def _encode_jpeg(image: Image.Image, settings: CompressionSettings) -> bytes:
    image = _on_white(_in_8_bits(image) if image.mode == "I;16" else image)
    quality = settings.effective_quality
    if settings.preset != "fast":
        try:
            return _saved(
                image, "JPEG", quality=quality, subsampling="4:2:0", progressive=True, optimize=True
            )
        except OSError:
            pass  # noise outgrows the buffer Pillow has for this; the plain way needs none
    return _saved(image, "JPEG", quality=quality, subsampling="4:2:0")


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode not in {"LA", "RGBA"}:
        return image
    canvas = Image.new(image.mode[:-1], image.size, "white")
    canvas.paste(image.convert(canvas.mode), mask=image.getchannel("A"))
    return canvas


def _encode_png(image: Image.Image, fast: bool) -> bytes:
    # Four times as fast as optimize, for files larger by 3%.
    effort: dict[str, object] = {"compress_level": 4} if fast else {"optimize": True}
    if image.mode == "L":
        return _saved(image, "PNG", bits=_grey_bits(image), **effort)
    indexed = _indexed(image)
    if indexed is None:
        return _saved(image, "PNG", **effort)
    if indexed.alpha:
        effort["transparency"] = indexed.alpha
    return _saved(indexed.image, "PNG", **effort)


def _encode_gif(image: Image.Image) -> bytes:
    indexed = cast("_Indexed", _indexed(image))
    if indexed.alpha:
        return _saved(indexed.image, "GIF", transparency=0)
    return _saved(indexed.image, "GIF")


def _grey_bits(image: Image.Image) -> int:
    """The fewest bits a pixel that hold every level of a grey image exactly."""
    levels = [level for level, count in enumerate(image.histogram()) if count]
    for bits in (1, 2, 4):
        if all(level % (255 // (2**bits - 1)) == 0 for level in levels):
            return bits
    return 8


@dataclass(frozen=True)
class _Indexed:
    """An image with a palette whose first colours have these alpha values; the others are opaque."""

    image: Image.Image
    alpha: bytes


def _indexed(image: Image.Image) -> _Indexed | None:
    """The same pixels with a palette of at most 256 colours, if they have no more."""
    if image.mode == "I;16" or image.getcolors(256) is None:
        return None
    image = image.convert("RGBA")
    counted = cast("list[tuple[int, tuple[int, int, int, int]]]", image.getcolors(256))
    colours = sorted((colour for _, colour in counted), key=lambda colour: (colour[3], colour))
    index_of = {int.from_bytes(colour, sys.byteorder): index for index, colour in enumerate(colours)}
    # Image.quantize guesses; one look-up for each pixel does not.
    pixels = memoryview(image.tobytes()).cast("I")
    indexed = Image.frombytes("P", image.size, bytes(map(index_of.__getitem__, pixels)))
    indexed.putpalette(bytes(level for colour in colours for level in colour[:3]))
    return _Indexed(indexed, bytes(colour[3] for colour in colours).rstrip(b"\xff"))


def _saved(image: Image.Image, image_format: str, **options: object) -> bytes:
    # For a file with a descriptor Pillow's JPEG encoder lets other threads run, for BytesIO it does not.
    with _scratch_file() as file:
        image.save(file, image_format, **options)
        file.seek(0)
        return file.read()


def _scratch_file() -> IO[bytes]:
    if sys.platform == "linux":
        return os.fdopen(os.memfd_create("image"), "w+b")
    return tempfile.TemporaryFile()
