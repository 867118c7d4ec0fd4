"""The table of peers: our engine and `imagi process` beside Celery, img2dataset, a script and the codec.

    python benchmarks/peers.py FOLDER_OF_IMAGES
        [--bench FOLDER --celery-python PYTHON --img2dataset-python PYTHON]
        [--count 1000] [--rounds 3] [--latency 200] [--only REGEX] [--output peers.md]

The peers' scripts are in the bench folder, which is not part of this repository; without it, and without the
Python of an environment that has it, a peer is left out. All do the same images at the same quality in turn;
ratios are taken inside a round, and the table has their medians. benchmarks/README.md tells how to set it up.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

import contestants
from image_hosts import image_host
from measuring import Figures

from imagi_pipeline.core.images.compression_settings import CompressionSettings

_RIVALS = ("Celery", "img2dataset")

Run = Callable[[Path], Figures]


@dataclass
class Row:
    """The figures of one contestant, a value for each round."""

    speeds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    against: dict[str, list[float]] = field(default_factory=dict)


def main() -> None:
    """Run the rounds and print the table."""
    arguments = _arguments()
    images = sorted(path for path in arguments.images.iterdir() if path.is_file())[: arguments.count]
    with (
        tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch,
        image_host(arguments.images, arguments.latency / 1000) as base,
    ):
        runs = {
            name: run
            for name, run in _contestants(arguments, images, base, Path(scratch)).items()
            if re.search(arguments.only, name)
        }
        rows = _run_all(runs, arguments.rounds, len(images), Path(scratch))
    table = _table(rows, f"{len(images)} images, {arguments.latency:g} ms before each answer")
    print(f"\n{table}")
    if arguments.output:
        arguments.output.write_text(f"{table}\n")


def _contestants(
    arguments: argparse.Namespace, images: list[Path], base: str, scratch: Path
) -> dict[str, Run]:
    urls = [f"{base}/{image.name}" for image in images]
    table = contestants.write_table(scratch / "in.csv", urls)
    runs: dict[str, Run] = {}
    for preset in arguments.presets.split(","):
        compression = CompressionSettings(preset=preset, quality=arguments.quality)
        runs[f"codec alone, {preset}"] = partial(_codec_alone, images, compression)
        runs[f"engine, {preset}"] = partial(contestants.engine, urls, compression)
        runs[f"imagi process, {preset}"] = partial(contestants.whole_command, table, compression)
    for name, python, script in (
        ("Celery, prefork 2", arguments.celery_python, "peer_celery.py --concurrency 2"),
        ("Celery, prefork 8", arguments.celery_python, "peer_celery.py --concurrency 8"),
        ("img2dataset", arguments.img2dataset_python, "peer_img2dataset.py"),
        ("script, one by one", arguments.celery_python, "peer_naive.py"),
    ):
        if arguments.bench and python:
            runs[name] = partial(_run_peer, arguments, python, script, table)
    return runs


def _codec_alone(images: list[Path], compression: CompressionSettings, _: Path) -> Figures:
    return contestants.codec_bound(images, compression)


def _run_peer(arguments: argparse.Namespace, python: str, script: str, table: Path, out: Path) -> Figures:
    file, *options = script.split()
    command = [python, str(arguments.bench / file), "--csv", str(table), "--images", str(arguments.images)]
    command += ["--work", str(out), "--quality", str(arguments.quality), *options]
    return contestants.peer(command, out)


def _run_all(runs: Mapping[str, Run], rounds: int, images: int, scratch: Path) -> dict[str, Row]:
    rows = {name: Row() for name in runs}
    for number in range(rounds):
        for name, run in runs.items():
            out = scratch / f"{number}-{re.sub('[^a-z0-9]+', '-', name.lower())}"
            out.mkdir()
            figures = run(out)
            row = rows[name]
            row.speeds.append(images / figures.seconds)
            row.cpu.append(1000 * figures.cpu / images)
            row.memory.append(figures.memory)
            print(f"{number} {name:26} {row.speeds[-1]:7.1f} images/s {row.cpu[-1]:6.1f} ms CPU", flush=True)
        _compare(rows)
    return rows


def _compare(rows: Mapping[str, Row]) -> None:
    """Add the ratios of this round: to the fastest run of each rival, and of an engine to its own codec."""
    for rival in _RIVALS:
        speeds = [row.speeds[-1] for name, row in rows.items() if name.startswith(rival)]
        for row in rows.values():
            if speeds:
                row.against.setdefault(rival, []).append(row.speeds[-1] / max(speeds))
    for name, row in rows.items():
        bound = rows.get(f"codec alone, {name.rpartition(', ')[2]}")
        if bound:
            row.against.setdefault("its codec", []).append(row.speeds[-1] / bound.speeds[-1])


def _table(rows: Mapping[str, Row], conditions: str) -> str:
    columns = [*_RIVALS, "its codec"]
    columns = [column for column in columns if any(column in row.against for row in rows.values())]
    heads = [
        "",
        "images/s",
        "CPU ms an image",
        *(f"x {name}" for name in columns),
        "peak MB (PSS)",
    ]
    lines = [f"{conditions}, medians:", "", f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for name, row in rows.items():
        ratios = [f"{median(row.against[it]):.2f}" if it in row.against else "" for it in columns]
        cells = [name, f"{median(row.speeds):.1f}", f"{median(row.cpu):.1f}", *ratios]
        cells.append(f"{max(row.memory):.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path, help="the folder of images")
    parser.add_argument("--bench", type=Path, help="the folder with the peers' scripts")
    parser.add_argument("--celery-python", help="a Python with celery[redis], requests and Pillow")
    parser.add_argument("--img2dataset-python", help="a Python with img2dataset")
    parser.add_argument("--presets", default="balanced,fast", help="our presets, separated by commas")
    parser.add_argument("--quality", type=int, default=75)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0, help="milliseconds before each answer")
    parser.add_argument("--only", default="", help="a pattern: run only those whose name it matches")
    parser.add_argument("--scratch", type=Path, help="where results go; a disk, not memory")
    parser.add_argument("--output", type=Path, help="a file for the table, in Markdown")
    return parser.parse_args()


if __name__ == "__main__":
    main()
