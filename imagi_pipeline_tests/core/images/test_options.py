from __future__ import annotations

import pytest

from imagi_pipeline.core.errors import OptionError
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.images.options import CompressionOptions


def test_options_are_read_from_text_and_from_numbers() -> None:
    chosen = CompressionOptions("small", 60, "webp", 1200, "lossless")
    texts = {"preset": "small", "quality": "60", "format": "webp", "longest_side": "1200", "png": "lossless"}
    assert CompressionOptions.parse(texts) == chosen
    assert CompressionOptions.parse(chosen.chosen) == chosen


def test_what_is_left_empty_is_not_chosen() -> None:
    assert CompressionOptions.parse({"preset": "", "quality": None}) == CompressionOptions()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("qualty", 60, "Did you mean quality?"),
        ("colour", 60, "There are: preset, quality, format, longest_side, png."),
        ("preset", "tiny", "one of fast, balanced, small, lossless, not 'tiny'"),
        ("format", "gif", "one of same, auto, auto-webp, jpeg, webp, avif"),
        ("quality", "0", "from 1 to 100, not '0'"),
        ("quality", 101, "from 1 to 100"),
        ("quality", True, "from 1 to 100"),
        ("quality", 80.5, "from 1 to 100"),
        ("quality", "\u0661", "from 1 to 100"),
        ("longest_side", "-5", "from 1 to 65,535"),
        ("longest_side", "9" * 5000, "from 1 to 65,535"),
    ],
)
def test_what_cannot_be_is_refused_with_its_name(name: str, value: object, words: str) -> None:
    with pytest.raises(OptionError) as refused:
        CompressionOptions.parse({name: value})
    assert words in refused.value.message
    assert refused.value.option == name


def test_what_is_not_chosen_is_as_the_installation_has_it() -> None:
    defaults = CompressionSettings("small", 60, "webp", 1200, max_pixels=5)
    assert CompressionOptions().over(defaults) == defaults
    assert CompressionOptions("fast", format="same").over(defaults) == CompressionSettings(
        "fast", 60, "same", 1200, max_pixels=5
    )
