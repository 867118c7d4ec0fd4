"""The native extension without Python, under AddressSanitizer and UBSan, on mutated files.

200,000 of them: compile it as here, and run it with four seeds of 50,000 each.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import imagi_pipeline.core.images
from imagi_pipeline_tests.core.images.pictures import photo, saved, srgb_profile

HARNESS = Path(__file__).with_name("fuzz_jpeg_coefficients.c")
STREAM = Path(imagi_pipeline.core.images.__path__[0], "_jpeg_stream.c")
MUTATED_FILES = 5000

SEEDS: list[tuple[Image.Image, dict[str, Any]]] = [
    *((photo(64, 48), {"subsampling": subsampling}) for subsampling in ("4:2:0", "4:2:2", "4:4:4")),
    (photo(64, 48), {"progressive": True}),
    (photo(64, 48), {"restart_marker_blocks": 2}),
    (photo(64, 48), {"keep_rgb": True}),
    (photo(64, 48), {"icc_profile": srgb_profile()}),
    (photo(64, 48).convert("L"), {}),
    (photo(64, 48).convert("L"), {"progressive": True}),
    (photo(64, 48).convert("CMYK"), {}),
    (photo(33, 17), {"quality": 100}),
    (photo(1, 1), {}),
]


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("fuzz") / "fuzz"
    compiler = shutil.which("gcc")
    if compiler is None and "CI" not in os.environ:
        pytest.skip("there is no gcc")
    command = ["gcc", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    made = subprocess.run(
        [*command, "-Wall", "-Wextra", "-Werror", str(HARNESS), str(STREAM), "-o", str(program), "-ljpeg"],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode and "jpeglib.h" in made.stderr and "CI" not in os.environ:
        pytest.skip("there are no headers of libjpeg-turbo")
    assert made.returncode == 0, made.stderr
    return program


def test_no_mutated_file_makes_it_touch_foreign_memory_leak_print_or_write_what_it_cannot_read(
    fuzz: Path, tmp_path: Path
) -> None:
    files = []
    for number, (picture, options) in enumerate(SEEDS):
        files.append(tmp_path / f"{number}.jpg")
        files[-1].write_bytes(saved(picture, "JPEG", **options))

    run = subprocess.run(
        [str(fuzz), "1", str(MUTATED_FILES), *map(str, files)], capture_output=True, text=True, check=False
    )

    assert run.stderr == ""
    assert run.returncode == 0
    accepted, refused, streamed = (int(word) for word in run.stdout.split() if word.isdigit())
    assert accepted + refused == MUTATED_FILES
    assert min(accepted, refused, streamed) > MUTATED_FILES / 20
