"""Convert pixels to sRGB by the colour profile of their file."""

from __future__ import annotations

import functools
import io
from typing import cast

from PIL import Image, ImageChops, ImageCms

_SRGB_TOLERANCE = 2
"""Levels of 255 by which a profile may differ from sRGB and still count as sRGB."""


def in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return the image in sRGB: itself if it is so already; without a usable profile, CMYK as browsers show
    it.
    """
    if image.mode == "LA":
        grey, alpha = image.split()
        recoloured = in_srgb(grey, profile)
        return image if recoloured is grey else Image.merge("LA", (recoloured, alpha))
    transform = _srgb_transform(profile, image.mode)
    if transform is not None:
        converted = transform.apply(image)
        return converted.convert("L") if image.mode == "L" else converted
    return image.convert("RGB") if image.mode in {"CMYK", "LAB"} else image


def is_srgb(mode: str, profile: bytes | None) -> bool:
    """Return whether pixels of a mode (L or RGB) with a colour profile need no conversion."""
    return _srgb_transform(profile, mode) is None


@functools.lru_cache(maxsize=16)
def _srgb_transform(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform of a profile to sRGB; None if none is needed, or the profile cannot be used."""
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
