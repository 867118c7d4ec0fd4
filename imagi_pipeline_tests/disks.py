"""Small disks, and full ones."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Give a file system of its own with little space, as `mount` writes sizes; only an administrator can."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Leave no byte of a disk free, until the context ends."""
    path = disk / "filling"
    try:
        with path.open("wb", buffering=0) as file:
            for size in (1 << 20, 4096):
                _write_until_full(file, bytes(size))
        yield
    finally:
        path.unlink()


def _write_until_full(file: IO[bytes], data: bytes) -> None:
    try:
        while True:
            file.write(data)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
