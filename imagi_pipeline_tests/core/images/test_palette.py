from __future__ import annotations

import pytest
from PIL import Image

from imagi_pipeline.core.images import palette
from imagi_pipeline.core.images.compress import compress
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline_tests.core.images.pictures import (
    DEFAULT,
    deep_colour_png,
    drawing,
    mean_difference,
    noise,
    opened,
    photo,
    saved,
)

LOSSLESS = (CompressionSettings("lossless"), CompressionSettings(png="lossless"))


@pytest.fixture(params=["with the extra", "without it"])
def quantizer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With libimagequant, which the tests have, and as where the extra `png` is not installed."""
    if request.param == "without it":
        monkeypatch.setattr(palette, "libimagequant", lambda: None)
    else:
        assert palette.libimagequant() is not None


def smooth(width: int = 400, height: int = 300) -> Image.Image:
    """Return a sky: three slow gradients of more than 256 colours."""
    down = Image.linear_gradient("L").resize((width, height), Image.Resampling.BICUBIC)
    across = down.rotate(90).resize((width, height))
    bands = [band.point(lambda level: level // 5 + 110) for band in (down, across, down.rotate(180))]
    return Image.merge("RGB", bands)


@pytest.mark.usefixtures("quantizer")
def test_a_drawing_gets_a_palette_that_nobody_sees_and_the_record_tells() -> None:
    source = saved(drawing(), "PNG")

    image = compress(source, DEFAULT)

    assert (image.format, image.encoder, image.kept_source) == ("PNG", "palette", False)
    assert len(image.data) < 0.5 * len(compress(source, LOSSLESS[1]).data)
    assert opened(image.data).mode == "P"
    assert mean_difference(opened(image.data), drawing()) < 1


@pytest.mark.usefixtures("quantizer")
def test_what_has_a_palette_is_not_changed_again() -> None:
    first = compress(saved(drawing(), "PNG"), DEFAULT)

    assert compress(first.data, DEFAULT).data == first.data


@pytest.mark.usefixtures("quantizer")
@pytest.mark.parametrize("settings", [*LOSSLESS, CompressionSettings(quality=100)])
def test_no_pixel_is_changed_where_that_is_forbidden(settings: CompressionSettings) -> None:
    image = compress(saved(drawing(), "PNG"), settings)

    assert opened(image.data).convert("RGB").tobytes() == drawing().tobytes()


@pytest.mark.usefixtures("quantizer")
@pytest.mark.parametrize("picture", [smooth(), noise("RGB", 100), photo()], ids=["sky", "noise", "photo"])
def test_what_a_palette_would_spoil_or_not_make_smaller_keeps_its_pixels(picture: Image.Image) -> None:
    image = compress(saved(picture, "PNG"), DEFAULT)

    assert opened(image.data).convert("RGB").tobytes() == picture.tobytes()


def test_a_sky_gets_no_bands_although_the_difference_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(palette, "libimagequant", lambda: None)
    assert palette.palettized(smooth(), 80) is None

    monkeypatch.setattr(palette, "_has_bands", lambda *_: False)
    assert palette.palettized(smooth(), 80) is not None


def test_a_higher_quality_asks_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(palette, "libimagequant", lambda: None)
    soft = Image.blend(photo(), Image.new("RGB", (160, 120), "gray"), 0.8)

    assert palette.palettized(soft, 10) is not None
    assert palette.palettized(soft, 97) is None


def test_soft_edges_of_something_transparent_look_right_on_light_and_dark() -> None:
    cut_out = drawing()
    cut_out.putalpha(Image.radial_gradient("L").resize(cut_out.size).point(lambda level: 255 - level))

    image = compress(saved(cut_out, "PNG"), DEFAULT)

    assert image.encoder == "palette"
    for background in ("white", "black"):
        shown, expected = (
            Image.alpha_composite(Image.new("RGBA", cut_out.size, background), each)
            for each in (opened(image.data).convert("RGBA"), cut_out)
        )
        assert mean_difference(shown, expected) < 2


def test_something_transparent_needs_libimagequant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(palette, "libimagequant", lambda: None)
    cut_out = drawing()
    cut_out.putalpha(Image.linear_gradient("L").resize(cut_out.size))

    image = compress(saved(cut_out, "PNG"), DEFAULT)

    assert opened(image.data).convert("RGBA").tobytes() == cut_out.tobytes()


def test_sixteen_bits_stay() -> None:
    deep = Image.linear_gradient("L").resize((64, 64)).convert("I;16")

    assert opened(compress(saved(deep, "PNG"), DEFAULT).data).mode == "I;16"
    assert compress(deep_colour_png(), DEFAULT).encoder == "kept"
