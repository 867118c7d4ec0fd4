from __future__ import annotations

from imagi_pipeline.core.images.compression_settings import CompressionSettings


def test_the_fingerprint_is_readable_and_names_all_that_changes_the_bytes() -> None:
    assert CompressionSettings().fingerprint == "v4-balanced-q80-same"
    assert CompressionSettings("small").fingerprint == "v4-small-q70-same"
    every = CompressionSettings("fast", 55, "webp", 1200).fingerprint
    assert every == "v4-fast-q55-webp-1200px"


def test_the_fingerprint_is_the_same_for_a_quality_given_and_meant() -> None:
    assert CompressionSettings(quality=80).fingerprint == CompressionSettings().fingerprint
