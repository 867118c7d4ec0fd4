from __future__ import annotations

import pytest
from PIL import Image

from imagi_pipeline.core.images import jpeg_encoding
from imagi_pipeline.core.images.compress import compress
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline_tests.core.images.pictures import DEFAULT, mean_difference, noise, opened, photo, saved

BMP = saved(photo(), "BMP")


def test_colours_are_encoded_by_jpegli() -> None:
    image = compress(BMP, DEFAULT)

    assert image.encoder == "jpegli"
    assert mean_difference(opened(image.data), photo()) < 4


@pytest.mark.parametrize(
    ("picture", "settings"),
    [(photo().convert("L"), DEFAULT), (photo(), CompressionSettings("fast"))],
    ids=["grey", "fast"],
)
def test_grey_and_the_fast_preset_are_encoded_by_pillow(
    picture: Image.Image, settings: CompressionSettings
) -> None:
    assert compress(saved(picture, "BMP"), settings).encoder == "pillow"


def test_without_jpegli_pillow_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg_encoding, "_jpegli", lambda: None)

    image = compress(BMP, DEFAULT)

    assert image.encoder == "pillow"
    assert mean_difference(opened(image.data), photo()) < 4


def test_small_is_progressive_and_smaller() -> None:
    small = compress(BMP, CompressionSettings("small", quality=80))

    assert small.encoder == "jpegli"
    assert len(small.data) <= len(compress(BMP, DEFAULT).data)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (17, 23)])
def test_pictures_of_any_size_are_encoded(size: tuple[int, int]) -> None:
    image = compress(saved(photo(320, 320).crop((0, 0, *size)), "BMP"), DEFAULT)

    assert opened(image.data).size == size


def test_pillow_steps_over_steps_of_twice_those_of_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagi_pipeline.core.images.requantizing.rewritten", lambda *_, **__: None)
    picture = Image.blend(photo(320, 240), noise("RGB", 320).crop((0, 0, 320, 240)), 0.15)
    source = saved(picture, "JPEG", quality=90)
    fast = CompressionSettings("fast")

    made = compress(source, fast)

    plain = saved(opened(source), "JPEG", quality=80)
    assert made.encoder == "pillow"
    assert len(made.data) < 0.9 * len(plain)
    assert mean_difference(opened(made.data), picture) < 1.03 * mean_difference(opened(plain), picture)
    # Blocks that lie elsewhere, and sources whose steps are no near multiple, are encoded as told.
    scaled = compress(source, CompressionSettings("fast", longest_side=200))
    assert opened(scaled.data).quantization == opened(plain).quantization  # type: ignore[attr-defined]
    coarse = compress(saved(picture, "JPEG", quality=97), fast)
    assert opened(coarse.data).quantization == opened(plain).quantization  # type: ignore[attr-defined]
