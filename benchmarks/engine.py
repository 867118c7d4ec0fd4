"""Our engine against its codec alone: what do fetching, memory, records and storing cost?

    python benchmarks/engine.py [FOLDER] [--preset balanced] [--count 300] [--rounds 3]

The bound runs the same `compress` in as many processes, on files in the page cache, and stores nothing.
Without a folder of images it makes its own. Ratios are taken inside a round. CPU time suffers less than speed
from other work on the machine.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median

import contestants
from image_hosts import image_host, make_images

from imagi_pipeline.core.images.compression_settings import CompressionSettings


def main() -> None:
    """Run the rounds and print each, then the medians."""
    arguments = _arguments()
    compression = CompressionSettings(preset=arguments.preset, quality=arguments.quality)
    beyond, reached = [], []
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or make_images(Path(scratch, "images"), arguments.count)
        images = sorted(path for path in folder.iterdir() if path.is_file())[: arguments.count]
        with image_host(folder, arguments.latency / 1000) as base:
            urls = [f"{base}/{image.name}" for image in images]
            for number in range(arguments.rounds):
                bound = contestants.codec_bound(images, compression)
                # Each into a folder of its own: ext4 is slow to create files just after others were deleted.
                engine = contestants.engine(urls, compression, Path(scratch, str(number)))
                beyond.append(1000 * (engine.cpu - bound.cpu) / len(images))
                reached.append(bound.seconds / engine.seconds)
                for name, figures in (("bound", bound), ("engine", engine)):
                    print(
                        f"{number} {name:8} {len(images) / figures.seconds:7.1f} images/s  "
                        f"{1000 * figures.cpu / len(images):6.2f} ms CPU an image  {figures.memory:4.0f} MB"
                    )
    print(f"beyond the codec: {median(beyond):.2f} ms CPU an image ({min(beyond):.2f} to {max(beyond):.2f})")
    print(f"of the bound's speed: {median(reached):.2f} ({min(reached):.2f} to {max(reached):.2f})")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--preset", default="balanced", choices=["fast", "balanced", "small", "lossless"])
    parser.add_argument("--quality", type=int)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0, help="milliseconds before each answer")
    return parser.parse_args()


if __name__ == "__main__":
    main()
