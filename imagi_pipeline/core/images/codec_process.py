"""The process that decodes and encodes, one image at a time, until its input ends.

It runs apart so that a file that crashes or hangs the decoder costs only itself. What it is sent and what it
answers is JSON and raw bytes, never pickle: it is the process that reads hostile files.

    in   {"thumbnail_side": int | null}, the source image
    out  {"pixels": int}, only when the image is large; it goes on when it is sent anything
    out  {"image": {...}, "thumbnails": bool}, the compressed image, two thumbnails if asked for
    out  {"code": str, "detail": str} when the image cannot be done
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from multiprocessing.connection import Connection

from imagi_pipeline.core.errors import CodecError
from imagi_pipeline.core.images.compress import compress, thumbnail
from imagi_pipeline.core.images.compressed_image import CompressedImage
from imagi_pipeline.core.images.compression_settings import CompressionSettings

LARGE_IMAGE = 4_000_000
"""Pixels above which an image is decoded only after its memory was granted (about 8 bytes a pixel)."""


def main() -> None:
    """Serve compressions on standard input and output; the settings are the one argument, as JSON."""
    settings = CompressionSettings(**json.loads(sys.argv[1]))
    inbox = Connection(os.dup(0), writable=False)
    outbox = Connection(os.dup(1), readable=False)
    os.dup2(2, 1)  # what a library prints must not mix with the answers

    def claim_pixels(pixels: int) -> None:
        if pixels > LARGE_IMAGE:
            _send(outbox, {"pixels": pixels})
            inbox.recv_bytes()

    while True:
        try:
            order = json.loads(inbox.recv_bytes())
            source = inbox.recv_bytes()
            try:
                image = compress(source, settings, claim_pixels)
                _answer(outbox, source, image, order["thumbnail_side"])
            except CodecError as error:
                _send(outbox, {"code": error.code, "detail": error.detail})
        except (EOFError, BrokenPipeError):  # the parent is gone
            return


def _answer(outbox: Connection, source: bytes, image: CompressedImage, side: int | None) -> None:
    thumbnails = [] if side is None else [thumbnail(source, side), thumbnail(image.data, side)]
    facts = asdict(image)
    del facts["data"]
    _send(outbox, {"image": facts, "thumbnails": bool(thumbnails)})
    for part in (image.data, *thumbnails):
        outbox.send_bytes(part)


def _send(outbox: Connection, message: dict[str, object]) -> None:
    outbox.send_bytes(json.dumps(message).encode())


if __name__ == "__main__":
    main()
