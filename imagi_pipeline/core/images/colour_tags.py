"""Read the colours that a file names without an ICC profile: nclx of AVIF and HEIC; cICP, gAMA, cHRM of PNG.

The numbers are those of ITU-T H.273. What they become is what Chromium 150 shows: SDR as defined, and PQ and
HLG with 406 cd/m2 as white and a soft shoulder above half of it (fitted to its pixels, within 14 levels of
255). Chromium takes the curves of BT.601, 709 and 2020 as those of a display, a gamma of 2.4.
"""

from __future__ import annotations

import functools
import itertools
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageFilter

from imagi_pipeline.core.images.opening import SourceImage
from imagi_pipeline.core.images.stripping import boxes, png_chunks

Matrix = tuple[tuple[float, float, float], ...]

_SRGB, _PQ, _HLG = 13, 16, 18
_GAMMAS = {**dict.fromkeys((1, 6, 14, 15), 2.4), 4: 2.2, 5: 2.8, 8: 1.0}
# Chromaticities x and y of white, red, green and blue.
_PRIMARIES = {
    1: (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06),
    9: (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    12: (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
_CHROMATICITY_TOLERANCE = 0.005
_SRGB_GAMMA, _GAMMA_TOLERANCE = 0.45455, 0.01
_WHITE = 406.0
_SHOULDER, _SHOULDER_BEND = 0.5, 1.49
_GRID = 33


@dataclass(frozen=True)
class ColourTag:
    """Primaries (x and y of white, red, green, blue), and the transfer: a number of H.273, or a gamma."""

    primaries: tuple[float, ...]
    transfer: int | float


def told_colour(source: SourceImage) -> ColourTag | None:
    """Return what a file says of its colours; None for sRGB, for an ICC profile, and if it says nothing."""
    if "icc_profile" in source.image.info:
        return None
    tag = None
    if source.format in {"AVIF", "HEIF"}:
        tag = _numbered(_nclx(source.data))
    elif source.format == "PNG":
        tag = _told_by_png(source.data)
    if tag is None or (_are_srgb(tag.primaries) and tag.transfer == _SRGB):
        return None
    return tag


def _nclx(data: bytes) -> tuple[int, int] | None:
    inside: list[tuple[bytes, int, int]] = [(b"", 0, len(data))]
    try:
        while inside:
            kind, start, end = inside.pop()
            if kind == b"colr" and data[start : start + 4] == b"nclx":
                primaries, transfer = struct.unpack_from(">HH", data, start + 4)
                return primaries, transfer
            if kind in {b"", b"iprp", b"ipco"}:
                inside += boxes(data, start, end)
            elif kind == b"meta":
                inside += boxes(data, start + 4, end)
    except (ValueError, struct.error):
        pass  # the decoder says what it thinks of such a file
    return None


def _numbered(numbers: tuple[int, int] | None) -> ColourTag | None:
    if numbers is None:
        return None
    primaries, transfer = numbers
    known = transfer in _GAMMAS.keys() | {_PQ, _HLG}
    return ColourTag(_PRIMARIES.get(primaries, _PRIMARIES[1]), transfer if known else _SRGB)


def _told_by_png(data: bytes) -> ColourTag | None:
    chunks = {}
    for kind, chunk in png_chunks(data):
        if kind == b"IDAT":
            break
        chunks[kind] = chunk[8:-4]
    if len(told := chunks.get(b"cICP", b"")) == 4:
        return _numbered((told[0], told[1]))
    if b"sRGB" in chunks or len(chunks.get(b"gAMA", b"")) != 4:
        return None  # browsers do not look at cHRM alone
    gamma = int.from_bytes(chunks[b"gAMA"], "big") / 100_000
    primaries: tuple[float, ...] = _PRIMARIES[1]
    if len(chunks.get(b"cHRM", b"")) == 32:
        primaries = tuple(level / 100_000 for level in struct.unpack(">8I", chunks[b"cHRM"]))
    if not 0.1 <= gamma <= 10 or not all(0 < y <= 1 for y in primaries[1::2]):
        return None
    try:
        _inverse(_to_xyz(primaries))
    except ZeroDivisionError:
        return None  # three colours on one line
    if _are_srgb(primaries) and abs(gamma - _SRGB_GAMMA) < _GAMMA_TOLERANCE:
        return None
    return ColourTag(primaries, 1 / gamma)


def _are_srgb(primaries: tuple[float, ...]) -> bool:
    pairs = zip(primaries, _PRIMARIES[1], strict=True)
    return all(abs(one - other) < _CHROMATICITY_TOLERANCE for one, other in pairs)


def to_srgb(image: Image.Image, tag: ColourTag) -> Image.Image:
    """Return an image of mode L, LA, RGB or RGBA in sRGB."""
    if image.mode in {"L", "LA"}:
        coloured = to_srgb(image.convert("RGB" if image.mode == "L" else "RGBA"), tag)
        return coloured.convert(image.mode)
    if isinstance(tag.transfer, float):
        # A table of three dimensions is too coarse for the curve of an odd gamma.
        gamma = tag.transfer
        curve = [round(255 * _encoded((level / 255) ** gamma)) for level in range(256)]
        unchanged = list(range(256)) if image.mode == "RGBA" else []
        image = image.point(curve * 3 + unchanged)
        if _are_srgb(tag.primaries):
            return image
        tag = ColourTag(tag.primaries, _SRGB)
    return image.filter(_table(tag))


@functools.lru_cache(maxsize=4)
def _table(tag: ColourTag) -> ImageFilter.Color3DLUT:
    matrix = _product(_inverse(_to_xyz(_PRIMARIES[1])), _to_xyz(tag.primaries))
    linear = [_linear(tag.transfer)(step / (_GRID - 1)) for step in range(_GRID)]
    values: list[float] = []
    for blue, green, red in itertools.product(linear, repeat=3):
        scale = _hdr_scale(tag.transfer, red, green, blue)
        values += (_encoded(scale * (row[0] * red + row[1] * green + row[2] * blue)) for row in matrix)
    return ImageFilter.Color3DLUT(_GRID, values)


def _hdr_scale(transfer: int | float, red: float, green: float, blue: float) -> float:
    if transfer not in {_PQ, _HLG}:
        return 1.0
    system = 1.0
    if transfer == _HLG:  # what a display of 1,000 cd/m2 makes of the light of the scene (BT.2100)
        luminance = 0.2627 * red + 0.678 * green + 0.0593 * blue
        system = 1000 / _WHITE * luminance**0.2
    return system * _shoulder(system * max(red, green, blue))


def _shoulder(brightest: float) -> float:
    """Return the factor, the same for all channels, that brings what is brighter than white into range."""
    if brightest <= _SHOULDER:
        return 1.0
    above = brightest - _SHOULDER
    return (_SHOULDER + above / (1 + _SHOULDER_BEND * above)) / brightest


def _linear(transfer: int | float) -> Callable[[float], float]:
    if transfer == _PQ:
        return _pq
    if transfer == _HLG:
        return _hlg
    if transfer in _GAMMAS:
        return lambda level: float(level ** _GAMMAS[int(transfer)])
    return lambda level: level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4


def _pq(level: float) -> float:
    """Return the light of a PQ signal, by SMPTE ST 2084."""
    root = level ** (1 / 78.84375)
    nits = 10_000 * (max(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
    return float(nits / _WHITE)


def _hlg(level: float) -> float:
    """Return the light of the scene, by ITU-R BT.2100."""
    if level <= 0.5:
        return level**2 / 3
    return (math.exp((level - 0.55991073) / 0.17883277) + 0.28466892) / 12


def _encoded(linear: float) -> float:
    level = min(max(linear, 0.0), 1.0)
    return level * 12.92 if level <= 0.0031308 else float(1.055 * level ** (1 / 2.4) - 0.055)


def _to_xyz(primaries: tuple[float, ...]) -> Matrix:
    columns = [(x / y, 1.0, (1 - x - y) / y) for x, y in zip(primaries[::2], primaries[1::2], strict=True)]
    white, *colours = columns
    plain = tuple(zip(*colours, strict=True))
    shares = [sum(row[k] * white[k] for k in range(3)) for row in _inverse(plain)]
    return tuple((row[0] * shares[0], row[1] * shares[1], row[2] * shares[2]) for row in plain)


def _product(one: Matrix, other: Matrix) -> Matrix:
    return tuple((_sum(row, other, 0), _sum(row, other, 1), _sum(row, other, 2)) for row in one)


def _sum(row: tuple[float, float, float], other: Matrix, column: int) -> float:
    return sum(row[k] * other[k][column] for k in range(3))


def _inverse(matrix: Matrix) -> Matrix:
    (a, b, c), (d, e, f), (g, h, i) = matrix
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    return tuple(
        (row[0] / determinant, row[1] / determinant, row[2] / determinant)
        for row in (
            (e * i - f * h, c * h - b * i, b * f - c * e),
            (f * g - d * i, a * i - c * g, c * d - a * f),
            (d * h - e * g, b * g - a * h, a * e - b * d),
        )
    )
