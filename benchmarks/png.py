"""Bytes and CPU of the lossless ways to write a PNG: `python benchmarks/png.py FOLDER...`.

Each way starts from the file, so that its CPU (user and system, of this process) has the decoding in it.
The ways are interleaved, file by file. Bytes are those of the smaller of source and result.
"""

from __future__ import annotations

import os

os.environ["RAYON_NUM_THREADS"] = "1"

import sys
import time
import warnings
from pathlib import Path

from PIL import Image

from imagi_pipeline.core.errors import CodecError
from imagi_pipeline.core.images.developing import develop
from imagi_pipeline.core.images.opening import open_source, pillow_limited_to
from imagi_pipeline.core.images.png_encoding import encode_png
from imagi_pipeline.core.images.saving import saved

WAYS = {
    "Pillow, level 6": lambda image: saved(image, "PNG", compress_level=6),
    "Pillow, optimize": lambda image: saved(image, "PNG", optimize=True),
    "preset fast": lambda image: encode_png(image, "fast").data,
    "preset balanced": lambda image: encode_png(image, "balanced").data,
    "preset small": lambda image: encode_png(image, "small").data,
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


def main() -> None:
    """Print a table."""
    files = [path for folder in sys.argv[1:] for path in sorted(Path(folder).rglob("*.png"))]
    written, seconds = dict.fromkeys(WAYS, 0), dict.fromkeys(WAYS, 0.0)
    sources = count = 0
    for path in files:
        data = path.read_bytes()
        with pillow_limited_to(50_000_000):
            if developed(data) is None:
                continue
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


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
