"""Vet the encoders of JPEG on random pictures: `python benchmarks/vetting.py COUNT [--others EVERY]`.

Pictures of random sizes (1 to 300 pixels a side), contents, qualities, subsamplings and kinds are compressed
with random settings, in this one process. Pillow opens every result; libvips (`vips`), `djpeg` and Chromium
(by playwright) open every so many (Debian: libvips-tools, libjpeg-turbo-progs, chromium). They have to show
what Pillow shows, but for rounding, and for how chroma is enlarged. Resident memory is told.
"""

from __future__ import annotations

import argparse
import base64
import collections
import io
import random
import resource
import subprocess
import tempfile
from pathlib import Path

from PIL import Image, ImageChops, ImageFilter
from playwright.sync_api import Page, sync_playwright

from imagi_pipeline.core.images.compress import compress
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.images.jpeg_encoding import encode_jpeg

MOST_DIFFERENT = 6
"""Levels on average over a picture: chroma of 4:2:0 is enlarged smoothly or not."""

IN_BROWSER = """async url => {
    const image = new Image(); image.src = url; await image.decode();
    const canvas = document.createElement('canvas');
    canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
    canvas.getContext('2d').drawImage(image, 0, 0);
    return canvas.toDataURL();
}"""


def picture(chance: random.Random) -> Image.Image:
    """Noise, soft shapes, a plain colour, or hard edges."""
    size = (chance.randint(1, 300), chance.randint(1, 300))
    mode = chance.choice(("RGB", "RGB", "RGB", "L"))
    channels = len(mode) if mode == "RGB" else 1
    kind = chance.randrange(4)
    if kind == 0:
        return Image.frombytes(mode, size, chance.randbytes(size[0] * size[1] * channels))
    if kind == 1:
        small = Image.frombytes(mode, (5, 4), chance.randbytes(20 * channels))
        return small.resize(size, Image.Resampling.BICUBIC)
    if kind == 2:
        return Image.new(mode, size, chance.randrange(1 << 24) if mode == "RGB" else chance.randrange(256))
    image = Image.frombytes(mode, (6, 6), chance.randbytes(36 * channels)).resize(
        size, Image.Resampling.NEAREST
    )
    return image.filter(ImageFilter.EDGE_ENHANCE) if chance.random() < 0.5 else image


def made(chance: random.Random) -> tuple[str, bytes]:
    """A JPEG by one of the ways, and the name of the way."""
    image = picture(chance)
    settings = CompressionSettings(
        chance.choice(("fast", "balanced", "small", "lossless")),
        chance.choice((None, chance.randint(1, 100))),
    )
    if chance.random() < 0.4:
        encoded = encode_jpeg(image, settings)
        return encoded.encoder, encoded.data
    file = io.BytesIO()
    options = {
        "subsampling": chance.choice(("4:2:0", "4:2:2", "4:4:4")),
        "progressive": chance.random() < 0.3,
    }
    quality = chance.randint(1, 100)
    try:
        image.save(file, "JPEG", quality=quality, **options)
    except OSError:  # noise outgrows the buffer that Pillow has for progressive JPEGs
        image.save(file, "JPEG", quality=quality)
    result = compress(file.getvalue(), settings)
    assert result.format == "JPEG", result.format
    assert (result.width, result.height) == image.size
    return result.encoder, result.data


def by_program(command: list[str], jpeg: Path, shown: Path) -> Image.Image:
    """What another decoder makes of a JPEG."""
    subprocess.run([part.format(jpeg=jpeg, shown=shown) for part in command], check=True, capture_output=True)
    with Image.open(shown) as image:
        return image.convert("RGB")


def by_chromium(page: Page, data: bytes) -> Image.Image:
    """What Chromium shows of a JPEG."""
    url = page.evaluate(IN_BROWSER, "data:image/jpeg;base64," + base64.b64encode(data).decode())
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        return image.convert("RGB")


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean difference in levels; infinite for another size."""
    if one.size != other.size:
        return float("inf")
    histogram = ImageChops.difference(one, other).histogram()
    return sum(level % 256 * count for level, count in enumerate(histogram)) / sum(histogram)


def main() -> None:
    """Vet as many as asked for, and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("count", type=int)
    parser.add_argument("--others", type=int, default=20, help="every how many go to the other decoders")
    arguments = parser.parse_args()
    ways: collections.Counter[str] = collections.Counter()
    worst: dict[str, float] = collections.defaultdict(float)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page()
        for number in range(arguments.count):
            way, data = made(random.Random(number))
            ways[way] += 1
            with Image.open(io.BytesIO(data)) as opened:
                expected = opened.convert("RGB")
            if number % 1000 == 0:
                memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
                print(f"{number} done, at most {memory} MiB", flush=True)
            if number % arguments.others:
                continue
            jpeg = folder / "made.jpg"
            jpeg.write_bytes(data)
            shown = {
                "vips": by_program(["vips", "copy", "{jpeg}", "{shown}"], jpeg, folder / "vips.png"),
                "djpeg": by_program(["djpeg", "-outfile", "{shown}", "{jpeg}"], jpeg, folder / "djpeg.ppm"),
                "chromium": by_chromium(page, data),
            }
            for decoder, image in shown.items():
                found = difference(image, expected)
                worst[decoder] = max(worst[decoder], found)
                if found > MOST_DIFFERENT:
                    print(f"picture {number} by {way}: {decoder} differs by {found:.1f} on average")
        browser.close()
    print(dict(ways), {decoder: round(most, 2) for decoder, most in worst.items()})


if __name__ == "__main__":
    main()
