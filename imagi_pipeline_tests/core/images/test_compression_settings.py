from __future__ import annotations

import pytest

from imagi_pipeline.core.images.compression_settings import CompressionSettings


def test_the_fingerprint_is_readable_and_names_all_that_changes_the_bytes() -> None:
    assert CompressionSettings().fingerprint == "v5-balanced-q80-same"
    assert CompressionSettings("small").fingerprint == "v5-small-q70-same"
    every = CompressionSettings("fast", 55, "webp", 1200).fingerprint
    assert every == "v5-fast-q55-webp-1200px"


@pytest.mark.parametrize(
    "settings",
    [
        CompressionSettings("fast", 55, "webp", 1200, png="lossless"),
        CompressionSettings("lossless", quality=95),
        CompressionSettings("fast", quality=55, output_format="auto-webp", longest_side=1200),
    ],
)
def test_settings_are_read_back_from_their_identity(settings: CompressionSettings) -> None:
    assert CompressionSettings.of(settings.identity) == settings


@pytest.mark.parametrize("text", ["", "v3-balanced-q80-same", "balanced-q80", "best-q80-same", "small-q70"])
def test_a_text_that_is_no_identity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no text of image settings"):
        CompressionSettings.of(text)


def test_a_limit_is_no_part_of_what_an_image_is() -> None:
    assert CompressionSettings(max_pixels=5).fingerprint == CompressionSettings().fingerprint


def test_the_fingerprint_is_the_same_for_a_quality_given_and_meant() -> None:
    assert CompressionSettings(quality=80).fingerprint == CompressionSettings().fingerprint
