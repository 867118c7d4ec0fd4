"""Our engine against its codec alone: what do fetching, pipes, records and storing cost?

    python benchmarks/engine.py [FOLDER] [--preset balanced] [--count 300] [--rounds 3] [--peer NAME=COMMAND]

The bound runs the same `compress` in as many processes, on files in the page cache, and stores nothing.
Without a folder of images it makes its own. A peer is a shell command that is given the URLs, one a line, in
the file `{urls}` and an empty folder `{out}`; its start is timed too. Ratios are taken inside a round.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image

from imagi_pipeline.core.engine import compress_images
from imagi_pipeline.core.images.codec_pool import KEEP_FREED_MEMORY
from imagi_pipeline.core.images.compress import compress
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.settings import Settings

SIDES = [(800, 800)] * 6 + [(1600, 1200)] * 3 + [(2700, 2200)]


def main() -> None:
    """Run the rounds and print each, then the medians."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or make_images(Path(scratch, "images"), arguments.count)
        images = sorted(path for path in folder.iterdir() if path.is_file())[: arguments.count]
        with image_host(folder) as base:
            urls = [f"{base}/{image.name}" for image in images]
            settings = Settings(
                preset=arguments.preset, quality=arguments.quality, allowed_networks=("127.0.0.0/8",)
            )
            contestants: dict[str, Callable[[Path], float]] = {
                "codec bound": lambda _: run_bound(images, settings),
                "engine": lambda out: run_engine(urls, settings, out),
            }
            for peer in arguments.peer:
                name, _, command = peer.partition("=")
                contestants[name] = partial(run_peer, command, urls)
            compare(contestants, len(urls), arguments.rounds, Path(scratch))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--preset", default="balanced", choices=["fast", "balanced", "small", "lossless"])
    parser.add_argument("--quality", type=int)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND")
    return parser.parse_args()


def compare(contestants: dict[str, Callable[[Path], float]], images: int, rounds: int, scratch: Path) -> None:
    """Let all run in turn, round after round; speeds relative to the first."""
    ratios: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds):
        first = None
        for name, run in contestants.items():
            # Each into a folder of its own: ext4 is slow to create files just after others were deleted.
            out = scratch / f"{number}-{name}"
            out.mkdir()
            seconds = run(out)
            first = first or seconds
            ratios[name].append(first / seconds)
            print(f"{number} {name:12} {images / seconds:7.1f} images/s")
    for name, values in ratios.items():
        print(f"{name:12} x{median(values):.2f} ({min(values):.2f} to {max(values):.2f})")


def run_engine(urls: list[str], settings: Settings, out: Path) -> float:
    """Seconds from the first download to the last record, codec processes started within."""
    start = time.perf_counter()
    for result in compress_images(urls, Store(out), settings.compression, settings.engine_limits):
        assert result.status == "ok", result
    return time.perf_counter() - start


def run_bound(images: list[Path], settings: Settings) -> float:
    """Seconds of the same compression without network and storage, processes started before."""
    work = partial(_compressed_size, settings.compression)
    with (
        _environment(KEEP_FREED_MEMORY),
        multiprocessing.get_context("spawn").Pool(settings.codec_processes) as pool,
    ):
        pool.map(work, images[: 2 * settings.codec_processes], chunksize=1)
        start = time.perf_counter()
        for _ in pool.imap_unordered(work, images):
            pass
        return time.perf_counter() - start


def _compressed_size(settings: CompressionSettings, image: Path) -> int:
    return len(compress(image.read_bytes(), settings).data)


def run_peer(command: str, urls: list[str], out: Path) -> float:
    """Seconds of a whole command."""
    listed = out.with_suffix(".urls")
    listed.write_text("\n".join(urls))
    start = time.perf_counter()
    subprocess.run(command.format(urls=listed, out=out), shell=True, check=True)
    return time.perf_counter() - start


def make_images(folder: Path, count: int) -> Path:
    """Photograph-like JPEGs of three sizes: noise of many scales, as nature has it."""
    folder.mkdir()
    canvas = Image.merge("RGB", [_noise(3000) for _ in range(3)])
    for number in range(count):
        width, height = SIDES[number % len(SIDES)]
        left, top = random.randint(0, 3000 - width), random.randint(0, 3000 - height)
        crop = canvas.crop((left, top, left + width, top + height))
        crop.save(folder / f"{number:05}.jpg", quality=93, subsampling="4:2:0")
    return folder


def _noise(side: int) -> Image.Image:
    noise = Image.new("L", (side, side), 128)
    for scale in (4, 16, 64, 256):
        octave = Image.effect_noise((side // scale, side // scale), 90)
        noise = Image.blend(noise, octave.resize((side, side), Image.Resampling.BICUBIC), 0.5)
    return noise


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keep-alive
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@contextmanager
def image_host(folder: Path) -> Iterator[str]:
    """Serve a folder on loopback from a process of its own, whose CPU time is not counted; the base URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
    process = multiprocessing.get_context("fork").Process(target=server.serve_forever, daemon=True)
    process.start()
    yield f"http://127.0.0.1:{server.server_port}"
    process.kill()
    process.join()


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


if __name__ == "__main__":
    main()
