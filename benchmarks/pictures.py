"""Pictures to measure quality with: photographs, products on white, text, a gradient, tiny ones."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIDE = 512
PHOTOS, PRODUCTS, TEXTS, TINY = (1, 4, 7, 8, 13, 15, 19, 20, 23, 24), (2, 9, 12), (1, 2), (3, 5)


def pictures(kodak: Path) -> Iterator[tuple[str, Image.Image]]:
    """Name (kind and number) and RGB pixels; `kodak` is the folder of the 24 Kodak photographs as PNG."""
    for number in PHOTOS:
        yield f"photo{number:02d}", _photo(kodak, number)
    for number in PRODUCTS:
        yield f"product{number:02d}", _product(kodak, number)
    for number in TEXTS:
        yield f"text{number}", _text(number)
    yield "gradient1", _gradient(1)
    for number in TINY:
        picture = _opened(kodak, number).resize((96, 64), Image.Resampling.LANCZOS)
        yield f"tiny{number:02d}", picture


def _opened(kodak: Path, number: int) -> Image.Image:
    with Image.open(kodak / f"kodim{number:02d}.png") as image:
        return image.convert("RGB")


def _photo(kodak: Path, number: int) -> Image.Image:
    image = _opened(kodak, number)
    left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
    return image.crop((left, top, left + SIDE, top + SIDE))


def _product(kodak: Path, number: int) -> Image.Image:
    """A soft-edged oval cut of a photograph on white, with a shadow below."""
    oval, shadow = Image.new("L", (SIDE, SIDE)), Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(oval).ellipse((60, 90, SIDE - 60, SIDE - 90), fill=255)
    ImageDraw.Draw(shadow).ellipse((90, SIDE - 140, SIDE - 40, SIDE - 60), fill=90)
    image = Image.new("RGB", (SIDE, SIDE), "white")
    image.paste((120, 120, 120), mask=shadow.filter(ImageFilter.GaussianBlur(12)))
    image.paste(_photo(kodak, number), mask=oval.filter(ImageFilter.GaussianBlur(1)))
    return image


def _text(seed: int) -> Image.Image:
    """A page of words in four sizes and some colours below a dark bar."""
    chance = random.Random(seed)
    image = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, SIDE, 40), fill=(30 + chance.randrange(40), 60, 140))
    letters = string.ascii_lowercase + "ABCDEFG" + string.digits
    top = 6
    while top < SIDE - 20:
        size = (11, 13, 16, 22)[chance.randrange(4)]
        words = " ".join(
            "".join(chance.choice(letters) for _ in range(chance.randint(2, 9))) for _ in range(14)
        )
        colour = chance.choice(((0, 0, 0), (40, 40, 40), (0, 60, 180), (170, 0, 0))) if top > 40 else None
        draw.text((12, top), words, font=ImageFont.load_default(size), fill=colour or (255, 255, 255))
        top += size + 6
    return image


def _gradient(seed: int) -> Image.Image:
    linear = Image.linear_gradient("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    radial = Image.radial_gradient("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return Image.merge("RGB", random.Random(seed).sample([linear, linear.rotate(90), radial], 3))
