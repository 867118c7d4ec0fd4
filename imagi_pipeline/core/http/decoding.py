"""Undo content encodings piece by piece, which some hosts send although nobody asked for one.

libcurl could do it, but fails if a host names something that is no encoding (`aws-chunked`, `base64`): then
browsers take the body as it is.
"""

from __future__ import annotations

from collections.abc import Callable

from urllib3.exceptions import DecodeError
from urllib3.response import (
    BaseHTTPResponse,
    BrotliDecoder,
    ContentDecoder,
    DeflateDecoder,
    GzipDecoder,
    ZstdDecoder,
)

from imagi_pipeline.core.errors import ErrorCode, FetchError
from imagi_pipeline.core.printable import printable

_DECODERS: dict[str, Callable[[], ContentDecoder]] = {
    "gzip": GzipDecoder,
    "x-gzip": GzipDecoder,
    "deflate": DeflateDecoder,
    "br": BrotliDecoder,
    "zstd": ZstdDecoder,
}
_MOST_LAYERS = 5
_MOST_AT_ONCE = 1 << 20
_ERRORS: tuple[type[Exception], ...] = (DecodeError, *BaseHTTPResponse.DECODER_ERROR_CLASSES)


def encodings_in(header: str) -> list[str]:
    """Return the encodings of a `Content-Encoding` header that can be undone, in the order they were done."""
    names = (name.strip().lower() for name in header.split(","))
    return [name for name in names if name in _DECODERS]


class Decoding:
    """Undoes encodings of what is written to it and hands it on, at most 1 MiB at a time.

    So a receiver that raises when it has got too much ends a decompression bomb early.
    """

    def __init__(self, encodings: list[str], write_to: Callable[[bytes], object], host: str) -> None:
        if len(encodings) > _MOST_LAYERS:
            raise FetchError(ErrorCode.CONNECTION_ERROR, f"{host} encodes the image {len(encodings)} times.")
        self._layers = [_DECODERS[name]() for name in reversed(encodings)]
        self._write_to = write_to
        self._host = host

    def write(self, piece: bytes) -> None:
        """Take the next piece of the body; raises FetchError when it is not encoded as the host says."""
        self._pass_on(piece, 0)

    def _pass_on(self, piece: bytes, layer: int) -> None:
        if layer == len(self._layers):
            self._write_to(piece)
            return
        decoder = self._layers[layer]
        while decoded := self._decoded(decoder, piece):
            self._pass_on(decoded, layer + 1)
            if not decoder.has_unconsumed_tail:
                break
            piece = b""

    def _decoded(self, decoder: ContentDecoder, piece: bytes) -> bytes:
        try:
            return decoder.decompress(piece, max_length=_MOST_AT_ONCE)
        except _ERRORS as error:
            detail = f"{self._host} sent a body that is not encoded as it says: {printable(error)}."
            raise FetchError(ErrorCode.CONNECTION_ERROR, detail) from error
