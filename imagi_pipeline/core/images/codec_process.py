"""This process decodes and encodes one image at a time, until its parent is gone.

It runs apart so that a file that crashes, hangs or bloats the decoder costs only itself. Its messages are
JSON, never pickle, because it is the process that reads hostile files; images lie in a SharedBuffer.

    out  {"ready": true}, once everything is imported
    in   {"length": int, "thumbnail_side": int | null}; the source image lies in the buffer
    out  {"pixels": int}, only when the image is large; it goes on when it is sent anything
    out  {"image": {...}, "lengths": [int, ...]}; the compressed image and the thumbnails lie in the buffer
    out  {"code": str, "detail": str} when the image cannot be done
"""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
from dataclasses import fields

from imagi_pipeline.core.errors import CodecError
from imagi_pipeline.core.images.codec_channel import Channel
from imagi_pipeline.core.images.compress import compress, thumbnail
from imagi_pipeline.core.images.compressed_image import CompressedImage
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.images.opening import load_codecs
from imagi_pipeline.core.images.shared_buffer import SharedBuffer

LARGE_IMAGE = 4_000_000
"""Pixels above which an image is decoded only after its memory was granted (about 8 bytes a pixel)."""

_FACTS = [field.name for field in fields(CompressedImage) if field.name != "data"]


def main() -> None:
    """Serve compressions until the parent is gone.

    Arguments are the settings as JSON, the bytes of memory it may take, and the descriptor of the shared
    buffer; the socket to the parent is standard input.
    """
    settings = CompressionSettings(**json.loads(sys.argv[1]))
    _limit_memory(int(sys.argv[2]))
    buffer = SharedBuffer(int(sys.argv[3]))
    channel = Channel(socket.socket(fileno=os.dup(0)))
    load_codecs()

    def claim_pixels(pixels: int) -> None:
        if pixels > LARGE_IMAGE:
            channel.send({"pixels": pixels})
            channel.receive()

    try:
        channel.send({"ready": True})
        while True:
            order = channel.receive()
            (source,) = buffer.read([order["length"]])
            try:
                image = compress(source, settings, claim_pixels)
                parts = [image.data, *_thumbnails(source, image, order["thumbnail_side"])]
            except CodecError as error:
                channel.send({"code": error.code, "detail": error.detail})
                continue
            facts = {name: getattr(image, name) for name in _FACTS}
            channel.send({"image": facts, "lengths": buffer.write(parts)})
    except (EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone
        return


def _thumbnails(source: bytes, image: CompressedImage, side: int | None) -> list[bytes]:
    return [] if side is None else [thumbnail(source, side), thumbnail(image.data, side)]


def _limit_memory(most: int) -> None:
    """Let a file that bloats the decoder fail by itself, before the system runs out of memory."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


if __name__ == "__main__":
    main()
