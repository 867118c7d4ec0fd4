"""The settings that decide what a compressed image looks like."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast, get_args

ALGORITHM_VERSION = 5
"""Raise it with every change that changes compressed bytes: images compressed before become stale."""

ALGORITHM = f"v{ALGORITHM_VERSION}"

Preset = Literal["fast", "balanced", "small", "lossless"]
OutputFormat = Literal["same", "auto", "auto-webp", "jpeg", "webp", "avif"]
Png = Literal["auto", "lossless"]

HIGHEST_QUALITY = 100
LONGEST_SIDE = 65_535
"""Pixels of a side: no JPEG can be longer."""

_IDENTITY = re.compile(
    rf"({'|'.join(get_args(Preset))})-q(\d+)-({'|'.join(get_args(OutputFormat))})(?:-(\d+)px)?"
    r"(-losslesspng)?"
)


@dataclass(frozen=True)
class CompressionSettings:
    """The settings that decide what a compressed image looks like.

    `quality` (1 to 100) unset means 80, and 70 with preset small. Preset lossless changes no pixel that it
    need not change; what must be drawn again as JPEG or AVIF (another size or format) has a quality of 95
    there. `longest_side` and `max_pixels` are in pixels; `max_pixels` is a limit, and changes no image.
    `output_format` auto makes JPEGs of photographs that come as PNG, and auto-webp the smaller of JPEG and
    WebP. `png` lossless forbids palettes that change pixels.
    """

    preset: Preset = "balanced"
    quality: int | None = None
    output_format: OutputFormat = "same"
    longest_side: int | None = None
    max_pixels: int = 50_000_000
    png: Png = "auto"

    @property
    def effective_quality(self) -> int:
        """Return the quality that the encoder is given."""
        if self.quality is not None:
            return self.quality
        return {"small": 70, "lossless": 95}.get(self.preset, 80)

    @property
    def is_lossless(self) -> bool:
        """Return whether pixels that may stay must stay as they are."""
        return self.preset == "lossless"

    @property
    def chooses_format(self) -> bool:
        """Return whether source and picture decide about the format."""
        return self.output_format in {"same", "auto", "auto-webp"}

    @property
    def identity(self) -> str:
        """Return the one text of what was chosen, such as `balanced-q80-same`.

        It is a part of the name of an image. A setting that is added later must leave the text as it is
        where it is not used.
        """
        parts = [self.preset, f"q{self.effective_quality}", self.output_format]
        if self.longest_side is not None:
            parts.append(f"{self.longest_side}px")
        if self.png != "auto":
            parts.append("losslesspng")
        return "-".join(parts)

    @property
    def fingerprint(self) -> str:
        """Return a text of everything that changes the output bytes, such as `v5-balanced-q80-same`."""
        return f"{ALGORITHM}-{self.identity}"

    @classmethod
    def of(cls, identity: str) -> CompressionSettings:
        """Return the settings that have this identity; raises ValueError when there are none."""
        parts = _IDENTITY.fullmatch(identity)
        if parts is None:
            raise ValueError(f"{identity!r} is no text of image settings, such as balanced-q80-same")
        preset, quality, output_format, side, lossless_png = parts.groups()
        return cls(
            cast("Preset", preset),
            int(quality),
            cast("OutputFormat", output_format),
            int(side) if side else None,
            png="lossless" if lossless_png else "auto",
        )
