"""Bytes, CPU and looks of the ways to write a PNG.

    pip install ssimulacra2                                # only `look` needs it
    python benchmarks/png.py cost FOLDER...                # bytes and CPU of each way
    python benchmarks/png.py look FOLDER... --sheet worst.png

`cost`: each way starts from the file, so that its CPU (user and system, of this process) has the decoding in
it. The ways are interleaved, file by file. Bytes are those of the smaller of source and result.

`look`: for each file of more than 256 colours, what the default makes of it with and without
libimagequant: bytes against the lossless form, and SSIMULACRA2 against the source, on white and, behind
transparency, on dark too (the lower counts). The sheet shows the worst ten, source above result, on both.
Pictures of fewer than 128 pixels a side are put on a larger background: SSIMULACRA2 says nothing about
smaller ones.
"""

from __future__ import annotations

import os

os.environ["RAYON_NUM_THREADS"] = "1"

import argparse
import io
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from imagi_pipeline.core.errors import CodecError
from imagi_pipeline.core.images import palette
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.images.developing import develop
from imagi_pipeline.core.images.opening import open_source, pillow_limited_to
from imagi_pipeline.core.images.png_encoding import encode_png
from imagi_pipeline.core.images.saving import saved

DEFAULT = CompressionSettings()
BACKGROUNDS = ("white", (34, 34, 34))
SMALLEST, SHOWN, CELL = 128, 10, 300


def without_extra(image: Image.Image) -> bytes:
    """The default where libimagequant is not installed."""
    found, palette.libimagequant = palette.libimagequant, lambda: None
    try:
        return encode_png(image, DEFAULT).data
    finally:
        palette.libimagequant = found


WAYS = {
    "Pillow, level 6": lambda image: saved(image, "PNG", compress_level=6),
    "Pillow, optimize": lambda image: saved(image, "PNG", optimize=True),
    "lossless, fast": lambda image: encode_png(image, CompressionSettings("fast", png="lossless")).data,
    "lossless, balanced": lambda image: encode_png(image, CompressionSettings(png="lossless")).data,
    "lossless, small": lambda image: encode_png(image, CompressionSettings("small", png="lossless")).data,
    "palette where it meets the quality, with the extra": lambda image: encode_png(image, DEFAULT).data,
    "the same without the extra": without_extra,
}


def developed(data: bytes) -> Image.Image | None:
    """The pixels of a still image; None for what is no such image."""
    try:
        source = open_source(data)
        if getattr(source.image, "is_animated", False):
            return None
        return develop(source, None).image
    except (CodecError, OSError):
        return None


def stills(folders: list[Path]) -> Iterator[tuple[Path, bytes, Image.Image]]:
    """The PNG files below some folders, their bytes and their pixels."""
    for folder in folders:
        for path in sorted(folder.rglob("*.png")):
            data = path.read_bytes()
            image = developed(data)
            if image is not None:
                yield path, data, image


def cost(folders: list[Path]) -> None:
    """Print bytes and CPU of each way."""
    written, seconds = dict.fromkeys(WAYS, 0), dict.fromkeys(WAYS, 0.0)
    sources = count = 0
    for _, data, _ in stills(folders):
        count, sources = count + 1, sources + len(data)
        for name, way in WAYS.items():
            start = time.process_time()
            image = developed(data)
            assert image is not None
            size = len(way(image))
            seconds[name] += time.process_time() - start
            written[name] += min(size, len(data))
    print(f"{count} files, {sources:,} bytes\n")
    print("| way | bytes | CPU each |\n| --- | --- | --- |")
    for name in WAYS:
        print(f"| {name} | {written[name] / sources:.3f} | {1000 * seconds[name] / count:.0f} ms |")


def on(image: Image.Image, background: str | tuple[int, ...]) -> Image.Image:
    """An image as it is seen on a background."""
    size = (max(image.width, SMALLEST), max(image.height, SMALLEST))
    canvas = Image.new("RGBA", size, background)
    canvas.alpha_composite(image.convert("RGBA"))
    return canvas.convert("RGB")


def score(image: Image.Image, shown: Image.Image) -> float:
    """SSIMULACRA2, the lowest on all backgrounds."""
    from ssimulacra2 import compute_ssimulacra2

    found = []
    with tempfile.TemporaryDirectory() as folder:
        one, other = Path(folder) / "one.png", Path(folder) / "other.png"
        for background in BACKGROUNDS if image.mode in {"LA", "RGBA"} else BACKGROUNDS[:1]:
            on(image, background).save(one, compress_level=0)
            on(shown, background).save(other, compress_level=0)
            found.append(float(compute_ssimulacra2(str(one), str(other))))
    return min(found)


def look(folders: list[Path], sheet: Path | None) -> None:
    """Print what palettes save and how they look; draw the worst."""
    seen = []
    for path, data, image in stills(folders):
        if image.mode == "I;16" or image.getcolors(256) is not None:
            continue
        lossless = WAYS["lossless, balanced"](image)
        for way in ("with", "without"):
            made = without_extra(image) if way == "without" else encode_png(image, DEFAULT).data
            if made == lossless:
                print(path.name, way, "lossless", len(lossless), sep="\t", flush=True)
                continue
            shown = Image.open(io.BytesIO(made)).convert("RGBA")
            seen.append((score(image, shown), way, path.name, image, shown))
            ratio = f"{len(made) / min(len(lossless), len(data)):.2f}"
            print(path.name, way, "palette", len(made), ratio, f"{seen[-1][0]:.1f}", sep="\t", flush=True)
    for way in ("with", "without"):
        scores = np.array([found[0] for found in seen if found[1] == way])
        print(
            f"{way} the extra: {len(scores)} palettes, SSIMULACRA2 {scores.mean():.1f} on average, "
            f"lowest {scores.min():.1f}, {np.mean(scores >= 80):.0%} at least 80"
        )
    if sheet is not None:
        draw(sorted(seen, key=lambda found: found[0])[:SHOWN], sheet)


def draw(worst: list[tuple[float, str, str, Image.Image, Image.Image]], sheet: Path) -> None:
    """A sheet with a column for each: source and result, on light, and again on dark."""
    canvas = Image.new("RGB", (CELL * len(worst), 4 * CELL), "gray")
    for column, (_, _, _, image, shown) in enumerate(worst):
        for row, (picture, background) in enumerate(
            (picture, background) for background in BACKGROUNDS for picture in (image, shown)
        ):
            cell = on(picture, background)
            left, top = max(0, (cell.width - CELL) // 2), max(0, (cell.height - CELL) // 2)
            canvas.paste(cell.crop((left, top, left + CELL - 4, top + CELL - 4)), (column * CELL, row * CELL))
    canvas.save(sheet)
    print(*(f"{found[2]} ({found[1]}, {found[0]:.0f})" for found in worst), sep=", ")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["cost", "look"])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--sheet", type=Path, help="where to draw the worst ten")
    arguments = parser.parse_args()
    with pillow_limited_to(50_000_000):
        if arguments.what == "cost":
            cost(arguments.folders)
        else:
            look(arguments.folders, arguments.sheet)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
