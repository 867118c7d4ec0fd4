"""One meaning of quality: what the knots of imagi_pipeline/core/images/jpeg_quality.py come from.

    python benchmarks/jpeg_quality.py measure KODAK > benchmarks/jpeg_quality.csv    # about half an hour
    python benchmarks/jpeg_quality.py fit < benchmarks/jpeg_quality.csv
    python benchmarks/jpeg_quality.py check KODAK

KODAK is a folder with the 24 Kodak photographs as PNG; `pip install numpy ssimulacra2` first. `measure` tells
bytes and SSIMULACRA2 (against the original picture, not the source JPEG) of each way at many settings; `fit`
prints for which setting each way reaches the score of Pillow's 4:2:0 from the original, on average; `check`
runs `compress` itself, also to WebP. Tiny pictures are measured but not fitted: SSIMULACRA2 needs more than
96 x 64 pixels.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyjpegli
from pictures import pictures
from PIL import Image
from ssimulacra2 import compute_ssimulacra2

from imagi_pipeline.core.images import _jpeg_coefficients as native
from imagi_pipeline.core.images.compress import compress
from imagi_pipeline.core.images.compression_settings import CompressionSettings, OutputFormat
from imagi_pipeline.core.images.jpeg_coefficients import DEAD_ZONE, LEAST_RATIO, Huffman
from imagi_pipeline.core.images.jpeg_quality import COARSER_CHROMA
from imagi_pipeline.core.images.jpeg_steps import jpegli_steps
from imagi_pipeline.core.images.saving import saved

QUALITIES = (30, 40, 50, 60, 70, 75, 80, 85, 90, 95)
SETTINGS = (10, 20, 30, 40, 45, 50, 60, 65, 70, 75, 80, 85, 90, 95)
SOURCES = ((80, "4:2:0"), (85, "4:2:0"), (90, "4:2:0"), (95, "4:2:0"), (92, "4:4:4"))
PLAIN_KINDS = {"photo", "product"}
LIMIT = 10**9
Row = tuple[str, str, str, int, int, float]


def plain(image: Image.Image, quality: int, subsampling: str = "4:2:0") -> bytes:
    """Pillow's JPEG without any option."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=subsampling)
    return file.getvalue()


def requantized(source: bytes, setting: int) -> bytes:
    """The source with the steps of jpegli at a setting."""
    steps = jpegli_steps(setting)
    full = steps[:64] + bytes(min(round(COARSER_CHROMA * step), 255) for step in steps[64:])
    return native.rewrite(
        source, steps + full, DEAD_ZONE, LEAST_RATIO, Huffman.FITTED, 1, False, LIMIT, LIMIT
    )[0]


def scorer(original: Image.Image, folder: Path) -> Callable[[bytes], float]:
    """A function that gives the SSIMULACRA2 of a file against an original."""
    reference, distorted = folder / "original.png", folder / "distorted.jpg"
    original.save(reference)

    def score(data: bytes) -> float:
        distorted.write_bytes(data)
        return float(compute_ssimulacra2(str(reference), str(distorted)))

    return score


def measure(kodak: Path) -> None:
    """Print all rows as CSV."""
    writer = csv.writer(sys.stdout)
    writer.writerow(("picture", "source", "way", "quality", "bytes", "score"))
    with tempfile.TemporaryDirectory() as folder:
        for name, image in pictures(kodak):
            score = scorer(image, Path(folder))

            def row(
                source: str,
                way: str,
                quality: int,
                data: bytes,
                *,
                name: str = name,
                score: Callable[[bytes], float] = score,
            ) -> None:
                writer.writerow((name, source, way, quality, len(data), f"{score(data):.3f}"))

            for quality in QUALITIES:
                row("original", "pillow", quality, plain(image, quality))
            for setting in SETTINGS:
                data = pyjpegli.encode(image.tobytes(), *image.size, quality=setting)
                row("original", "jpegli", setting, data)
                row("original", "webp", setting, saved(image, "WEBP", quality=setting, method=4))
            for quality, subsampling in SOURCES:
                source = plain(image, quality, subsampling)
                for setting in SETTINGS:
                    row(f"{quality}/{subsampling}", "requantized", setting, requantized(source, setting))


def fit() -> None:
    """Print for each quality the setting with which each way reaches its score: the mean of two fits.

    One is over all pictures, the other over photographs and products alone: pages of text gain more by these
    ways, and would make photographs look worse than their number says.
    """
    rows = list(csv.DictReader(sys.stdin))
    whole = fitted_knots(rows, {*PLAIN_KINDS, "text", "gradient"})
    plain_kinds = fitted_knots(rows, PLAIN_KINDS)
    print("quality", *QUALITIES, sep="\t")
    for way, knots in whole.items():
        print(*way, *(f"{knot:.1f}" for knot in (knots + plain_kinds[way]) / 2), sep="\t")


def fitted_knots(rows: list[dict[str, str]], kinds: set[str]) -> dict[tuple[str, str], np.ndarray]:
    """By source and way, the settings with which pictures of these kinds reach Pillow's scores on average."""
    scores: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if kind_of(row["picture"]) in kinds:
            scores[row["source"], row["way"]][int(row["quality"])].append(float(row["score"]))
    means = {key: {q: float(np.mean(s)) for q, s in by.items()} for key, by in scores.items()}
    target = [means["original", "pillow"][quality] for quality in QUALITIES]
    found = {}
    for (source, way), reached in means.items():
        if way != "pillow":
            settings = sorted(reached)
            rising = np.maximum.accumulate([reached[setting] for setting in settings])
            found[source, way] = np.interp(target, rising, settings, left=np.nan, right=np.nan)
    return found


def kind_of(picture: str) -> str:
    """What kind of picture a name stands for."""
    return picture.rstrip("0123456789")


def check(kodak: Path) -> None:
    """Print by kind, source and quality how many points `compress` is above Pillow from the original."""
    differences: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for name, image in pictures(kodak):
            score = scorer(image, Path(folder))
            kind = kind_of(name)
            png = io.BytesIO()
            image.save(png, "PNG")
            sources = {"pixels": png.getvalue(), "pixels to webp": png.getvalue()} | {
                f"{quality}/{subsampling}": plain(image, quality, subsampling)
                for quality, subsampling in ((92, "4:4:4"), (90, "4:2:0"), (95, "4:2:0"))
            }
            for quality in (60, 75, 80):
                wanted = score(plain(image, quality))
                for source, data in sources.items():
                    output_format: OutputFormat = "webp" if source == "pixels to webp" else "jpeg"
                    settings = CompressionSettings(quality=quality, output_format=output_format)
                    made = score(compress(data, settings).data)
                    differences[kind, source, quality].append(made - wanted)
    for (kind, source, quality), found in sorted(differences.items()):
        print(kind, source, quality, f"{np.mean(found):+.2f}", sep="\t")
    for name, kinds in (
        ("all but tiny", {*PLAIN_KINDS, "text", "gradient"}),
        ("photo, product", PLAIN_KINDS),
    ):
        for source in sources:
            every = [
                difference
                for (kind, of, _), found in differences.items()
                if of == source and kind in kinds
                for difference in found
            ]
            print(name, source, "", f"{np.mean(every):+.2f}", sep="\t")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["measure", "fit", "check"])
    parser.add_argument("kodak", type=Path, nargs="?")
    arguments = parser.parse_args()
    if arguments.what == "fit":
        fit()
    else:
        {"measure": measure, "check": check}[arguments.what](arguments.kodak)


if __name__ == "__main__":
    main()
