"""CPU and bytes of the default for JPEGs, beside Pillow's plain encoder.

    python benchmarks/jpeg_codec.py cpu FOLDER_OF_JPEGS
    python benchmarks/jpeg_codec.py bytes KODAK

`cpu` goes over the files image by image, each way in turn, and prints CPU and bytes as ratios to decoding and
encoding with Pillow at quality 75 without options.

`bytes` makes sources of quality 80, 85, 90 and 95 (4:2:0), compresses them by default, and compares with the
fewest bytes with which Pillow, plain, reaches the same SSIMULACRA2 against the original from the same source;
where it reaches that at no quality up to 97, with its bytes at the best score.
"""

from __future__ import annotations

import argparse
import io
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from jpeg_quality import plain, scorer
from pictures import pictures
from PIL import Image

from imagi_pipeline.core.images.compress import compress
from imagi_pipeline.core.images.compression_settings import CompressionSettings

PRESETS: tuple[Literal["fast", "balanced", "small", "lossless"], ...] = (
    "fast",
    "balanced",
    "small",
    "lossless",
)
CURVE = (50, 60, 68, 74, 79, 84, 88, 92, 95, 97)
PHOTOS_COMPARED = 8


def by_pillow(data: bytes) -> bytes:
    """Decoded and encoded by Pillow without any option."""
    with Image.open(io.BytesIO(data)) as image:
        return plain(image.convert("RGB"), 75)


def by_preset(preset: Literal["fast", "balanced", "small", "lossless"]) -> Callable[[bytes], bytes]:
    """A function that compresses with a preset."""
    settings = CompressionSettings(preset)
    return lambda data: compress(data, settings).data


def cpu(folder: Path) -> None:
    """Print CPU and bytes of each preset."""
    ways = {"pillow, plain": by_pillow} | {preset: by_preset(preset) for preset in PRESETS}
    spent = dict.fromkeys(ways, 0.0)
    written = dict.fromkeys(ways, 0)
    files = sorted(folder.glob("*.jpg"))
    for way in ways.values():
        way(files[0].read_bytes())  # imports and tables are not an image's cost
    for path in files:
        data = path.read_bytes()
        for name, way in ways.items():
            started = time.process_time()
            written[name] += len(way(data))
            spent[name] += time.process_time() - started
    for name in ways:
        ratio, size = spent[name] / spent["pillow, plain"], written[name] / written["pillow, plain"]
        print(f"{name}\t{1000 * spent[name] / len(files):.1f} ms\tCPU {ratio:.2f}\tbytes {size:.2f}")


def bytes_at_equal_score(kodak: Path) -> None:
    """Print the ratio of bytes for each quality of the source."""
    photos = [(name, image) for name, image in pictures(kodak) if name.startswith("photo")]
    with tempfile.TemporaryDirectory() as folder:
        for quality in (80, 85, 90, 95):
            ratios, ways = [], set()
            for _, image in photos[:PHOTOS_COMPARED]:
                score = scorer(image, Path(folder))
                source = plain(image, quality)
                made = compress(source, CompressionSettings())
                ways.add(made.encoder)
                with Image.open(io.BytesIO(source)) as opened:
                    pixels = opened.convert("RGB")
                curve = [(len(data), score(data)) for data in (plain(pixels, at) for at in CURVE)]
                reached = score(made.data)
                ratios.append(len(made.data) / fewest_bytes(curve, reached))
            print(f"{quality}\t{np.mean(ratios):.3f}\t{'/'.join(sorted(ways))}", flush=True)


def fewest_bytes(curve: list[tuple[int, float]], wanted: float) -> float:
    """The least of a curve of bytes and scores where it first crosses a score."""
    for (low, below), (high, above) in itertools.pairwise(curve):
        if below <= wanted <= above:
            return low + (high - low) * (wanted - below) / (above - below)
    return float(curve[0][0] if wanted < curve[0][1] else max(curve, key=lambda point: point[1])[0])


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["cpu", "bytes"])
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    {"cpu": cpu, "bytes": bytes_at_equal_score}[arguments.what](arguments.folder)


if __name__ == "__main__":
    main()
