"""Read and check what the sender of a request may choose for its images; it is checked only here."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, get_args

from imagi_pipeline.core.errors import OptionError
from imagi_pipeline.core.images.compression_settings import (
    HIGHEST_QUALITY,
    LONGEST_SIDE,
    CompressionSettings,
    OutputFormat,
    Png,
    Preset,
)
from imagi_pipeline.core.printable import printable

WORDS: dict[str, tuple[str, ...]] = {
    "preset": get_args(Preset),
    "format": get_args(OutputFormat),
    "png": get_args(Png),
}
MOST = {"quality": HIGHEST_QUALITY, "longest_side": LONGEST_SIDE}
"""The options that are one of some words, and those that are a whole number from 1 to so much."""


@dataclass(frozen=True, slots=True)
class CompressionOptions:
    """What was chosen for a request; the installation decides about None. `longest_side` is in pixels."""

    preset: Preset | None = None
    quality: int | None = None
    format: OutputFormat | None = None
    longest_side: int | None = None
    png: Png | None = None

    @classmethod
    def parse(cls, given: Mapping[str, object]) -> CompressionOptions:
        """Read options by name, with values as text or numbers; None and an empty text mean "not chosen".

        Raises OptionError for an unknown name and for an impossible value.
        """
        for name in given:
            if name not in OPTION_NAMES:
                raise unknown_name(name, OPTION_NAMES)
        chosen: dict[str, Any] = {
            name: _checked(name, value) for name, value in given.items() if value not in (None, "")
        }
        return cls(**chosen)

    @property
    def chosen(self) -> dict[str, Any]:
        """Return the options that were chosen, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def updated(self, other: CompressionOptions) -> CompressionOptions:
        """Return these options with those that `other` chose."""
        return replace(self, **other.chosen)

    def over(self, defaults: CompressionSettings) -> CompressionSettings:
        """Return what images are made with: the installation's defaults for what was not chosen."""
        chosen = self.chosen
        if "format" in chosen:
            chosen["output_format"] = chosen.pop("format")
        return replace(defaults, **chosen)


OPTION_NAMES = tuple(field.name for field in fields(CompressionOptions))


def unknown_name(name: str, known: tuple[str, ...]) -> OptionError:
    """Return the refusal of a name that is not known, with the one that was probably meant."""
    nearest = difflib.get_close_matches(name, known, n=1)
    meant = f"Did you mean {nearest[0]}?" if nearest else f"There are: {', '.join(known)}."
    return OptionError(name, f"There is no option {name!r}. {meant}")


def _checked(name: str, value: object) -> str | int:
    if name in WORDS:
        if value in WORDS[name]:
            return str(value)
        raise OptionError(name, f"{name} is one of {', '.join(WORDS[name])}, not {printable(value)!r}.")
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if is_number or (isinstance(value, str) and value.isascii() and value.isdigit()):
        number = int(str(value)[:20])
        if 1 <= number <= MOST[name]:
            return number
    raise OptionError(name, f"{name} is a whole number from 1 to {MOST[name]:,}, not {printable(value)!r}.")
