"""Know the quantization steps that JPEGs get: those of jpegli, for any quality and not only whole numbers.

jpegli's three tables (Y, Cb, Cr) need fewer bytes for the same SSIMULACRA2 than the two of the standard. The
numbers in `jpegli_steps.csv` are written by `benchmarks/jpegli_steps.py`.
"""

from __future__ import annotations

import bisect
import csv
import functools
from importlib import resources

_COMPONENTS = 3
_TABLE = 64


@functools.lru_cache(maxsize=64)
def jpegli_steps(quality: float) -> bytes:
    """Return the steps for Y, Cb and Cr at a quality of jpegli (1 to 100), each 64 bytes in natural order."""
    qualities, tables = _anchors()
    above = min(max(bisect.bisect_left(qualities, quality), 1), len(qualities) - 1)
    low, high = qualities[above - 1], qualities[above]
    share = min(max((quality - low) / (high - low), 0.0), 1.0)
    pairs = zip(tables[above - 1], tables[above], strict=True)
    return bytes(round(below ** (1 - share) * over**share) for below, over in pairs)


@functools.cache
def _anchors() -> tuple[list[int], list[list[int]]]:
    text = resources.files(__package__).joinpath("jpegli_steps.csv").read_text("ascii")
    rows = [[int(cell) for cell in row if cell.isdigit()] for row in list(csv.reader(text.splitlines()))[1:]]
    qualities = [row[0] for row in rows[::_COMPONENTS]]
    tables = [
        [step for row in rows[start : start + _COMPONENTS] for step in row[1:]]
        for start in range(0, len(rows), _COMPONENTS)
    ]
    assert all(len(table) == _COMPONENTS * _TABLE for table in tables)
    return qualities, tables
