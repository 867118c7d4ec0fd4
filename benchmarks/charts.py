"""Draw docs/images/png.svg and jpeg.svg from the tables of benchmarks/README.md: no arguments.

Bytes against CPU, a point for each way of the table below a heading. So each figure is written down once.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHARTS = {"png.svg": "## PNG", "jpeg.svg": "## JPEGs: CPU, bytes, and what a quality means"}
WIDTH, HEIGHT, MARGIN, LINE = 760, 340, 56, 14
INK, POINT, OURS = "#333", "#999", "#0b62a4"


def points(heading: str) -> list[tuple[str, float, float]]:
    """Name, CPU in ms and bytes of each row of the first table below a heading."""
    text = (ROOT / "benchmarks" / "README.md").read_text()
    lines = text[text.index(heading + "\n") :].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| ---")) - 1
    header = [cell.strip() for cell in lines[start].strip("|").split("|")]
    cpu = next(column for column, name in enumerate(header) if name.startswith("CPU"))
    size = next(column for column, name in enumerate(header) if name.startswith("bytes"))
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        name = re.sub(r" \(.*|`", "", cells[0])
        looks = re.match(r"\d+", cells[-1]) if header[-1] == "SSIMULACRA2" else None
        label = f"{name}, SSIMULACRA2 {looks[0]}" if looks else name
        found.append((label, _number(cells[cpu]), _number(cells[size])))
    return found


def _number(cell: str) -> float:
    found = re.search(r"[\d.]+", cell)
    assert found is not None, cell
    return float(found[0])


def chart(found: list[tuple[str, float, float]]) -> str:
    """An SVG: CPU to the right, bytes upwards, both from zero; what is ours in colour."""
    most_cpu, most_bytes = max(cpu for _, cpu, _ in found) * 1.05, max(size for *_, size in found) * 1.1
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12" fill="{INK}"><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<path d="M{MARGIN} 12V{HEIGHT - MARGIN}H{WIDTH - 10}" fill="none" stroke="{INK}"/>',
        f'<text x="{WIDTH - 10}" y="{HEIGHT - 8}" text-anchor="end">ms of CPU for an image</text>',
        '<text x="14" y="8" font-size="11">bytes</text>',
    ]
    for tick in range(1, 5):
        x = MARGIN + (WIDTH - MARGIN - 160) * tick / 4
        y = HEIGHT - MARGIN - (HEIGHT - MARGIN - 20) * tick / 4
        parts.append(
            f'<text x="{x}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle">{most_cpu * tick / 4:.0f}</text>'
        )
        parts.append(
            f'<text x="{MARGIN - 6}" y="{y + 4}" text-anchor="end">{most_bytes * tick / 4:.2f}</text>'
        )
    lowest = 0.0
    for name, cpu, size in sorted(found, key=lambda point: -point[2]):
        x = MARGIN + (WIDTH - MARGIN - 160) * cpu / most_cpu
        y = HEIGHT - MARGIN - (HEIGHT - MARGIN - 20) * size / most_bytes
        lowest = max(lowest + LINE, y + 4)  # names lie below each other, never on each other
        colour = POINT if name.lower().startswith("pillow") else OURS
        parts.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="5" fill="{colour}"/>')
        place = f'x="{x + 9:.0f}"' if x < WIDTH / 2 else f'x="{x - 9:.0f}" text-anchor="end"'
        parts.append(f'<text {place} y="{lowest:.0f}">{html.escape(name)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def main() -> None:
    """Write all charts."""
    for name, heading in CHARTS.items():
        (ROOT / "docs" / "images" / name).write_text(chart(points(heading)))


if __name__ == "__main__":
    main()
