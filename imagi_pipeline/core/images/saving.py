"""Have Pillow write an image so that other threads of the process can run."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import IO

from PIL import Image


def saved(image: Image.Image, image_format: str, **options: object) -> bytes:
    """Return the bytes that Pillow writes for an image; `options` are those of its `save`."""
    # For a file with a descriptor Pillow's JPEG encoder lets other threads run, for BytesIO it does not.
    with _scratch_file() as file:
        image.save(file, image_format, **options)
        file.seek(0)
        return file.read()


def _scratch_file() -> IO[bytes]:
    if sys.platform == "linux":
        return os.fdopen(os.memfd_create("image"), "w+b")
    return tempfile.TemporaryFile()
