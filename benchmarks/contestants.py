"""Who does the job in the benchmarks: the codec alone, our engine, and the whole command."""

from __future__ import annotations

import csv
import functools
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path

from measuring import Figures, in_a_process, of_a_command, own_figures

from imagi_pipeline.core.engine import compress_images
from imagi_pipeline.core.http.limits import FetchLimits
from imagi_pipeline.core.images.codec_pool import KEEP_FREED_MEMORY
from imagi_pipeline.core.images.compress import compress
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.limits import EngineLimits
from imagi_pipeline.core.storage.keys import image_key
from imagi_pipeline.core.storage.store import Store

IMAGES_COLUMN = "Input Image Urls"


def codec_bound(images: Sequence[Path], compression: CompressionSettings) -> Figures:
    """The same compression without network and storage, on files in the page cache, processes warm."""
    os.environ.update(KEEP_FREED_MEMORY)
    try:
        return in_a_process(_run_codec, images, compression)
    finally:
        for name in KEEP_FREED_MEMORY:
            del os.environ[name]


def engine(urls: Sequence[str], compression: CompressionSettings, out: Path) -> Figures:
    """Our engine, from the first download to the last record, start of the codec processes included."""
    return in_a_process(_run_engine, urls, compression, out)


def whole_command(table: Path, compression: CompressionSettings, out: Path) -> Figures:
    """`imagi process`: the whole Dagster job, start of the command included."""
    environment = {
        "IMAGI_ALLOWED_NETWORKS": "127.0.0.0/8",
        "IMAGI_PRESET": compression.preset,
        "IMAGI_QUALITY": "" if compression.quality is None else str(compression.quality),
        "IMAGI_STORAGE": str(out / "data"),
        "DAGSTER_HOME": str(out / "home"),
    }
    imagi = str(Path(sys.executable).with_name("imagi"))
    figures = of_a_command(
        [imagi, "process", str(table), "--output", str(out / "out"), "--json"], environment
    )
    stored = sum(1 for _ in (out / "data" / "compressed").glob("*/*.json"))
    listed = sum(len(row[IMAGES_COLUMN].split(",")) for row in csv.DictReader(table.open()))
    if stored != listed:
        raise RuntimeError(f"{stored} of {listed} images were made")
    return figures


def peer(command: Sequence[str], folder: Path) -> Figures:
    """A peer of the shared bench folder, which measures itself and prints a line of JSON."""
    results = folder / "results.jsonl"
    results.unlink(missing_ok=True)
    of_a_command(command, {"BENCH_RESULTS": str(results)})
    told = json.loads(results.read_text().splitlines()[0])
    return Figures(told["wall_s"], told["cpu_ms_per_image"] * told["n"] / 1000, told["peak_pss_mb"])


def write_table(path: Path, urls: Sequence[str], images_a_row: int = 3) -> Path:
    """A CSV that lists the URLs, in the columns that the peers expect."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["S. No.", "Product Name", IMAGES_COLUMN])
        for number, first in enumerate(range(0, len(urls), images_a_row)):
            rows.writerow([number + 1, f"Product {number + 1}", ",".join(urls[first : first + images_a_row])])
    return path


def _run_engine(urls: Sequence[str], compression: CompressionSettings, out: Path) -> Figures:
    limits = EngineLimits(FetchLimits(allowed_networks=(ip_network("127.0.0.0/8"),)))

    def run() -> None:
        keys = {url: image_key(url, compression.identity) for url in urls}
        for result in compress_images(keys, Store(out), compression, limits):
            assert result.status == "ok", result

    return own_figures(run)


def _run_codec(images: Sequence[Path], compression: CompressionSettings) -> Figures:
    processes = EngineLimits().codec_processes
    work = functools.partial(_cpu_of_codec, compression)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map(work, images[: 2 * processes], chunksize=1)
        start = time.perf_counter()
        cpu = sum(pool.imap_unordered(work, images))
        return Figures(time.perf_counter() - start, cpu)


def _cpu_of_codec(compression: CompressionSettings, image: Path) -> float:
    start = time.process_time()
    compress(image.read_bytes(), compression)
    return time.process_time() - start
