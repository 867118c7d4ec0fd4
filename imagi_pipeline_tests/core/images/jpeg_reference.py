"""A decoder of grey baseline JPEGs that shares no code with libjpeg: coefficients, and what they mean."""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass

ZIGZAG = sorted(range(64), key=lambda k: (k // 8 + k % 8, (k // 8 if (k // 8 + k % 8) % 2 else k % 8)))
COSINES = [
    [math.cos((2 * x + 1) * u * math.pi / 16) * (math.sqrt(0.5) if u == 0 else 1) / 2 for u in range(8)]
    for x in range(8)
]


@dataclass
class GreyJpeg:
    """The levels of each block, row by row, and the 64 steps, all in natural order."""

    width: int
    height: int
    steps: list[int]
    blocks: list[list[int]]

    def pixels(self) -> list[int]:
        """Return what the levels mean by the definition of the inverse DCT (ITU-T T.81, A.3.3)."""
        across = (self.width + 7) // 8
        shown = [
            _pixels_of([level * step for level, step in zip(block, self.steps, strict=True)])
            for block in self.blocks
        ]
        return [
            shown[y // 8 * across + x // 8][y % 8][x % 8]
            for y in range(self.height)
            for x in range(self.width)
        ]


def _pixels_of(coefficients: list[int]) -> list[list[int]]:
    rows = [
        [sum(COSINES[x][u] * coefficients[8 * v + u] for u in range(8)) for x in range(8)] for v in range(8)
    ]
    return [
        [min(max(round(128 + sum(COSINES[y][v] * rows[v][x] for v in range(8))), 0), 255) for x in range(8)]
        for y in range(8)
    ]


def read(jpeg: bytes) -> GreyJpeg:
    """Decode the entropy coding of a JPEG with one component and without restart markers."""
    made = GreyJpeg(0, 0, [], [])
    codes: dict[int, dict[tuple[int, int], int]] = {}
    position = 2
    while True:
        marker, length = struct.unpack_from(">xBH", jpeg, position)
        body = jpeg[position + 4 : position + 2 + length]
        position += 2 + length
        if marker == 0xDB:
            made.steps = [step for _, step in sorted(zip(ZIGZAG, body[1:65], strict=True))]
        elif marker == 0xC0:
            made.height, made.width = struct.unpack_from(">HH", body, 1)
        elif marker == 0xC4:
            while body:
                codes[body[0]] = dict(_codes(body[1:17], body[17:]))
                body = body[17 + sum(body[1:17]) :]
        elif marker == 0xDA:
            break
    bits = _bits(jpeg[position:-2].replace(b"\xff\0", b"\xff"))
    dc = 0
    for _ in range((made.width + 7) // 8 * ((made.height + 7) // 8)):
        dc += _value(bits, _symbol(bits, codes[0]))
        made.blocks.append([dc, *_ac_levels(bits, codes[0x10])])
    return made


def _codes(counts: bytes, symbols: bytes) -> Iterator[tuple[tuple[int, int], int]]:
    code, following = 0, iter(symbols)
    for length, count in enumerate(counts, start=1):
        for symbol in itertools.islice(following, count):
            yield (length, code), symbol
            code += 1
        code <<= 1


def _bits(data: bytes) -> Iterator[int]:
    return (byte >> shift & 1 for byte in data for shift in range(7, -1, -1))


def _symbol(bits: Iterator[int], codes: dict[tuple[int, int], int]) -> int:
    code = 0
    for length in range(1, 17):
        code = code << 1 | next(bits)
        if (length, code) in codes:
            return codes[length, code]
    raise ValueError("no such code")


def _value(bits: Iterator[int], size: int) -> int:
    value = 0
    for _ in range(size):
        value = value << 1 | next(bits)
    return value if size == 0 or value >> (size - 1) else value - (1 << size) + 1


def _ac_levels(bits: Iterator[int], codes: dict[tuple[int, int], int]) -> list[int]:
    levels = [0] * 64
    at = 1
    while at < 64:
        symbol = _symbol(bits, codes)
        if symbol == 0:
            break
        at += symbol >> 4
        if symbol != 0xF0:
            levels[ZIGZAG[at]] = _value(bits, symbol & 15)
        at += 1
    return levels[1:]
