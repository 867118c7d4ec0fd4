from __future__ import annotations

import gzip
import zlib

import pytest

from imagi_pipeline.core.errors import FetchError
from imagi_pipeline.core.http.decoding import Decoding, encodings_in


def decoded(encodings: list[str], data: bytes) -> list[bytes]:
    pieces: list[bytes] = []
    Decoding(encodings, pieces.append, "a.com").write(data)
    return pieces


def test_encodings_are_undone_in_reverse_order() -> None:
    data = zlib.compress(gzip.compress(b"image"))
    assert b"".join(decoded(["gzip", "deflate"], data)) == b"image"
    assert b"".join(decoded([], b"image")) == b"image"


def test_an_encoding_that_is_none_is_passed_over() -> None:
    assert encodings_in("aws-chunked, GZIP , br,base64") == ["gzip", "br"]


def test_a_bomb_is_handed_on_in_small_pieces_so_that_its_receiver_can_end_it() -> None:
    taken = 0

    def take(piece: bytes) -> None:
        nonlocal taken
        taken += len(piece)
        if taken > 2 << 20:
            raise MemoryError

    with pytest.raises(MemoryError):
        Decoding(["gzip"], take, "a.com").write(gzip.compress(bytes(50 << 20)))
    assert taken <= 4 << 20


def test_a_body_that_is_not_encoded_as_it_says_names_the_host() -> None:
    with pytest.raises(FetchError, match=r"a\.com sent a body that is not encoded as it says"):
        decoded(["gzip"], b"no gzip")


def test_a_body_encoded_many_times_is_refused() -> None:
    with pytest.raises(FetchError, match="6 times"):
        decoded(["gzip"] * 6, b"")
