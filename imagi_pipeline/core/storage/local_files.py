"""Write and read whole files on a local disk with few system calls: two files are written for each image."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterable

TEMPORARY = ".tmp"
"""The names of files that are being written end like this; they begin with a dot."""


def write_whole(path: str, pieces: Iterable[bytes], *, only_new: bool = False) -> None:
    """Write a file, and its folder if need be, so that it is there whole or not at all.

    Its pieces are written one after the other: they need not fit into memory together. Raises FileExistsError
    if `only_new` and there is one, also one that is written just now.
    """
    folder = os.path.dirname(path)  # noqa: PTH120 - a path object takes as long as the system call
    temporary = f"{folder}/.{uuid.uuid4().hex}{TEMPORARY}"
    try:
        handle = _create(temporary, folder)
        try:
            for piece in pieces:
                _write(handle, piece)
        finally:
            os.close(handle)
        if only_new:
            os.link(temporary, path)  # unlike a rename, it replaces nothing
            os.unlink(temporary)  # noqa: PTH108
        else:
            os.replace(temporary, path)  # noqa: PTH105
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)  # noqa: PTH108
        raise


def read_whole(path: str) -> bytes:
    """Return the bytes of a file."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        left = os.fstat(handle).st_size
        pieces = []
        while piece := os.read(handle, left + 1):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(handle)


def _create(path: str, folder: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        return os.open(path, flags, 0o666)


def _write(handle: int, data: bytes) -> None:
    written = os.write(handle, data)
    while written < len(data):
        written += os.write(handle, data[written:])
