"""Write the quantization steps of jpegli at some qualities: imagi_pipeline/core/images/jpegli_steps.csv.

    python benchmarks/jpegli_steps.py > imagi_pipeline/core/images/jpegli_steps.csv

They are read from the headers of JPEGs that pyjpegli makes. Geometric interpolation between these qualities
meets jpegli's own integers in between to within 1.
"""

from __future__ import annotations

import io

import pyjpegli
from PIL import Image

LOW = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 27, 28, 30, 35, 40, 45, 50, 55, 60, 65)
HIGH = (66, 67, 68, 69, 70, 75, 80, 85, 88, 90, 92, 94, 96, 97, 98, 99, 100)
SIDE = 16


def tables(quality: int) -> list[list[int]]:
    """The steps for Y, Cb and Cr in natural order."""
    jpeg = pyjpegli.encode(bytes(SIDE * SIDE * 3), SIDE, SIDE, quality=quality)
    with Image.open(io.BytesIO(jpeg)) as image:
        found = image.quantization
    return [list(found.get(component, found[max(found)])) for component in range(3)]


def main() -> None:
    """One row for each quality and component."""
    print("quality,component," + ",".join(f"step{k}" for k in range(64)))
    for quality in (*LOW, *HIGH):
        for component, steps in zip(("Y", "Cb", "Cr"), tables(quality), strict=True):
            print(f"{quality},{component}," + ",".join(map(str, steps)))


if __name__ == "__main__":
    main()
