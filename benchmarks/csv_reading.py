"""How fast CSVs are read, now and in another checkout, such as the one before a change.

    python benchmarks/csv_reading.py --before FOLDER [--rows 20000] [--rounds 5]

Both read the same bytes in turn, each time in a process of its own, which tells the CPU time (user and
system) of reading alone. The ratio of a round is that of now to before: below 1 is faster.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

MEASURE = """
import sys, time
try:
    from imagi_pipeline.core.csv.reading import read_csv
except ImportError:
    from imagi_pipeline.core.csv.table import read_csv
data = open(sys.argv[1], "rb").read()
read_csv(data[:2000])
start = time.process_time()
table = read_csv(data)
print(time.process_time() - start, len(table.references))
"""

SHAPES: dict[str, Callable[[int], str]] = {
    "plain": lambda n: f"{n},Shoe {n},https://shop.example/media/shoe-{n}.jpg,19.90",
    "quoted, two URLs": lambda n: (
        f'{n},"Shoe, red","https://shop.example/{n}.jpg,https://shop.example/b.jpg",1'
    ),
    "commas and umlauts": lambda n: f'{n},Größe {n},"https://shop.example/w_1,h_{n}/Schön grün-{n}.jpg",2',
    "wide": lambda n: f"{n},Shoe,https://shop.example/{n}.jpg,1" + ",some text,,3.14" * 10,
}


def main() -> None:
    """Run the rounds and print each shape's rows a second and ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    now = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as scratch:
        for name, row in SHAPES.items():
            file = Path(scratch, "products.csv")
            lines = [row(number) for number in range(arguments.rows)]
            header = "id,name,image,price" + "".join(f",x{n}" for n in range(lines[0].count(",,") * 3))
            file.write_text("\n".join([header, *lines, ""]), "utf-8")
            pairs = [(seconds(arguments.before, file), seconds(now, file)) for _ in range(arguments.rounds)]
            before, after = (median(pair[index] for pair in pairs) for index in (0, 1))
            ratio = median(after / before for before, after in pairs)
            print(
                f"{name:20} rows a second: {arguments.rows / before:9,.0f} before, "
                f"{arguments.rows / after:9,.0f} now, CPU ratio {ratio:.2f}"
            )


def seconds(folder: Path, file: Path) -> float:
    """CPU seconds that the checkout in `folder` takes to read the file."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(file)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[0])


if __name__ == "__main__":
    main()
