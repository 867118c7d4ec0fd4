"""What a compressed image shall look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ALGORITHM_VERSION = 4
"""Raise it with every change that changes compressed bytes: images compressed before become stale."""


@dataclass(frozen=True)
class CompressionSettings:
    """What a compressed image shall look like.

    `quality` (1 to 100) unset means 80, and 70 with preset small. Preset lossless changes no pixel that it
    need not change; what must be drawn again as JPEG or AVIF (another size or format) has a quality of 95
    there. `longest_side` and `max_pixels` are in pixels. `output_format` auto makes JPEGs of photographs that
    come as PNG. `png` lossless forbids palettes that change pixels.
    """

    preset: Literal["fast", "balanced", "small", "lossless"] = "balanced"
    quality: int | None = None
    output_format: Literal["same", "auto", "jpeg", "webp", "avif"] = "same"
    longest_side: int | None = None
    max_pixels: int = 50_000_000
    png: Literal["auto", "lossless"] = "auto"

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
    def fingerprint(self) -> str:
        """Return a short stable text of everything that changes the output bytes, such as
        `v4-balanced-q80-same`.
        """
        parts = [f"v{ALGORITHM_VERSION}", self.preset, f"q{self.effective_quality}", self.output_format]
        if self.longest_side is not None:
            parts.append(f"{self.longest_side}px")
        if self.png != "auto":
            parts.append("losslesspng")
        return "-".join(parts)
