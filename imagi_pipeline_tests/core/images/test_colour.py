from __future__ import annotations

import pytest
from PIL import Image, ImageCms

from imagi_pipeline.core.images.compress import compress
from imagi_pipeline_tests.core.images.pictures import (
    BLUE,
    DEFAULT,
    GREEN,
    RED,
    YELLOW,
    close,
    corner_colours,
    corners,
    is_blue,
    is_green,
    is_red,
    opened,
    photo,
    pixel,
    profile_in_which_cyan_ink_is_green,
    profile_of_linear_grey,
    profile_with_red_and_blue_swapped,
    saved,
    srgb_profile,
)


def test_a_colour_profile_is_applied_and_removed() -> None:
    source = saved(corners(), "JPEG", quality=50, icc_profile=profile_with_red_and_blue_swapped())

    image = compress(source, DEFAULT)

    assert not image.kept_source
    shown = opened(image.data)
    assert "icc_profile" not in shown.info
    assert is_blue(corner_colours(shown)[0])
    assert is_red(corner_colours(shown)[2])


def test_a_colour_profile_leaves_transparency_alone() -> None:
    picture = Image.new("RGBA", (32, 32), (*RED, 90))

    shown = opened(
        compress(saved(picture, "PNG", icc_profile=profile_with_red_and_blue_swapped()), DEFAULT).data
    )

    *colour, alpha = pixel(shown.convert("RGBA"), (16, 16))
    assert is_blue(tuple(colour))
    assert alpha == 90


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_a_profile_of_greys_is_applied_and_grey_stays_grey(mode: str) -> None:
    picture = Image.new("L", (32, 32), 55)
    if mode == "LA":
        picture = Image.merge("LA", (picture, Image.linear_gradient("L").resize((32, 32))))

    shown = opened(compress(saved(picture, "PNG", icc_profile=profile_of_linear_grey()), DEFAULT).data)

    red, green, blue, _ = pixel(shown.convert("RGBA"), (16, 16))
    assert red == green == blue
    assert close((red,), (128,), 3)


@pytest.mark.parametrize("profile", [srgb_profile(), b"no profile at all", profile_of_linear_grey()])
def test_a_profile_that_is_srgb_or_unusable_is_only_removed(profile: bytes) -> None:
    source = saved(photo(), "JPEG", quality=60, icc_profile=profile)

    image = compress(source, DEFAULT)

    assert image.kept_source
    assert "icc_profile" not in opened(image.data).info
    assert opened(image.data).tobytes() == opened(source).tobytes()


def test_a_deep_png_and_an_animation_keep_the_profile_that_they_are_in() -> None:
    animation = saved(
        corners(), "PNG", save_all=True, append_images=[photo(96, 64)], icc_profile=profile_of_linear_grey()
    )
    deep = saved(Image.linear_gradient("L").convert("I;16"), "PNG", icc_profile=profile_of_linear_grey())

    for source in (animation, deep):
        image = compress(source, DEFAULT)
        assert image.kept_source
        assert opened(image.data).info["icc_profile"] == profile_of_linear_grey()


def test_cmyk_is_converted_by_its_profile() -> None:
    inks = Image.new("CMYK", (32, 32), (255, 0, 0, 0))
    source = saved(inks, "JPEG", quality=95, icc_profile=profile_in_which_cyan_ink_is_green())

    image = compress(source, DEFAULT)

    assert is_green(pixel(opened(image.data), (16, 16)))


@pytest.mark.parametrize("profile", [b"", b"no profile at all"])
def test_cmyk_without_a_usable_profile_looks_as_browsers_show_it(profile: bytes) -> None:
    inks = Image.new("CMYK", (32, 32), (255, 0, 51, 51))
    source = saved(inks, "JPEG", quality=95, icc_profile=profile)

    shown = opened(compress(source, DEFAULT).data)

    assert shown.mode == "RGB"
    assert close(pixel(shown, (16, 16)), (0, 204, 163))


def test_lab_is_converted() -> None:
    to_lab = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")),
        "RGB",
        "LAB",
    )
    source = saved(to_lab.apply(corners()), "TIFF")

    shown = opened(compress(source, DEFAULT).data)

    assert all(map(close, corner_colours(shown), [RED, GREEN, BLUE, YELLOW]))
